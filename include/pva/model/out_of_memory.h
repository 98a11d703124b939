// Where memory ends: one kind of error for what the tensor library, the GPU and the C++ library throw.
#pragma once

#include <exception>
#include <string>

#include "pva/core/error.h"

namespace pva::model {

/// The system or the GPU gives no more memory: less at a time may do. Exit code 65.
class OutOfMemory : public InputError {
  public:
    explicit OutOfMemory(const std::string& message) : InputError(message) {}
};

/// To be called while `error` is handled: throws OutOfMemory ("out of memory while <what>: ...") when it says that memory could not be had
/// (std::bad_alloc, c10::OutOfMemoryError, the allocator of the tensor library), else the error again.
[[noreturn]] void throw_memory_error(const std::exception& error, const std::string& what);

/// Does the work; what it throws for want of memory becomes OutOfMemory. `what` says what is being done: "reading 3 prompts".
template <class Work>
auto within_memory(const std::string& what, Work&& work) {
    try {
        return work();
    } catch (const Error&) {
        throw;
    } catch (const std::exception& error) {
        throw_memory_error(error, what);
    }
}

}  // namespace pva::model
