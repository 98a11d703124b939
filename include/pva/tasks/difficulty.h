// Difficulty of a problem: the cyclomatic complexity of its reference solution, by the rules of radon 6.0.1.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pva/tasks/problems.h"

namespace pva::tasks {

/// Runs a trusted Python script with `input` on its standard input and gives back its standard output. Phases pass
/// the supervisor; only Python's standard library may be needed.
using PythonRunner = std::function<std::string(std::string_view script, std::string_view input)>;

struct Difficulty {
    std::int64_t task_id = 0;
    int complexity =
        1;  ///< largest over functions, methods and classes; 1 when there is none or the code does not parse
};

/// One Difficulty per problem, in the same order. Python's `ast` reads the code, some hundred problems a call.
/// Errors: what the runner throws; InternalError when the script's answer is not what was asked for.
std::vector<Difficulty> cyclomatic_complexity(std::span<const Problem> problems, const PythonRunner& run_python);

/// The Python script that does it: reads a JSON array of sources, writes a JSON array of integers.
std::string_view complexity_script();

/// Strata of the published study: 0 easy (1), 1 medium (2 or 3), 2 hard (4 and more).
int difficulty_stratum(int complexity);

}  // namespace pva::tasks
