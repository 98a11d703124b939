// Scores programs that exist already. Files: docs/evaluate.md, docs/formats/verdicts.md.
#include "pva/phases/evaluate.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/io/result_file.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/share.h"
#include "pva/phases/schemas.h"
#include "pva/phases/verdict_columns.h"
#include "pva/phases/work.h"
#include "pva/tasks/completions.h"
#include "pva/tasks/pass_at_k.h"
#include "pva/tasks/prompt.h"

namespace pva::phases {

void register_options(OptionSet& set, EvaluateOptions& options) {
    set.add("problems", options.problems, "FILE", "problems as JSONL or JSONL.GZ with MBPP's or HumanEval's fields").required();
    set.add("completions", options.completions, "FILE", "programs as JSONL or JSONL.GZ: task_id and completion, code or solution");
    set.add("out", options.out, "FILE", "JSONL to write, one verdict a line in the order of the input").required();
    set.add("extract", options.extract, "RULE", "none: the texts are programs; else how a program is taken from a model's raw answer")
        .one_of(tasks::extraction_rule_names())
        .changes_results();
    set.add_flag("rescore", options.rescore, "judge the programs of a phase 1 dataset again, instead of --completions");
    set.add("dataset", options.dataset, "FILE", "with --rescore: result of pva_phase1; the newest one that fits when not given");
    set.add_flag("fresh", options.fresh, "start over even if there is a finished or unfinished file");
    set.add_flag("dry-run", options.dry_run, "check all inputs, say what would be done, write no result");
    register_options(set, options.python);
}

namespace {

constexpr std::uint8_t no_verdict = 255;
constexpr std::array<std::int64_t, 3> ks = {1, 10, 100};
constexpr std::int64_t resamples = 10000;
constexpr std::uint64_t bootstrap_seed = 0;

/// What is judged, and where it comes from.
struct Work {
    std::vector<tasks::Completion> completions;
    std::vector<std::uint8_t> previous;  ///< verdict of each in the dataset; empty unless scored again
    std::vector<std::string> prompts;    ///< of each, for extraction from raw output; empty otherwise
    std::string name;                    ///< in the file name
    std::string source_key;              ///< key and value of the source in the identity
    std::string source_sha256;
};

Work read_completions(Context& context, const EvaluateOptions& options, const tasks::ProblemSet& problems) {
    return mpi::agreed(context.comm, [&] {
        tasks::CompletionSet set = tasks::load_completions(options.completions, problems);
        Work work;
        work.name = std::filesystem::path(set.path).filename().string();
        work.name = work.name.substr(0, work.name.find('.'));
        work.source_key = "completions";
        work.source_sha256 = set.sha256;
        work.completions = std::move(set.completions);
        context.provenance.inputs.push_back({"completions", set.path, set.sha256});
        return work;
    });
}

Work read_dataset(Context& context, const EvaluateOptions& options, const tasks::ProblemSet& problems) {
    const io::ResultReader reader =
        open_input(context, "dataset", options.dataset, "phase1_0", "dataset", dataset_schema(), {{"problems", problems.sha256}}, "pva_phase1");
    context.provenance.inputs.push_back(reader.as_input("dataset"));
    Work work;
    work.name = reader.identity().at("model").get<std::string>();
    work.source_key = "dataset";
    work.source_sha256 = reader.content_sha256();
    std::int64_t cut = 0;
    mpi::agreed(context.comm, [&] {
        const auto ids = reader.read<std::int64_t>("task_id");
        const auto verdicts = reader.read<std::uint8_t>("verdict");
        const bool raw = options.extract != "none";
        const std::vector<std::string> texts = reader.read_texts(raw ? "raw_output" : "program");
        const auto bytes = reader.read<std::int64_t>(raw ? "raw_output_bytes" : "program_bytes");
        const std::vector<std::string> hashes = reader.read_texts("prompt_sha256");
        std::vector<std::int64_t> all_ids;
        for (const tasks::Problem& problem : problems.problems) all_ids.push_back(problem.task_id);
        const std::vector<std::int64_t> positions = positions_of(all_ids, ids, problems.path);
        const tasks::PromptTemplate form = tasks::prompt_template_from_name(reader.identity().at("prompt").get<std::string>());
        for (std::size_t i = 0; i < ids.size(); ++i) {
            // A text longer than the file's width is not whole: judging its beginning would be judging another program.
            if (static_cast<std::int64_t>(texts[i].size()) != bytes[i]) {
                ++cut;
                continue;
            }
            tasks::Completion completion;
            completion.problem = static_cast<std::size_t>(positions[i]);
            completion.line = static_cast<std::int64_t>(i);
            completion.whole = !raw;
            completion.text = texts[i];
            work.completions.push_back(std::move(completion));
            work.previous.push_back(verdicts[i]);
            if (!raw) continue;
            work.prompts.push_back(tasks::build_prompt(problems.problems[static_cast<std::size_t>(positions[i])], form));
            if (sha256_hex(work.prompts.back()) != hashes[i]) {
                throw InputError(reader.path() + ": the prompt of problem " + std::to_string(ids[i]) + " was another one than the form " +
                                 tasks::prompt_template_name(form) + " makes now; score the stored programs, without --extract");
            }
        }
        if (work.completions.empty()) throw InputError(reader.path() + ": holds no whole text to judge");
    });
    if (cut > 0 && context.first_rank()) {
        context.log.warning(std::to_string(cut) + " problems are left out: their " + (options.extract != "none" ? "raw output" : "program") +
                            " is longer than the dataset's width, so it was not stored whole");
    }
    return work;
}

/// "0x7f31c2a4b0" names a place in memory of one run: the words of a failure must not change with it.
std::string without_addresses(const std::string& text) {
    std::string result;
    for (std::size_t i = 0; i < text.size();) {
        result += text[i];
        if (text[i++] != '0' || i >= text.size() || text[i] != 'x') continue;
        const std::size_t end = std::min(text.find_first_not_of("0123456789abcdefABCDEF", i + 1), text.size());
        if (end - i < 7) continue;
        result += "x...";
        i = end;
    }
    return result;
}

/// The programs a rank has in test, and their way into the file.
class Judge {
  public:
    Judge(exec::Supervisor& python, io::ResultFile& file, std::size_t window) : python_(python), file_(file), window_(window) {}

