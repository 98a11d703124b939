// From the programs of a steered part to effects, choice, tests, summary and tables. For the sources of pva_steer.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pva/io/result_file.h"
#include "pva/phases/steering_setup.h"
#include "pva/tasks/split.h"

namespace pva::phases {

/// What the file holds when all its units are done; [problem * conditions + condition].
struct SteeredPrograms {
    tasks::SplitPart part = tasks::SplitPart::tuning;
    std::size_t problems = 0;
    std::vector<std::uint8_t> passed;
    std::vector<std::uint8_t> verdict;
    std::vector<double> similarity;
    std::vector<std::uint8_t> gate_open;
    std::int64_t baseline_differs = 0;  ///< programs without steering that are not phase 1's, token by token
};

struct SteeringResults {
    io::Columns columns;  ///< everything that is filled at the end
    nlohmann::ordered_json summary;
};

/// Number of tests of a part, known before: none on tuning.
std::int64_t steering_test_count(tasks::SplitPart part, const std::vector<SteeringArm>& arms, bool published);

inline constexpr std::int64_t steering_name_bytes = 96;
inline constexpr std::int64_t steering_note_bytes = 256;
inline constexpr std::int64_t verdict_kinds = 14;

SteeringResults steering_results(const SteeredPrograms& programs, const std::vector<SteeringArm>& arms, const std::vector<SteeringCondition>& conditions,
                                 std::int64_t controls_wanted, bool published, std::uint64_t seed);

/// Tables of a summary that steering_results made.
std::vector<std::string> steering_lines(const nlohmann::ordered_json& summary);

}  // namespace pva::phases
