// Thread count of the tensor library.
#include "pva/model/threads.h"

#include <string>

#include <ATen/Parallel.h>

#include "pva/core/error.h"

namespace pva::model {

void set_threads(int threads) {
    if (threads < 1) throw UsageError("number of threads is " + std::to_string(threads) + "; at least 1 is needed.");
    at::set_num_threads(threads);
}

int threads() {
    return at::get_num_threads();
}

}  // namespace pva::model
