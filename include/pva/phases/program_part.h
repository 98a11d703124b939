// The programs of one part of the split, with what is known of each beside its rows of activations.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "pva/phases/inputs.h"
#include "pva/phases/problem_groups.h"
#include "pva/phases/program_rows.h"

namespace pva::phases {

/// Plain numbers of a problem: prompt tokens, bytes of the text, its words, its digits, complexity.
inline constexpr std::size_t n_surface_numbers = 5;

/// Programs of a part of the split that have a row at the position.
struct ProgramPart {
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> programs;     ///< rows of the dataset
    std::vector<std::int64_t> sparse_rows;  ///< rows of the file of codes; filled when that is open
    std::vector<std::uint8_t> passed;
    std::vector<std::string> texts;
    std::vector<float> numbers;                      ///< [row, n_surface_numbers]
    std::vector<double> entropy;                     ///< of the distribution of the first token
    std::vector<double> mean_log_probability;        ///< over the tokens of the answer
    std::vector<std::vector<std::uint32_t>> groups;  ///< [field][row], numbered within the field

    std::uint64_t right() const { return static_cast<std::uint64_t>(std::count(passed.begin(), passed.end(), std::uint8_t{1})); }
    std::uint64_t wrong() const { return passed.size() - right(); }
    /// One of the plain numbers of every row.
    std::vector<double> number(std::size_t column) const;
};

/// The rows of `wanted` that have a row in program_rows. Errors: InputError for damaged files.
ProgramPart program_part(const Study& study, const StudyRows& rows, const ProgramRows& program_rows, tasks::SplitPart wanted, const std::vector<GroupField>& fields);

}  // namespace pva::phases
