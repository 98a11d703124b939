// Telling want of memory from other errors.
#include "pva/model/out_of_memory.h"

#include <new>
#include <string_view>

#include <c10/util/Exception.h>

namespace pva::model {

void throw_memory_error(const std::exception& error, const std::string& what) {
    std::string reason;
    if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) reason = "the system gives no more";
    if (const auto* tensor_error = dynamic_cast<const c10::Error*>(&error)) {
        // The allocator for CPUs throws a plain c10::Error (c10/core/impl/alloc_cpu.cpp), that for GPUs one of its own kind.
        const std::string text = tensor_error->what_without_backtrace();
        const bool cpu = text.find("DefaultCPUAllocator") != std::string::npos && text.find("memory") != std::string::npos;
        if (cpu || dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr) reason = text.substr(0, text.find('\n'));
    }
    if (reason.empty()) throw;
    throw OutOfMemory("out of memory while " + what + ": " + reason);
}

}  // namespace pva::model
