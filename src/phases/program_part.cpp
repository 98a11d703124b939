// Rows of a part, gathered from problems and dataset.
#include "pva/phases/program_part.h"

#include "pva/analysis/bag_of_words.h"

namespace pva::phases {

std::vector<double> ProgramPart::number(std::size_t column) const {
    std::vector<double> values;
    for (std::size_t i = column; i < numbers.size(); i += n_surface_numbers) values.push_back(numbers[i]);
    return values;
}

ProgramPart program_part(const Study& study, const StudyRows& rows, const ProgramRows& program_rows, tasks::SplitPart wanted, const std::vector<GroupField>& fields) {
    ProgramPart part;
    part.groups.resize(fields.size());
    std::vector<std::int64_t> all_ids;
    for (const tasks::Problem& problem : study.all.set.problems) all_ids.push_back(problem.task_id);
    const std::vector<std::int64_t> problem_of = positions_of(all_ids, rows.ids, study.all.set.path);
    const auto prompt_tokens = study.dataset.read<std::int32_t>("prompt_tokens");
    const auto mean_log_probability = study.dataset.read<double>("mean_log_probability");
    for (std::size_t i = 0; i < rows.ids.size(); ++i) {
        if (rows.part[i] != static_cast<std::uint8_t>(wanted) || !program_rows.has(rows.dataset_rows[i])) continue;
        const std::string& text = study.all.set.problems[static_cast<std::size_t>(problem_of[i])].text;
        const auto program = static_cast<std::size_t>(rows.dataset_rows[i]);
        part.ids.push_back(rows.ids[i]);
        part.programs.push_back(rows.dataset_rows[i]);
        part.passed.push_back(rows.passed[i]);
        part.texts.push_back(text);
        for (std::size_t f = 0; f < fields.size(); ++f) part.groups[f].push_back(fields[f].of_row[i]);
        const auto digits = std::count_if(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
        for (const auto number : {static_cast<std::int64_t>(prompt_tokens[program]), static_cast<std::int64_t>(text.size()), static_cast<std::int64_t>(analysis::words(text).size()),
                                  static_cast<std::int64_t>(digits), static_cast<std::int64_t>(rows.complexity[i])}) {
            part.numbers.push_back(static_cast<float>(number));
        }
        part.entropy.push_back(study.dataset.read_rows<float>("entropy", rows.dataset_rows[i], 1).at(0));
        part.mean_log_probability.push_back(mean_log_probability[program]);
    }
    return part;
}

}  // namespace pva::phases
