// Detection at every stage of writing, from the activations of all programs at those positions.
#include "pva/phases/stages.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "pva/analysis/baselines.h"
#include "pva/analysis/detection.h"
#include "pva/analysis/latent_statistics.h"
#include "pva/core/error.h"
#include "pva/io/result_file.h"
#include "pva/kernels/thread_pool.h"
#include "pva/mpi/agree.h"
#include "pva/phases/activations.h"
#include "pva/phases/schemas.h"
#include "pva/phases/segment_record.h"
#include "pva/phases/sparse_codes.h"
#include "pva/phases/work.h"
#include "pva/sae/encode.h"
#include "pva/stats/ranks.h"
#include "pva/stats/sparse_columns.h"

namespace pva::phases {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t stage_bytes = 16;
constexpr std::size_t detector_bytes = 32;
constexpr std::uint8_t token_limit = 2;  // stop_reason of the dataset
constexpr std::size_t n_detectors = 4;
constexpr std::size_t n_baselines = 4;
const std::array<std::string, n_detectors> detector_names = {"latent for right", "latent for wrong", "difference of means", "logistic probe"};
const std::array<std::string, n_baselines> baseline_names = {"words so far", "tokens so far", "mean log-probability so far", "entropy of the next token"};

/// Programs of one role that have a row at every stage and were not cut.
struct StagePart {
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> programs;  ///< rows of the dataset
    std::vector<std::uint8_t> passed;
    std::vector<std::string> texts;  ///< of the problems

    std::size_t right() const { return static_cast<std::size_t>(std::count(passed.begin(), passed.end(), std::uint8_t{1})); }
};

struct Setup {
    const io::ResultReader& activations;
    const StagesInput& input;
    const text::Tokenizer& tokenizer;
    std::vector<Position> stages;
    std::vector<std::vector<std::int64_t>> rows_of;  ///< [stage][program of the dataset] row of the file, -1: none
    std::vector<std::int32_t> layers;
    StagePart selection;
    StagePart analysis;
    std::vector<std::int32_t> position;       ///< of each row of the file
    std::vector<std::int32_t> prompt_tokens;  ///< of each program of the dataset
    std::vector<double> general_rate;         ///< [layer of the latents file, latent]
    std::vector<std::int32_t> rate_layers;
    double most_general = 1;
    std::uint64_t least_rows = 0;
    double activation_threshold = 0;
};

/// One score at one stage: where it was chosen, what it gives held out.
struct StageScore {
    std::int32_t latent = -1;
    std::int32_t sign = 1;
    double selection_auroc = nan;
    double auroc = nan, low = nan, high = nan;
    std::vector<double> scores;  ///< [analysis row]
};

/// Figures for the class that a high sign * score speaks for: passing programs, or failing ones.
void measure(StageScore& score, const StagePart& analysis, bool for_right) {
    analysis::DetectionRule rule;
    rule.positive_class = for_right ? analysis::Direction::right : analysis::Direction::wrong;
    rule.sign = score.sign;
    const analysis::DetectionFigures figures = analysis::measure(rule, {score.scores, analysis.passed});
    score.auroc = figures.auroc;
    score.low = figures.auroc_interval.lower;
    score.high = figures.auroc_interval.upper;
}

std::vector<std::int64_t> file_rows(const Setup& setup, std::size_t stage, const StagePart& part) {
    std::vector<std::int64_t> rows;
    for (const std::int64_t program : part.programs) rows.push_back(setup.rows_of[stage][static_cast<std::size_t>(program)]);
    return rows;
}

/// What counted as not firing when latents were ranked does not fire here.
sae::CsrRows above(const sae::CsrRows& codes, double threshold) {
    if (!(threshold > 0)) return codes;
    sae::CsrRows kept;
    kept.n_latents = codes.n_latents;
    for (std::size_t row = 0; row < codes.n_rows(); ++row) {
        for (std::size_t i = 0; i < codes.latents_of(row).size(); ++i) {
            if (!(static_cast<double>(codes.values_of(row)[i]) > threshold)) continue;
            kept.latents.push_back(codes.latents_of(row)[i]);
            kept.values.push_back(codes.values_of(row)[i]);
        }
        kept.row_offsets.push_back(kept.latents.size());
    }
    return kept;
}

std::vector<StageScore> layer_scores(const Setup& setup, std::size_t stage, std::int32_t layer, const sae::Sae& sae, const kernels::ThreadPool& pool) {
    const std::vector<float> chosen = read_activations(setup.activations, setup.input.site, layer, file_rows(setup, stage, setup.selection));
    const std::vector<float> tested = read_activations(setup.activations, setup.input.site, layer, file_rows(setup, stage, setup.analysis));
    std::vector<StageScore> scores(n_detectors);

    const sae::CsrRows codes = above(sae::encode(sae, chosen, setup.selection.ids.size(), pool), setup.activation_threshold);
    const sae::CsrRows held_out = above(sae::encode(sae, tested, setup.analysis.ids.size(), pool), setup.activation_threshold);
    const auto d_sae = static_cast<std::uint32_t>(sae.d_sae);
    const std::vector<analysis::LatentStatistics> statistics = analysis::latent_statistics(stats::sparse_columns(codes.view(), 0, d_sae), setup.selection.passed);
    const auto rates = static_cast<std::size_t>(std::find(setup.rate_layers.begin(), setup.rate_layers.end(), layer) - setup.rate_layers.begin());
    for (std::uint32_t j = 0; j < d_sae; ++j) {
        const analysis::LatentStatistics& s = statistics[j];
        if (s.fired_rows == 0 || s.fired_rows < setup.least_rows || setup.general_rate[rates * d_sae + j] > setup.most_general) continue;
        for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
            const double auroc = side == 0 ? s.auroc : 1 - s.auroc;
            if (auroc > 0.5 && !(auroc <= scores[side].selection_auroc)) {
                scores[side].latent = static_cast<std::int32_t>(j);
                scores[side].selection_auroc = auroc;
            }
        }
    }
    for (const std::size_t side : {std::size_t{0}, std::size_t{1}}) {
        if (scores[side].latent < 0) {
            scores[side].scores.assign(setup.analysis.ids.size(), nan);
            continue;
        }
        scores[side].scores = latent_column(held_out, static_cast<std::uint32_t>(scores[side].latent));
        measure(scores[side], setup.analysis, side == 0);
    }
    const auto d = static_cast<std::size_t>(sae.d_in);
    analysis::ProbeSettings settings;
    settings.seed = setup.input.seed;
    const analysis::LayerDirections directions = analysis::layer_directions(chosen, d, setup.selection.passed, layer, settings);
    scores[2].selection_auroc = directions.difference_of_means_auroc;
    scores[2].scores = analysis::linear_scores(directions.difference_of_means, tested);
    scores[3].selection_auroc = directions.probe_auroc;
    scores[3].scores = analysis::linear_scores(directions.probe, tested);
    for (const std::size_t i : {std::size_t{2}, std::size_t{3}}) measure(scores[i], setup.analysis, true);
    return scores;
}

