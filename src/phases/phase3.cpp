// Phase 3: held-out detection by latents and by plain baselines. File: docs/formats/validation.md.
#include "pva/phases/phase3.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>

#include "pva/analysis/bag_of_words.h"
#include "pva/analysis/detection.h"
#include "pva/core/error.h"
#include "pva/io/result_file.h"
#include "pva/mpi/agree.h"
#include "pva/phases/phase2.h"
#include "pva/phases/schemas.h"
#include "pva/phases/work.h"
#include "pva/sae/encode.h"
#include "pva/sae/gemma_scope.h"
#include "pva/stats/ranks.h"
#include "pva/tasks/split.h"

namespace pva::phases {

void register_options(OptionSet& set, Phase3Options& options) {
    set.add("model", options.model, "DIR", "model folder of phase 1").required();
    set.add("problems", options.problems, "FILE", "problems of phase 1").required();
    set.add("sae", options.sae, "DIR", "the SAEs of phase 2").required();
    set.add("dataset", options.dataset, "FILE", "result of pva_phase1; the newest one that fits when not given");
    set.add("splits", options.splits, "FILE", "result of pva_phase1_1; the newest one that fits when not given");
    set.add("latents", options.latents, "FILE", "result of pva_phase2 on the selection part; the newest one that fits when not given");
    set.add("candidates", options.candidates, "N", "latents of each direction that are tried, best first").at_least(1).changes_results();
    set.add_flag("fresh", options.fresh, "start over even if there is a finished or unfinished file");
    set.add_flag("dry-run", options.dry_run, "check all inputs, say what would be done, write nothing");
}

namespace {

/// A score of programs: a latent, or a plain baseline.
struct Detector {
    enum class Kind { latent, prompt_length, complexity, bag_of_words } kind = Kind::latent;
    std::string name;
    analysis::Direction positive = analysis::Direction::right;
    std::int32_t layer = -1;
    std::int32_t latent = -1;
};

/// Rows of the three parts of the split, in ascending id.
struct Rows {
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> dataset_rows;
    std::vector<std::uint8_t> passed;
    std::vector<std::uint8_t> part;
};

template <class T>
std::vector<T> chosen(const std::vector<T>& values, const Rows& rows, tasks::SplitPart part) {
    std::vector<T> result;
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (rows.part[i] == static_cast<std::uint8_t>(part)) result.push_back(values[i]);
    }
    return result;
}

double auroc_for(const std::vector<double>& scores, const std::vector<std::uint8_t>& passed, analysis::Direction positive) {
    const stats::TwoGroups groups = stats::split_by_label(scores, passed);
    const double auroc = stats::auroc(groups.positives, groups.negatives);
    return positive == analysis::Direction::right ? auroc : 1 - auroc;
}

}  // namespace