    void submit(std::int64_t unit, const exec::Program& program) {
        running_[python_.submit(program)] = {unit, sha256_hex(program.source)};
    }
    /// Stores what is finished; goes on waiting while more than the window (or, at the end, anything) is in test.
    Processed collect(bool all) {
        Processed processed;
        while (!running_.empty()) {
            const auto finished = python_.try_collect();
            if (finished) {
                processed.done += 1;
                processed.good += store(finished->first, finished->second);
            } else if (all || running_.size() >= window_) {
                std::this_thread::sleep_for(std::chrono::microseconds(300));
            } else {
                break;
            }
        }
        return processed;
    }

  private:
    struct Running {
        std::int64_t unit = 0;
        std::string program_sha256;
    };

    std::int64_t store(std::uint64_t job, exec::Outcome outcome) {
        const auto found = running_.find(job);
        if (found == running_.end()) throw InternalError("the supervisor reported a program that was not submitted");
        outcome.detail = without_addresses(outcome.detail);
        io::Columns columns;
        columns["program_sha256"] = io::pack_texts({found->second.program_sha256}, 64);
        columns["measured/peak_rss_bytes"] = io::to_bytes(std::vector<std::uint64_t>{outcome.peak_rss_bytes});
        add_verdict_columns(columns, outcome);
        file_.write_unit(found->second.unit, columns);
        running_.erase(found);
        return outcome.verdict == exec::Verdict::passed ? 1 : 0;
    }

