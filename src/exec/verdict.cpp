// Names of verdicts.
#include "pva/exec/verdict.h"

#include <array>

#include "pva/core/error.h"

namespace pva::exec {

namespace {

// Indexed by the number of the verdict.
constexpr std::array<std::string_view, 14> names = {
    "passed", "wrong",       "syntax",       "name",   "type",         "runtime", "early_exit",
    "signal", "timeout_cpu", "timeout_wall", "memory", "output_limit", "nproc",   "internal",
};

}  // namespace

std::string_view to_string(Verdict verdict) {
    const auto number = static_cast<std::size_t>(verdict);
    if (number >= names.size()) throw InternalError("no verdict has the number " + std::to_string(number));
    return names[number];
}

Verdict verdict_from_string(std::string_view name) {
    for (std::size_t number = 0; number < names.size(); ++number) {
        if (names[number] == name) return static_cast<Verdict>(number);
    }
    throw InputError("unknown verdict \"" + std::string(name) +
                     "\" (known: passed, wrong, syntax, name, type, runtime, " +
                     "early_exit, signal, timeout_cpu, timeout_wall, memory, output_limit, nproc, internal)");
}

}  // namespace pva::exec
