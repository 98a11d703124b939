// Phase 3: held-out detection by latents and by plain baselines. File: docs/formats/validation.md.
#include "pva/phases/phase3.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "pva/analysis/within_groups.h"
#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/io/result_file.h"
#include "pva/mpi/agree.h"
#include "pva/phases/detectors.h"
#include "pva/phases/optional_input.h"
#include "pva/phases/schemas.h"
#include "pva/phases/stages.h"
#include "pva/phases/work.h"
#include "pva/stats/cluster_bootstrap.h"
#include "pva/stats/controls.h"
#include "pva/stats/multiple.h"
#include "pva/stats/power.h"
#include "pva/stats/trend.h"
#include "pva/tasks/split.h"

namespace pva::phases {

void register_options(OptionSet& set, Phase3Options& options) {
    register_model_option(set, options.model);
    set.add("problems", options.problems, "FILE", "problems of phase 1").required();
    register_options(set, options.sae, true);
    set.add("dataset", options.dataset, "FILE", "result of pva_phase1; the newest one that fits when not given");
    set.add("splits", options.splits, "FILE", "result of pva_phase1_1; the newest one that fits when not given");
    set.add("latents", options.latents, "FILE", "result of pva_phase2 on the selection part; the newest one that fits when not given");
    set.add("chosen-on", options.chosen_on, "FILE", "problems of another study of this model: latents, fits and thresholds come from it, and all programs of --problems are held out");
    set.add("chosen-dataset", options.chosen_dataset, "FILE", "with --chosen-on: result of pva_phase1 for it; the newest one that fits when not given");
    set.add("temperatures", options.temperatures, "FILE", "result of pva_phase1_2 on the analysis part; the newest one that fits when not given, none if there is none");
    set.add("activations", options.activations, "FILE", "activations of pva_phase1 for the stages of writing, and where latents were chosen at another position; the newest that fits when not given");
    set.add("stages", options.stages, "WHEN", "auto: detection at every stage of writing where activations of several positions are there; none: without").one_of({"auto", "none"});
    set.add("candidates", options.candidates, "N", "latents of each direction that are tried, best first").at_least(1).changes_results();
    set.add("group-by", options.group_by, "FIELDS", "fields of the problems, separated by commas, within which everything is measured too; difficulty always").list().changes_results();
    set.add("random-latents", options.random_latents, "N", "latents drawn at random for comparison").at_least(0).changes_results();
    set.add("bootstrap", options.bootstrap, "N", "draws of problems behind each bootstrap interval; 0: none").at_least(0).changes_results();
    set.add("permutations", options.permutations, "N", "label permutations behind each p; 0: none").at_least(0).changes_results();
    set.add("seed", options.seed, "N", "names the random numbers of draws, permutations and random latents").at_least(0).changes_results();
    set.add("threads", options.threads, "N", "threads a rank for encoding (0: by the affinity mask)").at_least(0);
    set.add_flag("fresh", options.fresh, "start over even if there is a finished or unfinished file");
    set.add_flag("dry-run", options.dry_run, "check all inputs, say what would be done, write no result");
}

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t name_bytes = 48;
constexpr double level = 0.05;
constexpr std::uint64_t all_stream = 0x616c6c;                // "all"
constexpr std::uint64_t temperature_stream = 0x74656d7000;    // "temp", and which one
constexpr std::uint64_t random_latent_stream = 0x72616e6c61;  // "ranla"
constexpr std::size_t summary_latents = 10;                   // of each class in the summary; the file has all

/// Everything that the ranks need, the same on all of them.
struct Setup {
    Choices choices;
    std::vector<Detector> detectors;
    std::vector<GroupField> fields;
    std::vector<std::string> group_names;
    std::vector<std::int32_t> group_of_field;
    std::vector<TemperatureRows> temperatures;
    analysis::ResamplingSettings resampling;
    std::vector<std::pair<std::int32_t, std::int32_t>> random;  ///< layer and index of the random latents
    bool transfer = false;
};

/// A row of the file: a program of the tuning or the analysis part.
struct HeldOutRow {
    tasks::SplitPart part;
    std::size_t index;
};

std::vector<HeldOutRow> held_out_rows(const DetectorInput& input, bool transfer) {
    std::vector<HeldOutRow> rows;
    // Problems of another study have ids of their own, so its tuning part does not stand here.
    if (!transfer) {
        for (std::size_t i = 0; i < input.tuning.ids.size(); ++i) rows.push_back({tasks::SplitPart::tuning, i});
    }
    for (std::size_t i = 0; i < input.analysis.ids.size(); ++i) rows.push_back({tasks::SplitPart::analysis, i});
    const auto id = [&](const HeldOutRow& row) { return (row.part == tasks::SplitPart::tuning ? input.tuning : input.analysis).ids[row.index]; };
    std::sort(rows.begin(), rows.end(), [&](const HeldOutRow& a, const HeldOutRow& b) { return id(a) < id(b); });
    return rows;
}

void require_both_classes(const ProgramPart& part, const std::string& name, const std::string& path) {
    if (part.right() >= 2 && part.wrong() >= 2) return;
    throw InputError("the part " + name + " of " + path + " has " + std::to_string(part.right()) + " right and " + std::to_string(part.wrong()) +
                     " wrong programs; at least two of each are needed to compare them. Take more or other problems, or another model");
}

/// The scores of some analysis rows, or of samples of them.
analysis::AnalysisScores scores_at(const Detector& detector, const analysis::AnalysisScores& own, const TemperatureRows& at) {
    analysis::AnalysisScores scores;
    scores.passed = at.passed;
    if (detector.kind == DetectorKind::mean_log_probability) {
        scores.scores = at.mean_log_probability;
        return scores;
    }
    // Everything else is known before the model writes, so samples of a problem share it.
    for (const std::uint32_t problem : at.problem) scores.scores.push_back(own.scores[problem]);
    return scores;
}

template <class T>
std::vector<std::byte> one(T value) {
    return io::to_bytes(std::vector{value});
}

/// Columns of figures of several strata of one detector.
struct StratumColumns {
    std::map<std::string, std::vector<double>> values;

