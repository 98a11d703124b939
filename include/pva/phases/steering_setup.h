// What is steered and with what it is compared: interventions, conditions, control vectors. For the sources of pva_steer.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "pva/analysis/direction.h"
#include "pva/generate/engine.h"
#include "pva/phases/saes.h"
#include "pva/phases/steering.h"

namespace pva::phases {

enum class SteeringMethod : std::uint8_t { added = 0, gated = 1, taken_out = 2 };

/// A latent and what is done with it.
struct SteeringArm {
    std::string name;  ///< "right L3-17"
    std::string kind;  ///< "right", "wrong", "against-right", "against-wrong", "gated-right", "without-right", "without-wrong"
    SteeringMethod method = SteeringMethod::added;
    analysis::Direction direction = analysis::Direction::right;  ///< what its latent speaks for
    analysis::Direction aim = analysis::Direction::right;        ///< which programs it should make more of
    int sign = 1;                                                ///< -1: subtracted
    std::int32_t layer = 0;
    std::int32_t latent = 0;
    std::vector<float> vector;  ///< decoder row, norm 1
    double mean_norm = 0;
    std::int32_t gate_layer = -1;
    std::int32_t gate_latent = -1;
    std::vector<float> gate_direction;
    double gate_offset = 0;
    double cosine_difference_of_means = 0;
    double cosine_mass_mean = 0;
    double cosine_logistic = 0;
};

enum class ConditionKind : std::uint8_t { none = 0, chosen = 1, low_score = 2, random = 3, shuffled = 4 };
const char* control_kind_name(ConditionKind kind);

/// One thing that is done to all problems of a part.
struct SteeringCondition {
    std::string name;
    std::int32_t arm = -1;
    ConditionKind kind = ConditionKind::none;
    std::int32_t latent = -1;
    double relative = 0;
    double coefficient = 0;
    double gate_percentile = std::numeric_limits<double>::quiet_NaN();
    double gate_threshold = std::numeric_limits<double>::quiet_NaN();
    std::vector<float> vector;  ///< norm 1; empty: nothing
    std::uint32_t draws = 0;    ///< shuffles of the labels that chose this latent: of the arm's own, and of controls found that way
};

/// "right" and so on as arms, one for each candidate; names only. Errors: UsageError for an unknown one or one named twice.
std::vector<SteeringArm> read_arms(const std::string& list, std::int64_t candidates);

/// Numbers separated by commas. Errors: UsageError naming the option.
std::vector<double> read_numbers(const std::string& option, const std::string& list);

/// Direction and offset of a latent's pre-activation, so that it is offset + direction . x. Errors: InputError for SAEs that
/// normalize rows or choose latents one after the other.
struct PreActivation {
    std::vector<float> direction;
    double offset = 0;
};
PreActivation pre_activation_of(const sae::Sae& sae, std::int32_t latent);

/// Whether a decoder row is more than rounding away from 0 (norm above 1e-6).
bool has_direction(const sae::Sae& sae, std::int32_t latent);

/// Decoder row as a unit vector. Errors: InputError for a row without a direction.
std::vector<float> unit_decoder_row(const sae::Sae& sae, std::int32_t latent);

/// The edit of a condition; null for what is taken out of the weights. Without steering: zeros where the first arm adds.
std::shared_ptr<const generate::StreamEdit> edit_of(const SteeringCondition& condition, const std::vector<SteeringArm>& arms, std::size_t width,
                                                    generate::EditPositions positions, generate::GateMoment gate_at);

}  // namespace pva::phases
