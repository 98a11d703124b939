// Phase 1.2: sampled programs by temperature. File: docs/formats/temperatures.md.
#include "pva/phases/phase1_2.h"

#include <algorithm>
#include <map>

#include "pva/core/comma_list.h"
#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/io/result_file.h"
#include "pva/mpi/agree.h"
#include "pva/phases/model_setup.h"
#include "pva/phases/schemas.h"
#include "pva/phases/verdict_columns.h"
#include "pva/tasks/pass_at_k.h"

namespace pva::phases {

void register_options(OptionSet& set, Phase12Options& options) {
    register_model_option(set, options.model);
    set.add("problems", options.problems, "FILE", "the problems file of phase 1").required();
    set.add("dataset", options.dataset, "FILE", "greedy result of pva_phase1, which temperature 0 is taken from; the newest one that fits when not given");
    set.add("splits", options.splits, "FILE", "result of pva_phase1_1; the newest one that fits when not given");
    set.add("part", options.part, "NAME", "part of the split whose problems are taken").one_of({"selection", "tuning", "analysis"}).changes_results();
    set.add("temperatures", options.temperatures, "LIST", "temperatures above 0, separated by commas").list().changes_results();
    set.add("samples", options.samples, "N", "programs for each problem at each temperature").at_least(1).changes_results();
    register_options(set, options.writing);
    register_options(set, options.placement);
    set.add_flag("fresh", options.fresh, "start over even if there is a finished or unfinished file");
    set.add_flag("dry-run", options.dry_run, "check all inputs, say what would be done, write no result");
    register_options(set, options.python);
}

namespace {

constexpr std::int64_t bootstrap_resamples = 10000;
constexpr std::uint64_t bootstrap_seed = 12;

std::vector<double> read_temperatures(const std::string& list) {
    std::vector<double> temperatures;
    for (const std::string& item : split_at_commas(list)) {
        std::size_t used = 0;
        double value = 0;
        try {
            value = std::stod(item, &used);
        } catch (const std::exception&) {
            used = 0;
        }
        if (item.empty() || used != item.size() || !(value > 0))
            throw UsageError("--temperatures " + list + ": '" + item + "' is no temperature above 0 (temperature 0 is taken from phase 1)");
        if (std::find(temperatures.begin(), temperatures.end(), value) != temperatures.end()) throw UsageError("--temperatures " + list + ": " + item + " stands twice");
        temperatures.push_back(value);
    }
    return temperatures;
}

/// What the summary is made of: rows are problems times temperatures times samples, in this order.
struct Figures {
    std::vector<std::uint8_t> passed;
    std::vector<std::uint8_t> greedy_passed;
    std::vector<double> temperatures;
    std::int64_t samples = 1;
};

Report report_of(const Figures& figures) {
    const std::size_t problems = figures.greedy_passed.size();
    Report report;
    report.summary["problems"] = problems;
    report.summary["samples"] = figures.samples;
    std::int64_t greedy = 0;
    for (const std::uint8_t passed : figures.greedy_passed) greedy += passed;
    std::vector<std::int64_t> ks = {1};
    if (figures.samples > 1) ks.push_back(figures.samples);
    std::vector<std::string> header = {"temperature", "programs", "right", "problems solved"};
    for (const std::int64_t k : ks) {
        header.push_back("pass@" + std::to_string(k));
        header.emplace_back("95 % interval");
    }
    std::vector<std::vector<std::string>> table = {header};
    std::vector<std::string> greedy_line = {"0 (phase 1)", std::to_string(problems), std::to_string(greedy), std::to_string(greedy)};
    report.summary["temperatures"] = nlohmann::ordered_json::array();
    const auto add = [&](double temperature, const std::vector<tasks::SampleCount>& counts, std::vector<std::string> line, std::int64_t right, std::int64_t solved) {
        nlohmann::ordered_json entry = {{"temperature", temperature}, {"right", right}, {"problems_solved", solved}, {"pass_at_k", nlohmann::ordered_json::object()}};
        for (const std::int64_t k : ks) {
            const auto result = tasks::mean_pass_at_k(counts, k, bootstrap_resamples, bootstrap_seed);
            if (!result) {
                line.insert(line.end(), {"", ""});
                continue;
            }
            entry["pass_at_k"][std::to_string(k)] = {{"mean", result->mean}, {"lower", result->lower}, {"upper", result->upper}};
            line.push_back(fixed(result->mean, 4));
            line.push_back(fixed(result->lower, 4) + " - " + fixed(result->upper, 4));
        }
        report.summary["temperatures"].push_back(entry);
        table.push_back(std::move(line));
    };
    std::vector<tasks::SampleCount> counts;
    for (const std::uint8_t passed : figures.greedy_passed) counts.push_back({1, passed});
    add(0, counts, greedy_line, greedy, greedy);
    for (std::size_t t = 0; t < figures.temperatures.size(); ++t) {
        counts.clear();
        std::int64_t right = 0;
        std::int64_t solved = 0;
        for (std::size_t problem = 0; problem < problems; ++problem) {
            std::int64_t here = 0;
            for (std::int64_t sample = 0; sample < figures.samples; ++sample)
                here += figures.passed[(problem * figures.temperatures.size() + t) * static_cast<std::size_t>(figures.samples) + static_cast<std::size_t>(sample)];
            counts.push_back({figures.samples, here});
            right += here;
            solved += here > 0 ? 1 : 0;
        }
        add(figures.temperatures[t], counts, {fixed(figures.temperatures[t], 2), std::to_string(static_cast<std::int64_t>(problems) * figures.samples), std::to_string(right), std::to_string(solved)}, right, solved);
    }
    report.lines = table_lines(table);
    report.lines.push_back("intervals: problems resampled, " + std::to_string(bootstrap_resamples) + " times");
    return report;
}

Report report_of(const io::ResultReader& reader) {
    const auto samples = static_cast<std::int64_t>(reader.identity().at("samples").get<std::int64_t>());
    Report report = report_of(Figures{reader.read<std::uint8_t>("passed"), reader.read<std::uint8_t>("greedy/passed"), reader.identity().at("temperatures").get<std::vector<double>>(), samples});
    report.result_path = reader.path();
    return report;
}

}  // namespace

Report run_phase1_2(Context& context, const Phase12Options& options) {
    const mpi::Communicator& comm = context.comm;
    const std::vector<double> temperatures = mpi::agreed(comm, [&] { return read_temperatures(options.temperatures); });
    const Study study = open_study(context, options.problems, options.model, options.dataset, options.splits);
    const StudyRows all_rows = study_rows(study);
    const tasks::SplitPart part = tasks::split_part_from_name(options.part);
    const std::vector<std::int64_t> wanted = all_rows.of_part(all_rows.ids, part);
    const std::vector<std::uint8_t> greedy_passed = all_rows.of_part(all_rows.passed, part);
    const std::vector<std::int32_t> complexity = all_rows.of_part(all_rows.complexity, part);

    const tasks::PromptTemplate prompt_template = tasks::prompt_template_from_name(options.writing.prompt);
    const nlohmann::ordered_json& dataset_identity = study.dataset.identity();
    std::vector<tasks::Problem> problems;
    mpi::agreed(comm, [&] {
        // Temperature 0 must differ from the others in the temperature alone.
        const auto same = [&](const std::string& key, const nlohmann::ordered_json& here) {
            if (dataset_identity.at(key) != here) {
                throw InputError(study.dataset.path() + ": made with --" + key + " " + dataset_identity.at(key).dump() + ", but this run has " + here.dump() +
                                 "; temperature 0 is taken from it, so both must be the same");
            }
        };
        same("prompt", options.writing.prompt);
        same("extraction", options.writing.extraction);
        same("max-new-tokens", options.writing.max_new_tokens);
        same("stop-strings", options.writing.stop_strings);
        if (dataset_identity.at("temperature").get<double>() != 0)
            throw InputError(study.dataset.path() + ": made at temperature " + dataset_identity.at("temperature").dump() + "; give the greedy one (temperature 0)");
        std::map<std::int64_t, const tasks::Problem*> by_id;
        for (const tasks::Problem& problem : study.all.set.problems) by_id[problem.task_id] = &problem;
        for (const std::int64_t id : wanted) problems.push_back(*by_id.at(id));
        if (problems.empty()) throw InputError("the part " + options.part + " of the split holds no problem of the dataset");
    });
    const text::Tokenizer tokenizer = load_tokenizer(context, study.model);
    const int threads = thread_count(context, options.writing.threads);
    GenerationPlan generation;
    generation.test_workers = options.python.test_workers;
    generation.problems = prompted_problems(context, problems, prompt_template, tokenizer);
    generation.temperatures = temperatures;
    generation.samples = options.samples;
    generation.writing = options.writing;
    generation.threads = threads;
    mpi::agreed(comm, [&] {
        check_plan(generation);
        if (generation.problems.size() != wanted.size()) throw InternalError("the dataset holds problems that its own prompt shows as examples");
    });

    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> samples;
    std::vector<double> row_temperatures;
    std::vector<std::int32_t> row_complexity;
    std::vector<std::string> prompt_hashes;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        const std::string hash = sha256_hex(generation.problems[i].prompt);
        for (const double temperature : temperatures) {
            for (std::int64_t sample = 0; sample < options.samples; ++sample) {
                ids.push_back(wanted[i]);
                samples.push_back(static_cast<std::int32_t>(sample));
                row_temperatures.push_back(temperature);
                row_complexity.push_back(complexity[i]);
                prompt_hashes.push_back(hash);
            }
        }
    }

