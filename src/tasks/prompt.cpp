// Prompt templates: a table of bytes, and one function that puts a problem between them.
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

/// How text and tests are written.
enum class Body : std::uint8_t {
    as_they_are,
    stripped,  ///< each for itself
    message,   ///< each for itself and the whole, so that a template that trims and one that does not give the same
};

struct Form {
    std::string_view name;
    std::string_view before;  ///< everything before the text
    Body body;
    std::string_view between;  ///< text to tests
    std::string_view after;    ///< everything after the tests
};

constexpr std::string_view ask = " Your code should pass these tests:\n\n";

/// In the order of the enumeration.
constexpr std::array<Form, 10> forms = {{
    {"solution", "", Body::as_they_are, "\n\n", "\n\n# Solution:"},
    {"your-code", "", Body::stripped, "\n\n", "\n\n# Your code here:"},
    {"gemma-it", "<bos><start_of_turn>user\n", Body::message, ask, "<end_of_turn>\n<start_of_turn>model\n```python\n"},
    {"llama2-chat", "<s>[INST] ", Body::message, ask, " [/INST] ```python\n"},
    {"llama3-instruct", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n", Body::message, ask,
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n```python\n"},
    {"mistral-instruct", "<s> [INST] ", Body::message, ask, " [/INST] ```python\n"},
    {"mistral-v3-instruct", "<s>[INST] ", Body::message, ask, "[/INST] ```python\n"},
    {"qwen2-instruct", "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n", Body::message,
     ask, "<|im_end|>\n<|im_start|>assistant\n```python\n"},
    {"qwen2.5-instruct",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
     "<|im_start|>user\n",
     Body::message, ask, "<|im_end|>\n<|im_start|>assistant\n```python\n"},
    {"smollm2-instruct",
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
     "<|im_start|>user\n",
     Body::message, ask, "<|im_end|>\n<|im_start|>assistant\n```python\n"},
}};

const Form& form_of(PromptTemplate prompt_template) {
    const auto number = static_cast<std::size_t>(prompt_template);
    if (number >= forms.size())
        throw InternalError("prompt template number " + std::to_string(number) + " does not exist");
    return forms[number];
}

}  // namespace

std::string build_prompt(const Problem& problem, PromptTemplate prompt_template) {
    const Form& form = form_of(prompt_template);
    const bool as_they_are = form.body == Body::as_they_are;
    std::string body(as_they_are ? std::string_view(problem.text) : strip(problem.text));
    body += form.between;
    bool first = true;
    for (const std::string& item : problem.test_list) {
        const std::string_view test = as_they_are ? std::string_view(item) : strip(item);
        if (!as_they_are && test.empty()) continue;
        if (!first) body += '\n';
        body += test;
        first = false;
    }
    std::string prompt(form.before);
    prompt += form.body == Body::message ? strip(body) : std::string_view(body);
    prompt += form.after;
    return prompt;
}

std::string prompt_template_name(PromptTemplate prompt_template) {
    return std::string(form_of(prompt_template).name);
}

std::vector<std::string> prompt_template_names() {
    std::vector<std::string> names;
    for (const Form& form : forms)
        names.emplace_back(form.name);
    return names;
}

PromptTemplate prompt_template_from_name(std::string_view name) {
    for (std::size_t number = 0; number < forms.size(); ++number) {
        if (forms[number].name == name) return static_cast<PromptTemplate>(number);
    }
    throw UsageError("no prompt template is called '" + std::string(name) +
                     "'. Known: " + join(prompt_template_names(), ", "));
}

bool opens_fence(PromptTemplate prompt_template) {
    return form_of(prompt_template).after.ends_with("```python\n");
}

}  // namespace pva::tasks