Report run_phase3(Context& context, const Phase3Options& options) {
    const auto start_time = std::chrono::steady_clock::now();
    const mpi::Communicator& comm = context.comm;
    const Study study = open_study(context, options.problems, options.model, options.dataset, options.splits);
    const ProblemRange& all = study.all;
    const ModelInput& model_input = study.model;
    const io::ResultReader& dataset = study.dataset;
    const io::ResultReader& splits = study.splits;
    nlohmann::ordered_json same_study = study.same_model;
    same_study["dataset"] = dataset.content_sha256();
    same_study["splits"] = splits.content_sha256();
    if (options.latents.empty()) same_study["split"] = "selection";
    const io::ResultReader latents = open_input(context, "latents", options.latents, "phase2", "latents", latents_schema(), same_study, "pva_phase2");
    mpi::agreed(comm, [&] {
        if (latents.identity().value("split", std::string()) != "selection") {
            throw InputError(latents.path() + ": its latents were ranked on the part " + latents.identity().value("split", std::string()) +
                             ". Latents must be chosen on selection, or the figures on the other parts mean nothing: run pva_phase2 without --split");
        }
    });

    // Rows of all parts that the dataset has.
    Rows rows;
    std::vector<std::int32_t> complexity;
    std::vector<std::int32_t> prompt_tokens;
    std::vector<std::string> texts;
    mpi::agreed(comm, [&] {
        const auto dataset_ids = dataset.read<std::int64_t>("task_id");
        const auto dataset_passed = dataset.read<std::uint8_t>("passed");
        const auto dataset_tokens = dataset.read<std::int32_t>("prompt_tokens");
        const auto split_ids = splits.read<std::int64_t>("task_id");
        const auto split_parts = splits.read<std::uint8_t>("part");
        const auto split_complexity = splits.read<std::int32_t>("complexity");
        std::vector<std::int64_t> all_ids;
        for (const tasks::Problem& problem : all.set.problems) all_ids.push_back(problem.task_id);
        for (std::size_t i = 0; i < split_ids.size(); ++i) {
            const auto found = std::lower_bound(dataset_ids.begin(), dataset_ids.end(), split_ids[i]);
            if (found == dataset_ids.end() || *found != split_ids[i]) continue;
            const auto row = found - dataset_ids.begin();
            rows.ids.push_back(split_ids[i]);
            rows.dataset_rows.push_back(row);
            rows.passed.push_back(dataset_passed[static_cast<std::size_t>(row)]);
            rows.part.push_back(split_parts[i]);
            complexity.push_back(split_complexity[i]);
            prompt_tokens.push_back(dataset_tokens[static_cast<std::size_t>(row)]);
        }
        for (const std::int64_t position : positions_of(all_ids, rows.ids, all.set.path)) texts.push_back(all.set.problems[static_cast<std::size_t>(position)].text);
        for (const tasks::SplitPart part : tasks::split_parts) {
            const std::vector<std::uint8_t> labels = chosen(rows.passed, rows, part);
            const auto right = std::count(labels.begin(), labels.end(), std::uint8_t{1});
            const auto wrong = static_cast<std::int64_t>(labels.size()) - right;
            if (right < 2 || wrong < 2) {
                throw InputError("the part " + tasks::split_part_name(part) + " has " + std::to_string(right) + " right and " + std::to_string(wrong) +
                                 " wrong programs; at least two of each are needed. Take more problems, or another model");
            }
        }
    });

    // The SAEs must be those of phase 2.
    const std::vector<LayerSae> saes = mpi::agreed(comm, [&] { return find_layer_saes(options.sae); });
    std::vector<Detector> detectors;
    const auto dataset_layers = dataset.read<std::int32_t>("layer");
    for (const analysis::Direction direction : {analysis::Direction::right, analysis::Direction::wrong}) {
        const std::string group = std::string("ranked_") + analysis::name(direction);
        const auto ranked_layer = latents.read<std::int32_t>(group + "/layer");
        const auto ranked_latent = latents.read<std::int32_t>(group + "/latent");
        for (std::size_t i = 0; i < ranked_layer.size() && static_cast<std::int64_t>(i) < options.candidates; ++i) {
            if (ranked_layer[i] < 0) break;
            detectors.push_back({Detector::Kind::latent, "latent L" + std::to_string(ranked_layer[i]) + "-" + std::to_string(ranked_latent[i]), direction, ranked_layer[i], ranked_latent[i]});
        }
        detectors.push_back({Detector::Kind::prompt_length, "prompt length", direction, -1, -1});
        detectors.push_back({Detector::Kind::complexity, "complexity", direction, -1, -1});
        detectors.push_back({Detector::Kind::bag_of_words, "words of the text", direction, -1, -1});
    }
    const auto n_detectors = static_cast<std::int64_t>(detectors.size());

    // Scores of every row by one detector. Encoding a row does not depend on the others.
    const std::int64_t d_model = dataset.shape("residual/resid_post").at(2);
    std::map<std::int32_t, sae::Sae> loaded;
    const auto scores_of = [&](const Detector& detector) {
        std::vector<double> scores;
        switch (detector.kind) {
            case Detector::Kind::prompt_length:
                scores.assign(prompt_tokens.begin(), prompt_tokens.end());
                return scores;
            case Detector::Kind::complexity:
                scores.assign(complexity.begin(), complexity.end());
                return scores;
            case Detector::Kind::bag_of_words: {
                const analysis::BagOfWords words = analysis::fit_bag_of_words(chosen(texts, rows, tasks::SplitPart::selection), chosen(rows.passed, rows, tasks::SplitPart::selection));
                scores = analysis::decision_values(words, texts);
                if (detector.positive == analysis::Direction::wrong) {
                    for (double& score : scores) score = -score;
                }
                return scores;
            }
            case Detector::Kind::latent:
                break;
        }
        if (loaded.find(detector.layer) == loaded.end()) {
            const auto file = std::find_if(saes.begin(), saes.end(), [&](const LayerSae& s) { return s.layer == detector.layer; });
            if (file == saes.end()) throw InputError("--sae " + options.sae + " has no SAE for layer " + std::to_string(detector.layer) + ", which a chosen latent needs");
            sae::Sae loaded_sae = sae::load_gemma_scope(file->path);
            const std::string wanted = latents.identity().at("saes").value(std::to_string(detector.layer), std::string());
            if (loaded_sae.sha256 != wanted) {
                throw InputError(file->path + ": not the SAE that phase 2 used for layer " + std::to_string(detector.layer) + " (another SHA-256); latent numbers of different SAEs mean different things");
            }
            sae::check_width(loaded_sae, static_cast<std::size_t>(d_model), static_cast<std::uint32_t>(detector.layer));
            loaded.emplace(detector.layer, std::move(loaded_sae));
        }
        const sae::Sae& sae = loaded.at(detector.layer);
        const auto place = std::find(dataset_layers.begin(), dataset_layers.end(), detector.layer) - dataset_layers.begin();
        // Many rows a call: the encoder's matrix is read once for all of them.
        constexpr std::size_t rows_per_call = 256;
        for (std::size_t first = 0; first < rows.dataset_rows.size(); first += rows_per_call) {
            const std::size_t count = std::min(rows_per_call, rows.dataset_rows.size() - first);
            std::vector<float> residual;
            for (std::size_t i = 0; i < count; ++i) {
                const std::vector<float> row = dataset.read_rows<float>("residual/resid_post", rows.dataset_rows[first + i], 1);
                residual.insert(residual.end(), row.begin() + place * d_model, row.begin() + (place + 1) * d_model);
            }
            const sae::CsrRows codes = sae::encode(sae, residual, count);
            for (std::size_t i = 0; i < count; ++i) {
                const auto begin = codes.latents.begin() + static_cast<std::ptrdiff_t>(codes.row_offsets[i]);
                const auto end = codes.latents.begin() + static_cast<std::ptrdiff_t>(codes.row_offsets[i + 1]);
                const auto found = std::lower_bound(begin, end, static_cast<std::uint32_t>(detector.latent));
                const bool active = found != end && *found == static_cast<std::uint32_t>(detector.latent);
                scores.push_back(active ? static_cast<double>(codes.values[static_cast<std::size_t>(found - codes.latents.begin())]) : 0.0);
            }
        }
        return scores;
    };

    context.provenance.inputs = {{"problems", all.set.path, all.set.sha256}, dataset.as_input("dataset"), splits.as_input("splits"), latents.as_input("latents"),
                                 {"model weights", model_input.files.weights, model_input.hashes.weights}};
    for (const LayerSae& file : saes) {
        const std::string layer = std::to_string(file.layer);
        if (latents.identity().at("saes").contains(layer)) {
            context.provenance.inputs.push_back({"sae of layer " + layer, file.path, latents.identity().at("saes").at(layer).get<std::string>()});
        }
    }
    std::vector<std::int64_t> held_out_ids;
    std::vector<std::uint8_t> held_out_part;
    std::vector<std::uint8_t> held_out_passed;
    for (std::size_t i = 0; i < rows.ids.size(); ++i) {
        if (rows.part[i] == static_cast<std::uint8_t>(tasks::SplitPart::selection)) continue;
        held_out_ids.push_back(rows.ids[i]);
        held_out_part.push_back(rows.part[i]);
        held_out_passed.push_back(rows.passed[i]);
    }

    constexpr std::int64_t name_bytes = 48;
    io::RunPlan plan;
    plan.schema = &validation_schema();
    plan.folder = context.folder("phase3");
    plan.prefix = "validation";
    plan.model = model_input.files.name;
    plan.range = dataset.identity().at("start").dump() + "-" + dataset.identity().at("end").dump();
    plan.sizes = {{"row", static_cast<std::int64_t>(held_out_ids.size())}, {"detector", n_detectors}, {"detector_bytes", name_bytes}};
    plan.n_units = n_detectors;
    plan.fresh = options.fresh;
    plan.provenance = context.provenance;
    plan.identity = study_identity(context, "3", *plan.schema, study);
    plan.identity["latents"] = latents.content_sha256();
    plan.identity["saes"] = latents.identity().at("saes");
    add_result_options(context, plan.identity);
    if (options.dry_run) return dry_run_report(context, plan, "detectors");

    std::vector<std::string> names;
    std::vector<std::uint8_t> positive_class;
    std::vector<std::int32_t> layers;
    std::vector<std::int32_t> latent_ids;
    std::vector<double> selection_auroc(detectors.size());
    mpi::agreed(comm, [&] {
        for (std::size_t i = 0; i < detectors.size(); ++i) {
            names.push_back(detectors[i].name);
            positive_class.push_back(detectors[i].positive == analysis::Direction::right ? 0 : 1);
            layers.push_back(detectors[i].layer);
            latent_ids.push_back(detectors[i].latent);
        }
        // Only the first rank writes what is known at creation.
        if (!context.first_rank()) return;
        for (std::size_t i = 0; i < detectors.size(); ++i) {
            std::vector<double> scores = scores_of(detectors[i]);
            if (detectors[i].kind == Detector::Kind::bag_of_words) {
                // A fitted model's own training rows say nothing: no figure rather than a flattering one.
                selection_auroc[i] = std::numeric_limits<double>::quiet_NaN();
                continue;
            }
            const double auroc = auroc_for(chosen(scores, rows, tasks::SplitPart::selection), chosen(rows.passed, rows, tasks::SplitPart::selection), detectors[i].positive);
            selection_auroc[i] = detectors[i].kind == Detector::Kind::latent ? auroc : std::max(auroc, 1 - auroc);
        }
    });

    io::OpenedResult opened = io::open_result_file(comm, context.log, plan,
                                                   {{"task_id", io::to_bytes(held_out_ids)},
                                                    {"part", io::to_bytes(held_out_part)},
                                                    {"passed", io::to_bytes(held_out_passed)},
                                                    {"detector", io::pack_texts(names, name_bytes)},
                                                    {"positive_class", io::to_bytes(positive_class)},
                                                    {"layer", io::to_bytes(layers)},
                                                    {"latent", io::to_bytes(latent_ids)},
                                                    {"selection_auroc", io::to_bytes(selection_auroc)}});

    const auto report_from = [&](const io::ResultReader& reader) {
        Report report;
        report.result_path = reader.path();
        report.summary = reader.summary();
        std::vector<std::vector<std::string>> table = {{"predicts", "by", "AUROC chosen on", "AUROC held out", "95 % interval", "F1", "always-positive F1", "balanced acc.", "MCC"}};
        for (const auto& d : report.summary["detectors"]) {
            table.push_back({d["positive_class"], d["detector"], d["selection_auroc"].is_null() ? "-" : fixed(d["selection_auroc"], 3), fixed(d["auroc"], 3),
                             "[" + fixed(d["auroc_low"], 3) + ", " + fixed(d["auroc_high"], 3) + "]", fixed(d["f1"], 3), fixed(d["always_positive_f1"], 3),
                             fixed(d["balanced_accuracy"], 3), fixed(d["mcc"], 3)});
        }
        report.lines = table_lines(table);
        report.lines.push_back("held out: " + report.summary["analysis_problems"].dump() + " problems of the analysis part, " + report.summary["analysis_right"].dump() +
                               " solved. A latent that does not beat the words of the text is a detector of the kind of problem, not of self-knowledge");
        return report;
    };
    if (!opened.file) {
        context.log.info("nothing to do: " + opened.complete_path + " is complete (--fresh makes it again)");
        return report_from(mpi::agreed(comm, [&] { return io::ResultReader::open(opened.complete_path, validation_schema()); }));
    }

    const auto labels = [&](tasks::SplitPart part) { return chosen(rows.passed, rows, part); };
    const auto selection_labels = labels(tasks::SplitPart::selection);
    const auto tuning_labels = labels(tasks::SplitPart::tuning);
    const auto analysis_labels = labels(tasks::SplitPart::analysis);
    work_through(context, *opened.file, "detectors", "", cut_into_blocks(0, n_detectors, 1), [&](const WorkBlock& block) -> std::int64_t {
        const std::int64_t unit = block.units.front();
        const Detector& detector = detectors[static_cast<std::size_t>(unit)];
        const std::vector<double> scores = scores_of(detector);
        const auto selection_scores = chosen(scores, rows, tasks::SplitPart::selection);
        const auto tuning_scores = chosen(scores, rows, tasks::SplitPart::tuning);
        const auto analysis_scores = chosen(scores, rows, tasks::SplitPart::analysis);
        const bool plain = detector.kind == Detector::Kind::prompt_length || detector.kind == Detector::Kind::complexity;
        const analysis::DetectionResult r =
            plain ? analysis::detect_baseline({selection_scores, selection_labels}, {tuning_scores, tuning_labels}, {analysis_scores, analysis_labels}, detector.positive)
                  : analysis::detect({tuning_scores, tuning_labels}, {analysis_scores, analysis_labels}, detector.positive);
        std::vector<double> held_out;
        for (std::size_t i = 0; i < scores.size(); ++i) {
            if (rows.part[i] != static_cast<std::uint8_t>(tasks::SplitPart::selection)) held_out.push_back(scores[i]);
        }
        const auto one = [](auto value) { return io::to_bytes(std::vector{value}); };
        opened.file->write_unit(unit, {{"score", io::to_bytes(held_out)},
                                       {"sign", one(static_cast<std::int32_t>(r.sign))},
                                       {"threshold", one(r.threshold)},
                                       {"tuning_f1", one(r.tuning_f1)},
                                       {"auroc", one(r.auroc)},
                                       {"auroc_standard_error", one(r.auroc_standard_error)},
                                       {"auroc_low", one(r.auroc_interval.lower)},
                                       {"auroc_high", one(r.auroc_interval.upper)},
                                       {"average_precision", one(r.average_precision)},
                                       {"base_rate", one(r.base_rate)},
                                       {"f1", one(r.f1)},
                                       {"always_positive_f1", one(r.always_positive_f1)},
                                       {"precision", one(r.precision)},
                                       {"recall", one(r.recall)},
                                       {"balanced_accuracy", one(r.balanced_accuracy)},
                                       {"mcc", one(r.mcc)},
                                       {"counts/true_positives", one(static_cast<std::uint64_t>(r.counts.true_positives))},
                                       {"counts/false_positives", one(static_cast<std::uint64_t>(r.counts.false_positives))},
                                       {"counts/true_negatives", one(static_cast<std::uint64_t>(r.counts.true_negatives))},
                                       {"counts/false_negatives", one(static_cast<std::uint64_t>(r.counts.false_negatives))}});
        return 0;
    });
    opened.file->flush();

    nlohmann::ordered_json summary;
    summary["analysis_problems"] = analysis_labels.size();
    summary["analysis_right"] = std::count(analysis_labels.begin(), analysis_labels.end(), std::uint8_t{1});
    summary["tuning_problems"] = tuning_labels.size();
    summary["selection_problems"] = selection_labels.size();
    summary["detectors"] = nlohmann::ordered_json::array();
    mpi::agreed(comm, [&] {
        std::map<std::string, std::vector<double>> figures;
        for (const std::string name : {"selection_auroc", "auroc", "auroc_low", "auroc_high", "average_precision", "base_rate", "f1", "always_positive_f1", "precision", "recall", "balanced_accuracy", "mcc", "threshold"}) {
            figures[name].resize(detectors.size());
            opened.file->read_rows(name, 0, n_detectors, std::as_writable_bytes(std::span(figures[name])));
        }
        for (std::size_t i = 0; i < detectors.size(); ++i) {
            nlohmann::ordered_json d = {{"positive_class", analysis::name(detectors[i].positive)}, {"detector", detectors[i].name}, {"layer", detectors[i].layer}, {"latent", detectors[i].latent}};
            for (const std::string name : {"selection_auroc", "auroc", "auroc_low", "auroc_high", "average_precision", "base_rate", "f1", "always_positive_f1", "precision", "recall", "balanced_accuracy", "mcc", "threshold"}) {
                d[name] = figures[name][i];  // NaN becomes null
            }
            summary["detectors"].push_back(d);
        }
    });
    const std::string path = opened.file->publish({}, summary, measured_run(context, std::chrono::duration<double>(std::chrono::steady_clock::now() - start_time).count()));
    return report_from(mpi::agreed(comm, [&] { return io::ResultReader::open(path, validation_schema()); }));
}

}  // namespace pva::phases
