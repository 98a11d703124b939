// Python and shared data for the tests of this room.
#include "support.h"

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <stdexcept>

nlohmann::json read_golden(const std::string& name) {
    return nlohmann::json::parse(read_file(std::string(PVA_SOURCE_DIR) + "/tests/golden/tasks/" + name));
}

std::string run_python(std::string_view script, std::string_view input) {
    const Scratch folder;
    write_file(folder.file("script.py"), script);
    write_file(folder.file("input"), input);
    const std::string command =
        "python3 -s -S -P " + folder.file("script.py") + " < " + folder.file("input") + " > " + folder.file("output");
    if (std::system(command.c_str()) != 0) throw std::runtime_error("python3 failed: " + command);
    return read_file(folder.file("output"));
}

std::optional<std::string> shared_data(const std::string& name) {
    const std::string path = std::string(PVA_SOURCE_DIR) + "/../shared/data/" + name;
    if (std::filesystem::exists(path)) return path;
    std::cout << "skipped: ../shared/data/" << name << " is not here\n";
    return std::nullopt;
}

std::optional<pva::tasks::ProblemSet> mbpp() {
    const auto path = shared_data("mbpp/mbpp.jsonl");
    if (!path) return std::nullopt;
    return pva::tasks::load_problems(*path);
}

std::optional<pva::tasks::ProblemSet> human_eval() {
    const char* cache = std::getenv("XDG_CACHE_HOME");
    const char* home = std::getenv("HOME");
    const std::string folder = cache ? std::string(cache) : std::string(home ? home : "") + "/.cache";
    for (const std::string& path : {std::string(PVA_SOURCE_DIR) + "/../shared/data/humaneval/HumanEval.jsonl.gz",
                                    folder + "/pva/humaneval/HumanEval.jsonl.gz"}) {
        if (std::filesystem::exists(path)) return pva::tasks::load_problems(path);
    }
    std::cout << "skipped: HumanEval is not here (bash jobs/local/get_humaneval.sh fetches it)\n";
    return std::nullopt;
}

std::optional<pva::tasks::ProblemSet> sanitized_mbpp() {
    const auto path = shared_data("mbpp/sanitized-mbpp.json");
    if (!path) return std::nullopt;
    return pva::tasks::load_problems(*path);
}