    const model::Placement placement = place_model(context, options.placement);
    const auto pass_of = [&](std::int64_t batch_size) { return generation.pass_size(batch_size); };
    generation.writing.batch_size = fit_batch_size(context, study.model.files, placement, options.placement, options.writing.batch_size, pass_of);
    const model::Model model = load_model(context, study.model.files, placement, options.placement, pass_of(generation.writing.batch_size), threads);
    mpi::agreed(comm, [&] { check_tokenizer(tokenizer, model.config().vocab_size, study.model); });

    context.provenance.inputs.push_back({"problems", study.all.set.path, study.all.set.sha256});
    context.provenance.inputs.push_back({"model config", study.model.files.config, study.model.hashes.config});
    context.provenance.inputs.push_back({"model weights", study.model.files.weights, study.model.hashes.weights});
    context.provenance.inputs.push_back({"tokenizer", study.model.files.tokenizer, tokenizer.sha256()});
    context.provenance.inputs.push_back(study.dataset.as_input("dataset"));
    context.provenance.inputs.push_back(study.splits.as_input("splits"));

    io::RunPlan plan;
    plan.schema = &temperatures_schema();
    plan.folder = context.folder("phase1_2");
    plan.prefix = "temperatures";
    plan.model = study.model.files.name;
    plan.range = study.dataset.identity().at("start").dump() + "-" + study.dataset.identity().at("end").dump();
    plan.suffix = options.part;
    plan.sizes = {{"problem", static_cast<std::int64_t>(wanted.size())},
                  {"row", generation.rows()},
                  {"token", options.writing.max_new_tokens},
                  {"output_bytes", std::max<std::int64_t>(256, 8 * options.writing.max_new_tokens)},
                  {"sha256_digits", 64},
                  {"detail_bytes", detail_bytes}};
    plan.n_units = generation.units();
    plan.fresh = options.fresh;
    plan.provenance = context.provenance;
    plan.identity = {{"phase", "1.2"},
                     {"format_version", plan.schema->version},
                     {"pva_version", context.provenance.build.version},
                     {"model", study.model.files.name},
                     {"model_config", study.model.hashes.config},
                     {"model_weights", study.model.hashes.weights},
                     {"tokenizer", tokenizer.sha256()},
                     {"problems", study.all.set.sha256},
                     {"dataset", study.dataset.content_sha256()},
                     {"splits", study.splits.content_sha256()},
                     {"temperatures", temperatures},
                     {"prompt_template_sha256", tasks::prompt_template_sha256(prompt_template)},
                     {"eos_token_ids", model.config().eos_token_ids}};
    add_result_options(context, plan.identity);
    plan.identity["batch-size"] = generation.writing.batch_size;
    add_placement(plan.identity, placement, threads);
    if (options.dry_run) return dry_run_report(context, plan, "problems at a temperature");

