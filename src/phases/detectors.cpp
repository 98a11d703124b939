// Which detectors there are, and what each says of every program.
#include "pva/phases/detectors.h"

#include <algorithm>
#include <limits>

#include "pva/core/error.h"

namespace pva::phases {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// The numbers side by side as rows for a fit.
std::vector<float> side_by_side(const std::vector<double>& a, const std::vector<double>& b) {
    std::vector<float> rows;
    for (std::size_t i = 0; i < a.size(); ++i) {
        rows.push_back(static_cast<float>(a[i]));
        rows.push_back(static_cast<float>(b[i]));
    }
    return rows;
}

}  // namespace

bool is_fitted(DetectorKind kind) {
    switch (kind) {
        case DetectorKind::words:
        case DetectorKind::words_and_latent:
        case DetectorKind::surface_numbers:
        case DetectorKind::difference_of_means:
        case DetectorKind::logistic_probe:
            return true;
        default:
            return false;
    }
}

Choices read_choices(const io::ResultReader& latents) {
    if (latents.identity().value("split", std::string()) != "selection") {
        throw InputError(latents.path() + ": its latents were ranked on the part " + latents.identity().value("split", std::string()) +
                         ". Latents must be chosen on selection, or the figures on the other parts mean nothing: run pva_phase2 without --split");
    }
    Choices choices;
    choices.activation_threshold = latents.identity().value("activation-threshold", 0.0);
    const auto file_layers = latents.read<std::int32_t>("layer");
    const std::int64_t d_sae = latents.shape("statistics/auroc").at(1);
    for (const analysis::Direction direction : {analysis::Direction::right, analysis::Direction::wrong}) {
        const std::string group = std::string("ranked_") + analysis::name(direction);
        const auto layer = latents.read<std::int32_t>(group + "/layer");
        const auto latent = latents.read<std::int32_t>(group + "/latent");
        auto& list = direction == analysis::Direction::right ? choices.right : choices.wrong;
        for (std::size_t i = 0; i < layer.size() && layer[i] >= 0; ++i) {
            const auto place = std::find(file_layers.begin(), file_layers.end(), layer[i]) - file_layers.begin();
            if (place == static_cast<std::ptrdiff_t>(file_layers.size()) || latent[i] < 0 || latent[i] >= d_sae) throw InputError(latents.path() + ": its ranked lists are damaged; run pva_phase2 again with --fresh");
            const auto statistics = latents.read_rows<double>("statistics/auroc", place, 1);
            list.push_back({layer[i], latent[i], statistics[static_cast<std::size_t>(latent[i])]});
        }
    }
    const auto names = latents.read_texts("baseline/name");
    const auto layers = latents.read<std::int32_t>("baseline/layer");
    const auto strengths = latents.read<double>("baseline/strength");
    const auto aurocs = latents.read<double>("baseline/auroc");
    for (std::size_t i = 0; i < names.size(); ++i) {
        const auto found = choices.baselines.find(names[i]);
        if (found == choices.baselines.end() || aurocs[i] > found->second.auroc) choices.baselines[names[i]] = {layers[i], strengths[i], aurocs[i]};
    }
    return choices;
}

std::vector<Detector> list_detectors(const Choices& choices, std::int64_t candidates, bool has_complexity) {
    std::vector<Detector> detectors;
    for (const analysis::Direction direction : {analysis::Direction::right, analysis::Direction::wrong}) {
        const auto& list = choices.of(direction);
        const auto own = [&](double auroc) { return direction == analysis::Direction::right ? auroc : 1 - auroc; };
        const auto latent_name = [](const Choices::Latent& l) { return "L" + std::to_string(l.layer) + "-" + std::to_string(l.latent); };
        for (std::size_t i = 0; i < list.size() && static_cast<std::int64_t>(i) < candidates; ++i) {
            detectors.push_back({DetectorKind::latent, "latent " + latent_name(list[i]), direction, list[i].layer, list[i].latent, static_cast<std::int32_t>(i), own(list[i].auroc)});
        }
        const auto baseline = [&](DetectorKind kind, const std::string& name) {
            const auto found = choices.baselines.find(name);
            if (found == choices.baselines.end()) return;
            const Choices::Baseline& b = found->second;
            detectors.push_back({kind, b.layer < 0 ? name : name + " L" + std::to_string(b.layer), direction, b.layer, -1, -1, b.auroc});
        };
        baseline(DetectorKind::words, "words of the text");
        if (!list.empty()) detectors.push_back({DetectorKind::words_and_latent, "words and latent " + latent_name(list.front()), direction, list.front().layer, list.front().latent, 0, nan});
        baseline(DetectorKind::prompt_length, "prompt length");
        baseline(DetectorKind::digits, "digits of the text");
        if (has_complexity) baseline(DetectorKind::complexity, "complexity");
        if (has_complexity) baseline(DetectorKind::surface_numbers, "surface numbers together");
        baseline(DetectorKind::first_token_entropy, "entropy of the first token");
        // Phase 2 does not know it; its sign and its figure on selection are taken when it is scored.
        detectors.push_back({DetectorKind::mean_log_probability, "mean log-probability", direction, -1, -1, -1, nan});
        baseline(DetectorKind::difference_of_means, "difference of means");
        baseline(DetectorKind::logistic_probe, "logistic probe");
    }
    return detectors;
}