/// What there is to read of the answer itself at a stage.
struct SoFar {
    std::vector<std::string> texts;
    std::array<std::vector<double>, 3> numbers;  ///< tokens, mean log-probability, entropy of the next token; NaN: not defined
    double mean_tokens = 0;
};

SoFar so_far(const Setup& setup, std::size_t stage, const StagePart& part) {
    const io::ResultReader& dataset = setup.input.study.dataset;
    SoFar result;
    for (std::size_t i = 0; i < part.programs.size(); ++i) {
        const auto program = static_cast<std::size_t>(part.programs[i]);
        const std::int64_t row = setup.rows_of[stage][program];
        const std::int64_t written = std::max<std::int64_t>(0, setup.position.at(static_cast<std::size_t>(row)) - setup.prompt_tokens[program] + 1);
        const auto tokens = dataset.read_rows<std::int32_t>("token_ids", part.programs[i], 1);
        const auto log_probability = dataset.read_rows<float>("log_probability", part.programs[i], 1);
        const auto entropy = dataset.read_rows<float>("entropy", part.programs[i], 1);
        if (written > static_cast<std::int64_t>(tokens.size())) throw InputError(setup.activations.path() + ": position " + std::to_string(written) + " of an answer of " + std::to_string(tokens.size()) + " tokens; make it again");
        const auto n = static_cast<std::size_t>(written);
        std::string text = part.texts[i] + "\n";
        double sum = 0;
        for (std::size_t t = 0; t < n; ++t) {
            setup.tokenizer.append(tokens[t], text);
            sum += log_probability[t];
        }
        result.texts.push_back(std::move(text));
        result.numbers[0].push_back(static_cast<double>(setup.prompt_tokens[program] + written));
        result.numbers[1].push_back(n > 0 ? sum / static_cast<double>(n) : nan);
        // The distribution of the token that comes next is known as soon as this one is read.
        result.numbers[2].push_back(n < tokens.size() && tokens[n] >= 0 ? static_cast<double>(entropy[n]) : nan);
        result.mean_tokens += static_cast<double>(written) / static_cast<double>(part.programs.size());
    }
    return result;
}

