// Phase 1: generate, test, capture. File: docs/formats/dataset.md.
#include "pva/phases/phase1.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>

#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/generate/engine.h"
#include "pva/io/result_file.h"
#include "pva/mpi/agree.h"
#include "pva/phases/model_setup.h"
#include "pva/phases/schemas.h"
#include "pva/phases/verdict_columns.h"
#include "pva/phases/work.h"
#include "pva/tasks/difficulty.h"
#include "pva/tasks/extraction.h"
#include "pva/tasks/prompt.h"
#include "pva/text/tokenizer.h"

namespace pva::phases {

void register_options(OptionSet& set, Phase1Options& options) {
    register_model_option(set, options.model);
    set.add("problems", options.problems, "FILE", "problems as JSONL or JSONL.GZ with MBPP's or HumanEval's fields").required();
    set.add("difficulty-mapping", options.difficulty, "FILE", "result of pva_phase0, stored with each problem; the newest one that fits when not given");
    register_options(set, options.range);
    register_options(set, options.writing);
    set.add("temperature", options.temperature, "T", "0: always the most probable token; above 0: draw").at_least(0).changes_results();
    set.add("samples", options.samples, "N", "programs for each problem; rows of the file are problems times samples").at_least(1).changes_results();
    set.add("layers", options.layers, "LIST", "layers whose residual stream is stored, such as 0,5,10-12; all when not given").list().changes_results();
    register_options(set, options.activations);
    register_options(set, options.placement);
    set.add_flag("fresh", options.fresh, "start over even if there is a finished or unfinished file");
    set.add_flag("dry-run", options.dry_run, "check all inputs, say what would be done, write no result");
    register_options(set, options.python);
}

Report dataset_report(const DatasetColumns& columns) {
    const auto n = static_cast<std::int64_t>(columns.verdict.size());
    const auto percent = [](std::int64_t part, std::int64_t whole) { return fixed(100.0 * static_cast<double>(part) / static_cast<double>(whole), 1) + " %"; };
    Report report;
    std::map<std::uint8_t, std::int64_t> by_verdict;
    std::int64_t solved = 0;
    std::int64_t total_tokens = 0;
    std::int64_t at_limit = 0;
    std::array<std::array<std::int64_t, 2>, 4> strata{};  // easy, medium, hard, unknown: problems, solved
    for (std::size_t i = 0; i < columns.verdict.size(); ++i) {
        ++by_verdict[columns.verdict[i]];
        solved += columns.passed[i];
        total_tokens += columns.generated_tokens[i];
        at_limit += columns.stop_reason[i] == static_cast<std::uint8_t>(generate::StopReason::limit) ? 1 : 0;
        const std::size_t stratum = columns.complexity[i] < 0 ? 3 : static_cast<std::size_t>(tasks::difficulty_stratum(columns.complexity[i]));
        ++strata[stratum][0];
        strata[stratum][1] += columns.passed[i];
    }
    report.summary["problems"] = n / columns.samples;
    if (columns.samples > 1) report.summary["programs"] = n;
    report.summary["solved"] = solved;
    report.summary["pass_at_1"] = static_cast<double>(solved) / static_cast<double>(n);
    report.summary["generated_tokens"] = total_tokens;
    report.summary["stopped_at_token_limit"] = at_limit;
    report.summary["verdicts"] = nlohmann::ordered_json::object();
    report.summary["solved_by_difficulty"] = nlohmann::ordered_json::object();
    const std::string rows = columns.samples > 1 ? "programs" : "problems";
    std::vector<std::vector<std::string>> table = {{"verdict", rows, "share"}};
    for (const auto& [verdict, count] : by_verdict) {
        const std::string name(exec::to_string(static_cast<exec::Verdict>(verdict)));
        report.summary["verdicts"][name] = count;
        table.push_back({name, std::to_string(count), percent(count, n)});
    }
    report.lines = table_lines(table);
    table = {{"difficulty", rows, "solved", "share"}};
    const std::array<const char*, 4> names = {"easy", "medium", "hard", "unknown"};
    for (std::size_t s = 0; s < names.size(); ++s) {
        if (strata[s][0] == 0) continue;
        report.summary["solved_by_difficulty"][names[s]] = {{"problems", strata[s][0]}, {"solved", strata[s][1]}};
        table.push_back({names[s], std::to_string(strata[s][0]), std::to_string(strata[s][1]), percent(strata[s][1], strata[s][0])});
    }
    for (const std::string& line : table_lines(table)) report.lines.push_back(line);
    report.lines.push_back(std::to_string(solved) + " of " + std::to_string(n) + " " + rows + (columns.samples > 1 ? " right; " : " solved; ") + std::to_string(at_limit) + " answers were cut at the token limit");
    return report;
}

DatasetColumns read_columns(Context& context, const io::ResultFile& file) {
    DatasetColumns columns;
    mpi::agreed(context.comm, [&] {
        const std::int64_t rows = file.shape("task_id").at(0);
        const auto read = [&](const std::string& name, auto& values) {
            values.resize(static_cast<std::size_t>(rows));
            file.read_rows(name, 0, rows, std::as_writable_bytes(std::span(values)));
        };
        read("verdict", columns.verdict);
        read("passed", columns.passed);
        read("stop_reason", columns.stop_reason);
        read("generated_tokens", columns.generated_tokens);
        read("complexity", columns.complexity);
        columns.samples = rows / std::max<std::int64_t>(1, file.n_units());
    });
    return columns;
}

Report dataset_report(Context& context, const std::string& path) {
    const io::ResultReader reader = mpi::agreed(context.comm, [&] { return io::ResultReader::open(path, dataset_schema()); });
    Report report = dataset_report(DatasetColumns{reader.read<std::uint8_t>("verdict"), reader.read<std::uint8_t>("passed"), reader.read<std::uint8_t>("stop_reason"),
                                                  reader.read<std::int32_t>("generated_tokens"), reader.read<std::int32_t>("complexity"),
                                                  std::max<std::int64_t>(1, reader.shape("task_id").at(0) / reader.shape("residual/resid_post").at(0))});
    report.result_path = path;
    return report;
}

namespace {

/// The largest pass when whole answers are read again, four at a time.
model::PassSize pass_with_answers(const GenerationPlan& plan, std::int64_t batch_size) {
    model::PassSize pass = plan.pass_size(batch_size);
    pass.prefill_tokens = std::max(pass.prefill_tokens, 4 * (plan.longest_prompt() + plan.writing.max_new_tokens));
    return pass;
}

}  // namespace

Report run_phase1(Context& context, const Phase1Options& options) {
    const mpi::Communicator& comm = context.comm;
    const ProblemRange range = load_range(context, options.problems, options.range);
    const tasks::PromptTemplate prompt_template = tasks::prompt_template_from_name(options.writing.prompt);
    const ModelInput model_input = find_model(context, options.model);
    const text::Tokenizer tokenizer = load_tokenizer(context, model_input);
    const int threads = thread_count(context, options.writing.threads);
    GenerationPlan generation;
    generation.test_workers = options.python.test_workers;
    generation.problems = prompted_problems(context, range.problems(), prompt_template, tokenizer);
    generation.temperatures = {options.temperature};
    generation.samples = options.samples;
    generation.writing = options.writing;
    generation.threads = threads;
    mpi::agreed(comm, [&] {
        check_plan(generation);
        position_kinds(options.activations.positions);
    });
    const auto n = static_cast<std::int64_t>(generation.problems.size());
    const std::int64_t rows = generation.rows();

    // Difficulty is a label for later tables: without it the run goes on and says so.
    std::vector<std::int32_t> complexity(static_cast<std::size_t>(n), -1);
    std::string difficulty_hash;
    const std::string difficulty_path = mpi::on_first_rank(comm, [&]() -> std::string {
        if (!options.difficulty.empty()) return options.difficulty;
        try {
            return io::find_newest(context.folder("phase0"), "difficulty", difficulty_schema(), {{"problems", range.set.sha256}}, "pva_phase0",
                                   [&](const std::string& text) { context.log.warning("difficulty: " + text); })
                .path;
        } catch (const InputError&) {
            context.log.info("difficulty: none found in " + context.folder("phase0") + "; complexity is stored as -1 (pva_phase0 makes it)");
            return "";
        }
    });
    if (!difficulty_path.empty()) {
        const io::ResultReader reader = open_input(context, "difficulty", difficulty_path, "phase0", "difficulty", difficulty_schema(), {{"problems", range.set.sha256}}, "pva_phase0");
        const auto ids = reader.read<std::int64_t>("task_id");
        const auto values = reader.read<std::int32_t>("complexity");
        std::map<std::int64_t, std::int32_t> by_id;
        for (std::size_t i = 0; i < ids.size(); ++i) by_id[ids[i]] = values[i];
        for (std::int64_t i = 0; i < n; ++i) {
            const auto found = by_id.find(generation.problems[static_cast<std::size_t>(i)].problem.task_id);
            if (found != by_id.end()) complexity[static_cast<std::size_t>(i)] = found->second;
        }
        difficulty_hash = reader.content_sha256();
        context.provenance.inputs.push_back(reader.as_input("difficulty"));
    }
    context.provenance.inputs.push_back({"problems", range.set.path, range.set.sha256});
    context.provenance.inputs.push_back({"model config", model_input.files.config, model_input.hashes.config});
    context.provenance.inputs.push_back({"model weights", model_input.files.weights, model_input.hashes.weights});
    context.provenance.inputs.push_back({"tokenizer", model_input.files.tokenizer, tokenizer.sha256()});

    // Columns with one entry a row: a problem's stand side by side.
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> samples;
    std::vector<double> temperatures(static_cast<std::size_t>(rows), options.temperature);
    std::vector<std::int32_t> row_complexity;
    std::vector<std::int32_t> prompt_lengths;
    std::vector<std::string> prompt_hashes;
    std::vector<std::string> families;
    std::int64_t family_bytes = 1;
    for (std::size_t i = 0; i < generation.problems.size(); ++i) {
        const PromptedProblem& problem = generation.problems[i];
        family_bytes = std::max(family_bytes, static_cast<std::int64_t>(problem.problem.family.size()));
        const std::string hash = sha256_hex(problem.prompt);
        for (std::int64_t sample = 0; sample < options.samples; ++sample) {
            ids.push_back(problem.problem.task_id);
            samples.push_back(static_cast<std::int32_t>(sample));
            row_complexity.push_back(complexity[i]);
            prompt_lengths.push_back(static_cast<std::int32_t>(problem.tokens.size()));
            prompt_hashes.push_back(hash);
            families.push_back(problem.problem.family);
        }
    }

    const bool with_activations = wants_activations(options.activations);
    const model::Placement placement = place_model(context, options.placement);
    const auto pass_of = [&](std::int64_t batch_size) { return with_activations ? pass_with_answers(generation, batch_size) : generation.pass_size(batch_size); };
    generation.writing.batch_size = fit_batch_size(context, model_input.files, placement, options.placement, options.writing.batch_size, pass_of);
    const model::Model model = load_model(context, model_input.files, placement, options.placement, pass_of(generation.writing.batch_size), threads);
    mpi::agreed(comm, [&] {
        check_tokenizer(tokenizer, model.config().vocab_size, model_input);
        if (with_activations) model::parse_sites(options.activations.sites, read_layers(options.layers), model.config());
    });
    generation.capture.site = model::Site::resid_post;
    generation.capture.layers = mpi::agreed(comm, [&] { return read_layers(options.layers); });
    if (generation.capture.layers.empty()) {
        for (int layer = 0; layer < model.config().num_hidden_layers; ++layer) generation.capture.layers.push_back(layer);
    }
    mpi::agreed(comm, [&] { model::check_capture_request(generation.capture, model.config()); });
    const std::vector<std::int32_t> layers(generation.capture.layers.begin(), generation.capture.layers.end());

    io::RunPlan plan;
    plan.schema = &dataset_schema();
    plan.folder = context.folder("phase1_0");
    plan.prefix = "dataset";
    plan.model = model_input.files.name;
    plan.range = range.text();
    plan.sizes = {{"problem", n},
                  {"row", rows},
                  {"layer", static_cast<std::int64_t>(layers.size())},
                  {"d_model", model.config().hidden_size},
                  {"token", options.writing.max_new_tokens},
                  {"output_bytes", std::max<std::int64_t>(256, 8 * options.writing.max_new_tokens)},
                  {"family_bytes", family_bytes},
                  {"sha256_digits", 64},
                  {"detail_bytes", detail_bytes}};
    plan.n_units = n;
    plan.fresh = options.fresh;
    plan.provenance = context.provenance;
    plan.identity = {{"phase", "1"},
                     {"format_version", plan.schema->version},
                     {"pva_version", context.provenance.build.version},
                     {"model", model_input.files.name},
                     {"model_config", model_input.hashes.config},
                     {"model_weights", model_input.hashes.weights},
                     {"tokenizer", tokenizer.sha256()},
                     {"problems", range.set.sha256},
                     {"start", range.start},
                     {"end", range.end},
                     {"difficulty", difficulty_hash},
                     {"site", "resid_post"},
                     {"position", "last-prompt"},
                     {"extraction", options.writing.extraction},
                     {"prompt_template_sha256", tasks::prompt_template_sha256(prompt_template)},
                     {"temperature", options.temperature},
                     {"eos_token_ids", model.config().eos_token_ids}};
    add_result_options(context, plan.identity);
    plan.identity["batch-size"] = generation.writing.batch_size;
    add_placement(plan.identity, placement, threads);
    if (options.dry_run) return dry_run_report(context, plan, "problems");

    io::OpenedResult opened = io::open_result_file(comm, context.log, plan,
                                                   {{"task_id", io::to_bytes(ids)},
                                                    {"family", io::pack_texts(families, static_cast<std::size_t>(family_bytes))},
                                                    {"sample", io::to_bytes(samples)},
                                                    {"temperature", io::to_bytes(temperatures)},
                                                    {"complexity", io::to_bytes(row_complexity)},
                                                    {"prompt_sha256", io::pack_texts(prompt_hashes, 64)},
                                                    {"prompt_tokens", io::to_bytes(prompt_lengths)},
                                                    {"layer", io::to_bytes(layers)}});
    const auto add_activations = [&](Report& report) {
        if (!with_activations) return;
        const Report more = write_activations(context, model, tokenizer, generation, report.result_path, options.activations, options.layers, model_input, options.fresh);
        report.summary["activations"] = more.summary;
        report.summary["activations"]["result"] = more.result_path;
        report.lines.insert(report.lines.end(), more.lines.begin(), more.lines.end());
        report.lines.push_back("activations: " + more.result_path);
    };
    if (!opened.file) {
        Report report = dataset_report(context, opened.complete_path);
        add_activations(report);
        return report;
    }
    io::ResultFile& file = *opened.file;

    const GenerationUse use = generate_programs(context, model, tokenizer, file, plan.sizes, generation);
    file.flush();
    nlohmann::ordered_json measured = measured_run(context);
    measured["generation"] = use.measured;

    // The summary is computed from the file as it stands, so that it does not depend on which run wrote what.
    const std::string path = file.publish({}, dataset_report(read_columns(context, file)).summary, measured);
    Report report = dataset_report(context, path);
    report.lines.insert(report.lines.begin(), use.lines.begin(), use.lines.end());
    report.summary["measured"] = use.measured;
    add_activations(report);
    return report;
}

}  // namespace pva::phases
