// Which programs a score speaks for.
#pragma once

namespace pva::analysis {

/// right: the score is higher where the program passes its tests; wrong: where it fails.
enum class Direction { right, wrong };

/// "right" or "wrong".
const char* name(Direction direction);

}  // namespace pva::analysis