std::vector<StageScore> baseline_scores(const Setup& setup, std::size_t stage, double& mean_tokens) {
    const SoFar chosen = so_far(setup, stage, setup.selection);
    const SoFar tested = so_far(setup, stage, setup.analysis);
    mean_tokens = tested.mean_tokens;
    std::vector<StageScore> scores(n_baselines);
    analysis::ProbeSettings settings;
    settings.seed = setup.input.seed;
    const analysis::BaselineScores words = analysis::words_baseline(chosen.texts, setup.selection.passed, tested.texts, settings);
    scores[0].selection_auroc = analysis::fold_auroc(words.part, setup.selection.passed, words.folds).auroc;
    scores[0].scores = words.held_out;
    measure(scores[0], setup.analysis, true);
    for (std::size_t i = 0; i < chosen.numbers.size(); ++i) {
        StageScore& score = scores[i + 1];
        score.scores = tested.numbers[i];
        const auto defined = [](const std::vector<double>& values) { return std::none_of(values.begin(), values.end(), [](double v) { return std::isnan(v); }); };
        if (!defined(chosen.numbers[i]) || !defined(tested.numbers[i])) {
            score.scores.assign(score.scores.size(), nan);
            continue;
        }
        const analysis::SelectionScores on_selection{chosen.numbers[i], setup.selection.passed};
        score.sign = analysis::sign_for(on_selection, analysis::Direction::right);
        const stats::TwoGroups groups = stats::split_by_label(on_selection.scores, on_selection.passed);
        const double auroc = stats::auroc(groups.positives, groups.negatives);
        score.selection_auroc = score.sign < 0 ? 1 - auroc : auroc;
        measure(score, setup.analysis, true);
    }
    return scores;
}

std::vector<std::byte> record_of(const std::vector<StageScore>& scores, double mean_tokens) {
    RecordWriter record;
    record.add(std::vector<double>{mean_tokens});
    for (const StageScore& s : scores) {
        record.add(std::vector<std::int32_t>{s.latent, s.sign});
        record.add(std::vector<double>{s.selection_auroc, s.auroc, s.low, s.high});
        record.add(s.scores);
    }
    return std::move(record.bytes);
}

std::vector<StageScore> scores_of(std::span<const std::byte> bytes, std::size_t rows, double& mean_tokens) {
    RecordReader record{bytes};
    mean_tokens = record.take<double>(1)[0];
    std::vector<StageScore> scores(n_detectors);
    for (StageScore& s : scores) {
        const auto numbers = record.take<std::int32_t>(2);
        const auto figures = record.take<double>(4);
        s = {numbers[0], numbers[1], figures[0], figures[1], figures[2], figures[3], record.take<double>(rows)};
    }
    return scores;
}

struct Comparison {
    double difference = nan, low = nan, high = nan, p = nan;
};

Comparison compare(const StageScore& a, const StageScore& b, const StagePart& analysis, bool a_for_right) {
    if (std::isnan(a.auroc) || std::isnan(b.auroc)) return {};
    std::vector<double> first = a.scores, second = b.scores;
    for (double& value : first) value *= a_for_right ? a.sign : -a.sign;
    for (double& value : second) value *= b.sign;
    const stats::PairedDelong paired = stats::delong_paired(first, second, analysis.passed);
    const double reach = stats::two_sided_normal_quantile(0.95) * std::sqrt(paired.variance);
    return {paired.auroc_a - paired.auroc_b, paired.auroc_a - paired.auroc_b - reach, paired.auroc_a - paired.auroc_b + reach, paired.p};
}