    void add(const analysis::DetectionFigures& f, const stats::Interval& interval) {
        for (const auto& [name, value] : std::vector<std::pair<std::string, double>>{{"base_rate", f.base_rate},
                                                                                    {"auroc", f.auroc},
                                                                                    {"auroc_low", interval.lower},
                                                                                    {"auroc_high", interval.upper},
                                                                                    {"average_precision", f.average_precision},
                                                                                    {"average_precision_lift", f.average_precision_lift},
                                                                                    {"f1", f.f1},
                                                                                    {"always_positive_f1", f.always_positive_f1},
                                                                                    {"balanced_accuracy", f.balanced_accuracy},
                                                                                    {"mcc", f.mcc}}) {
            values[name].push_back(value);
        }
    }
    void put(io::Columns& columns, const std::string& folder) const {
        for (const auto& [name, column] : values) columns[folder + "/" + name] = io::to_bytes(column);
    }
};

/// What the file says of one detector.
io::Columns detector_columns(const Setup& setup, const DetectorInput& input, DetectorScores& values, const Detector& detector, const std::vector<HeldOutRow>& rows) {
    const PartScores scores = values.of(detector);
    const analysis::DetectionRule rule = DetectorScores::rule_of(detector, scores);
    const analysis::DetectionFigures figures = analysis::measure(rule, scores.analysis);
    const analysis::Oriented oriented = analysis::oriented(rule, scores.analysis);
    const bool right = detector.positive == analysis::Direction::right;
    io::Columns columns;

    double selection_auroc = detector.selection_auroc;
    if (!is_fitted(detector.kind)) {
        const stats::TwoGroups groups = stats::split_by_label(scores.selection.scores, scores.selection.passed);
        const double auroc = stats::auroc(groups.positives, groups.negatives);
        selection_auroc = detector.kind == DetectorKind::latent ? (right ? auroc : 1 - auroc) : std::max(auroc, 1 - auroc);
    }
    std::vector<double> held_out;
    for (const HeldOutRow& row : rows) held_out.push_back(row.part == tasks::SplitPart::tuning ? scores.tuning.scores[row.index] : scores.analysis.scores[row.index]);
    analysis::ResamplingSettings settings = setup.resampling;
    settings.stream = all_stream;
    const analysis::ResampledFigures drawn = analysis::resampled(oriented, {}, 0, settings);
    for (const auto& [name, value] : std::vector<std::pair<std::string, double>>{{"selection_auroc", selection_auroc},
                                                                                {"threshold", rule.threshold},
                                                                                {"tuning_f1", rule.tuning_f1},
                                                                                {"auroc", figures.auroc},
                                                                                {"auroc_standard_error", figures.auroc_standard_error},
                                                                                {"auroc_low", figures.auroc_interval.lower},
                                                                                {"auroc_high", figures.auroc_interval.upper},
                                                                                {"auroc_bootstrap_low", drawn.auroc.lower},
                                                                                {"auroc_bootstrap_high", drawn.auroc.upper},
                                                                                {"permutation_p", analysis::permutation_p(oriented, {}, 0, settings)},
                                                                                {"average_precision", figures.average_precision},
                                                                                {"average_precision_low", drawn.average_precision.lower},
                                                                                {"average_precision_high", drawn.average_precision.upper},
                                                                                {"average_precision_lift", figures.average_precision_lift},
                                                                                {"base_rate", figures.base_rate},
                                                                                {"f1", figures.f1},
                                                                                {"always_positive_f1", figures.always_positive_f1},
                                                                                {"precision", figures.precision},
                                                                                {"recall", figures.recall},
                                                                                {"balanced_accuracy", figures.balanced_accuracy},
                                                                                {"mcc", figures.mcc}}) {
        columns[name] = one(value);
    }
    columns["score"] = io::to_bytes(held_out);
    columns["sign"] = one(static_cast<std::int32_t>(rule.sign));
    columns["counts/true_positives"] = one(figures.counts.true_positives);
    columns["counts/false_positives"] = one(figures.counts.false_positives);
    columns["counts/true_negatives"] = one(figures.counts.true_negatives);
    columns["counts/false_negatives"] = one(figures.counts.false_negatives);

    // Against the words of the text, on the same rows.
    double difference = nan, error = nan, low = nan, high = nan, p = nan;
    if (detector.kind != DetectorKind::words) {
        Detector words;
        words.kind = DetectorKind::words;
        words.positive = detector.positive;
        const PartScores text = values.of(words);
        const stats::PairedDelong paired = stats::delong_paired(oriented.scores, analysis::oriented(DetectorScores::rule_of(words, text), text.analysis).scores, oriented.labels);
        difference = paired.auroc_a - paired.auroc_b;
        error = std::sqrt(paired.variance);
        const double reach = stats::two_sided_normal_quantile(0.95) * error;
        low = difference - reach;
        high = difference + reach;
        p = paired.p;
    }
    for (const auto& [name, value] : std::vector<std::pair<std::string, double>>{{"difference", difference}, {"standard_error", error}, {"low", low}, {"high", high}, {"p", p}}) {
        columns["against_text/" + name] = one(value);
    }

    // Curves, from which ROC, precision-recall and F1 can be drawn.
    const stats::ThresholdCurve curve = stats::threshold_curve(oriented.scores, oriented.labels);
    const std::size_t points = input.analysis.ids.size() + 1;
    std::vector<double> thresholds = curve.thresholds;
    std::vector<std::uint64_t> true_positives = curve.true_positives;
    std::vector<std::uint64_t> false_positives = curve.false_positives;
    thresholds.resize(points, nan);
    true_positives.resize(points, 0);
    false_positives.resize(points, 0);
    columns["curve/points"] = one(static_cast<std::uint32_t>(curve.size()));
    columns["curve/threshold"] = io::to_bytes(thresholds);
    columns["curve/true_positives"] = io::to_bytes(true_positives);
    columns["curve/false_positives"] = io::to_bytes(false_positives);

    // Groups: each by itself, and pairs within groups together.
    StratumColumns by_group;
    std::vector<double> within_auroc, within_p;
    std::vector<double> at, aurocs, errors;
    for (std::size_t f = 0; f < setup.fields.size(); ++f) {
        const auto n_groups = static_cast<std::uint32_t>(setup.fields[f].groups.size());
        for (std::uint32_t group = 0; group < n_groups; ++group) {
            analysis::AnalysisScores members;
            for (std::size_t i = 0; i < scores.analysis.scores.size(); ++i) {
                if (input.analysis.groups[f][i] != group) continue;
                members.scores.push_back(scores.analysis.scores[i]);
                members.passed.push_back(scores.analysis.passed[i]);
            }
            const analysis::DetectionFigures of_group = analysis::measure_stratum(rule, members);
            by_group.add(of_group, of_group.auroc_interval);
            // A standard error of 0 (a perfect score on few rows) is no weight.
            if (f == 0 && setup.fields[0].groups[group] != "unknown" && of_group.auroc_standard_error > 0) {
                at.push_back(group);
                aurocs.push_back(of_group.auroc);
                errors.push_back(of_group.auroc_standard_error);
            }
        }
        const analysis::WithinGroups within = analysis::within_groups(oriented.scores, oriented.labels, input.analysis.groups[f], n_groups);
        within_auroc.push_back(within.auroc);
        within_p.push_back(within.p);
    }
    by_group.put(columns, "by_group");
    columns["within/auroc"] = io::to_bytes(within_auroc);
    columns["within/p"] = io::to_bytes(within_p);
    stats::LinearTrend difficulty{nan, nan, nan, nan};
    if (at.size() >= 2) difficulty = stats::weighted_trend(at, aurocs, errors);
    columns["difficulty_trend/slope"] = one(difficulty.slope);
    columns["difficulty_trend/standard_error"] = one(difficulty.standard_error);
    columns["difficulty_trend/p"] = one(difficulty.p);

    // Temperatures: samples of a problem are drawn together.
    const auto n_problems = static_cast<std::uint32_t>(input.analysis.ids.size());
    StratumColumns by_temperature;
    std::vector<analysis::ProblemStratum> strata;
    for (std::size_t t = 0; t < setup.temperatures.size(); ++t) {
        const TemperatureRows& rows_at = setup.temperatures[t];
        const analysis::AnalysisScores sampled = scores_at(detector, scores.analysis, rows_at);
        strata.push_back({rows_at.temperature, analysis::oriented(rule, sampled), rows_at.problem});
        settings.stream = temperature_stream + t;
        by_temperature.add(analysis::measure_stratum(rule, sampled), analysis::resampled(strata.back().rows, rows_at.problem, n_problems, settings).auroc);
    }
    by_temperature.put(columns, "by_temperature");
    settings.stream = temperature_stream + 0xff;
    const analysis::SharedTrend trend = analysis::auroc_trend(strata, n_problems, settings);
    columns["temperature_trend/slope"] = one(trend.slope);
    columns["temperature_trend/low"] = one(trend.interval.lower);
    columns["temperature_trend/high"] = one(trend.interval.upper);
    columns["temperature_trend/p"] = one(trend.p);
    return columns;
}

/// Latents drawn at random among those that phase 2 tested and kept, without the ranked ones that are tried.
std::vector<std::pair<std::int32_t, std::int32_t>> draw_random_latents(const std::vector<Detector>& detectors, const io::ResultReader& latents, const Phase3Options& options) {
    const auto layers = latents.read<std::int32_t>("layer");
    const auto kept = latents.read<std::uint8_t>("kept");
    const auto fired = latents.read<std::uint64_t>("statistics/fired_rows");
    const auto d_sae = static_cast<std::size_t>(latents.shape("kept").at(1));
    std::set<std::pair<std::int32_t, std::int32_t>> tried;
    for (const Detector& detector : detectors) {
        if (detector.kind == DetectorKind::latent) tried.insert({detector.layer, detector.latent});
    }
    std::vector<std::pair<std::int32_t, std::int32_t>> pool;
    for (std::size_t l = 0; l < layers.size(); ++l) {
        for (std::size_t j = 0; j < d_sae; ++j) {
            const std::pair<std::int32_t, std::int32_t> latent{layers[l], static_cast<std::int32_t>(j)};
            if (kept[l * d_sae + j] == 1 && fired[l * d_sae + j] > 0 && !tried.contains(latent)) pool.push_back(latent);
        }
    }
    PhiloxStream random(static_cast<std::uint64_t>(options.seed), random_latent_stream, 0);
    const std::size_t n = std::min(pool.size(), static_cast<std::size_t>(options.random_latents));
    for (std::size_t i = 0; i < n; ++i) std::swap(pool[i], pool[i + random.below(static_cast<std::uint32_t>(pool.size() - i))]);
    pool.resize(n);
    std::sort(pool.begin(), pool.end());
    return pool;
}

struct RandomLatents {
    std::vector<std::int32_t> layer, latent;
    std::vector<std::uint8_t> positive_class;
    std::vector<double> selection_auroc, auroc;
};

RandomLatents measure_random_latents(const Setup& setup, DetectorScores& values) {
    RandomLatents result;
    for (const auto& [layer, latent] : setup.random) {
        const PartScores scores = values.latent_scores(layer, static_cast<std::uint32_t>(latent));
        const bool right = analysis::direction_of(scores.selection) == analysis::Direction::right;
        const auto auroc = [&](const std::vector<double>& of, const std::vector<std::uint8_t>& passed) {
            const stats::TwoGroups groups = stats::split_by_label(of, passed);
            const double a = stats::auroc(groups.positives, groups.negatives);
            return right ? a : 1 - a;
        };
        result.layer.push_back(layer);
        result.latent.push_back(latent);
        result.positive_class.push_back(right ? 0 : 1);
        result.selection_auroc.push_back(auroc(scores.selection.scores, scores.selection.passed));
        result.auroc.push_back(auroc(scores.analysis.scores, scores.analysis.passed));
    }
    return result;
}

/// A value of the summary for a table; null is what was not measured.
std::string shown(const nlohmann::ordered_json& value, int decimals) { return value.is_number() ? fixed(value.get<double>(), decimals) : "-"; }
std::string shown_interval(const nlohmann::ordered_json& low, const nlohmann::ordered_json& high) {
    return low.is_number() && high.is_number() ? "[" + fixed(low.get<double>(), 3) + ", " + fixed(high.get<double>(), 3) + "]" : "-";
}
std::string shown_p(const nlohmann::ordered_json& value) { return shown(value, 4); }

Report report_from(const io::ResultReader& reader) {
    Report report;
    report.result_path = reader.path();
    report.summary = reader.summary();
    const nlohmann::ordered_json& summary = report.summary;
    std::vector<std::vector<std::string>> table = {
        {"predicts", "by", "AUROC chosen on", "AUROC held out", "95 % interval", "bootstrap", "p", "q", "less text", "95 % interval", "AP lift", "F1", "always-positive F1", "balanced acc.", "MCC"}};
    for (const auto& d : summary["detectors"]) {
        table.push_back({d["positive_class"], d["detector"], shown(d["selection_auroc"], 3), shown(d["auroc"], 3), shown_interval(d["auroc_low"], d["auroc_high"]),
                         shown_interval(d["auroc_bootstrap_low"], d["auroc_bootstrap_high"]), shown_p(d["permutation_p"]), shown_p(d["q_value"]), shown(d["against_text"]["difference"], 3),
                         shown_interval(d["against_text"]["low"], d["against_text"]["high"]), shown(d["average_precision_lift"], 2), shown(d["f1"], 3), shown(d["always_positive_f1"], 3),
                         shown(d["balanced_accuracy"], 3), shown(d["mcc"], 3)});
    }
    report.lines = table_lines(table);
    for (const char* name : {"temperature_table", "group_table"}) {
        report.lines.emplace_back();
        for (const std::string& line : table_lines(summary[name].get<std::vector<std::vector<std::string>>>())) report.lines.push_back(line);
    }
    report.lines.emplace_back();
    for (const auto& note : summary["notes"]) report.lines.push_back(note.get<std::string>());
    return report;
}

/// Rank 0's work when all detectors are measured.
struct Assembled {
    io::Columns columns;
    nlohmann::ordered_json summary;
};

Assembled assemble(const Setup& setup, const DetectorInput& input, DetectorScores& values, const io::ResultFile& file, const Phase3Options& options,
                   const std::string& tested_on, const std::vector<std::string>& notes) {
    const std::vector<Detector>& detectors = setup.detectors;
    const std::size_t n = detectors.size();
    Assembled result;
    io::Columns& columns = result.columns;
    nlohmann::ordered_json& summary = result.summary;
    std::map<std::string, std::vector<double>> of;
    const auto read = [&](const std::string& name, std::size_t width = 1) {
        std::vector<double> all(n * width);
        file.read_rows(name, 0, static_cast<std::int64_t>(n), std::as_writable_bytes(std::span(all)));
        return all;
    };
    for (const std::string name : {"selection_auroc", "threshold", "auroc", "auroc_standard_error", "auroc_low", "auroc_high", "auroc_bootstrap_low", "auroc_bootstrap_high", "permutation_p", "average_precision",
                                   "average_precision_lift", "base_rate", "f1", "always_positive_f1", "precision", "recall", "balanced_accuracy", "mcc", "against_text/difference", "against_text/standard_error",
                                   "against_text/low", "against_text/high", "against_text/p", "difficulty_trend/slope", "difficulty_trend/p", "temperature_trend/slope", "temperature_trend/low",
                                   "temperature_trend/high", "temperature_trend/p"}) {
        of[name] = read(name);
    }

    // Many latents were tried: q and Holm's p over those of both classes.
    std::vector<double> q(n, nan), holm(n, nan), random_p(n, nan);
    std::vector<std::size_t> family;
    std::vector<double> p_values;
    for (std::size_t i = 0; i < n; ++i) {
        if (detectors[i].kind != DetectorKind::latent || std::isnan(of["permutation_p"][i])) continue;
        family.push_back(i);
        p_values.push_back(of["permutation_p"][i]);
    }
    const std::vector<double> adjusted_q = stats::benjamini_hochberg(p_values);
    const std::vector<double> adjusted_holm = stats::holm(p_values);
    std::uint64_t survivors = 0;
    for (std::size_t k = 0; k < family.size(); ++k) {
        q[family[k]] = adjusted_q[k];
        holm[family[k]] = adjusted_holm[k];
        // On the other side of 1/2 than it was chosen for, a latent is refuted, not found.
        survivors += adjusted_q[k] < level && of["auroc"][family[k]] > 0.5;
    }
    const RandomLatents random = measure_random_latents(setup, values);
    for (std::size_t i = 0; i < n; ++i) {
        if (detectors[i].kind == DetectorKind::latent && !random.auroc.empty()) random_p[i] = stats::rank_among_controls(of["auroc"][i], random.auroc).p;
    }
    columns["q_value"] = io::to_bytes(q);
    columns["holm_p"] = io::to_bytes(holm);
    columns["random_p"] = io::to_bytes(random_p);
    columns["random/layer"] = io::to_bytes(random.layer);
    columns["random/latent"] = io::to_bytes(random.latent);
    columns["random/positive_class"] = io::to_bytes(random.positive_class);
    columns["random/selection_auroc"] = io::to_bytes(random.selection_auroc);
    columns["random/auroc"] = io::to_bytes(random.auroc);

    // The fitted directions, for others to use, and how they lie to the latents of their layer.
    std::vector<std::string> direction_names;
    std::vector<std::int32_t> direction_layers;
    std::vector<double> weights, intercepts, cosines;
    SaeShelf shelf(input.saes.paths, options.sae, model::Placement());
    for (const auto& [kind, name] : {std::pair{DetectorKind::difference_of_means, "difference of means"}, std::pair{DetectorKind::logistic_probe, "logistic probe"}}) {
        const auto found = setup.choices.baselines.find(name);
        if (found == setup.choices.baselines.end()) continue;
        const std::int32_t layer = found->second.layer;
        const analysis::LinearScore& direction = values.direction(kind, layer);
        direction_names.emplace_back(name);
        direction_layers.push_back(layer);
        weights.insert(weights.end(), direction.weights.begin(), direction.weights.end());
        intercepts.push_back(direction.intercept);
        for (const Detector& detector : detectors) {
            cosines.push_back(nan);
            if (detector.kind != DetectorKind::latent || detector.layer != layer) continue;
            const auto place = std::find(input.saes.layers.begin(), input.saes.layers.end(), layer) - input.saes.layers.begin();
            const sae::Sae& sae = shelf.at(static_cast<std::size_t>(place));
            if (sae.W_dec.size() != static_cast<std::size_t>(input.saes.d_sae) * direction.weights.size()) continue;
            const auto row = std::span(sae.W_dec).subspan(static_cast<std::size_t>(detector.latent) * direction.weights.size(), direction.weights.size());
            double dot = 0, a = 0, b = 0;
            for (std::size_t k = 0; k < row.size(); ++k) {
                dot += direction.weights[k] * row[k];
                a += direction.weights[k] * direction.weights[k];
                b += static_cast<double>(row[k]) * row[k];
            }
            cosines.back() = a > 0 && b > 0 ? dot / std::sqrt(a * b) : nan;
        }
    }
    columns["direction/name"] = io::pack_texts(direction_names, name_bytes);
    columns["direction/layer"] = io::to_bytes(direction_layers);
    columns["direction/weights"] = io::to_bytes(weights);
    columns["direction/intercept"] = io::to_bytes(intercepts);
    columns["direction/cosine"] = io::to_bytes(cosines);

    // How many programs are right at each temperature and difficulty, which detection figures must be read against.
    const auto n_problems = static_cast<std::uint32_t>(input.analysis.ids.size());
    std::vector<double> share, share_low, share_high;
    std::vector<analysis::ProblemStratum> strata;
    for (std::size_t t = 0; t < setup.temperatures.size(); ++t) {
        const TemperatureRows& rows = setup.temperatures[t];
        strata.push_back({rows.temperature, {std::vector<double>(rows.passed.size(), 0.0), rows.passed}, rows.problem});
        share.push_back(static_cast<double>(rows.right()) / static_cast<double>(rows.passed.size()));
        share_low.push_back(nan);
        share_high.push_back(nan);
        if (options.bootstrap < 2) continue;
        std::vector<std::vector<std::uint8_t>> of_problem(n_problems);
        for (std::size_t i = 0; i < rows.passed.size(); ++i) of_problem[rows.problem[i]].push_back(rows.passed[i]);
        const stats::ClusterBootstrap drawn = stats::cluster_bootstrap(n_problems, {}, {static_cast<std::uint32_t>(options.bootstrap), setup.resampling.seed, temperature_stream + t},
                                                                       [&](std::span<const std::uint32_t> problems) {
                                                                           double right = 0, all = 0;
                                                                           for (const std::uint32_t problem : problems) {
                                                                               for (const std::uint8_t passed : of_problem[problem]) right += passed;
                                                                               all += static_cast<double>(of_problem[problem].size());
                                                                           }
                                                                           return all > 0 ? right / all : nan;
                                                                       });
        share_low.back() = drawn.bca.lower;
        share_high.back() = drawn.bca.upper;
    }
    columns["temperature/right_share"] = io::to_bytes(share);
    columns["temperature/right_share_low"] = io::to_bytes(share_low);
    columns["temperature/right_share_high"] = io::to_bytes(share_high);
    analysis::ResamplingSettings settings = setup.resampling;
    settings.stream = temperature_stream + 0xff;
    const analysis::SharedTrend share_trend = analysis::base_rate_trend(strata, n_problems, settings);

    summary["analysis_problems"] = input.analysis.ids.size();
    summary["analysis_right"] = input.analysis.right();
    summary["tuning_problems"] = input.tuning.ids.size();
    summary["selection_problems"] = input.selection.ids.size();
    summary["transfer"] = setup.transfer;
    summary["tested_on"] = tested_on;
    const double smallest = stats::smallest_detectable_auroc(input.analysis.right(), input.analysis.wrong());
    summary["smallest_detectable_auroc"] = smallest;
    summary["latents_tried"] = family.size();
    summary["latents_q_below_0.05"] = survivors;
    const auto find = [&](DetectorKind kind, analysis::Direction direction) {
        for (std::size_t i = 0; i < n; ++i) {
            if (detectors[i].kind == kind && detectors[i].positive == direction) return i;
        }
        return n;
    };
    std::vector<std::string> lines;
    for (const analysis::Direction direction : {analysis::Direction::right, analysis::Direction::wrong}) {
        const std::string name = analysis::name(direction);
        const std::size_t latent = find(DetectorKind::latent, direction);
        const std::size_t words = find(DetectorKind::words, direction);
        const std::size_t both = find(DetectorKind::words_and_latent, direction);
        if (latent == n || words == n || both == n) {
            summary["headline"][name] = nullptr;
            lines.push_back("no latent speaks for " + name + " programs on selection");
            continue;
        }
        const double added = of["against_text/difference"][both];
        summary["headline"][name] = {{"latent", detectors[latent].name},
                                     {"selection_auroc", of["selection_auroc"][latent]},
                                     {"auroc", of["auroc"][latent]},
                                     {"auroc_low", of["auroc_low"][latent]},
                                     {"auroc_high", of["auroc_high"][latent]},
                                     {"auroc_bootstrap_low", of["auroc_bootstrap_low"][latent]},
                                     {"auroc_bootstrap_high", of["auroc_bootstrap_high"][latent]},
                                     {"p", of["permutation_p"][latent]},
                                     {"random_p", random_p[latent]},
                                     {"text_auroc", of["auroc"][words]},
                                     {"text_and_latent_auroc", of["auroc"][both]},
                                     {"difference", added},
                                     {"difference_low", of["against_text/low"][both]},
                                     {"difference_high", of["against_text/high"][both]},
                                     {"difference_p", of["against_text/p"][both]},
                                     {"smallest_detectable_difference", stats::smallest_detectable_difference(of["against_text/standard_error"][both])}};
        const auto& head = summary["headline"][name];
        lines.push_back("headline, " + name + " programs: " + detectors[latent].name + ", first of the ranking, has AUROC " + shown(head["auroc"], 3) + " " + shown_interval(head["auroc_low"], head["auroc_high"]) + ", p " +
                        shown_p(head["p"]) + "; words of the text " + shown(head["text_auroc"], 3) + ", with the latent " + shown(head["text_and_latent_auroc"], 3) + ", difference " + shown(head["difference"], 3) + " " +
                        shown_interval(head["difference_low"], head["difference_high"]) + ", p " + shown_p(head["difference_p"]));
    }
    std::map<analysis::Direction, std::size_t> listed;
    summary["detectors"] = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < n; ++i) {
        const Detector& detector = detectors[i];
        if (detector.kind == DetectorKind::latent && listed[detector.positive]++ >= summary_latents) continue;
        const bool latent = detector.kind == DetectorKind::latent;
        nlohmann::ordered_json entry = {{"positive_class", analysis::name(detector.positive)}, {"detector", detector.name}, {"kind", static_cast<int>(detector.kind)}, {"layer", latent ? detector.layer : -1}, {"latent", latent ? detector.latent : -1}};
        for (const std::string name : {"selection_auroc", "auroc", "auroc_low", "auroc_high", "auroc_bootstrap_low", "auroc_bootstrap_high", "permutation_p", "average_precision", "average_precision_lift", "base_rate",
                                       "f1", "always_positive_f1", "precision", "recall", "balanced_accuracy", "mcc", "threshold"}) {
            entry[name] = of[name][i];  // NaN becomes null
        }
        entry["q_value"] = q[i];
        entry["holm_p"] = holm[i];
        entry["random_p"] = random_p[i];
        entry["against_text"] = {{"difference", of["against_text/difference"][i]}, {"low", of["against_text/low"][i]}, {"high", of["against_text/high"][i]}, {"p", of["against_text/p"][i]}};
        summary["detectors"].push_back(entry);
    }
    double random_mean = 0;
    for (const double auroc : random.auroc) random_mean += auroc / static_cast<double>(random.auroc.size());
    if (random.auroc.empty()) {
        summary["random_latents"] = nullptr;
    } else {
        summary["random_latents"] = {{"n", random.auroc.size()}, {"mean_auroc", random_mean}, {"share_95", stats::quantile(random.auroc, 0.95)}, {"largest", *std::max_element(random.auroc.begin(), random.auroc.end())}};
    }

