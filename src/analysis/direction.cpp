// Which programs a score speaks for.
#include "pva/analysis/direction.h"

namespace pva::analysis {

const char* name(Direction direction) {
    return direction == Direction::right ? "right" : "wrong";
}

}  // namespace pva::analysis
