// The one place that turns a problem into a prompt. No token is added here: the tokenizer puts <bos> in front.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pva/tasks/problems.h"

namespace pva::tasks {

enum class PromptTemplate : std::uint8_t {
    solution = 0,   ///< text, blank line, tests, blank line, "# Solution:"; text and tests as they are
    your_code = 1,  ///< text and tests stripped, empty tests dropped, "# Your code here:"
};

/// The bytes that the model continues. The initiator ends the prompt: no newline after it. Every item of test_list
/// is written as it stands, it begins with `assert` already.
std::string build_prompt(const Problem& problem, PromptTemplate prompt_template);

/// "solution" or "your-code": the name used on the command line and in files.
std::string prompt_template_name(PromptTemplate prompt_template);

/// The reverse. Errors: UsageError that lists the known names.
PromptTemplate prompt_template_from_name(std::string_view name);

/// All names, in the order of the enumeration.
std::vector<std::string> prompt_template_names();

}  // namespace pva::tasks
