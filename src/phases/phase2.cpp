// Phase 2: codes, statistics, general-language filter, baselines, selection. File: docs/formats/latents.md.
#include "pva/phases/phase2.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "pva/analysis/bag_of_words.h"
#include "pva/analysis/baselines.h"
#include "pva/analysis/latent_permutation.h"
#include "pva/analysis/selection.h"
#include "pva/analysis/within_groups.h"
#include "pva/core/error.h"
#include "pva/io/result_file.h"
#include "pva/mpi/agree.h"
#include "pva/phases/problem_groups.h"
#include "pva/phases/program_part.h"
#include "pva/phases/program_rows.h"
#include "pva/phases/schemas.h"
#include "pva/phases/segment_record.h"
#include "pva/phases/sparse_codes.h"
#include "pva/phases/work.h"
#include "pva/stats/permutation.h"
#include "pva/tasks/split.h"

namespace pva::phases {

void register_options(OptionSet& set, Phase2Options& options) {
    register_model_option(set, options.model);
    set.add("problems", options.problems, "FILE", "problems of phase 1").required();
    register_options(set, options.sae, true);
    set.add("general-text", options.general_text, "FILE",
            "general text: JSONL with a field text, any other text, or a finished rates_*.h5; latents that fire there too often are dropped")
        .required();
    set.add("dataset", options.dataset, "FILE", "result of pva_phase1; the newest one that fits when not given");
    set.add("splits", options.splits, "FILE", "result of pva_phase1_1; the newest one that fits when not given");
    set.add("split", options.split, "PART", "part of the split; anything but selection is descriptive and phase 3 refuses it")
        .one_of({"selection", "tuning", "analysis", "sae", "hyperparams", "validation"})
        .changes_results();
    set.add("site", options.site, "SITE", "where the rows were taken; the SAEs' own");
    set.add("position", options.position, "NAME", "which token's rows are read: last-prompt, signature-end, tenth-1 to tenth-10 or last-token");
    set.add("activations", options.activations, "FILE", "activations of pva_phase1 for other sites and positions; the newest that has them when not given");
    set.add("layers", options.layers, "LIST", "layers, such as 0,5,10-12; all that have an SAE when not given").list();
    set.add("compat", options.compat, "NAME", "published version whose rules stand in for those not given: none, first (June 2025) or paper (November 2025); see docs/methods.md")
        .one_of({"none", "first", "paper"})
        .changes_results();
    std::vector<std::string> scores = analysis::score_names();
    scores.insert(scores.begin(), "auto");
    set.add("score", options.score, "NAME", "what latents are ranked by; auto: the AUROC's distance from one half, or as --compat says").one_of(scores).changes_results();
    set.add("activation-threshold", options.activation_threshold, "X", "activations up to this count as 0 (default 0, or as --compat says)").at_least(0).changes_results();
    set.add("general-threshold", options.general_threshold, "SHARE", "latents firing on a larger share of general text are dropped (default 0.02)").at_least(0).changes_results();
    set.add("general-positions", options.general_positions, "NAME", "all tokens but BOS, or one-word: the end of one word a text, drawn at random; auto: all, or as --compat says")
        .one_of({"auto", "all", "one-word"})
        .changes_results();
    set.add("general-tokens", options.general_tokens, "N", "longest piece of a general text, in tokens, BOS included (default 256, or as --compat says)").at_least(2).changes_results();
    set.add("general-documents", options.general_documents, "N", "first so many general texts, 0: all (default 0, or as --compat says)").at_least(0).changes_results();
    set.add("min-rows", options.min_rows, "N", "latents firing on fewer rows of the part are set aside (default 5, or as --compat says)").at_least(0).changes_results();
    set.add("min-effect", options.min_effect, "D", "Cohen's d above which a latent is marked as a large effect").at_least(0).changes_results();
    set.add("top-k", options.top_k, "N", "length of the ranked lists").at_least(1).changes_results();
    set.add("group-by", options.group_by, "FIELDS", "fields of the problems, separated by commas, within which everything is compared too; difficulty always").list().changes_results();
    set.add("permutations", options.permutations, "N", "label permutations behind family-wise p-values; 0: none").at_least(0).changes_results();
    set.add("permute-within", options.permute_within, "FIELD", "exchange labels within difficulty or a field of --group-by only").changes_results();
    set.add("q-from", options.q_from, "TEST", "p-values behind q").one_of({"mann-whitney", "permutation"}).changes_results();
    set.add("random-directions", options.random_directions, "N", "random directions a layer, as a baseline").at_least(0).changes_results();
    set.add("seed", options.seed, "N", "names the random numbers of permutations, folds, directions and drawn words").at_least(0).changes_results();
    set.add("threads", options.threads, "N", "threads a rank (0: by the affinity mask); unless the forward pass is fast it belongs to the identity of a run").at_least(0);
    register_device_option(set, options.placement);
    set.add_flag("fresh", options.fresh, "start over even if there is a finished or unfinished file");
    set.add_flag("dry-run", options.dry_run, "check all inputs, say what would be done, write no result");
}

Phase2Rules phase2_rules(const Phase2Options& options) {
    const bool first = options.compat == "first";
    const bool published = first || options.compat == "paper";
    const auto or_else = [](const auto& given, auto otherwise) { return given ? *given : otherwise; };
    Phase2Rules rules;
    rules.selection.score = options.score != "auto" ? analysis::score_from_name(options.score)
                            : first                 ? analysis::Score::notebook_d
                            : published             ? analysis::Score::frequency_difference
                                                    : analysis::Score::auroc;
    rules.selection.max_general_text_rate = or_else(options.general_threshold, 0.02);
    rules.selection.strict = published && !first;
    rules.selection.filter_after = published && !first ? 100 : 0;
    rules.selection.min_rows = static_cast<std::uint64_t>(or_else(options.min_rows, std::int64_t{published ? 0 : 5}));
    rules.selection.top_k = static_cast<std::uint32_t>(options.top_k);
    rules.selection.q_from = options.q_from == "permutation" ? analysis::TestFor::permutation : analysis::TestFor::mann_whitney;
    rules.text.path = options.general_text;
    rules.text.positions = options.general_positions == "one-word" || (options.general_positions == "auto" && published) ? TextPositions::one_word : TextPositions::all;
    rules.text.tokens = or_else(options.general_tokens, std::int64_t{published ? 128 : 256});
    rules.text.documents = or_else(options.general_documents, std::int64_t{published ? 10000 : 0});
    rules.text.activation_threshold = or_else(options.activation_threshold, first ? 0.05 : 0.0);
    rules.text.seed = static_cast<std::uint64_t>(options.seed);
    rules.least_effect = options.min_effect;
    rules.least_per_class = published && !first ? 10 : 2;
    if (options.q_from == "permutation" && options.permutations == 0) throw UsageError("--q-from permutation needs --permutations above 0");
    return rules;
}

namespace {

constexpr std::int64_t latents_per_unit = 4096;
constexpr std::size_t name_bytes = 64;
constexpr std::uint64_t permutation_stream = 0x7065726d;  // "perm"
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double family_level = 0.05;
constexpr std::uint32_t rate_draws = 2000;

/// What the ranks need to know of everything, the same on all of them.
struct Setup {
    Phase2Rules rules;
    ProgramPart part;
    ProgramPart tuning;
    std::vector<GroupField> fields;
    SaeSet saes;
    std::uint32_t n_permutations = 0;
    std::vector<std::uint32_t> strata;  ///< of the permutations; may be empty
    std::uint32_t random_directions = 0;
    std::uint64_t seed = 0;
};

// --- one unit: a block of latents of a layer --------------------------------------------------------------------------

struct LatentBlock {
    std::vector<analysis::LatentStatistics> statistics;
    std::vector<std::vector<analysis::WithinGroups>> within;  ///< [field][latent]
    std::vector<std::uint64_t> exceedances;
    std::vector<double> observed;
    std::vector<double> maxima;
};

LatentBlock compute_latents(const Setup& setup, const stats::CsrView& codes, std::uint32_t first, std::uint32_t last, const stats::LabelPermutations* permutations) {
    const stats::SparseColumns columns = stats::sparse_columns(codes, first, last);
    LatentBlock block;
    block.statistics = analysis::latent_statistics(columns, setup.part.passed);
    for (std::size_t f = 0; f < setup.fields.size(); ++f) {
        block.within.push_back(analysis::within_groups(columns, setup.part.passed, setup.part.groups[f], static_cast<std::uint32_t>(setup.fields[f].groups.size())));
    }
    if (permutations != nullptr) {
        std::vector<std::uint8_t> tested;
        for (const analysis::LatentStatistics& s : block.statistics) tested.push_back(s.fired_rows >= setup.rules.selection.min_rows);
        analysis::PermutedColumns permuted = analysis::permute_columns(columns, setup.part.passed, tested, *permutations, setup.rules.selection.score);
        block.exceedances = std::move(permuted.exceedances);
        block.observed = std::move(permuted.observed);
        block.maxima = std::move(permuted.maxima);
    }
    return block;
}

std::vector<std::byte> record_of(const LatentBlock& block) {
    RecordWriter record;
    record.add(block.statistics);
    for (const auto& field : block.within) record.add(field);
    record.add(block.exceedances);
    record.add(block.observed);
    record.add(block.maxima);
    return std::move(record.bytes);
}

LatentBlock latent_block_of(std::span<const std::byte> bytes, const Setup& setup, std::size_t n) {
    RecordReader record{bytes};
    LatentBlock block;
    block.statistics = record.take<analysis::LatentStatistics>(n);
    for (std::size_t f = 0; f < setup.fields.size(); ++f) block.within.push_back(record.take<analysis::WithinGroups>(n));
    if (setup.n_permutations > 0) {
        block.exceedances = record.take<std::uint64_t>(n);
        block.observed = record.take<double>(n);
        block.maxima = record.take<double>(setup.n_permutations);
    }
    return block;
}

// --- one unit: the baselines of a layer, or of the problems -----------------------------------------------------------

struct BaselineBlock {
    std::vector<analysis::BaselineScores> scores;
    analysis::RandomSpread random;
    double mean_square = 0;   ///< E|x|^2 over the rows of the part
    double squared_mean = 0;  ///< |E x|^2
};

BaselineBlock layer_baselines(const Setup& setup, const ProgramRows& rows, std::int32_t layer) {
    const std::vector<float> x = rows.read(layer, setup.part.programs);
    const std::vector<float> held_out = rows.read(layer, setup.tuning.programs);
    const auto d = static_cast<std::size_t>(rows.width());
    analysis::BaselineSettings settings;
    settings.probe.seed = setup.seed;
    settings.random_directions = setup.random_directions;
    analysis::LayerBaselines found = analysis::layer_baselines(x, d, setup.part.passed, held_out, layer, settings);
    BaselineBlock block{std::move(found.scores), found.random};
    std::vector<double> sum(d, 0.0);
    for (std::size_t i = 0; i < x.size(); ++i) {
        block.mean_square += static_cast<double>(x[i]) * x[i];
        sum[i % d] += x[i];
    }
    const auto n = static_cast<double>(setup.part.ids.size());
    block.mean_square /= n;
    for (const double s : sum) block.squared_mean += (s / n) * (s / n);
    return block;
}

BaselineBlock problem_baselines(const Setup& setup) {
    analysis::ProbeSettings settings;
    settings.seed = setup.seed;
    BaselineBlock block;
    block.scores.push_back(analysis::words_baseline(setup.part.texts, setup.part.passed, setup.tuning.texts, settings));
    block.scores.push_back(analysis::numbers_baseline("surface numbers together", setup.part.numbers, n_surface_numbers, setup.part.passed, setup.tuning.numbers, settings));
    const auto plain = [&](const std::string& name, std::size_t column) {
        block.scores.push_back({name, -1, -1, 0, {}, setup.part.number(column), setup.tuning.number(column)});
    };
    plain("prompt length", 0);
    plain("digits of the text", 3);
    plain("complexity", 4);
    block.scores.push_back({"entropy of the first token", -1, -1, 0, {}, setup.part.entropy, setup.tuning.entropy});
    return block;
}

std::vector<std::byte> record_of(const BaselineBlock& block) {
    RecordWriter record;
    record.add(std::uint64_t{block.scores.size()});
    for (const analysis::BaselineScores& s : block.scores) {
        record.add(std::uint64_t{s.name.size()});
        record.add(std::span<const char>(s.name));
        record.add(std::vector<std::int32_t>{s.layer, s.index});
        record.add(std::vector<double>{s.C});
        record.add(std::uint64_t{s.folds.size()});
        record.add(s.folds);
        record.add(s.part);
        record.add(s.held_out);
    }
    record.add(std::vector<double>{block.random.mean, block.random.share_95, block.random.largest, block.mean_square, block.squared_mean});
    return std::move(record.bytes);
}

BaselineBlock baseline_block_of(std::span<const std::byte> bytes, const Setup& setup) {
    RecordReader record{bytes};
    BaselineBlock block;
    const std::uint64_t n = record.number();
    for (std::uint64_t i = 0; i < n; ++i) {
        analysis::BaselineScores s;
        const auto name = record.take<char>(record.number());
        s.name.assign(name.begin(), name.end());
        const auto places = record.take<std::int32_t>(2);
        s.layer = places[0];
        s.index = places[1];
        s.C = record.take<double>(1)[0];
        s.folds = record.take<std::uint32_t>(record.number());
        s.part = record.take<double>(setup.part.ids.size());
        s.held_out = record.take<double>(setup.tuning.ids.size());
        block.scores.push_back(std::move(s));
    }
    const auto figures = record.take<double>(5);
    block.random = {figures[0], figures[1], figures[2]};
    block.mean_square = figures[3];
    block.squared_mean = figures[4];
    return block;
}

// --- the end: everything together on one rank --------------------------------------------------------------------------

bool has_both(const std::vector<std::uint8_t>& labels) {
    return std::find(labels.begin(), labels.end(), 0) != labels.end() && std::find(labels.begin(), labels.end(), 1) != labels.end();
}

/// Everything that stands beside a ranked latent.
struct RankedFigures {
    double family_wise_p = nan;
    RateInterval general_text;
    double tuning_score = nan;
    double tuning_auroc = nan, tuning_low = nan, tuning_high = nan;  ///< for the class it speaks for
    std::vector<double> group_auroc, group_low, group_high, group_d, group_t, group_frequency;  ///< [group]
    std::vector<double> within_auroc;  ///< [field], for the class it speaks for
};

/// All groups of all fields, one behind the other.
struct GroupTable {
    std::vector<std::string> names;
    std::vector<std::int32_t> field;
    std::vector<std::uint64_t> right, wrong;
    std::vector<std::int32_t> of_row;  ///< [field, row]
};

GroupTable group_table(const Setup& setup) {
    GroupTable table;
    for (std::size_t f = 0; f < setup.fields.size(); ++f) {
        const auto first = static_cast<std::int32_t>(table.names.size());
        for (const std::string& name : setup.fields[f].groups) {
            table.names.push_back(name);
            table.field.push_back(static_cast<std::int32_t>(f));
            table.right.push_back(0);
            table.wrong.push_back(0);
        }
        for (std::size_t row = 0; row < setup.part.ids.size(); ++row) {
            table.of_row.push_back(first + static_cast<std::int32_t>(setup.part.groups[f][row]));
            ++(setup.part.passed[row] == 1 ? table.right : table.wrong)[static_cast<std::size_t>(table.of_row.back())];
        }
    }
    return table;
}

RankedFigures ranked_figures(const Setup& setup, const GroupTable& table, const LayerCodes& part, const LayerCodes& tuning, const analysis::RankedLatent& ranked) {
    RankedFigures figures;
    const bool speaks_for_right = ranked.direction == analysis::Direction::right;
    if (has_both(setup.tuning.passed)) {
        const analysis::LatentStatistics s = analysis::score_statistics(latent_column(tuning.codes, ranked.latent), setup.tuning.passed);
        const double score = analysis::signed_score(setup.rules.selection.score, s, setup.tuning.right(), setup.tuning.wrong());
        figures.tuning_score = speaks_for_right ? score : -score;
        figures.tuning_auroc = speaks_for_right ? s.auroc : 1 - s.auroc;
        figures.tuning_low = speaks_for_right ? s.auroc_low : 1 - s.auroc_high;
        figures.tuning_high = speaks_for_right ? s.auroc_high : 1 - s.auroc_low;
    }
    const std::vector<double> column = latent_column(part.codes, ranked.latent);
    const std::size_t n = column.size();
    for (std::size_t group = 0; group < table.names.size(); ++group) {
        std::vector<double> values;
        std::vector<std::uint8_t> labels;
        for (std::size_t row = 0; row < n; ++row) {
            if (table.of_row[static_cast<std::size_t>(table.field[group]) * n + row] != static_cast<std::int32_t>(group)) continue;
            values.push_back(column[row]);
            labels.push_back(setup.part.passed[row]);
        }
        analysis::LatentStatistics s;
        s.auroc = s.auroc_low = s.auroc_high = s.cohens_d = s.welch_t = s.frequency_difference = nan;
        if (has_both(labels)) s = analysis::score_statistics(values, labels);
        figures.group_auroc.push_back(s.auroc);
        figures.group_low.push_back(s.auroc_low);
        figures.group_high.push_back(s.auroc_high);
        figures.group_d.push_back(s.cohens_d);
        figures.group_t.push_back(s.welch_t);
        figures.group_frequency.push_back(s.frequency_difference);
    }
    for (std::size_t f = 0; f < setup.fields.size(); ++f) {
        const double auroc = analysis::within_groups(column, setup.part.passed, setup.part.groups[f], static_cast<std::uint32_t>(setup.fields[f].groups.size())).auroc;
        figures.within_auroc.push_back(speaks_for_right ? auroc : 1 - auroc);
    }
    return figures;
}

std::string shown(double value, int decimals) { return std::isnan(value) ? "-" : fixed(value, decimals); }
std::string interval(double low, double high) { return std::isnan(low) ? "-" : "[" + fixed(low, 3) + ", " + fixed(high, 3) + "]"; }

/// A figure of the summary for the table; JSON has no NaN, it stands there as null.
std::string figure(const nlohmann::ordered_json& value, int decimals) { return value.is_null() ? "undefined" : fixed(value.get<double>(), decimals); }

Report report_from(const io::ResultReader& reader) {
    Report report;
    report.summary = reader.summary();
    report.result_path = reader.path();
    std::vector<std::vector<std::string>> table = {{"layer", "L0", "explained variance", "cosine", "mean separation", "sd", "largest"}};
    for (const auto& layer : report.summary["layers"]) {
        table.push_back({layer["layer"].dump(), figure(layer["l0"], 1), figure(layer["explained_variance"], 3), figure(layer["cosine"], 3), figure(layer["separation"]["mean"], 4),
                         figure(layer["separation"]["standard_deviation"], 4), figure(layer["separation"]["max"], 4)});
    }
    report.lines = table_lines(table);
    for (const char* name : {"comparison", "ranked_table"}) {
        report.lines.emplace_back();
        for (const std::string& line : table_lines(report.summary[name].get<std::vector<std::vector<std::string>>>())) report.lines.push_back(line);
    }
    report.lines.emplace_back();
    for (const auto& note : report.summary["notes"]) report.lines.push_back(note.get<std::string>());
    return report;
}

struct Assembled {
    io::Columns columns;
    nlohmann::ordered_json summary;
};

/// Rank 0's work when all units are done.
Assembled assemble(const Setup& setup, const TextRates& rates, const io::ResultReader& codes, const std::vector<LatentBlock>& layers, const std::vector<BaselineBlock>& baselines,
                   const std::string& part_name) {
    const ProgramPart& part = setup.part;
    const std::uint64_t right = part.right();
    const std::uint64_t wrong = part.wrong();
    const std::size_t n_layers = layers.size();
    const analysis::SelectionRule& rule = setup.rules.selection;
    Assembled result;
    io::Columns& columns = result.columns;
    nlohmann::ordered_json& summary = result.summary;
    const GroupTable table = group_table(setup);

    // Permutations: the largest of all latents in each.
    std::vector<double> maxima(setup.n_permutations, 0.0);
    std::vector<std::vector<double>> permutation_p(n_layers);
    std::vector<std::vector<double>> family_wise_p(n_layers);
    for (const LatentBlock& layer : layers) {
        for (std::size_t b = 0; b < maxima.size(); ++b) maxima[b] = std::max(maxima[b], layer.maxima[b]);
    }
    std::sort(maxima.begin(), maxima.end());
    for (std::size_t l = 0; l < n_layers; ++l) {
        const std::vector<double> family = setup.n_permutations == 0 ? std::vector<double>() : stats::max_statistic_p(layers[l].observed, maxima);
        for (std::size_t j = 0; j < layers[l].statistics.size(); ++j) {
            const bool tested = setup.n_permutations > 0 && layers[l].statistics[j].fired_rows >= rule.min_rows;
            permutation_p[l].push_back(tested ? stats::permutation_p(layers[l].exceedances[j], setup.n_permutations) : nan);
            family_wise_p[l].push_back(tested ? family[j] : nan);
        }
    }
    const double threshold = stats::max_statistic_threshold(maxima, family_level);
    columns["permutation/maximum"] = io::to_bytes(maxima);
    columns["permutation/threshold"] = io::to_bytes(std::vector<double>{threshold});

    std::vector<analysis::LayerStatistics> for_ranking;
    for (std::size_t l = 0; l < n_layers; ++l) for_ranking.push_back({static_cast<std::uint32_t>(setup.saes.layers[l]), layers[l].statistics, rates.rate[l], permutation_p[l]});
    const analysis::Selection selection = analysis::rank_latents(for_ranking, right, wrong, rule);

    // Every latent's figures.
    const auto of_latents = [&](const std::string& name, auto&& value) {
        std::vector<decltype(value(std::size_t{}, std::size_t{}))> values;
        values.reserve(n_layers * setup.saes.d_sae);
        for (std::size_t l = 0; l < n_layers; ++l) {
            for (std::size_t j = 0; j < layers[l].statistics.size(); ++j) values.push_back(value(l, j));
        }
        columns[name] = io::to_bytes(values);
    };
    const auto statistic = [&](const std::string& name, double analysis::LatentStatistics::*field) {
        of_latents("statistics/" + name, [&](std::size_t l, std::size_t j) { return layers[l].statistics[j].*field; });
    };
    using S = analysis::LatentStatistics;
    for (const auto& [name, field] : std::vector<std::pair<std::string, double S::*>>{
             {"firing_share_right", &S::firing_share_right}, {"firing_share_wrong", &S::firing_share_wrong}, {"frequency_difference", &S::frequency_difference},
             {"mean_right", &S::mean_right},                 {"mean_wrong", &S::mean_wrong},                 {"variance_right", &S::variance_right},
             {"variance_wrong", &S::variance_wrong},         {"cohens_d", &S::cohens_d},                     {"welch_t", &S::welch_t},
             {"welch_df", &S::welch_df},                     {"welch_p", &S::welch_p},                       {"auroc", &S::auroc},
             {"auroc_standard_error", &S::auroc_standard_error}, {"auroc_low", &S::auroc_low},               {"auroc_high", &S::auroc_high},
             {"mann_whitney_z", &S::mann_whitney_z},         {"mann_whitney_p", &S::mann_whitney_p}}) {
        statistic(name, field);
    }
    of_latents("statistics/fired_rows", [&](std::size_t l, std::size_t j) { return layers[l].statistics[j].fired_rows; });
    of_latents("statistics/mann_whitney_exact", [&](std::size_t l, std::size_t j) { return static_cast<std::uint8_t>(layers[l].statistics[j].mann_whitney_exact); });
    of_latents("statistics/permutation_p", [&](std::size_t l, std::size_t j) { return permutation_p[l][j]; });
    of_latents("statistics/family_wise_p", [&](std::size_t l, std::size_t j) { return family_wise_p[l][j]; });
    of_latents("statistics/q_value", [&](std::size_t l, std::size_t j) { return selection.q_values[l][j]; });
    of_latents("general_text/fired", [&](std::size_t l, std::size_t j) { return rates.fired[l][j]; });
    of_latents("general_text/rate", [&](std::size_t l, std::size_t j) { return rates.rate[l][j]; });
    of_latents("general_text/rate_low", [&](std::size_t l, std::size_t j) { return rates.low[l][j]; });
    of_latents("general_text/rate_high", [&](std::size_t l, std::size_t j) { return rates.high[l][j]; });
    of_latents("kept", [&](std::size_t l, std::size_t j) { return static_cast<std::uint8_t>(selection.kept[l][j]); });
    of_latents("score", [&](std::size_t l, std::size_t j) { return analysis::signed_score(rule.score, layers[l].statistics[j], right, wrong); });
    columns["general_text/tokens"] = io::to_bytes(std::vector<std::uint64_t>{rates.tokens});
    for (const auto& [name, field] : std::vector<std::pair<std::string, double analysis::WithinGroups::*>>{{"auroc", &analysis::WithinGroups::auroc},
                                                                                                           {"p", &analysis::WithinGroups::p},
                                                                                                           {"cohens_d", &analysis::WithinGroups::cohens_d},
                                                                                                           {"t", &analysis::WithinGroups::t},
                                                                                                           {"frequency_difference", &analysis::WithinGroups::frequency_difference}}) {
        std::vector<double> values;
        for (std::size_t f = 0; f < setup.fields.size(); ++f) {
            for (const LatentBlock& layer : layers) {
                for (const analysis::WithinGroups& w : layer.within[f]) values.push_back(w.*field);
            }
        }
        columns["within/" + name] = io::to_bytes(values);
    }

    // Ranked latents: the layers that have some are read once.
    std::map<std::uint32_t, std::vector<const analysis::RankedLatent*>> by_layer;
    for (const auto* list : {&selection.right, &selection.wrong}) {
        for (const analysis::RankedLatent& r : *list) by_layer[r.layer].push_back(&r);
    }
    const auto layer_index = [&](std::uint32_t layer) { return static_cast<std::size_t>(std::find(setup.saes.layers.begin(), setup.saes.layers.end(), static_cast<std::int32_t>(layer)) - setup.saes.layers.begin()); };
    std::map<const analysis::RankedLatent*, RankedFigures> figures;
    std::vector<RateOf> rate_of;
    std::vector<const analysis::RankedLatent*> rate_order;
    const io::ResultReader rates_file = io::ResultReader::open(rates.path, rates_schema());
    const std::vector<std::int64_t> rate_places = rate_layers(rates_file, setup.saes.layers);
    for (const auto& [layer, latents] : by_layer) {
        const std::size_t l = layer_index(layer);
        const LayerCodes of_part = read_layer_codes(codes, static_cast<std::int64_t>(l), part.sparse_rows, setup.saes.d_sae, setup.rules.text.activation_threshold);
        const LayerCodes of_tuning = read_layer_codes(codes, static_cast<std::int64_t>(l), setup.tuning.sparse_rows, setup.saes.d_sae, setup.rules.text.activation_threshold);
        for (const analysis::RankedLatent* r : latents) {
            figures[r] = ranked_figures(setup, table, of_part, of_tuning, *r);
            figures[r].family_wise_p = family_wise_p[l][r->latent];
            rate_of.push_back({rate_places[l], r->latent});
            rate_order.push_back(r);
        }
    }
    const std::vector<RateInterval> drawn = bootstrapped_rates(rates_file, rate_of, rate_draws, setup.seed);
    for (std::size_t i = 0; i < drawn.size(); ++i) figures[rate_order[i]].general_text = drawn[i];

    std::vector<std::string> head = {"rank", "speaks for", "layer", "latent", "AUROC", "95 % interval", "tuning", "95 % interval", "d", "fires right", "fires wrong", "q", "family-wise p", "general text"};
    for (const GroupField& field : setup.fields) head.push_back("within " + field.name);
    std::vector<std::vector<std::string>> ranked_table = {head};
    for (const bool for_right : {true, false}) {
        const std::string name = for_right ? "right" : "wrong";
        const auto& list = for_right ? selection.right : selection.wrong;
        const std::size_t k = rule.top_k;
        std::vector<std::int32_t> layer(k, -1);
        std::vector<std::int32_t> latent(k, -1);
        std::map<std::string, std::vector<double>> values;
        std::map<std::string, std::vector<double>> by_group;
        summary["ranked"][name] = nlohmann::ordered_json::array();
        const auto put = [&](const std::string& what, std::size_t i, double behind, double value) {
            std::vector<double>& all = values.try_emplace(what, std::vector<double>(k, behind)).first->second;
            if (i < k) all[i] = value;
        };
        for (std::size_t i = 0; i <= list.size() && i <= k; ++i) {
            // One step past the last so that an empty list has its datasets too.
            const bool real = i < list.size() && i < k;
            const std::size_t at = real ? i : k;
            static const RankedFigures none;
            const RankedFigures& f = real ? figures.at(&list[i]) : none;
            put("score", at, 0, real ? list[i].score : 0);
            put("q_value", at, 1, real ? list[i].q_value : 1);
            put("family_wise_p", at, nan, f.family_wise_p);
            put("general_text_low", at, nan, f.general_text.low);
            put("general_text_high", at, nan, f.general_text.high);
            put("tuning_score", at, nan, f.tuning_score);
            put("tuning_auroc", at, nan, f.tuning_auroc);
            put("tuning_auroc_low", at, nan, f.tuning_low);
            put("tuning_auroc_high", at, nan, f.tuning_high);
            for (const auto& [what, of_group] : std::vector<std::pair<std::string, const std::vector<double>*>>{{"group_auroc", &f.group_auroc},
                                                                                                                {"group_auroc_low", &f.group_low},
                                                                                                                {"group_auroc_high", &f.group_high},
                                                                                                                {"group_cohens_d", &f.group_d},
                                                                                                                {"group_welch_t", &f.group_t},
                                                                                                                {"group_frequency_difference", &f.group_frequency}}) {
                auto& all = by_group.try_emplace(what, std::vector<double>(k * table.names.size(), nan)).first->second;
                if (real) std::copy(of_group->begin(), of_group->end(), all.begin() + static_cast<std::ptrdiff_t>(i * table.names.size()));
            }
            if (!real) continue;
            const analysis::RankedLatent& r = list[i];
            layer[i] = static_cast<std::int32_t>(r.layer);
            latent[i] = static_cast<std::int32_t>(r.latent);
            if (i >= 10) continue;
            const S& s = r.statistics;
            const double auroc = for_right ? s.auroc : 1 - s.auroc;
            std::vector<std::string> cells = {std::to_string(i + 1), name, std::to_string(r.layer), std::to_string(r.latent), fixed(auroc, 3),
                                              for_right ? interval(s.auroc_low, s.auroc_high) : interval(1 - s.auroc_high, 1 - s.auroc_low), shown(f.tuning_auroc, 3),
                                              interval(f.tuning_low, f.tuning_high), fixed(s.cohens_d, 2) + (std::fabs(s.cohens_d) > setup.rules.least_effect ? "*" : ""),
                                              fixed(s.firing_share_right, 3), fixed(s.firing_share_wrong, 3), shown(r.q_value, 4), shown(f.family_wise_p, 4),
                                              fixed(r.general_text_rate, 4) + " [" + fixed(f.general_text.low, 4) + ", " + fixed(f.general_text.high, 4) + "]"};
            for (const double value : f.within_auroc) cells.push_back(fixed(value, 3));
            ranked_table.push_back(cells);
            summary["ranked"][name].push_back({{"layer", r.layer},
                                               {"latent", r.latent},
                                               {"score", r.score},
                                               {"auroc", s.auroc},
                                               {"q_value", r.q_value},
                                               {"family_wise_p", f.family_wise_p},
                                               {"tuning_auroc", f.tuning_auroc},
                                               {"within_auroc", f.within_auroc},
                                               {"general_text_rate", r.general_text_rate}});
        }
        columns["ranked_" + name + "/layer"] = io::to_bytes(layer);
        columns["ranked_" + name + "/latent"] = io::to_bytes(latent);
        for (const auto& [what, all] : values) columns["ranked_" + name + "/" + what] = io::to_bytes(all);
        for (const auto& [what, all] : by_group) columns["ranked_" + name + "/" + what] = io::to_bytes(all);
    }

    // Baselines; of those that every layer has, the table shows the layer that is best on the part.
    std::vector<std::string> names;
    std::vector<std::int32_t> baseline_layer, index, sign;
    std::vector<std::uint8_t> fitted;
    std::vector<double> strength, auroc, low, high, tuning, tuning_low, tuning_high, within, scores, tuning_scores;
    struct Row {
        std::size_t place;
        double auroc;
    };
    std::vector<std::string> kinds;
    std::map<std::string, Row> best;
    for (const BaselineBlock& block : baselines) {
        for (const analysis::BaselineScores& s : block.scores) {
            const analysis::BaselineFigures f = analysis::baseline_figures(s, part.passed, setup.tuning.passed);
            const auto found = best.find(s.name);
            if (found == best.end()) {
                kinds.push_back(s.name);
                best.emplace(s.name, Row{names.size(), f.auroc});
            } else if (f.auroc > found->second.auroc) {
                found->second = {names.size(), f.auroc};
            }
            names.push_back(s.name);
            baseline_layer.push_back(s.layer);
            index.push_back(s.index);
            sign.push_back(f.sign);
            fitted.push_back(s.folds.empty() ? 0 : 1);
            strength.push_back(s.C);
            auroc.push_back(f.auroc);
            low.push_back(f.low);
            high.push_back(f.high);
            tuning.push_back(f.held_out_auroc);
            tuning_low.push_back(f.held_out_low);
            tuning_high.push_back(f.held_out_high);
            for (std::size_t k = 0; k < setup.fields.size(); ++k) {
                const double a = analysis::within_groups(s.part, part.passed, part.groups[k], static_cast<std::uint32_t>(setup.fields[k].groups.size())).auroc;
                within.push_back(f.sign < 0 ? 1 - a : a);
            }
            scores.insert(scores.end(), s.part.begin(), s.part.end());
            tuning_scores.insert(tuning_scores.end(), s.held_out.begin(), s.held_out.end());
        }
    }
    columns["baseline/name"] = io::pack_texts(names, name_bytes);
    columns["baseline/layer"] = io::to_bytes(baseline_layer);
    columns["baseline/index"] = io::to_bytes(index);
    columns["baseline/sign"] = io::to_bytes(sign);
    columns["baseline/fitted"] = io::to_bytes(fitted);
    columns["baseline/strength"] = io::to_bytes(strength);
    columns["baseline/auroc"] = io::to_bytes(auroc);
    columns["baseline/auroc_low"] = io::to_bytes(low);
    columns["baseline/auroc_high"] = io::to_bytes(high);
    columns["baseline/tuning_auroc"] = io::to_bytes(tuning);
    columns["baseline/tuning_auroc_low"] = io::to_bytes(tuning_low);
    columns["baseline/tuning_auroc_high"] = io::to_bytes(tuning_high);
    columns["baseline/within_auroc"] = io::to_bytes(within);
    columns["baseline/score"] = io::to_bytes(scores);
    columns["baseline/tuning_score"] = io::to_bytes(tuning_scores);
    std::vector<double> random_mean, random_95, random_largest;

    std::vector<std::vector<std::string>> comparison = {{"score", "layer", "AUROC on " + part_name, "95 % interval", "on tuning", "95 % interval"}};
    for (const GroupField& field : setup.fields) comparison.front().push_back("within " + field.name);
    summary["baselines"] = nlohmann::ordered_json::array();
    for (const std::string& kind : kinds) {
        const std::size_t b = best.at(kind).place;
        const std::string shown_name = kind + (index[b] >= 0 ? " (" + std::to_string(index[b]) + ")" : "") + (fitted[b] != 0 ? ", cross-validated" : "");
        std::vector<std::string> cells = {shown_name, baseline_layer[b] < 0 ? "-" : std::to_string(baseline_layer[b]), fixed(auroc[b], 3), interval(low[b], high[b]), shown(tuning[b], 3),
                                          interval(tuning_low[b], tuning_high[b])};
        nlohmann::ordered_json in_groups = nlohmann::ordered_json::array();
        for (std::size_t k = 0; k < setup.fields.size(); ++k) {
            cells.push_back(fixed(within[b * setup.fields.size() + k], 3));
            in_groups.push_back(within[b * setup.fields.size() + k]);
        }
        comparison.push_back(cells);
        summary["baselines"].push_back({{"name", kind}, {"layer", baseline_layer[b]}, {"auroc", auroc[b]}, {"tuning_auroc", tuning[b]}, {"within_auroc", in_groups}});
    }
    for (const bool for_right : {true, false}) {
        const auto& list = for_right ? selection.right : selection.wrong;
        if (list.empty()) continue;
        const analysis::RankedLatent& r = list.front();
        const RankedFigures& f = figures.at(&r);
        const S& s = r.statistics;
        std::vector<std::string> cells = {std::string("best latent for ") + (for_right ? "right" : "wrong") + " (" + std::to_string(r.latent) + ")", std::to_string(r.layer),
                                          fixed(for_right ? s.auroc : 1 - s.auroc, 3), for_right ? interval(s.auroc_low, s.auroc_high) : interval(1 - s.auroc_high, 1 - s.auroc_low),
                                          shown(f.tuning_auroc, 3), interval(f.tuning_low, f.tuning_high)};
        for (const double value : f.within_auroc) cells.push_back(fixed(value, 3));
        comparison.push_back(cells);
    }

    // Layers: how well the SAE reconstructs the part, and the first notebook's figures of separation.
    std::vector<double> l0, explained, cosine;
    std::uint64_t large = 0;
    of_latents("large_effect", [&](std::size_t l, std::size_t j) {
        const bool is = std::fabs(layers[l].statistics[j].cohens_d) > setup.rules.least_effect;
        large += is && selection.kept[l][j] == analysis::Kept::kept;
        return static_cast<std::uint8_t>(is);
    });
    summary["problems"] = part.ids.size();
    summary["right"] = right;
    summary["wrong"] = wrong;
    summary["part"] = part_name;
    summary["tuning_problems"] = setup.tuning.ids.size();
    summary["score"] = analysis::score_name(rule.score);
    summary["latents"] = selection.n_latents;
    summary["set_aside_rare"] = selection.n_dropped_rare;
    summary["dropped_general_text"] = selection.n_dropped_general_text;
    summary["kept"] = selection.n_kept;
    summary["large_effect"] = large;
    std::uint64_t below = 0;
    for (const auto& layer : selection.q_values) below += static_cast<std::uint64_t>(std::count_if(layer.begin(), layer.end(), [](double q) { return q < family_level; }));
    summary["q_below_0.05"] = below;
    summary["permutations"] = setup.n_permutations;
    summary["permutation_threshold"] = std::isinf(threshold) ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(threshold);
    summary["general_text_positions"] = rates.tokens;
    summary["layers"] = nlohmann::ordered_json::array();
    for (std::size_t l = 0; l < n_layers; ++l) {
        const LayerCodes of_part = read_layer_codes(codes, static_cast<std::int64_t>(l), part.sparse_rows, setup.saes.d_sae, 0);
        const auto n = static_cast<double>(part.ids.size());
        const double error = std::accumulate(of_part.squared_error.begin(), of_part.squared_error.end(), 0.0) / n;
        const double variance = baselines[l].mean_square - baselines[l].squared_mean;
        // What is left of equal rows is rounding, not variance.
        const bool defined = part.ids.size() > 1 && variance > 1e-12 * baselines[l].mean_square;
        l0.push_back(static_cast<double>(of_part.codes.latents.size()) / n);
        explained.push_back(defined ? 1.0 - error / variance : nan);
        cosine.push_back(std::accumulate(of_part.cosine.begin(), of_part.cosine.end(), 0.0) / n);
        random_mean.push_back(baselines[l].random.mean);
        random_95.push_back(baselines[l].random.share_95);
        random_largest.push_back(baselines[l].random.largest);
        const analysis::SeparationSummary separation = analysis::separation_summary(layers[l].statistics, right, wrong, rule.score, 5);
        summary["layers"].push_back({{"layer", setup.saes.layers[l]},
                                     {"l0", l0.back()},
                                     {"explained_variance", explained.back()},
                                     {"cosine", cosine.back()},
                                     {"separation",
                                      {{"total_dimensions", separation.dimensions},
                                       {"mean", separation.mean},
                                       {"standard_deviation", separation.standard_deviation},
                                       {"max", separation.max},
                                       {"top_indices", separation.top_indices},
                                       {"top_scores", separation.top_scores}}}});
    }
    columns["quality/l0"] = io::to_bytes(l0);
    columns["quality/explained_variance"] = io::to_bytes(explained);
    columns["quality/cosine"] = io::to_bytes(cosine);
    columns["random_directions/mean"] = io::to_bytes(random_mean);
    columns["random_directions/share_95"] = io::to_bytes(random_95);
    columns["random_directions/largest"] = io::to_bytes(random_largest);
    summary["comparison"] = comparison;
    summary["ranked_table"] = ranked_table;
    summary["notes"] = {std::to_string(selection.n_latents) + " latents: " + std::to_string(selection.n_dropped_rare) + " fire on fewer than " + std::to_string(rule.min_rows) +
                            " rows and are set aside, " + std::to_string(selection.n_dropped_general_text) + " fire too often on general text, " + std::to_string(selection.n_kept) + " kept; " +
                            std::to_string(below) + " of the tested have q below 0.05",
                        setup.n_permutations == 0 ? std::string("no label permutations were asked for")
                        : std::isinf(threshold)   ? std::to_string(setup.n_permutations) + " label permutations are too few for a family-wise threshold at 0.05"
                                                  : "by luck the best of all tested latents reaches the score " + fixed(threshold, 4) + " (" + std::string(analysis::score_name(rule.score)) +
                                                        (rule.score == analysis::Score::auroc ? ": distance from one half" : "") + ") in 5 % of " + std::to_string(setup.n_permutations) +
                                                        " label permutations",
                        "Figures on " + part_name + " are of the problems the latents were chosen on: the best of many is lucky. pva_phase3 measures them on others"};
    return result;
}

}  // namespace

Report run_phase2(Context& context, const Phase2Options& options) {
    const mpi::Communicator& comm = context.comm;
    const tasks::SplitPart split = tasks::split_part_from_name(options.split);
    Setup setup;
    setup.rules = mpi::agreed(comm, [&] { return phase2_rules(options); });
    setup.n_permutations = static_cast<std::uint32_t>(options.permutations);
    setup.random_directions = static_cast<std::uint32_t>(options.random_directions);
    setup.seed = static_cast<std::uint64_t>(options.seed);
    const Study study = open_study(context, options.problems, options.model, options.dataset, options.splits);
    const ProgramRows program_rows = ProgramRows::open(context, study.dataset, options.site, options.position, options.activations);

    mpi::agreed(comm, [&] {
        const StudyRows rows = study_rows(study);
        setup.fields = group_fields(study, rows, options.group_by);
        setup.part = program_part(study, rows, program_rows, split, setup.fields);
        if (split == tasks::SplitPart::selection) setup.tuning = program_part(study, rows, program_rows, tasks::SplitPart::tuning, setup.fields);
        // A dataset of part of the problems is used as far as it goes, and that is said.
        const auto split_parts = study.splits.read<std::uint8_t>("part");
        const auto wanted = static_cast<std::size_t>(std::count(split_parts.begin(), split_parts.end(), static_cast<std::uint8_t>(split)));
        if (setup.part.ids.size() < wanted && context.first_rank()) {
            context.log.warning("there are rows of " + std::to_string(setup.part.ids.size()) + " of the " + std::to_string(wanted) + " problems of the part " + tasks::split_part_name(split));
        }
        const std::uint64_t right = setup.part.right();
        const std::uint64_t wrong = setup.part.wrong();
        if (right < setup.rules.least_per_class || wrong < setup.rules.least_per_class) {
            throw InputError("the part " + tasks::split_part_name(split) + " of " + study.dataset.path() + " has " + std::to_string(right) + " right and " + std::to_string(wrong) +
                             " wrong programs; at least " + (setup.rules.least_per_class == 2 ? std::string("two") : std::to_string(setup.rules.least_per_class)) +
                             " of each are needed to compare them. Take more or other problems, or another model");
        }
        if (split == tasks::SplitPart::selection && (setup.tuning.right() < 2 || setup.tuning.wrong() < 2) && context.first_rank()) {
            context.log.warning("the tuning part has " + std::to_string(setup.tuning.right()) + " right and " + std::to_string(setup.tuning.wrong()) +
                                " wrong programs: what latents and baselines do there cannot be measured, or has no interval");
        }
        if (!options.permute_within.empty()) {
            const auto field = std::find_if(setup.fields.begin(), setup.fields.end(), [&](const GroupField& f) { return f.name == options.permute_within; });
            if (field == setup.fields.end()) throw UsageError("--permute-within " + options.permute_within + ": difficulty or a field of --group-by is expected");
            setup.strata = setup.part.groups[static_cast<std::size_t>(field - setup.fields.begin())];
        }
    });

    const std::vector<int> wanted_layers = mpi::agreed(comm, [&] { return read_layers(options.layers); });
    setup.saes = find_sae_set(context, options.sae, wanted_layers, options.site, program_rows.width(), program_rows.layers(), program_rows.path());
    const auto n_layers = static_cast<std::int64_t>(setup.saes.layers.size());
    require_usable_text(context, study.model, setup.saes, options.site, setup.rules.text);
    const nlohmann::ordered_json of_text = text_identity(context, setup.rules.text);
    const int threads = thread_count(context, options.threads);
    // The general text goes through the model in the data type of the rows it is compared with.
    const std::string dtype = study.dataset.identity().value("dtype", options.placement.dtype);

    // Units: blocks of latents of each layer, then the baselines of each layer, then those of the problems.
    const std::int64_t blocks_per_layer = (static_cast<std::int64_t>(setup.saes.d_sae) + latents_per_unit - 1) / latents_per_unit;
    const std::int64_t latent_units = n_layers * blocks_per_layer;
    io::RunPlan plan;
    plan.schema = &latents_schema();
    plan.folder = context.folder("phase2");
    plan.prefix = "latents";
    plan.model = study.model.files.name;
    plan.range = study.dataset.identity().at("start").dump() + "-" + study.dataset.identity().at("end").dump();
    plan.suffix = tasks::split_part_name(split);
    plan.n_units = latent_units + n_layers + 1;
    plan.segmented = true;
    plan.fresh = options.fresh;
    context.provenance.inputs = {{"problems", study.all.set.path, study.all.set.sha256}, study.dataset.as_input("dataset"), study.splits.as_input("splits"),
                                 {"general text", options.general_text, of_text.at("general_text").get<std::string>()}, {"model weights", study.model.files.weights, study.model.hashes.weights}};
    for (const InputFile& input : setup.saes.inputs()) context.provenance.inputs.push_back(input);
    plan.provenance = context.provenance;
    plan.identity = study_identity(context, "2", *plan.schema, study);
    plan.identity["split"] = tasks::split_part_name(split);
    plan.identity.update(program_rows.identity());
    plan.identity["saes"] = setup.saes.hashes();
    plan.identity.update(of_text);
    plan.identity["score"] = analysis::score_name(setup.rules.selection.score);
    plan.identity["general-threshold"] = setup.rules.selection.max_general_text_rate;
    plan.identity["min-rows"] = setup.rules.selection.min_rows;
    PlacementOptions placement_options = options.placement;
    placement_options.dtype = dtype;
    const model::Placement placement = place_model(context, placement_options);
    plan.identity["dtype"] = model::dtype_name(placement.dtype);
    add_placement(plan.identity, placement, threads);
    add_result_options(context, plan.identity);
    if (options.dry_run) return dry_run_report(context, plan, "blocks");

    io::OpenedResult opened = io::open_result_file(comm, context.log, plan, {});
    if (!opened.file) return report_from(mpi::agreed(comm, [&] { return io::ResultReader::open(opened.complete_path, latents_schema()); }));

    const io::ResultReader codes = sparse_codes(context, study, program_rows, setup.saes, options.sae, placement, threads, options.fresh);
    const TextRates rates = text_rates(context, study.model, setup.saes, options.sae, options.site, setup.rules.text, options.placement, dtype, threads, options.fresh);
    mpi::agreed(comm, [&] {
        const auto sparse_ids = codes.read<std::int64_t>("task_id");
        setup.part.sparse_rows = positions_of(sparse_ids, setup.part.ids, codes.path());
        setup.tuning.sparse_rows = positions_of(sparse_ids, setup.tuning.ids, codes.path());
    });

    std::vector<WorkBlock> blocks = cut_into_blocks(0, plan.n_units, 1);
    // Baselines cost far more than a block of latents; in what measure does not matter, only that all ranks agree.
    for (std::int64_t unit = 0; unit < plan.n_units; ++unit) blocks[static_cast<std::size_t>(unit)].cost = unit < latent_units ? 1 : 10;
    const auto latents_of = [&](std::int64_t unit) {
        const std::int64_t first = unit % blocks_per_layer * latents_per_unit;
        return std::pair{static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(std::min<std::int64_t>(setup.saes.d_sae, first + latents_per_unit))};
    };
    std::optional<stats::LabelPermutations> permutations;
    std::int64_t layer_at_hand = -1;
    LayerCodes layer_codes;
    work_through(context, *opened.file, "blocks of statistics", "", blocks, [&](const WorkBlock& block) -> std::int64_t {
        const std::int64_t unit = block.units.front();
        if (unit >= latent_units) {
            const std::int64_t layer = unit - latent_units;
            opened.file->write_segment(unit, record_of(layer < n_layers ? layer_baselines(setup, program_rows, setup.saes.layers[static_cast<std::size_t>(layer)]) : problem_baselines(setup)));
            return 0;
        }
        const std::int64_t layer = unit / blocks_per_layer;
        if (layer != layer_at_hand) {
            layer_codes = read_layer_codes(codes, layer, setup.part.sparse_rows, setup.saes.d_sae, setup.rules.text.activation_threshold);
            stats::check(layer_codes.codes.view());
            layer_at_hand = layer;
        }
        if (!permutations && setup.n_permutations > 0) permutations.emplace(setup.part.passed, setup.strata, setup.n_permutations, setup.seed, permutation_stream);
        const auto [first, last] = latents_of(unit);
        opened.file->write_segment(unit, record_of(compute_latents(setup, layer_codes.codes.view(), first, last, permutations ? &*permutations : nullptr)));
        return 0;
    });
    opened.file->refresh_segments();

    // Rank 0 reads what all ranks have computed; nothing is summed over ranks.
    const GroupTable table = group_table(setup);
    std::vector<std::string> field_names;
    for (const GroupField& field : setup.fields) field_names.push_back(field.name);
    std::int64_t n_baselines = 0;
    std::vector<LatentBlock> layers;
    std::vector<BaselineBlock> baselines;
    mpi::agreed(comm, [&] {
        for (std::int64_t unit = latent_units; unit < plan.n_units; ++unit) {
            baselines.push_back(baseline_block_of(opened.file->read_segment_of(unit), setup));
            n_baselines += static_cast<std::int64_t>(baselines.back().scores.size());
        }
    });
    mpi::on_first_rank(comm, [&] {
        for (std::int64_t unit = 0; unit < latent_units; ++unit) {
            const auto [first, last] = latents_of(unit);
            LatentBlock block = latent_block_of(opened.file->read_segment_of(unit), setup, last - first);
            if (unit % blocks_per_layer == 0) {
                layers.push_back(std::move(block));
                continue;
            }
            LatentBlock& layer = layers.back();
            layer.statistics.insert(layer.statistics.end(), block.statistics.begin(), block.statistics.end());
            for (std::size_t f = 0; f < layer.within.size(); ++f) layer.within[f].insert(layer.within[f].end(), block.within[f].begin(), block.within[f].end());
            layer.exceedances.insert(layer.exceedances.end(), block.exceedances.begin(), block.exceedances.end());
            layer.observed.insert(layer.observed.end(), block.observed.begin(), block.observed.end());
            for (std::size_t b = 0; b < layer.maxima.size(); ++b) layer.maxima[b] = std::max(layer.maxima[b], block.maxima[b]);
        }
        return std::string();
    });
    const io::Sizes sizes = {{"row", static_cast<std::int64_t>(setup.part.ids.size())},
                             {"tuning_row", static_cast<std::int64_t>(setup.tuning.ids.size())},
                             {"layer", n_layers},
                             {"latent", setup.saes.d_sae},
                             {"rank", options.top_k},
                             {"field", static_cast<std::int64_t>(setup.fields.size())},
                             {"group", static_cast<std::int64_t>(table.names.size())},
                             {"permutation", options.permutations},
                             {"baseline", n_baselines},
                             {"group_bytes", static_cast<std::int64_t>(name_bytes)},
                             {"baseline_bytes", static_cast<std::int64_t>(name_bytes)},
                             {"one", 1}};
    const auto layout = opened.file->lay_out(sizes, {{"task_id", io::to_bytes(setup.part.ids)},
                                                     {"passed", io::to_bytes(setup.part.passed)},
                                                     {"tuning/task_id", io::to_bytes(setup.tuning.ids)},
                                                     {"tuning/passed", io::to_bytes(setup.tuning.passed)},
                                                     {"layer", io::to_bytes(setup.saes.layers)},
                                                     {"group/field", io::pack_texts(field_names, name_bytes)},
                                                     {"group/name", io::pack_texts(table.names, name_bytes)},
                                                     {"group/of_field", io::to_bytes(table.field)},
                                                     {"group/right", io::to_bytes(table.right)},
                                                     {"group/wrong", io::to_bytes(table.wrong)},
                                                     {"group/of_row", io::to_bytes(table.of_row)}});
    Assembled assembled;
    mpi::on_first_rank(comm, [&] {
        assembled = assemble(setup, rates, codes, layers, baselines, tasks::split_part_name(split));
        return std::string();
    });
    const std::string path = layout->publish(assembled.columns, assembled.summary, measured_run(context));
    return report_from(mpi::agreed(comm, [&] { return io::ResultReader::open(path, latents_schema()); }));
}

}  // namespace pva::phases