    exec::Supervisor& python_;
    io::ResultFile& file_;
    std::size_t window_;
    std::map<std::uint64_t, Running> running_;
};

/// What the figures are computed from, in the order of the input.
struct Columns {
    std::vector<std::int64_t> task_id;
    std::vector<std::uint8_t> verdict;
    std::vector<std::uint8_t> previous;
    std::vector<std::uint8_t> suspicious;
};

std::string name_of(std::uint8_t verdict) { return std::string(exec::to_string(static_cast<exec::Verdict>(verdict))); }

void report_changes(const Columns& columns, Report& report) {
    std::map<std::pair<std::uint8_t, std::uint8_t>, std::int64_t> changes;
    std::int64_t changed = 0;
    std::int64_t labels = 0;
    for (std::size_t i = 0; i < columns.verdict.size(); ++i) {
        if (columns.verdict[i] == columns.previous[i]) continue;
        ++changed;
        labels += (columns.verdict[i] == 0) != (columns.previous[i] == 0) ? 1 : 0;
        ++changes[{columns.previous[i], columns.verdict[i]}];
    }
    report.summary["changed_verdicts"] = changed;
    report.summary["changed_labels"] = labels;
    report.summary["changes"] = nlohmann::ordered_json::object();
    std::vector<std::vector<std::string>> table = {{"verdict before", "verdict now", "programs"}};
    for (const auto& [pair, count] : changes) {
        report.summary["changes"][name_of(pair.first) + " -> " + name_of(pair.second)] = count;
        table.push_back({name_of(pair.first), name_of(pair.second), std::to_string(count)});
    }
    if (changed > 0) {
        for (const std::string& line : table_lines(table)) report.lines.push_back(line);
    }
    report.lines.push_back(std::to_string(changed) + " of " + std::to_string(columns.verdict.size()) + " verdicts changed; " + std::to_string(labels) +
                           " programs passed before and fail now, or the reverse");
}

Report report_of(const Columns& columns, const tasks::ProblemSet& problems) {
    const auto n = static_cast<std::int64_t>(columns.verdict.size());
    std::map<std::uint8_t, std::int64_t> by_verdict;
    std::map<std::int64_t, tasks::SampleCount> by_problem;
    std::int64_t suspicious = 0;
    std::int64_t internal = 0;
    for (std::size_t i = 0; i < columns.verdict.size(); ++i) {
        ++by_verdict[columns.verdict[i]];
        suspicious += columns.suspicious[i];
        tasks::SampleCount& count = by_problem[columns.task_id[i]];
        // A broken tester says nothing about the program.
        if (columns.verdict[i] == static_cast<std::uint8_t>(exec::Verdict::internal)) {
            ++internal;
            continue;
        }
        ++count.n;
        count.correct += columns.verdict[i] == static_cast<std::uint8_t>(exec::Verdict::passed) ? 1 : 0;
    }
    std::vector<tasks::SampleCount> counts;
    std::int64_t fewest = 0;
    std::int64_t most = 0;
    for (const auto& [id, count] : by_problem) {
        if (count.n == 0) continue;
        fewest = counts.empty() ? count.n : std::min(fewest, count.n);
        most = std::max(most, count.n);
        counts.push_back(count);
    }
    const std::int64_t without = static_cast<std::int64_t>(problems.problems.size()) - static_cast<std::int64_t>(by_problem.size());

    Report report;
    report.summary["completions"] = n;
    report.summary["passed"] = by_verdict[0];
    report.summary["suspicious"] = suspicious;
    report.summary["problems"] = counts.size();
    report.summary["problems_without_completion"] = without;
    report.summary["completions_per_problem"] = {{"fewest", fewest}, {"most", most}};
    report.summary["verdicts"] = nlohmann::ordered_json::object();
    std::vector<std::vector<std::string>> table = {{"verdict", "completions", "share"}};
    for (const auto& [verdict, count] : by_verdict) {
        if (count == 0) continue;
        report.summary["verdicts"][name_of(verdict)] = count;
        table.push_back({name_of(verdict), std::to_string(count), fixed(100.0 * static_cast<double>(count) / static_cast<double>(n), 1) + " %"});
    }
    report.lines = table_lines(table);
    report.summary["pass_at_k"] = nlohmann::ordered_json::object();
    table = {{"figure", "value", "95 % interval"}};
    std::string skipped;
    for (const std::int64_t k : ks) {
        const auto result = tasks::mean_pass_at_k(counts, k, resamples, bootstrap_seed);
        if (!result) {
            skipped += (skipped.empty() ? "pass@" : ", pass@") + std::to_string(k);
            continue;
        }
        report.summary["pass_at_k"][std::to_string(k)] = {{"mean", result->mean}, {"lower", result->lower}, {"upper", result->upper}};
        table.push_back({"pass@" + std::to_string(k), fixed(result->mean, 4), fixed(result->lower, 4) + " - " + fixed(result->upper, 4)});
    }
    if (table.size() > 1) {
        for (const std::string& line : table_lines(table)) report.lines.push_back(line);
    }
    const std::string each = fewest == most ? std::to_string(most) : std::to_string(fewest) + " to " + std::to_string(most);
    report.lines.push_back(std::to_string(n) + " completions of " + std::to_string(counts.size()) + " problems, " + each + " each" +
                           (skipped.empty() ? "" : "; too few for " + skipped));
    if (without > 0) report.lines.push_back(std::to_string(without) + " problems have no completion and do not count");
    if (internal > 0) {
        report.lines.push_back(std::to_string(internal) + " completions could not be judged (verdict internal) and do not count; --fresh judges all again");
    }
    if (suspicious > 0) report.lines.push_back(std::to_string(suspicious) + " completions are suspicious: they meddled with their tester");
    if (!columns.previous.empty() && columns.previous.front() != no_verdict) report_changes(columns, report);
    return report;
}

Columns columns_of(const io::ResultReader& reader) {
    return {reader.read<std::int64_t>("task_id"), reader.read<std::uint8_t>("verdict"), reader.read<std::uint8_t>("previous_verdict"),
            reader.read<std::uint8_t>("suspicious")};
}

/// The JSONL file, from the finished result file; whole or not at all.
void write_lines(const std::string& path, const io::ResultReader& reader) {
    const auto ids = reader.read<std::int64_t>("task_id");
    const auto index = reader.read<std::int32_t>("index");
    const auto previous = reader.read<std::uint8_t>("previous_verdict");
    const auto verdict = reader.read<std::uint8_t>("verdict");
    const auto passed = reader.read<std::uint8_t>("passed");
    const auto asserts_passed = reader.read<std::int32_t>("asserts_passed");
    const auto asserts_total = reader.read<std::int32_t>("asserts_total");
    const auto suspicious = reader.read<std::uint8_t>("suspicious");
    const auto seconds = reader.read<double>("measured/test_wall_seconds");
    const std::vector<std::string> detail = reader.read_texts("measured/detail");
    const auto problem_ids = reader.read<std::int64_t>("problem/task_id");
    const std::vector<std::string> problem_names = reader.read_texts("problem/name");
    std::map<std::int64_t, std::string> names;
    for (std::size_t i = 0; i < problem_ids.size(); ++i) names[problem_ids[i]] = problem_names[i];

    const std::string unfinished = path + ".new";
    std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
    for (std::size_t i = 0; i < ids.size(); ++i) {
        nlohmann::ordered_json line;
        const std::string& name = names.at(ids[i]);
        if (name == std::to_string(ids[i])) {
            line["task_id"] = ids[i];
        } else {
            line["task_id"] = name;
        }
        line["index"] = index[i];
        line["verdict"] = name_of(verdict[i]);
        line["passed"] = passed[i] == 1;
        line["asserts_passed"] = asserts_passed[i];
        line["asserts_total"] = asserts_total[i];
        line["suspicious"] = suspicious[i] == 1;
        line["wall_seconds"] = seconds[i];
        line["detail"] = detail[i];
        if (previous[i] != no_verdict) line["previous_verdict"] = name_of(previous[i]);
        file << line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
    }
    file.close();
    if (!file) throw IoError("--out " + path + ": cannot be written (" + std::strerror(errno) + ")");
    if (std::rename(unfinished.c_str(), path.c_str()) != 0) {
        throw IoError("--out " + path + ": cannot be put in place (" + std::strerror(errno) + ")");
    }
}

void check_options(Context& context, const EvaluateOptions& options) {
    mpi::agreed(context.comm, [&] {
        if (options.rescore && !options.completions.empty()) {
            throw UsageError("--rescore and --completions exclude each other: programs come from a dataset or from a file");
        }
        if (!options.rescore && options.completions.empty()) {
            throw UsageError("--completions is missing: name a JSONL file of programs, or say --rescore to judge those of a phase 1 dataset again");
        }
        if (!options.rescore && !options.dataset.empty()) throw UsageError("--dataset needs --rescore");
        const std::filesystem::path folder = std::filesystem::path(options.out).parent_path();
        if (std::filesystem::is_directory(options.out)) throw UsageError("--out " + options.out + " is a folder; name a file");
        // Better now than after hours of tests.
        if (!folder.empty() && !std::filesystem::is_directory(folder)) throw UsageError("--out " + options.out + ": there is no folder " + folder.string());
    });
}

}  // namespace

Report run_evaluate(Context& context, const EvaluateOptions& options) {
    const mpi::Communicator& comm = context.comm;
    check_options(context, options);
    const ProblemRange all = load_range(context, options.problems, {});
    const std::vector<tasks::Problem>& problems = all.set.problems;
    context.provenance.inputs = {{"problems", all.set.path, all.set.sha256}};
    const tasks::ExtractionRule rule = tasks::extraction_rule_from_name(options.extract);
    const Work work = options.rescore ? read_dataset(context, options, all.set) : read_completions(context, options, all.set);
    const auto n = static_cast<std::int64_t>(work.completions.size());

    std::vector<std::int64_t> problem_ids;
    std::vector<std::string> names;
    std::size_t name_bytes = 1;
    for (const tasks::Problem& problem : problems) {
        problem_ids.push_back(problem.task_id);
        names.push_back(problem.name);
        name_bytes = std::max(name_bytes, problem.name.size());
    }
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> indices;
    for (const tasks::Completion& completion : work.completions) {
        ids.push_back(problem_ids[completion.problem]);
        indices.push_back(completion.index);
    }
    std::vector<std::uint8_t> previous = work.previous;
    previous.resize(static_cast<std::size_t>(n), no_verdict);

    io::RunPlan plan;
    plan.schema = &verdicts_schema();
    plan.folder = context.folder("evaluate");
    plan.prefix = "verdicts";
    plan.model = work.name;
    plan.range = "0-" + std::to_string(n - 1);
    plan.suffix = options.rescore ? "rescored" : "";
    plan.sizes = {{"completion", n},
                  {"problem", static_cast<std::int64_t>(problems.size())},
                  {"name_bytes", static_cast<std::int64_t>(name_bytes)},
                  {"sha256_digits", 64},
                  {"detail_bytes", detail_bytes}};
    plan.n_units = n;
    plan.fresh = options.fresh;
    plan.provenance = context.provenance;
    plan.identity = {{"phase", "evaluate"},
                     {"format_version", plan.schema->version},
                     {"pva_version", context.provenance.build.version},
                     {"problems", all.set.sha256},
                     {work.source_key, work.source_sha256}};
    add_result_options(context, plan.identity);
    if (options.dry_run) return dry_run_report(context, plan, "completions");

    io::OpenedResult opened = io::open_result_file(comm, context.log, plan,
                                                   {{"task_id", io::to_bytes(ids)},
                                                    {"index", io::to_bytes(indices)},
                                                    {"problem/task_id", io::to_bytes(problem_ids)},
                                                    {"problem/name", io::pack_texts(names, name_bytes)},
                                                    {"previous_verdict", io::to_bytes(previous)}});
    std::string path = opened.complete_path;
    if (opened.file) {
        io::ResultFile& file = *opened.file;
        std::vector<std::int64_t> open_units;
        std::vector<std::int64_t> finished_units;
        for (std::int64_t unit = 0; unit < n; ++unit) (file.is_done(unit) ? finished_units : open_units).push_back(unit);
        const std::vector<double> costs(open_units.size(), 1.0);
        const auto shares = mpi::share_by_cost(costs, comm.size());
        const std::vector<std::int64_t>& own = shares[static_cast<std::size_t>(comm.rank())];
        // Enough in hand that no worker waits for this loop, few enough that a stop is quick.
        Judge judge(*context.python, file, 4 * static_cast<std::size_t>(options.python.test_workers));
        const auto finished_before = static_cast<std::int64_t>(finished_units.size());
        const Processed before{finished_before, context.first_rank() ? passed_programs(file, finished_units) : 0};
        const LoopOutcome outcome =
            process_own_items(context, "completions", "passed", n, before, own, [&](std::int64_t item) -> Processed {
                const std::int64_t unit = open_units[static_cast<std::size_t>(item)];
                const auto place = static_cast<std::size_t>(unit);
                const tasks::Completion& completion = work.completions[place];
                const tasks::Problem& problem = problems[completion.problem];
                const std::string source =
                    work.prompts.empty() ? tasks::program_of(completion, problem, rule)
                                         : tasks::extract_program(rule, completion.text, work.prompts[place], tasks::entry_point(problem), problem.opening).program;
                judge.submit(unit, {source, problem.test_setup_code, problem.test_list});
                return judge.collect(item == own.back());
            });
        if (outcome.stopped && finished_before + outcome.done_now < n) {
            file.leave_unfinished();
            mpi::agree(comm, mpi::Failure{ExitCode::stopped, "stopped on request: " + std::to_string(finished_before + outcome.done_now) + " of " + std::to_string(n) +
                                                                 " completions are judged and stored. The same command goes on"});
        }
        file.flush();
        Columns columns{ids, std::vector<std::uint8_t>(static_cast<std::size_t>(n)), previous, std::vector<std::uint8_t>(static_cast<std::size_t>(n))};
        mpi::agreed(comm, [&] {
            file.read_rows("verdict", 0, n, std::as_writable_bytes(std::span(columns.verdict)));
            file.read_rows("suspicious", 0, n, std::as_writable_bytes(std::span(columns.suspicious)));
        });
        path = file.publish({}, report_of(columns, all.set).summary, measured_run(context));
    }
    const io::ResultReader reader = mpi::agreed(comm, [&] { return io::ResultReader::open(path, verdicts_schema()); });
    mpi::on_first_rank(comm, [&] {
        write_lines(options.out, reader);
        return std::string();
    });
    Report report = report_of(columns_of(reader), all.set);
    report.result_path = path;
    return report;
}

}  // namespace pva::phases
