// What says that memory could not be had becomes OutOfMemory; what says anything else stays what it is. Here, with a tokenizer in the
// program, and not beside the room model: libsentencepiece can change what libtorch does without memory (text/sentencepiece.cpp).
#include <boost/test/unit_test.hpp>
#include <new>
#include <stdexcept>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include "pva/model/out_of_memory.h"
#include "pva/text/tokenizer.h"

using pva::model::OutOfMemory;
using pva::model::within_memory;

namespace {

bool names_the_work(const OutOfMemory& error) { return std::string(error.what()).starts_with("out of memory while counting: "); }

}  // namespace

BOOST_AUTO_TEST_CASE(want_of_memory) {
    BOOST_TEST(within_memory("counting", [] { return 3; }) == 3);
    BOOST_CHECK_EXCEPTION(within_memory("counting", [] { throw std::bad_alloc(); }), OutOfMemory, names_the_work);
    // As a GPU's allocator does.
    BOOST_CHECK_EXCEPTION(within_memory("counting", [] { TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate 2 GiB"); }), OutOfMemory,
                          names_the_work);
    // More than any machine has, really asked for: the tensor library's own failure for CPUs.
    BOOST_CHECK_EXCEPTION(within_memory("counting", [] { at::empty({std::int64_t{1} << 46}, at::kFloat); }), OutOfMemory, names_the_work);
}

BOOST_AUTO_TEST_CASE(other_errors_pass) {
    BOOST_CHECK_THROW(within_memory("counting", [] { throw std::runtime_error("something else"); }), std::runtime_error);
    BOOST_CHECK_THROW(within_memory("counting", [] { TORCH_CHECK(false, "shapes do not fit"); }), c10::Error);
    BOOST_CHECK_THROW(within_memory("counting", [] { throw pva::UsageError("twice"); }), pva::UsageError);
}
