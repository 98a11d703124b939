// The scores that phase 3 tries on held-out programs: chosen latents and plain baselines, and their values in each part.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "pva/analysis/bag_of_words.h"
#include "pva/analysis/baselines.h"
#include "pva/analysis/detection.h"
#include "pva/phases/program_part.h"
#include "pva/phases/sparse_codes.h"

namespace pva::phases {

/// Stored in files as these numbers.
enum class DetectorKind : std::uint8_t {
    latent = 0,                ///< value of a latent
    words = 1,                 ///< text alone: logistic regression on the words of the problem
    words_and_latent = 2,      ///< text alone and the first latent of the direction together
    prompt_length = 3,         ///< tokens of the prompt
    digits = 4,                ///< digits of the text
    complexity = 5,            ///< of the reference solution
    surface_numbers = 6,       ///< logistic regression on plain numbers of the problem
    first_token_entropy = 7,   ///< the model's own confidence before it writes
    mean_log_probability = 8,  ///< the model's own confidence in what it wrote
    difference_of_means = 9,   ///< direction of the residual stream
    logistic_probe = 10,       ///< direction of the residual stream
};

struct Detector {
    DetectorKind kind = DetectorKind::latent;
    std::string name;
    analysis::Direction positive = analysis::Direction::right;
    std::int32_t layer = -1;   ///< of a latent's SAE, or of the residual rows of a direction
    std::int32_t latent = -1;  ///< also of words_and_latent
    std::int32_t rank = -1;    ///< place in the ranked list of its direction, from 0
    double selection_auroc = 0.5;  ///< for its class; cross-validated where fitted; NaN: not measured there
};

/// Whether a score is fitted, so that a high one speaks for right programs by construction.
bool is_fitted(DetectorKind kind);

/// What was chosen on selection: everything that the latents file of phase 2 says.
struct Choices {
    struct Latent {
        std::int32_t layer;
        std::int32_t latent;
        double auroc;  ///< for right programs, on selection
    };
    std::vector<Latent> right;  ///< best first
    std::vector<Latent> wrong;
    /// Of a baseline the layer that was best on selection (-1: of none), its strength and its figure there.
    struct Baseline {
        std::int32_t layer;
        double strength;
        double auroc;
    };
    std::map<std::string, Baseline> baselines;
    double activation_threshold = 0;

    const std::vector<Latent>& of(analysis::Direction direction) const { return direction == analysis::Direction::right ? right : wrong; }
};
/// Errors: InputError unless the latents were ranked on the selection part.
Choices read_choices(const io::ResultReader& latents);

/// The detectors of both classes, those that predict right programs first: latents, then baselines. Without complexity
/// (unknown of some problem), what needs it is left out.
std::vector<Detector> list_detectors(const Choices& choices, std::int64_t candidates, bool has_complexity);

/// Scores of a detector in every part, each with its role.
struct PartScores {
    analysis::SelectionScores selection;
    analysis::TuningScores tuning;
    analysis::AnalysisScores analysis;
};

/// Programs and where their rows and codes stand. Selection and tuning belong to the study in which was chosen, analysis to
/// the one on which it is tried; they are the same but in a transfer.
struct DetectorInput {
    const ProgramRows& chosen_rows;
    const ProgramRows& tested_rows;
    const SaeSet& saes;
    const Choices& choices;
    ProgramPart selection;
    ProgramPart tuning;
    ProgramPart analysis;
    const io::ResultReader* chosen_codes = nullptr;  ///< set before values of latents are read
    const io::ResultReader* tested_codes = nullptr;
};

/// Values of any detector. Fits are made on the selection part, the combination of text and latent on tuning, where neither
/// was fitted or chosen. Everything is kept once it is there.
class DetectorScores {
  public:
    explicit DetectorScores(const DetectorInput& input) : input_(input) {}

    PartScores of(const Detector& detector);
    /// What decides that a program is positive: sign from selection (1 for latents, and as the class needs it for fitted
    /// scores), threshold from tuning.
    static analysis::DetectionRule rule_of(const Detector& detector, const PartScores& scores);

    /// The fitted direction of difference_of_means or logistic_probe.
    const analysis::LinearScore& direction(DetectorKind kind, std::int32_t layer);
    /// Values of a latent on the three parts, one a row.
    PartScores latent_scores(std::int32_t layer, std::uint32_t latent);

  private:
    PartScores with_labels(std::vector<double> selection, std::vector<double> tuning, std::vector<double> analysis) const;

    const DetectorInput& input_;
    struct LayerColumns {
        LayerCodes selection, tuning, analysis;
    };
    std::map<std::int32_t, LayerColumns> codes_;
    std::map<std::pair<DetectorKind, std::int32_t>, analysis::LinearScore> directions_;
    std::optional<PartScores> words_;
};

}  // namespace pva::phases
