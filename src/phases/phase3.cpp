// Phase 3: held-out detection by latents and by plain baselines. File: docs/formats/validation.md.
#include "pva/phases/phase3.h"

#include <algorithm>
#include <limits>
#include <map>

#include "pva/analysis/bag_of_words.h"
#include "pva/analysis/detection.h"
#include "pva/core/error.h"
#include "pva/io/result_file.h"
#include "pva/mpi/agree.h"
#include "pva/phases/schemas.h"
#include "pva/phases/work.h"
#include "pva/sae/encode.h"
#include "pva/sae/load.h"
#include "pva/stats/ranks.h"
#include "pva/tasks/split.h"

namespace pva::phases {

void register_options(OptionSet& set, Phase3Options& options) {
    register_model_option(set, options.model);
    set.add("problems", options.problems, "FILE", "problems of phase 1").required();
    register_options(set, options.sae, true);
    set.add("dataset", options.dataset, "FILE", "result of pva_phase1; the newest one that fits when not given");
    set.add("splits", options.splits, "FILE", "result of pva_phase1_1; the newest one that fits when not given");
    set.add("latents", options.latents, "FILE", "result of pva_phase2 on the selection part; the newest one that fits when not given");
    set.add("candidates", options.candidates, "N", "latents of each direction that are tried, best first").at_least(1).changes_results();
    set.add_flag("fresh", options.fresh, "start over even if there is a finished or unfinished file");
    set.add_flag("dry-run", options.dry_run, "check all inputs, say what would be done, write no result");
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

double auroc_for(const std::vector<double>& scores, const std::vector<std::uint8_t>& passed, analysis::Direction positive) {
    const stats::TwoGroups groups = stats::split_by_label(scores, passed);
    const double auroc = stats::auroc(groups.positives, groups.negatives);
    return positive == analysis::Direction::right ? auroc : 1 - auroc;
}

}  // namespace

Report run_phase3(Context& context, const Phase3Options& options) {
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
        for (const std::string key : {"site", "position"}) {
            const std::string there = latents.identity().value(key, std::string());
            const std::string here = dataset.identity().value(key, std::string());
            if (there != here) {
                throw InputError(latents.path() + ": its latents were ranked at the " + key + " " + there + ", but " + dataset.path() + " holds " + here + ", which is what phase 3 reads");
            }
        }
    });

    // Rows of all parts that the dataset has.
    StudyRows rows;
    std::vector<std::int32_t> prompt_tokens;
    std::vector<std::string> texts;
    mpi::agreed(comm, [&] {
        rows = study_rows(study);
        const auto dataset_tokens = dataset.read<std::int32_t>("prompt_tokens");
        for (const std::int64_t row : rows.dataset_rows) prompt_tokens.push_back(dataset_tokens[static_cast<std::size_t>(row)]);
        std::vector<std::int64_t> all_ids;
        for (const tasks::Problem& problem : all.set.problems) all_ids.push_back(problem.task_id);
        for (const std::int64_t position : positions_of(all_ids, rows.ids, all.set.path)) texts.push_back(all.set.problems[static_cast<std::size_t>(position)].text);
        for (const tasks::SplitPart part : tasks::split_parts) require_two_classes(study, rows, part);
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

    // Codes of every row by the SAE of a layer, which must be the one that phase 2 used. A row's code does not depend on the others.
    const std::int64_t d_model = dataset.shape("residual/resid_post").at(2);
    const auto encode_layer = [&](std::int32_t layer) {
        const auto file = std::find_if(saes.begin(), saes.end(), [&](const LayerSae& s) { return s.layer == layer; });
        if (file == saes.end()) throw InputError("--sae " + options.sae.names + " has no SAE for layer " + std::to_string(layer) + ", which a chosen latent needs");
        const sae::SaeSource source = sae::identify(file->path);
        if (sae::source_sha256(source) != latents.identity().at("saes").value(std::to_string(layer), std::string())) {
            throw InputError(file->path + ": not the SAE that phase 2 used for layer " + std::to_string(layer) + " (another SHA-256); latent numbers of different SAEs mean different things");
        }
        const sae::Sae sae = sae::load(source, load_options(options.sae));
        sae::check_width(sae, static_cast<std::size_t>(d_model), static_cast<std::uint32_t>(layer));
        const auto place = std::find(dataset_layers.begin(), dataset_layers.end(), layer) - dataset_layers.begin();
        return sae::encode(sae, dataset.read_row_parts("residual/resid_post", rows.dataset_rows, place), rows.dataset_rows.size());
    };
    std::map<std::int32_t, sae::CsrRows> codes_of_layer;
    // What counted as not firing when the latents were ranked does not fire here.
    const double activation_threshold = latents.identity().value("activation-threshold", 0.0);

    // Scores of every row by one detector.
    const auto scores_of = [&](const Detector& detector) {
        std::vector<double> scores;
        switch (detector.kind) {
            case Detector::Kind::prompt_length:
                scores.assign(prompt_tokens.begin(), prompt_tokens.end());
                return scores;
            case Detector::Kind::complexity:
                scores.assign(rows.complexity.begin(), rows.complexity.end());
                return scores;
            case Detector::Kind::bag_of_words: {
                const analysis::BagOfWords words = analysis::fit_bag_of_words(rows.of_part(texts, tasks::SplitPart::selection), rows.of_part(rows.passed, tasks::SplitPart::selection));
                scores = analysis::decision_values(words, texts);
                if (detector.positive == analysis::Direction::wrong) {
                    for (double& score : scores) score = -score;
                }
                return scores;
            }
            case Detector::Kind::latent:
                break;
        }
        // The rows of a layer are encoded once for all of its latents.
        if (codes_of_layer.find(detector.layer) == codes_of_layer.end()) codes_of_layer.emplace(detector.layer, encode_layer(detector.layer));
        const sae::CsrRows& codes = codes_of_layer.at(detector.layer);
        for (std::size_t i = 0; i < codes.n_rows(); ++i) {
            const auto begin = codes.latents.begin() + static_cast<std::ptrdiff_t>(codes.row_offsets[i]);
            const auto end = codes.latents.begin() + static_cast<std::ptrdiff_t>(codes.row_offsets[i + 1]);
            const auto found = std::lower_bound(begin, end, static_cast<std::uint32_t>(detector.latent));
            const bool active = found != end && *found == static_cast<std::uint32_t>(detector.latent);
            const double value = active ? static_cast<double>(codes.values[static_cast<std::size_t>(found - codes.latents.begin())]) : 0.0;
            scores.push_back(value > activation_threshold ? value : 0.0);
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
    for (const Detector& detector : detectors) {
        names.push_back(detector.name);
        positive_class.push_back(detector.positive == analysis::Direction::right ? 0 : 1);
        layers.push_back(detector.layer);
        latent_ids.push_back(detector.latent);
    }

    io::OpenedResult opened = io::open_result_file(comm, context.log, plan,
                                                   {{"task_id", io::to_bytes(held_out_ids)},
                                                    {"part", io::to_bytes(held_out_part)},
                                                    {"passed", io::to_bytes(held_out_passed)},
                                                    {"detector", io::pack_texts(names, name_bytes)},
                                                    {"positive_class", io::to_bytes(positive_class)},
                                                    {"layer", io::to_bytes(layers)},
                                                    {"latent", io::to_bytes(latent_ids)}});

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
        return report_from(mpi::agreed(comm, [&] { return io::ResultReader::open(opened.complete_path, validation_schema()); }));
    }

    const auto selection_labels = rows.of_part(rows.passed, tasks::SplitPart::selection);
    const auto tuning_labels = rows.of_part(rows.passed, tasks::SplitPart::tuning);
    const auto analysis_labels = rows.of_part(rows.passed, tasks::SplitPart::analysis);
    work_through(context, *opened.file, "detectors", "", cut_into_blocks(0, n_detectors, 1), [&](const WorkBlock& block) -> std::int64_t {
        const std::int64_t unit = block.units.front();
        const Detector& detector = detectors[static_cast<std::size_t>(unit)];
        const std::vector<double> scores = scores_of(detector);
        const auto selection_scores = rows.of_part(scores, tasks::SplitPart::selection);
        const auto tuning_scores = rows.of_part(scores, tasks::SplitPart::tuning);
        const auto analysis_scores = rows.of_part(scores, tasks::SplitPart::analysis);
        const bool plain = detector.kind == Detector::Kind::prompt_length || detector.kind == Detector::Kind::complexity;
        const analysis::DetectionResult r =
            plain ? analysis::detect_baseline({selection_scores, selection_labels}, {tuning_scores, tuning_labels}, {analysis_scores, analysis_labels}, detector.positive)
                  : analysis::detect({tuning_scores, tuning_labels}, {analysis_scores, analysis_labels}, detector.positive);
        // Where the score was chosen it is flattered; of a model fitted there the figure would say nothing at all.
        double selection_auroc = std::numeric_limits<double>::quiet_NaN();
        if (detector.kind != Detector::Kind::bag_of_words) {
            const double auroc = auroc_for(selection_scores, selection_labels, detector.positive);
            selection_auroc = plain ? std::max(auroc, 1 - auroc) : auroc;
        }
        std::vector<double> held_out;
        for (std::size_t i = 0; i < scores.size(); ++i) {
            if (rows.part[i] != static_cast<std::uint8_t>(tasks::SplitPart::selection)) held_out.push_back(scores[i]);
        }
        const auto one = [](auto value) { return io::to_bytes(std::vector{value}); };
        opened.file->write_unit(unit, {{"score", io::to_bytes(held_out)},
                                       {"selection_auroc", one(selection_auroc)},
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
        for (const Detector& detector : detectors) {
            summary["detectors"].push_back({{"positive_class", analysis::name(detector.positive)}, {"detector", detector.name}, {"layer", detector.layer}, {"latent", detector.latent}});
        }
        for (const std::string name : {"selection_auroc", "auroc", "auroc_low", "auroc_high", "average_precision", "base_rate", "f1", "always_positive_f1", 
                                       "precision", "recall", "balanced_accuracy", "mcc", "threshold"}) {
            std::vector<double> values(detectors.size());
            opened.file->read_rows(name, 0, n_detectors, std::as_writable_bytes(std::span(values)));
            for (std::size_t i = 0; i < detectors.size(); ++i) summary["detectors"][i][name] = values[i];  // NaN becomes null
        }
    });
    const std::string path = opened.file->publish({}, summary, measured_run(context));
    return report_from(mpi::agreed(comm, [&] { return io::ResultReader::open(path, validation_schema()); }));
}

}  // namespace pva::phases