    io::OpenedResult opened = io::open_result_file(comm, context.log, plan,
                                                   {{"task_id", io::to_bytes(ids)},
                                                    {"sample", io::to_bytes(samples)},
                                                    {"temperature", io::to_bytes(row_temperatures)},
                                                    {"complexity", io::to_bytes(row_complexity)},
                                                    {"prompt_sha256", io::pack_texts(prompt_hashes, 64)},
                                                    {"greedy/task_id", io::to_bytes(wanted)},
                                                    {"greedy/passed", io::to_bytes(greedy_passed)}});
    if (!opened.file) return report_of(mpi::agreed(comm, [&] { return io::ResultReader::open(opened.complete_path, temperatures_schema()); }));
    io::ResultFile& file = *opened.file;
    const GenerationUse use = generate_programs(context, model, tokenizer, file, plan.sizes, generation);
    file.flush();
    nlohmann::ordered_json measured = measured_run(context);
    measured["generation"] = use.measured;

    // The summary is computed from the file as it stands, so that it does not depend on which run wrote what.
    Figures figures{{}, greedy_passed, temperatures, options.samples};
    mpi::agreed(comm, [&] {
        figures.passed.resize(static_cast<std::size_t>(generation.rows()));
        file.read_rows("passed", 0, generation.rows(), std::as_writable_bytes(std::span(figures.passed)));
    });
    const std::string path = file.publish({}, report_of(figures).summary, measured);
    Report report = report_of(mpi::agreed(comm, [&] { return io::ResultReader::open(path, temperatures_schema()); }));
    report.lines.insert(report.lines.begin(), use.lines.begin(), use.lines.end());
    report.summary["measured"] = use.measured;
    return report;
}

}  // namespace pva::phases