    // Temperatures and groups, of the headline latents and the words.
    std::vector<std::size_t> followed;
    for (const analysis::Direction direction : {analysis::Direction::right, analysis::Direction::wrong}) {
        for (const DetectorKind kind : {DetectorKind::latent, DetectorKind::words}) {
            if (const std::size_t i = find(kind, direction); i < n) followed.push_back(i);
        }
    }
    const auto strata_table = [&](const std::string& folder, const std::string& head, const std::vector<std::string>& names, const std::vector<std::uint64_t>& right, const std::vector<std::uint64_t>& wrong) {
        std::vector<std::vector<std::string>> table = {{head, "programs", "right"}};
        const std::size_t width = names.size();
        const std::vector<double> auroc = read(folder + "/auroc", width), low = read(folder + "/auroc_low", width), high = read(folder + "/auroc_high", width);
        for (const std::size_t i : followed) table.front().push_back(std::string(analysis::name(detectors[i].positive)) + " by " + detectors[i].name);
        for (std::size_t k = 0; k < width; ++k) {
            std::vector<std::string> cells = {names[k], std::to_string(right[k] + wrong[k]), right[k] + wrong[k] == 0 ? "-" : fixed(static_cast<double>(right[k]) / static_cast<double>(right[k] + wrong[k]), 3)};
            for (const std::size_t i : followed) {
                const std::size_t at = i * width + k;
                cells.push_back(std::isnan(auroc[at]) ? "-" : fixed(auroc[at], 3) + (std::isnan(low[at]) ? "" : " [" + fixed(low[at], 3) + ", " + fixed(high[at], 3) + "]"));
            }
            table.push_back(cells);
        }
        return table;
    };
    std::vector<std::string> names;
    std::vector<std::uint64_t> right, wrong;
    for (const TemperatureRows& rows : setup.temperatures) {
        names.push_back(fixed(rows.temperature, 2));
        right.push_back(rows.right());
        wrong.push_back(rows.passed.size() - rows.right());
    }
    summary["temperature_table"] = strata_table("by_temperature", "temperature", names, right, wrong);
    summary["temperatures"] = {{"values", nlohmann::ordered_json::array()}, {"right_share", share}, {"right_share_slope", share_trend.slope}, {"right_share_slope_low", share_trend.interval.lower},
                               {"right_share_slope_high", share_trend.interval.upper}, {"right_share_p", share_trend.p}};
    for (const TemperatureRows& rows : setup.temperatures) summary["temperatures"]["values"].push_back(rows.temperature);
    names.clear();
    right.assign(setup.group_names.size(), 0);
    wrong.assign(setup.group_names.size(), 0);
    std::size_t first = 0;
    std::vector<std::uint64_t> trend_right, trend_trials;
    std::vector<double> trend_at;
    for (std::size_t f = 0; f < setup.fields.size(); ++f) {
        for (std::size_t g = 0; g < setup.fields[f].groups.size(); ++g) names.push_back(setup.fields[f].name + " " + setup.fields[f].groups[g]);
        for (std::size_t i = 0; i < input.analysis.ids.size(); ++i) ++(input.analysis.passed[i] == 1 ? right : wrong)[first + input.analysis.groups[f][i]];
        for (std::size_t g = 0; f == 0 && g < setup.fields[0].groups.size(); ++g) {
            if (setup.fields[0].groups[g] == "unknown") continue;
            trend_right.push_back(right[g]);
            trend_trials.push_back(right[g] + wrong[g]);
            trend_at.push_back(static_cast<double>(g));
        }
        first += setup.fields[f].groups.size();
    }
    summary["group_table"] = strata_table("by_group", "group", names, right, wrong);
    const stats::TrendTest difficulty = stats::cochran_armitage(trend_right, trend_trials, trend_at);
    summary["difficulty_right_share"] = {{"z", difficulty.z}, {"p", difficulty.p}};
    for (const std::size_t i : followed) {
        std::string line = detectors[i].name + " for " + analysis::name(detectors[i].positive) + " programs: AUROC changes by ";
        if (setup.temperatures.size() > 1) {
            line += shown(of["temperature_trend/slope"][i], 3) + " " + shown_interval(of["temperature_trend/low"][i], of["temperature_trend/high"][i]) + " from temperature 0 to 1 (p " + shown_p(of["temperature_trend/p"][i]) + "), by ";
        }
        lines.push_back(line + shown(of["difficulty_trend/slope"][i], 3) + " from one difficulty to the next (p " + shown_p(of["difficulty_trend/p"][i]) + ")");
    }
    summary["notes"] = nlohmann::ordered_json::array();
    if (setup.transfer) {
        summary["notes"].push_back("transfer: latents, fits and thresholds come from another study; every program of " + tested_on + " is held out");
    }
    summary["notes"].push_back("held out: " + std::to_string(input.analysis.ids.size()) + (setup.transfer ? " problems of " + tested_on : " problems of the analysis part") + ", " + std::to_string(input.analysis.right()) +
                               " solved. The smallest AUROC they could have shown (two-sided 0.05, power 0.8) is " + fixed(smallest, 3));
    for (const std::string& line : lines) summary["notes"].push_back(line);
    summary["notes"].push_back(std::to_string(survivors) + " of " + std::to_string(family.size()) + " latents tried have q below 0.05 on the side they were chosen for" +
                               (random.auroc.empty() ? "" : "; of " + std::to_string(random.auroc.size()) + " random latents the mean AUROC is " + fixed(random_mean, 3) + ", the largest " +
                                                                fixed(*std::max_element(random.auroc.begin(), random.auroc.end()), 3)));
    for (const std::string& note : notes) summary["notes"].push_back(note);
    summary["notes"].push_back("A latent that does not beat the words of the text is a detector of the kind of problem, not of self-knowledge");
    return result;
}