std::string shown(double value) { return std::isnan(value) ? "-" : fixed(value, 3); }
std::string with_interval(const StageScore& s) { return std::isnan(s.auroc) ? "-" : fixed(s.auroc, 3) + " [" + shown(s.low) + ", " + shown(s.high) + "]"; }

/// Lines and summary of a finished file into the report of phase 3.
void report_stages(const io::ResultReader& reader, Report& report) {
    nlohmann::ordered_json summary = reader.summary();
    report.lines.emplace_back();
    report.lines.push_back("When does it know? AUROC on the analysis part at each stage of writing:");
    for (const std::string& line : table_lines(summary["table"].get<std::vector<std::vector<std::string>>>())) report.lines.push_back(line);
    for (const auto& note : summary["notes"]) report.lines.push_back(note.get<std::string>());
    summary["path"] = reader.path();
    report.summary["stages"] = summary;
}

void no_stages(Context& context, const std::string& why, Report& report) {
    if (context.first_rank()) context.log.info(why);
    report.lines.push_back(why);
    report.summary["stages"] = nullptr;
}

/// Why a file of activations has no stages to compare; empty when it has.
std::string what_lacks(const io::ResultReader& reader, const std::string& site) {
    const nlohmann::ordered_json& identity = reader.identity();
    if (!identity.contains("sites") || !identity["sites"].contains(site)) return "has no site " + site;
    const auto kinds = identity.value("positions", std::vector<std::int64_t>());
    const auto has = [&](PositionKind kind) { return std::find(kinds.begin(), kinds.end(), static_cast<std::int64_t>(kind)) != kinds.end(); };
    const int stages = has(PositionKind::last_prompt) + has(PositionKind::signature_end) + 10 * has(PositionKind::tenth) + has(PositionKind::last_token);
    return stages >= 2 ? "" : "has fewer than two stages of writing";
}

std::optional<io::ResultReader> find_activations(Context& context, const StagesInput& input) {
    const io::FileSchema schema = activations_schema({"resid_post"}, io::h5::Element::f32);
    const std::string dataset = input.study.dataset.content_sha256();
    std::string path = input.activations;
    if (path.empty()) {
        path = mpi::on_first_rank(context.comm, [&]() -> std::string {
            try {
                return io::find_newest(context.folder("phase1_0"), "activations", schema, {{"dataset", dataset}}, "pva_phase1", [](const std::string&) {},
                                       [&](const io::ResultReader& reader) { return what_lacks(reader, input.site); })
                    .path;
            } catch (const InputError&) {
                return "";  // there is none; the caller says so
            }
        });
        if (path.empty()) return std::nullopt;
    }
    return mpi::agreed(context.comm, [&]() -> std::optional<io::ResultReader> {
        io::ResultReader reader = io::ResultReader::open(path, schema);
        if (reader.identity().value("dataset", std::string()) != dataset) throw InputError(path + ": was not made of " + input.study.dataset.path());
        if (const std::string lack = what_lacks(reader, input.site); !lack.empty()) {
            // Named for the position of the latents alone, as it may be.
            context.log.info(path + ": " + lack);
            return std::nullopt;
        }
        context.log.info("activations: " + path);
        return reader;
    });
}

}  // namespace