PartScores DetectorScores::with_labels(std::vector<double> selection, std::vector<double> tuning, std::vector<double> analysis) const {
    return {{std::move(selection), input_.selection.passed}, {std::move(tuning), input_.tuning.passed}, {std::move(analysis), input_.analysis.passed}};
}

PartScores DetectorScores::latent_scores(std::int32_t layer, std::uint32_t latent) {
    if (codes_.find(layer) == codes_.end()) {
        const auto place = std::find(input_.saes.layers.begin(), input_.saes.layers.end(), layer) - input_.saes.layers.begin();
        const auto read = [&](const io::ResultReader& file, const ProgramPart& part) {
            return read_layer_codes(file, place, part.sparse_rows, input_.saes.d_sae, input_.choices.activation_threshold);
        };
        codes_.emplace(layer, LayerColumns{read(*input_.chosen_codes, input_.selection), read(*input_.chosen_codes, input_.tuning), read(*input_.tested_codes, input_.analysis)});
    }
    const LayerColumns& columns = codes_.at(layer);
    return with_labels(latent_column(columns.selection.codes, latent), latent_column(columns.tuning.codes, latent), latent_column(columns.analysis.codes, latent));
}

const analysis::LinearScore& DetectorScores::direction(DetectorKind kind, std::int32_t layer) {
    const auto found = directions_.find({kind, layer});
    if (found != directions_.end()) return found->second;
    const std::vector<float> rows = input_.chosen_rows.read(layer, input_.selection.programs);
    const auto d = static_cast<std::size_t>(input_.chosen_rows.width());
    analysis::LinearScore score = kind == DetectorKind::difference_of_means
                                      ? analysis::fit_difference_of_means(rows, d, input_.selection.passed)
                                      : analysis::fit_probe(rows, d, input_.selection.passed, input_.choices.baselines.at("logistic probe").strength);
    return directions_.emplace(std::pair{kind, layer}, std::move(score)).first->second;
}

PartScores DetectorScores::of(const Detector& detector) {
    const ProgramPart& selection = input_.selection;
    const ProgramPart& tuning = input_.tuning;
    const ProgramPart& analysis = input_.analysis;
    const auto numbers = [&](std::size_t column) { return with_labels(selection.number(column), tuning.number(column), analysis.number(column)); };
    switch (detector.kind) {
        case DetectorKind::latent:
            return latent_scores(detector.layer, static_cast<std::uint32_t>(detector.latent));
        case DetectorKind::words:
            if (!words_) {
                const analysis::BagOfWords words = analysis::fit_bag_of_words(selection.texts, selection.passed);
                words_ = with_labels(analysis::decision_values(words, selection.texts), analysis::decision_values(words, tuning.texts), analysis::decision_values(words, analysis.texts));
            }
            return *words_;
        case DetectorKind::words_and_latent: {
            Detector text = detector;
            text.kind = DetectorKind::words;
            const PartScores words = of(text);
            const PartScores latent = latent_scores(detector.layer, static_cast<std::uint32_t>(detector.latent));
            // On tuning both are held out: on selection the words were fitted and the latent was picked, so their weights would flatter them.
            const analysis::LinearScore fit = analysis::fit_probe(side_by_side(words.tuning.scores, latent.tuning.scores), 2, tuning.passed, 1.0);
            const auto scored = [&](const std::vector<double>& a, const std::vector<double>& b) { return analysis::linear_scores(fit, side_by_side(a, b)); };
            return with_labels(scored(words.selection.scores, latent.selection.scores), scored(words.tuning.scores, latent.tuning.scores), scored(words.analysis.scores, latent.analysis.scores));
        }
        case DetectorKind::prompt_length:
            return numbers(0);
        case DetectorKind::digits:
            return numbers(3);
        case DetectorKind::complexity:
            return numbers(4);
        case DetectorKind::surface_numbers: {
            const analysis::LinearScore fit =
                analysis::fit_probe(selection.numbers, n_surface_numbers, selection.passed, input_.choices.baselines.at("surface numbers together").strength);
            return with_labels(analysis::linear_scores(fit, selection.numbers), analysis::linear_scores(fit, tuning.numbers), analysis::linear_scores(fit, analysis.numbers));
        }
        case DetectorKind::first_token_entropy:
            return with_labels(selection.entropy, tuning.entropy, analysis.entropy);
        case DetectorKind::mean_log_probability:
            return with_labels(selection.mean_log_probability, tuning.mean_log_probability, analysis.mean_log_probability);
        case DetectorKind::difference_of_means:
        case DetectorKind::logistic_probe: {
            const analysis::LinearScore& fit = direction(detector.kind, detector.layer);
            const auto scored = [&](const ProgramRows& rows, const ProgramPart& part) { return analysis::linear_scores(fit, rows.read(detector.layer, part.programs)); };
            return with_labels(scored(input_.chosen_rows, selection), scored(input_.chosen_rows, tuning), scored(input_.tested_rows, analysis));
        }
    }
    throw InternalError("a detector of an unknown kind");
}

analysis::DetectionRule DetectorScores::rule_of(const Detector& detector, const PartScores& scores) {
    int sign = 1;
    if (is_fitted(detector.kind)) {
        sign = detector.positive == analysis::Direction::right ? 1 : -1;
    } else if (detector.kind != DetectorKind::latent) {
        sign = analysis::sign_for(scores.selection, detector.positive);
    }
    return analysis::choose_threshold(scores.tuning, detector.positive, sign);
}

}  // namespace pva::phases