io::Columns creation_columns(const Setup& setup, const DetectorInput& input, const std::vector<HeldOutRow>& rows) {
    std::vector<std::int64_t> ids;
    std::vector<std::uint8_t> part, passed;
    for (const HeldOutRow& row : rows) {
        const ProgramPart& from = row.part == tasks::SplitPart::tuning ? input.tuning : input.analysis;
        ids.push_back(from.ids[row.index]);
        part.push_back(static_cast<std::uint8_t>(row.part));
        passed.push_back(from.passed[row.index]);
    }
    std::vector<std::string> names;
    std::vector<std::uint8_t> kind, positive_class;
    std::vector<std::int32_t> layer, latent, rank;
    for (const Detector& detector : setup.detectors) {
        const bool is_latent = detector.kind == DetectorKind::latent;
        names.push_back(detector.name);
        kind.push_back(static_cast<std::uint8_t>(detector.kind));
        positive_class.push_back(detector.positive == analysis::Direction::right ? 0 : 1);
        layer.push_back(is_latent ? detector.layer : -1);
        latent.push_back(is_latent ? detector.latent : -1);
        rank.push_back(is_latent ? detector.rank : -1);
    }
    std::vector<std::string> fields;
    std::vector<std::int32_t> of_row;
    std::vector<std::uint64_t> right(setup.group_names.size(), 0), wrong(setup.group_names.size(), 0);
    std::size_t first = 0;
    for (std::size_t f = 0; f < setup.fields.size(); ++f) {
        fields.push_back(setup.fields[f].name);
        for (const HeldOutRow& row : rows) {
            if (row.part == tasks::SplitPart::tuning) {
                of_row.push_back(-1);
                continue;
            }
            const std::size_t group = first + input.analysis.groups[f][row.index];
            of_row.push_back(static_cast<std::int32_t>(group));
            ++(input.analysis.passed[row.index] == 1 ? right : wrong)[group];
        }
        first += setup.fields[f].groups.size();
    }
    std::vector<double> temperature;
    std::vector<std::uint64_t> temperature_right, temperature_wrong;
    for (const TemperatureRows& at : setup.temperatures) {
        temperature.push_back(at.temperature);
        temperature_right.push_back(at.right());
        temperature_wrong.push_back(at.passed.size() - at.right());
    }
    return {{"task_id", io::to_bytes(ids)},
            {"part", io::to_bytes(part)},
            {"passed", io::to_bytes(passed)},
            {"detector", io::pack_texts(names, name_bytes)},
            {"kind", io::to_bytes(kind)},
            {"positive_class", io::to_bytes(positive_class)},
            {"layer", io::to_bytes(layer)},
            {"latent", io::to_bytes(latent)},
            {"rank", io::to_bytes(rank)},
            {"group/field", io::pack_texts(fields, name_bytes)},
            {"group/name", io::pack_texts(setup.group_names, name_bytes)},
            {"group/of_field", io::to_bytes(setup.group_of_field)},
            {"group/right", io::to_bytes(right)},
            {"group/wrong", io::to_bytes(wrong)},
            {"group/of_row", io::to_bytes(of_row)},
            {"temperature/value", io::to_bytes(temperature)},
            {"temperature/right", io::to_bytes(temperature_right)},
            {"temperature/wrong", io::to_bytes(temperature_wrong)}};
}

