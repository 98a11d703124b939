// Asks Python for the complexity of many sources at a time.
#include "pva/tasks/difficulty.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "pva/core/error.h"

namespace pva::tasks {
namespace {

/// Enough to make the interpreter's start (some 10 ms) small, few enough to keep one answer quick.
constexpr std::size_t problems_per_call = 256;

}  // namespace

std::vector<Difficulty> cyclomatic_complexity(std::span<const Problem> problems, const PythonRunner& run_python) {
    std::vector<Difficulty> result;
    result.reserve(problems.size());
    for (std::size_t begin = 0; begin < problems.size(); begin += problems_per_call) {
        const auto batch = problems.subspan(begin, std::min(problems_per_call, problems.size() - begin));
        nlohmann::json sources = nlohmann::json::array();
        for (const Problem& problem : batch)
            sources.push_back(problem.code);
        const std::string answer =
            run_python(complexity_script(), sources.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));

        const auto bad_answer = [&](const std::string& what) {
            return InternalError("the complexity script " + what + " for the " + std::to_string(batch.size()) +
                                 " problems from task " + std::to_string(batch.front().task_id) + " on: '" +
                                 answer.substr(0, 200) + "'. Check that python3 (3.8 or newer) runs");
        };
        const nlohmann::json values = nlohmann::json::parse(answer, nullptr, false);
        if (!values.is_array() || values.size() != batch.size()) throw bad_answer("gave no array of the right length");
        for (std::size_t i = 0; i < batch.size(); ++i) {
            if (!values[i].is_number_integer()) throw bad_answer("gave something other than integers");
            const int complexity = values[i].get<int>();
            if (complexity < 1) throw bad_answer("gave a complexity below 1");
            result.push_back({batch[i].task_id, complexity});
        }
    }
    return result;
}

int difficulty_stratum(int complexity) {
    if (complexity <= 1) return 0;
    return complexity <= 3 ? 1 : 2;
}

}  // namespace pva::tasks
