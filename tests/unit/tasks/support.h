// What several tests of this room need: Python, and the shared data where they exist.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "../scratch.h"
#include "pva/tasks/problems.h"

nlohmann::json read_golden(const std::string& name);

/// Runs a script with the python3 on PATH; input on its standard input; returns what it printed.
std::string run_python(std::string_view script, std::string_view input);

/// Path of a file in ../shared/data, or nothing (and a message) where the shared data are absent.
std::optional<std::string> shared_data(const std::string& name);

/// All 974 problems of MBPP, or nothing.
std::optional<pva::tasks::ProblemSet> mbpp();

/// The 164 problems of HumanEval: from the shared data, or from where jobs/local/get_humaneval.sh puts them; or nothing.
std::optional<pva::tasks::ProblemSet> human_eval();
/// The 427 problems of sanitized MBPP, or nothing.
std::optional<pva::tasks::ProblemSet> sanitized_mbpp();