/// The other problem set of a transfer: all of its programs are analysis rows.
StudyRows all_as_analysis(const Study& tested, const Study& chosen) {
    // A problem that is in both would be no transfer.
    std::set<std::string> known;
    for (const tasks::Problem& problem : chosen.all.set.problems) known.insert(problem.text);
    std::map<std::int64_t, const tasks::Problem*> by_id;
    for (const tasks::Problem& problem : tested.all.set.problems) by_id[problem.task_id] = &problem;
    StudyRows rows;
    const auto ids = tested.dataset.read<std::int64_t>("task_id");
    const auto passed = tested.dataset.read<std::uint8_t>("passed");
    const auto complexity = tested.dataset.read<std::int32_t>("complexity");
    for (std::size_t i = 0; i < ids.size(); ++i) {
        const auto problem = by_id.find(ids[i]);
        if (problem == by_id.end()) throw InputError(tested.dataset.path() + ": problem " + std::to_string(ids[i]) + " is not in " + tested.all.set.path);
        if (known.contains(problem->second->text)) continue;
        rows.ids.push_back(ids[i]);
        rows.dataset_rows.push_back(static_cast<std::int64_t>(i));
        rows.passed.push_back(passed[i]);
        rows.part.push_back(static_cast<std::uint8_t>(tasks::SplitPart::analysis));
        rows.complexity.push_back(complexity[i]);
    }
    return rows;
}