void add_stages(Context& context, const StagesInput& input, Report& report) {
    const mpi::Communicator& comm = context.comm;
    const std::optional<io::ResultReader> activations = find_activations(context, input);
    if (!activations) {
        return no_stages(context, "no stages of writing: pva_phase1 --sites " + input.site + " --positions last-prompt,signature-end,tenths,last-token adds the activations to a finished dataset", report);
    }
    const text::Tokenizer tokenizer = load_tokenizer(context, input.study.model);
    Setup setup{*activations, input, tokenizer, {}, {}, {}, {}, {}, {}, {}, {}, {}};
    std::size_t cut = 0, incomplete = 0;
    mpi::agreed(comm, [&] {
        std::vector<Position> all = {{PositionKind::last_prompt, 0}, {PositionKind::signature_end, 0}};
        for (int tenth = 1; tenth <= 10; ++tenth) all.push_back({PositionKind::tenth, tenth});
        all.push_back({PositionKind::last_token, 0});
        for (const Position& stage : all) {
            std::vector<std::int64_t> rows = rows_at(*activations, stage);
            if (std::all_of(rows.begin(), rows.end(), [](std::int64_t row) { return row < 0; })) continue;
            setup.stages.push_back(stage);
            setup.rows_of.push_back(std::move(rows));
        }
        const std::vector<std::int32_t> stored = stored_layers(*activations, input.site);
        for (const std::int32_t layer : input.saes.layers) {
            if (std::find(stored.begin(), stored.end(), layer) != stored.end()) setup.layers.push_back(layer);
        }
        setup.position = activations->read<std::int32_t>("row/position");
        setup.prompt_tokens = input.study.dataset.read<std::int32_t>("prompt_tokens");
        setup.general_rate = input.latents.read<double>("general_text/rate");
        setup.rate_layers = input.latents.read<std::int32_t>("layer");
        setup.most_general = input.latents.identity().value("general-threshold", 1.0);
        setup.least_rows = input.latents.identity().value("min-rows", std::uint64_t{0});
        setup.activation_threshold = input.latents.identity().value("activation-threshold", 0.0);
        if (setup.general_rate.size() != setup.rate_layers.size() * input.saes.d_sae) throw InputError(input.latents.path() + ": its rates on general text are not those of these SAEs");
        const StudyRows rows = study_rows(input.study);
        std::map<std::int64_t, const std::string*> text_of;
        for (const tasks::Problem& problem : input.study.all.set.problems) text_of[problem.task_id] = &problem.text;
        const auto stop_reason = input.study.dataset.read<std::uint8_t>("stop_reason");
        for (std::size_t i = 0; i < rows.ids.size(); ++i) {
            const auto program = static_cast<std::size_t>(rows.dataset_rows[i]);
            const auto part = static_cast<tasks::SplitPart>(rows.part[i]);
            if (part == tasks::SplitPart::tuning) continue;  // no threshold is needed
            if (stop_reason[program] == token_limit) {
                ++cut;
                continue;
            }
            if (std::any_of(setup.rows_of.begin(), setup.rows_of.end(), [&](const std::vector<std::int64_t>& of_stage) { return of_stage[program] < 0; })) {
                ++incomplete;
                continue;
            }
            StagePart& to = part == tasks::SplitPart::selection ? setup.selection : setup.analysis;
            to.ids.push_back(rows.ids[i]);
            to.programs.push_back(rows.dataset_rows[i]);
            to.passed.push_back(rows.passed[i]);
            to.texts.push_back(*text_of.at(rows.ids[i]));
        }
    });
    const auto both = [](const StagePart& part) { return part.right() >= 2 && part.ids.size() - part.right() >= 2; };
    if (setup.layers.empty() || setup.stages.size() < 2 || !both(setup.selection) || !both(setup.analysis)) {
        return no_stages(context,
                         "no stages of writing: " + activations->path() + " has " + std::to_string(setup.stages.size()) + " stages, " + std::to_string(setup.layers.size()) + " layers with an SAE, " +
                             std::to_string(setup.selection.right()) + " right of " + std::to_string(setup.selection.ids.size()) + " programs on selection and " + std::to_string(setup.analysis.right()) + " of " +
                             std::to_string(setup.analysis.ids.size()) + " on analysis; two stages, a layer and two programs of each class are needed",
                         report);
    }

    const auto n_stages = static_cast<std::int64_t>(setup.stages.size());
    const auto n_layers = static_cast<std::int64_t>(setup.layers.size());
    const std::size_t n_rows = setup.analysis.ids.size();
    io::RunPlan plan;
    plan.schema = &stages_schema();
    plan.folder = context.folder("phase3");
    plan.prefix = "stages";
    plan.model = input.study.model.files.name;
    plan.range = input.study.dataset.identity().at("start").dump() + "-" + input.study.dataset.identity().at("end").dump();
    plan.n_units = n_stages * n_layers + n_stages;
    plan.segmented = true;
    plan.fresh = input.fresh;
    plan.provenance = context.provenance;
    plan.provenance.inputs.push_back(activations->as_input("activations"));
    plan.identity = study_identity(context, "3 stages", *plan.schema, input.study);
    plan.identity["latents"] = input.latents.content_sha256();
    plan.identity["activations"] = activations->content_sha256();
    plan.identity["site"] = input.site;
    plan.identity["saes"] = input.saes.hashes();
    plan.identity["seed"] = input.seed;
    io::OpenedResult opened = io::open_result_file(comm, context.log, plan, {});
    if (!opened.file) return report_stages(mpi::agreed(comm, [&] { return io::ResultReader::open(opened.complete_path, stages_schema()); }), report);

    const kernels::ThreadPool pool(input.threads);
    SaeShelf shelf(input.saes.paths, input.sae_options, model::Placement());
    std::vector<WorkBlock> blocks = cut_into_blocks(0, plan.n_units, 1);
    work_through(context, *opened.file, "stages and layers", "", blocks, [&](const WorkBlock& block) -> std::int64_t {
        const std::int64_t unit = block.units.front();
        double mean_tokens = nan;
        std::vector<StageScore> scores;
        if (unit < n_stages * n_layers) {
            // Stages of a layer one after the other, so that its SAE is loaded once.
            const auto layer = static_cast<std::size_t>(unit / n_stages);
            const auto place = static_cast<std::size_t>(std::find(input.saes.layers.begin(), input.saes.layers.end(), setup.layers[layer]) - input.saes.layers.begin());
            scores = layer_scores(setup, static_cast<std::size_t>(unit % n_stages), setup.layers[layer], shelf.at(place), pool);
        } else {
            scores = baseline_scores(setup, static_cast<std::size_t>(unit - n_stages * n_layers), mean_tokens);
        }
        opened.file->write_segment(unit, record_of(scores, mean_tokens));
        return 0;
    });
    opened.file->refresh_segments();

    std::vector<std::string> stage_names;
    for (const Position& stage : setup.stages) stage_names.push_back(position_name(stage));
    const auto layout = opened.file->lay_out({{"row", static_cast<std::int64_t>(n_rows)},
                                              {"stage", n_stages},
                                              {"layer", n_layers},
                                              {"detector", static_cast<std::int64_t>(n_detectors)},
                                              {"baseline", static_cast<std::int64_t>(n_baselines)},
                                              {"stage_bytes", static_cast<std::int64_t>(stage_bytes)},
                                              {"detector_bytes", static_cast<std::int64_t>(detector_bytes)}},
                                             {{"task_id", io::to_bytes(setup.analysis.ids)},
                                              {"passed", io::to_bytes(setup.analysis.passed)},
                                              {"stage", io::pack_texts(stage_names, stage_bytes)},
                                              {"layer", io::to_bytes(setup.layers)},
                                              {"detector", io::pack_texts({detector_names.begin(), detector_names.end()}, detector_bytes)},
                                              {"baseline", io::pack_texts({baseline_names.begin(), baseline_names.end()}, detector_bytes)}});
    io::Columns columns;
    nlohmann::ordered_json summary;
    mpi::on_first_rank(comm, [&] {
        std::vector<std::int32_t> latent, sign, best_layer;
        std::vector<double> tokens, score, baseline_score;
        std::map<std::string, std::vector<double>> figures;
        std::vector<std::vector<std::string>> table = {{"stage", "tokens written"}};
        for (const std::string& name : detector_names) {
            table.front().push_back("layer");
            table.front().push_back(name);
        }
        for (const std::string& name : baseline_names) table.front().push_back(name);
        const auto add = [&](const std::string& prefix, const StageScore& s) {
            figures[prefix + "selection_auroc"].push_back(s.selection_auroc);
            figures[prefix + "auroc"].push_back(s.auroc);
            figures[prefix + "auroc_low"].push_back(s.low);
            figures[prefix + "auroc_high"].push_back(s.high);
        };
        std::vector<StageScore> first(n_detectors);
        summary["stages"] = nlohmann::ordered_json::array();
        for (std::int64_t stage = 0; stage < n_stages; ++stage) {
            std::vector<StageScore> best(n_detectors);
            std::vector<std::int32_t> chosen(n_detectors, 0);
            for (std::int64_t layer = 0; layer < n_layers; ++layer) {
                double none = nan;
                const std::vector<StageScore> scores = scores_of(opened.file->read_segment_of(layer * n_stages + stage), n_rows, none);
                for (std::size_t d = 0; d < n_detectors; ++d) {
                    latent.push_back(scores[d].latent);
                    add("", scores[d]);
                    score.insert(score.end(), scores[d].scores.begin(), scores[d].scores.end());
                    if (layer == 0 || scores[d].selection_auroc > best[d].selection_auroc || (std::isnan(best[d].selection_auroc) && !std::isnan(scores[d].selection_auroc))) {
                        best[d] = scores[d];
                        chosen[d] = static_cast<std::int32_t>(layer);
                    }
                }
            }
            double written = nan;
            const std::vector<StageScore> baselines = scores_of(opened.file->read_segment_of(n_stages * n_layers + stage), n_rows, written);
            tokens.push_back(written);
            if (stage == 0) first = best;
            nlohmann::ordered_json entry = {{"stage", stage_names[static_cast<std::size_t>(stage)]}, {"tokens_written", written}, {"detectors", nlohmann::ordered_json::array()}, {"baselines", nlohmann::ordered_json::array()}};
            std::vector<std::string> cells = {stage_names[static_cast<std::size_t>(stage)], fixed(written, 1)};
            for (std::size_t d = 0; d < n_detectors; ++d) {
                best_layer.push_back(chosen[d]);
                const bool for_right = d != 1;
                const Comparison words = compare(best[d], baselines[0], setup.analysis, for_right);
                StageScore base = first[d];
                if (!for_right) base.sign = -base.sign;
                const Comparison start = stage == 0 ? Comparison{0, 0, 0, 1} : compare(best[d], base, setup.analysis, for_right);
                for (const auto& [folder, c] : {std::pair{"against_words/", words}, std::pair{"against_first/", start}}) {
                    figures[std::string(folder) + "difference"].push_back(c.difference);
                    figures[std::string(folder) + "low"].push_back(c.low);
                    figures[std::string(folder) + "high"].push_back(c.high);
                    figures[std::string(folder) + "p"].push_back(c.p);
                }
                const std::int32_t layer = setup.layers[static_cast<std::size_t>(chosen[d])];
                entry["detectors"].push_back({{"detector", detector_names[d]}, {"layer", layer}, {"latent", best[d].latent}, {"selection_auroc", best[d].selection_auroc}, {"auroc", best[d].auroc}, {"auroc_low", best[d].low},
                                              {"auroc_high", best[d].high}, {"against_words", words.difference}, {"against_words_p", words.p}, {"against_first", start.difference}, {"against_first_p", start.p}});
                cells.push_back(std::to_string(layer) + (best[d].latent < 0 ? "" : "-" + std::to_string(best[d].latent)));
                cells.push_back(with_interval(best[d]));
            }
            for (std::size_t b = 0; b < n_baselines; ++b) {
                sign.push_back(baselines[b].sign);
                add("baseline_", baselines[b]);
                baseline_score.insert(baseline_score.end(), baselines[b].scores.begin(), baselines[b].scores.end());
                entry["baselines"].push_back({{"baseline", baseline_names[b]}, {"auroc", baselines[b].auroc}, {"auroc_low", baselines[b].low}, {"auroc_high", baselines[b].high}});
                cells.push_back(with_interval(baselines[b]));
            }
            summary["stages"].push_back(entry);
            table.push_back(cells);
        }
        columns = {{"tokens_written", io::to_bytes(tokens)}, {"latent", io::to_bytes(latent)},         {"score", io::to_bytes(score)},
                   {"baseline_score", io::to_bytes(baseline_score)}, {"baseline_sign", io::to_bytes(sign)}, {"best_layer", io::to_bytes(best_layer)}};
        for (const auto& [name, values] : figures) columns[name] = io::to_bytes(values);
        summary["selection_problems"] = setup.selection.ids.size();
        summary["analysis_problems"] = n_rows;
        summary["analysis_right"] = setup.analysis.right();
        summary["cut_at_token_limit"] = cut;
        summary["without_a_stage"] = incomplete;
        summary["table"] = table;
        summary["notes"] = {"latents, directions and layers are chosen on " + std::to_string(setup.selection.ids.size()) + " programs of selection at each stage anew and measured on " + std::to_string(n_rows) +
                                " of analysis, " + std::to_string(setup.analysis.right()) + " of them right; the same programs at all stages",
                            "left out: " + std::to_string(cut) + " programs cut at the token limit, " + std::to_string(incomplete) + " that lack a stage. The first notebook read the last token: there the answer is seen"};
        return std::string();
    });
    const std::string path = layout->publish(columns, summary, measured_run(context));
    report_stages(mpi::agreed(comm, [&] { return io::ResultReader::open(path, stages_schema()); }), report);
}

}  // namespace pva::phases
