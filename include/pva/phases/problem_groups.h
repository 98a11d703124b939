// Kinds of problems by which comparisons are repeated: difficulty, and any field of the problems' records.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pva/phases/inputs.h"

namespace pva::phases {

/// One way to sort problems into groups.
struct GroupField {
    std::string name;                    ///< "difficulty", or the field
    std::vector<std::string> groups;     ///< names; of difficulty easy, medium, hard, unknown, of others ascending
    std::vector<std::uint32_t> of_row;   ///< group of each row of the study
};

/// "difficulty" and each field of `fields` (names separated by commas), over the rows of a study. `family` is the field of
/// that name. Groups that no row has are left out. Errors: UsageError for a field named twice; InputError for a field that
/// no problem has, or that has a value of its own for more than half of the rows.
std::vector<GroupField> group_fields(const Study& study, const StudyRows& rows, const std::string& fields);

}  // namespace pva::phases