Study open_tested(Context& context, const Phase3Options& options, const Study& chosen) {
    ProblemRange all = load_range(context, options.problems, {});
    mpi::agreed(context.comm, [&] {
        if (all.set.sha256 == chosen.all.set.sha256) throw InputError("--chosen-on and --problems are the same problems: nothing would be held out. Leave --chosen-on out to use the split");
    });
    nlohmann::ordered_json same = chosen.same_model;
    same["problems"] = all.set.sha256;
    io::ResultReader dataset = open_input(context, "dataset", options.dataset, "phase1_0", "dataset", dataset_schema(), same, "pva_phase1");
    return mpi::agreed(context.comm, [&]() -> Study {
        require_one_sample(dataset);
        if (dataset.identity().value("prompt", std::string()) != chosen.dataset.identity().value("prompt", std::string())) {
            context.log.warning("the prompts of both studies differ: " + dataset.identity().value("prompt", std::string()) + " here, " + chosen.dataset.identity().value("prompt", std::string()) + " where latents were chosen");
        }
        return {std::move(all), chosen.model, std::move(dataset), io::ResultReader::open(chosen.splits.path(), splits_schema()), same};
    });
}

}  // namespace

Report run_phase3(Context& context, const Phase3Options& options) {
    const mpi::Communicator& comm = context.comm;
    Setup setup;
    setup.transfer = !options.chosen_on.empty();
    setup.resampling = {static_cast<std::uint32_t>(options.bootstrap), static_cast<std::uint32_t>(options.permutations), static_cast<std::uint64_t>(options.seed), 0};
    mpi::agreed(comm, [&] {
        if (!setup.transfer && !options.chosen_dataset.empty()) throw UsageError("--chosen-dataset belongs to --chosen-on");
        if (setup.transfer && !options.temperatures.empty()) throw UsageError("--temperatures: not with --chosen-on, which measures greedy programs");
    });
    const Study chosen = open_study(context, setup.transfer ? options.chosen_on : options.problems, options.model, setup.transfer ? options.chosen_dataset : options.dataset, options.splits);
    std::optional<Study> other;
    if (setup.transfer) other.emplace(open_tested(context, options, chosen));
    const Study& tested = other ? *other : chosen;
    nlohmann::ordered_json same_study = chosen.same_model;
    same_study["dataset"] = chosen.dataset.content_sha256();
    same_study["splits"] = chosen.splits.content_sha256();
    if (options.latents.empty()) same_study["split"] = "selection";
    const io::ResultReader latents = open_input(context, "latents", options.latents, "phase2", "latents", latents_schema(), same_study, "pva_phase2");
    setup.choices = mpi::agreed(comm, [&] { return read_choices(latents); });

    // Rows at the site and position at which latents were chosen.
    const std::string site = latents.identity().value("site", std::string("resid_post"));
    const std::string position = latents.identity().value("position", std::string("last-prompt"));
    std::string activations = options.activations;
    if (latents.identity().contains("activations") && activations.empty()) {
        activations = mpi::on_first_rank(comm, [&] {
            return io::find_newest(context.folder("phase1_0"), "activations", activations_schema({"resid_post"}, io::h5::Element::f32), {{"dataset", chosen.dataset.content_sha256()}}, "pva_phase1 with --sites and --positions",
                                   [](const std::string&) {},
                                   [&](const io::ResultReader& reader) { return reader.content_sha256() == latents.identity()["activations"] ? std::string() : std::string("is not the file of the latents"); })
                .path;
        });
    }
    const ProgramRows chosen_rows = ProgramRows::open(context, chosen.dataset, site, position, latents.identity().contains("activations") ? activations : std::string());
    std::optional<ProgramRows> other_rows;
    if (other) other_rows.emplace(ProgramRows::open(context, tested.dataset, site, position, ""));
    const ProgramRows& tested_rows = other_rows ? *other_rows : chosen_rows;

    // The SAEs must be those of phase 2.
    std::vector<int> layers;
    mpi::agreed(comm, [&] {
        const std::vector<LayerSae> files = find_layer_saes(options.sae);
        for (const auto& [layer, hash] : latents.identity().at("saes").items()) {
            layers.push_back(std::stoi(layer));
            const auto file = std::find_if(files.begin(), files.end(), [&](const LayerSae& s) { return s.layer == layers.back(); });
            if (file == files.end()) throw InputError("--sae " + options.sae.names + " has no SAE for layer " + layer + ", which phase 2 used");
        }
    });
    const SaeSet saes = find_sae_set(context, options.sae, layers, site, chosen_rows.width(), chosen_rows.layers(), chosen_rows.path());
    mpi::agreed(comm, [&] {
        for (std::size_t i = 0; i < saes.layers.size(); ++i) {
            const std::string layer = std::to_string(saes.layers[i]);
            if (saes.sha256[i] != latents.identity().at("saes").value(layer, std::string())) {
                throw InputError(saes.paths[i] + ": not the SAE that phase 2 used for layer " + layer + " (another SHA-256); latent numbers of different SAEs mean different things");
            }
            if (std::find(tested_rows.layers().begin(), tested_rows.layers().end(), saes.layers[i]) == tested_rows.layers().end()) throw InputError(tested_rows.path() + ": no rows of layer " + layer);
        }
    });

    const std::optional<io::ResultReader> temperatures = [&]() -> std::optional<io::ResultReader> {
        if (setup.transfer || position != "last-prompt") return std::nullopt;
        nlohmann::ordered_json wanted = chosen.same_model;
        wanted["dataset"] = chosen.dataset.content_sha256();
        wanted["splits"] = chosen.splits.content_sha256();
        wanted["part"] = "analysis";
        return optional_input(context, "temperatures", options.temperatures, "phase1_2", "temperatures", temperatures_schema(), wanted, "pva_phase1_2",
                              "no samples at other temperatures: pva_phase1_2 --part analysis makes them");
    }();

    std::vector<std::string> notes;
    std::optional<DetectorInput> opened_input;
    mpi::agreed(comm, [&] {
        const StudyRows rows = study_rows(chosen);
        const StudyRows other_study_rows = setup.transfer ? all_as_analysis(tested, chosen) : StudyRows();
        const StudyRows& analysed = setup.transfer ? other_study_rows : rows;
        setup.fields = group_fields(tested, analysed, options.group_by);
        opened_input.emplace(DetectorInput{chosen_rows, tested_rows, saes, setup.choices, program_part(chosen, rows, chosen_rows, tasks::SplitPart::selection, {}),
                                           program_part(chosen, rows, chosen_rows, tasks::SplitPart::tuning, {}), program_part(tested, analysed, tested_rows, tasks::SplitPart::analysis, setup.fields)});
        const DetectorInput& input = *opened_input;
        require_both_classes(input.selection, "selection", chosen.dataset.path());
        require_both_classes(input.tuning, "tuning", chosen.dataset.path());
        require_both_classes(input.analysis, "analysis", tested.dataset.path());
        if (setup.transfer) {
            const auto all = tested.dataset.shape("task_id").at(0);
            if (const auto left = all - static_cast<std::int64_t>(analysed.ids.size()); left > 0) notes.push_back(std::to_string(left) + " problems have the text of a problem of the study in which was chosen; they are left out");
        }
        for (std::size_t f = 0; f < setup.fields.size(); ++f) {
            for (const std::string& group : setup.fields[f].groups) {
                setup.group_names.push_back(group);
                setup.group_of_field.push_back(static_cast<std::int32_t>(f));
            }
        }
        setup.temperatures = temperature_rows(input.analysis.ids, input.analysis.passed, input.analysis.mean_log_probability, temperatures ? &*temperatures : nullptr);
        const std::vector<double> complexity = input.analysis.number(4);
        const bool has_complexity = std::none_of(complexity.begin(), complexity.end(), [](double c) { return c < 0; });
        if (!has_complexity) notes.emplace_back("problems without difficulty: what needs it is left out");
        if (!temperatures) notes.emplace_back(setup.transfer ? "temperature 0 only" : position != "last-prompt" ? "temperature 0 only: samples have no rows at " + position : "temperature 0 only: there is no result of pva_phase1_2 on the analysis part");
        setup.detectors = list_detectors(setup.choices, options.candidates, has_complexity);
        setup.random = draw_random_latents(setup.detectors, latents, options);
    });
    DetectorInput& input = *opened_input;
    const auto n_detectors = static_cast<std::int64_t>(setup.detectors.size());
    const std::vector<HeldOutRow> rows = held_out_rows(input, setup.transfer);

    context.provenance.inputs = {{"problems", tested.all.set.path, tested.all.set.sha256}, tested.dataset.as_input("dataset"), chosen.splits.as_input("splits"), latents.as_input("latents"),
                                 {"model weights", chosen.model.files.weights, chosen.model.hashes.weights}};
    if (setup.transfer) {
        context.provenance.inputs.push_back({"problems chosen on", chosen.all.set.path, chosen.all.set.sha256});
        context.provenance.inputs.push_back(chosen.dataset.as_input("dataset chosen on"));
    }
    if (temperatures) context.provenance.inputs.push_back(temperatures->as_input("temperatures"));
    for (const InputFile& input : saes.inputs()) context.provenance.inputs.push_back(input);

    std::int64_t n_directions = 0;
    for (const char* name : {"difference of means", "logistic probe"}) n_directions += setup.choices.baselines.contains(name) ? 1 : 0;
    io::RunPlan plan;
    plan.schema = &validation_schema();
    plan.folder = context.folder("phase3");
    plan.prefix = "validation";
    plan.model = chosen.model.files.name;
    plan.range = tested.dataset.identity().at("start").dump() + "-" + tested.dataset.identity().at("end").dump();
    if (setup.transfer) plan.suffix = "transfer";
    plan.n_units = n_detectors;
    plan.sizes = {{"row", static_cast<std::int64_t>(rows.size())},
                  {"detector", n_detectors},
                  {"detector_bytes", static_cast<std::int64_t>(name_bytes)},
                  {"group_bytes", static_cast<std::int64_t>(name_bytes)},
                  {"field", static_cast<std::int64_t>(setup.fields.size())},
                  {"group", static_cast<std::int64_t>(setup.group_names.size())},
                  {"temperature", static_cast<std::int64_t>(setup.temperatures.size())},
                  {"point", static_cast<std::int64_t>(input.analysis.ids.size()) + 1},
                  {"random", static_cast<std::int64_t>(setup.random.size())},
                  {"direction", n_directions},
                  {"d_model", tested_rows.width()}};
    plan.fresh = options.fresh;
    plan.provenance = context.provenance;
    plan.identity = study_identity(context, "3", *plan.schema, tested);
    plan.identity["latents"] = latents.content_sha256();
    plan.identity.update(tested_rows.identity());
    plan.identity["chosen-on"] = setup.transfer ? chosen.all.set.sha256 : "";
    plan.identity["chosen-dataset"] = setup.transfer ? chosen.dataset.content_sha256() : "";
    plan.identity["temperatures"] = temperatures ? temperatures->content_sha256() : "";
    plan.identity["saes"] = latents.identity().at("saes");
    add_result_options(context, plan.identity);
    if (options.dry_run) return dry_run_report(context, plan, "detectors");

    io::OpenedResult opened = io::open_result_file(comm, context.log, plan, creation_columns(setup, input, rows));
    const int threads = thread_count(context, options.threads);
    const auto with_stages = [&](Report report) {
        if (setup.transfer || options.stages == "none") return report;
        StagesInput stages{chosen, latents, saes, options.sae, site, options.activations, threads, options.fresh, static_cast<std::uint64_t>(options.seed)};
        add_stages(context, stages, report);
        return report;
    };
    if (!opened.file) return with_stages(report_from(mpi::agreed(comm, [&] { return io::ResultReader::open(opened.complete_path, validation_schema()); })));

    const io::ResultReader chosen_codes = sparse_codes(context, chosen, chosen_rows, saes, options.sae, model::Placement(), threads, false);
    std::optional<io::ResultReader> other_codes;
    if (other) other_codes.emplace(sparse_codes(context, tested, tested_rows, saes, options.sae, model::Placement(), threads, false));
    mpi::agreed(comm, [&] {
        input.chosen_codes = &chosen_codes;
        input.tested_codes = other_codes ? &*other_codes : &chosen_codes;
        for (auto* part : {&input.selection, &input.tuning}) part->sparse_rows = positions_of(chosen_codes.read<std::int64_t>("task_id"), part->ids, chosen_codes.path());
        input.analysis.sparse_rows = positions_of(input.tested_codes->read<std::int64_t>("task_id"), input.analysis.ids, input.tested_codes->path());
    });
    DetectorScores values(input);
    work_through(context, *opened.file, "detectors", "", cut_into_blocks(0, n_detectors, 1), [&](const WorkBlock& block) -> std::int64_t {
        const std::int64_t unit = block.units.front();
        opened.file->write_unit(unit, detector_columns(setup, input, values, setup.detectors[static_cast<std::size_t>(unit)], rows));
        return 0;
    });
    opened.file->flush();

    Assembled assembled;
    mpi::on_first_rank(comm, [&] {
        assembled = assemble(setup, input, values, *opened.file, options, tested.all.name(), notes);
        return std::string();
    });
    const std::string path = opened.file->publish(assembled.columns, assembled.summary, measured_run(context));
    return with_stages(report_from(mpi::agreed(comm, [&] { return io::ResultReader::open(path, validation_schema()); })));
}

}  // namespace pva::phases
