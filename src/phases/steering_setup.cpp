// Interventions, conditions and their vectors.
#include "pva/phases/steering_setup.h"

#include <algorithm>
#include <cmath>

#include "pva/core/comma_list.h"
#include "pva/core/error.h"

namespace pva::phases {

namespace {

struct ArmKind {
    const char* name;
    SteeringMethod method;
    analysis::Direction direction;
    analysis::Direction aim;
    int sign;
};

using analysis::Direction;

constexpr ArmKind arm_kinds[] = {
    {"right", SteeringMethod::added, Direction::right, Direction::right, 1},
    {"wrong", SteeringMethod::added, Direction::wrong, Direction::wrong, 1},
    {"against-right", SteeringMethod::added, Direction::right, Direction::wrong, -1},
    {"against-wrong", SteeringMethod::added, Direction::wrong, Direction::right, -1},
    {"gated-right", SteeringMethod::gated, Direction::right, Direction::right, 1},
    {"without-right", SteeringMethod::taken_out, Direction::right, Direction::wrong, 1},
    {"without-wrong", SteeringMethod::taken_out, Direction::wrong, Direction::right, 1},
};

}  // namespace

const char* control_kind_name(ConditionKind kind) {
    switch (kind) {
        case ConditionKind::none:
            return "no steering";
        case ConditionKind::chosen:
            return "chosen latents";
        case ConditionKind::low_score:
            return "low-score latents";
        case ConditionKind::random:
            return "random vectors";
        case ConditionKind::shuffled:
            return "latents chosen on shuffled labels";
    }
    throw InternalError("unknown kind of condition");
}

std::vector<SteeringArm> read_arms(const std::string& list, std::int64_t candidates) {
    std::vector<SteeringArm> arms;
    for (const std::string& name : split_at_commas(list)) {
        const auto kind = std::find_if(std::begin(arm_kinds), std::end(arm_kinds), [&](const ArmKind& one) { return name == one.name; });
        if (kind == std::end(arm_kinds)) {
            std::string known;
            for (const ArmKind& one : arm_kinds) known += (known.empty() ? "" : ", ") + std::string(one.name);
            throw UsageError("--arms " + list + ": there is no '" + name + "'; they are " + known);
        }
        if (std::any_of(arms.begin(), arms.end(), [&](const SteeringArm& arm) { return arm.kind == name; })) throw UsageError("--arms " + list + ": " + name + " stands twice");
        for (std::int64_t candidate = 0; candidate < candidates; ++candidate) {
            SteeringArm arm;
            arm.kind = name;
            arm.method = kind->method;
            arm.direction = kind->direction;
            arm.aim = kind->aim;
            arm.sign = kind->sign;
            arm.latent = static_cast<std::int32_t>(candidate);  // its place in the ranked list, until that is read
            arms.push_back(std::move(arm));
        }
    }
    return arms;
}

std::vector<double> read_numbers(const std::string& option, const std::string& list) {
    std::vector<double> numbers;
    for (const std::string& item : split_at_commas(list)) {
        std::size_t used = 0;
        double value = 0;
        try {
            value = std::stod(item, &used);
        } catch (const std::exception&) {
            used = 0;
        }
        if (item.empty() || used != item.size() || !std::isfinite(value)) throw UsageError("--" + option + " " + list + ": '" + item + "' is no number");
        if (std::find(numbers.begin(), numbers.end(), value) != numbers.end()) throw UsageError("--" + option + " " + list + ": " + item + " stands twice");
        numbers.push_back(value);
    }
    return numbers;
}

PreActivation pre_activation_of(const sae::Sae& sae, std::int32_t latent) {
    if (sae.normalization != sae::Normalization::none || sae.architecture == sae::Architecture::matching_pursuit) {
        throw InputError(sae.source + ": its latents are no linear function of the stream (" + std::string(sae::normalization_name(sae.normalization)) + ", " +
                         std::string(sae::architecture_name(sae.architecture)) + "), so one of them cannot be a gate");
    }
    const auto j = static_cast<std::size_t>(latent);
    PreActivation result;
    if (!sae.b_enc.empty()) result.offset = static_cast<double>(sae.b_enc[j]);
    if (sae.architecture == sae::Architecture::gated) result.offset = static_cast<double>(sae.b_gate[j]);
    for (std::size_t i = 0; i < sae.d_in; ++i) {
        const float weight = sae::encoder_weight(sae, i, j);
        result.direction.push_back(weight);
        if (!sae.b_in.empty()) result.offset -= static_cast<double>(weight) * static_cast<double>(sae.b_in[i]);
    }
    return result;
}

namespace {

std::span<const float> decoder_row(const sae::Sae& sae, std::int32_t latent) { return std::span(sae.W_dec).subspan(static_cast<std::size_t>(latent) * sae.d_out, sae.d_out); }

double squares_of(std::span<const float> row) {
    double squares = 0;
    for (const float value : row) squares += static_cast<double>(value) * static_cast<double>(value);
    return squares;
}

}  // namespace

bool has_direction(const sae::Sae& sae, std::int32_t latent) { return squares_of(decoder_row(sae, latent)) > 1e-12; }

std::vector<float> unit_decoder_row(const sae::Sae& sae, std::int32_t latent) {
    const std::span<const float> row = decoder_row(sae, latent);
    const double squares = squares_of(row);
    if (!has_direction(sae, latent)) throw InputError(sae.source + ": the decoder row of latent " + std::to_string(latent) + " is 0, so it has no direction to steer along");
    std::vector<float> unit;
    for (const float value : row) unit.push_back(static_cast<float>(static_cast<double>(value) / std::sqrt(squares)));
    return unit;
}

std::shared_ptr<const generate::StreamEdit> edit_of(const SteeringCondition& condition, const std::vector<SteeringArm>& arms, std::size_t width,
                                                    generate::EditPositions positions, generate::GateMoment gate_at) {
    const SteeringArm& arm = arms.at(static_cast<std::size_t>(std::max(condition.arm, 0)));
    if (condition.arm >= 0 && arm.method == SteeringMethod::taken_out) return nullptr;
    auto edit = std::make_shared<generate::StreamEdit>();
    edit->site = model::Site::resid_post;
    edit->layers = {arm.layer};
    edit->positions = positions;
    edit->vector.assign(width, 0.0F);
    for (std::size_t i = 0; i < condition.vector.size(); ++i) edit->vector[i] = static_cast<float>(condition.coefficient * static_cast<double>(condition.vector[i]));
    if (condition.arm >= 0 && arm.method == SteeringMethod::gated) {
        generate::StreamGate gate;
        gate.site = model::Site::resid_post;
        gate.layer = arm.gate_layer;
        gate.direction = arm.gate_direction;
        gate.offset = arm.gate_offset;
        gate.threshold = condition.gate_threshold;
        gate.moment = gate_at;
        edit->gate = std::move(gate);
    }
    return edit;
}

}  // namespace pva::phases
