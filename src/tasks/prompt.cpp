// Prompt templates.
#include "pva/tasks/prompt.h"

#include <array>

#include "pva/core/error.h"
#include "pva/core/join.h"

namespace pva::tasks {
namespace {

/// White space as Python's str.strip() sees it, in UTF-8.
constexpr std::array<std::string_view, 29> white_space = {" ",
                                                          "\t",
                                                          "\n",
                                                          "\v",
                                                          "\f",
                                                          "\r",
                                                          "\x1c",
                                                          "\x1d",
                                                          "\x1e",
                                                          "\x1f",
                                                          "\xC2\x85",
                                                          "\xC2\xA0",
                                                          "\xE1\x9A\x80",
                                                          "\xE2\x80\x80",
                                                          "\xE2\x80\x81",
                                                          "\xE2\x80\x82",
                                                          "\xE2\x80\x83",
                                                          "\xE2\x80\x84",
                                                          "\xE2\x80\x85",
                                                          "\xE2\x80\x86",
                                                          "\xE2\x80\x87",
                                                          "\xE2\x80\x88",
                                                          "\xE2\x80\x89",
                                                          "\xE2\x80\x8A",
                                                          "\xE2\x80\xA8",
                                                          "\xE2\x80\xA9",
                                                          "\xE2\x80\xAF",
                                                          "\xE2\x81\x9F",
                                                          "\xE3\x80\x80"};

std::string_view strip(std::string_view text) {
    for (bool changed = true; changed;) {
        changed = false;
        for (const std::string_view blank : white_space) {
            if (text.starts_with(blank)) {
                text.remove_prefix(blank.size());
                changed = true;
            }
            if (text.ends_with(blank)) {
                text.remove_suffix(blank.size());
                changed = true;
            }
        }
    }
    return text;
}

}  // namespace

std::string build_prompt(const Problem& problem, PromptTemplate prompt_template) {
    const bool stripped = prompt_template == PromptTemplate::your_code;
    std::string prompt(stripped ? strip(problem.text) : std::string_view(problem.text));
    prompt += "\n\n";
    bool first = true;
    for (const std::string& item : problem.test_list) {
        const std::string_view test = stripped ? strip(item) : std::string_view(item);
        if (stripped && test.empty()) continue;
        if (!first) prompt += '\n';
        prompt += test;
        first = false;
    }
    prompt += stripped ? "\n\n# Your code here:" : "\n\n# Solution:";
    return prompt;
}

std::string prompt_template_name(PromptTemplate prompt_template) {
    switch (prompt_template) {
        case PromptTemplate::solution:
            return "solution";
        case PromptTemplate::your_code:
            return "your-code";
    }
    throw InternalError("prompt template number " + std::to_string(static_cast<int>(prompt_template)) +
                        " does not exist");
}

std::vector<std::string> prompt_template_names() {
    return {prompt_template_name(PromptTemplate::solution), prompt_template_name(PromptTemplate::your_code)};
}

PromptTemplate prompt_template_from_name(std::string_view name) {
    for (const PromptTemplate candidate : {PromptTemplate::solution, PromptTemplate::your_code}) {
        if (prompt_template_name(candidate) == name) return candidate;
    }
    throw UsageError("no prompt template is called '" + std::string(name) + "'. Known: " + join(prompt_template_names(), ", "));
}

}  // namespace pva::tasks
