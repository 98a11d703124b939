// Values of fields to group numbers.
#include "pva/phases/problem_groups.h"

#include <algorithm>
#include <map>
#include <set>

#include "pva/core/comma_list.h"
#include "pva/core/error.h"
#include "pva/tasks/difficulty.h"

namespace pva::phases {

namespace {

constexpr const char* no_value = "(none)";
constexpr int unknown = 3;  // difficulty of a problem without one

GroupField by_difficulty(const StudyRows& rows) {
    GroupField field{"difficulty", {}, {}};
    std::vector<int> strata;
    for (const std::int32_t complexity : rows.complexity) strata.push_back(complexity < 0 ? unknown : tasks::difficulty_stratum(complexity));
    std::map<int, std::uint32_t> number;
    for (const int stratum : {0, 1, 2, unknown}) {
        if (std::find(strata.begin(), strata.end(), stratum) == strata.end()) continue;
        number[stratum] = static_cast<std::uint32_t>(field.groups.size());
        field.groups.push_back(stratum == 0 ? "easy" : stratum == 1 ? "medium" : stratum == 2 ? "hard" : "unknown");
    }
    for (const int stratum : strata) field.of_row.push_back(number.at(stratum));
    return field;
}

GroupField by_value(const std::string& name, const std::vector<std::string>& values) {
    const std::set<std::string> distinct(values.begin(), values.end());
    if (2 * distinct.size() > values.size()) {
        throw InputError("--group-by " + name + ": " + std::to_string(distinct.size()) + " different values for " + std::to_string(values.size()) +
                         " problems; groups so small cannot be compared. Name a field with fewer values");
    }
    GroupField field{name, std::vector<std::string>(distinct.begin(), distinct.end()), {}};
    for (const std::string& value : values) field.of_row.push_back(static_cast<std::uint32_t>(std::lower_bound(field.groups.begin(), field.groups.end(), value) - field.groups.begin()));
    return field;
}

}  // namespace

std::vector<GroupField> group_fields(const Study& study, const StudyRows& rows, const std::string& fields) {
    std::vector<GroupField> result = {by_difficulty(rows)};
    std::vector<std::int64_t> all_ids;
    for (const tasks::Problem& problem : study.all.set.problems) all_ids.push_back(problem.task_id);
    for (const std::string& name : names_at_commas(fields)) {
        if (name == "difficulty") continue;
        if (std::any_of(result.begin(), result.end(), [&](const GroupField& field) { return field.name == name; })) throw UsageError("--group-by names " + name + " twice");
        const std::vector<std::string> of_problem = tasks::problem_fields(study.all.set, name);
        std::vector<std::string> values;
        for (const std::int64_t position : positions_of(all_ids, rows.ids, study.all.set.path)) {
            const std::string& value = of_problem[static_cast<std::size_t>(position)];
            values.push_back(value.empty() ? no_value : value.substr(0, 48));
        }
        result.push_back(by_value(name, values));
    }
    return result;
}

}  // namespace pva::phases
