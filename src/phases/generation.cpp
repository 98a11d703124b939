// The loop of generation and testing: engine, supervisor and result file side by side.
#include "pva/phases/generation.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "pva/core/error.h"
#include "pva/core/progress.h"
#include "pva/model/out_of_memory.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/bulletin.h"
#include "pva/mpi/share.h"
#include "pva/phases/verdict_columns.h"
#include "pva/phases/work.h"

namespace pva::phases {

namespace {

using Clock = std::chrono::steady_clock;

// Programs whose tests are not over, for each test worker, before writing pauses: tests of 10 s each end within the 180 s that the
// job scripts leave between USR1 and the time limit.
constexpr std::size_t most_waiting_tests = 16;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::vector<std::string> stop_strings_of(const WritingOptions& options) {
    if (options.stop_strings.empty()) return {};
    try {
        return nlohmann::json::parse(options.stop_strings).get<std::vector<std::string>>();
    } catch (const nlohmann::json::exception& error) {
        throw UsageError("--stop-strings is no JSON list of texts such as '[\"\\n\\n\", \"# End\"]' (" + std::string(error.what()) + ")");
    }
}

/// What one rank does at a time of one problem: some of its temperatures.
struct Item {
    std::size_t problem = 0;
    std::vector<std::size_t> temperatures;
};

/// Items that are handed to the engine together. Where rows depend on their neighbours it does nothing else meanwhile.
struct Batch {
    std::vector<Item> items;
    double cost = 0;
};

/// What the engine was given as one job: a problem and where its branches belong.
struct InHand {
    std::size_t problem = 0;
    std::vector<std::pair<std::size_t, std::size_t>> branches;  ///< temperature, sample
};

struct Sample {
    bool written = false;  ///< by the model, and on its way to the tests
    generate::Generation generation;
    tasks::Extraction extraction;
    std::optional<exec::Outcome> outcome;
};

/// A unit in hand.
struct Unit {
    std::vector<Sample> samples;
    std::int64_t judged = 0;
};

class Loop {
  public:
    Loop(Context& context, const model::Model& model, const text::Tokenizer& tokenizer, io::ResultFile& file, const io::Sizes& sizes,
         const GenerationPlan& plan)
        : context_(context), file_(file), sizes_(sizes), plan_(plan), extraction_(tasks::extraction_rule_from_name(plan.writing.extraction)),
          alone_(model.placement().engine != model::Engine::fast), model_(model), tokenizer_(tokenizer),
          slots_(std::min<std::int64_t>(plan.writing.batch_size, std::max<std::int64_t>(1, plan.rows()))) {
        make_engine();
    }

    GenerationUse run();

  private:
    generate::EngineSettings settings() const;
    std::vector<Batch> batches() const;
    std::vector<Batch> batches_with_edits() const;
    std::vector<std::size_t> conditions() const;
    double cost_of(const Item& item) const;
    std::int64_t unit_of(std::size_t problem, std::size_t temperature) const {
        return static_cast<std::int64_t>(problem * plan_.temperatures.size() + temperature);
    }
    void make_engine();
    void take_fewer_rows(const model::OutOfMemory& error);
    void begin_again(const model::OutOfMemory& error);
    void submit(InHand work);
    void submit(const Item& item);
    generate::EngineUse use() const;
    void take(std::size_t job, std::size_t branch, generate::Generation generation);
    void collect(bool wait);
    void write(std::int64_t unit);
    void save_now_and_then(bool now);
    bool work(const std::vector<Batch>& own, mpi::Bulletin& bulletin, const std::function<void()>& show);

    Context& context_;
    io::ResultFile& file_;
    const io::Sizes& sizes_;
    const GenerationPlan& plan_;
    tasks::ExtractionRule extraction_;
    bool alone_;  ///< batches may not be mixed
    const model::Model& model_;
    const text::Tokenizer& tokenizer_;
    std::int64_t slots_;  ///< rows written at the same time
    std::vector<InHand> jobs_;  ///< by the engine's numbers
    std::unique_ptr<generate::Engine> engine_;
    generate::EngineUse earlier_use_;  ///< of engines that ran out of memory
    std::map<std::int64_t, Unit> units_;
    std::map<std::uint64_t, std::pair<std::int64_t, std::size_t>> testing_;  ///< supervisor's number: unit, sample
    std::map<std::pair<std::size_t, std::string>, exec::Outcome> tested_;  ///< by problem and program
    std::int64_t written_ = 0;
    std::int64_t solved_ = 0;
    std::int64_t rows_ = 0;
    double writing_seconds_ = 0;
    double waiting_seconds_ = 0;
    std::int64_t unsaved_ = 0;
    Clock::time_point saved_ = Clock::now();
};

generate::EngineSettings Loop::settings() const {
    generate::EngineSettings settings;
    settings.slots = static_cast<int>(slots_);
    settings.longest_prompt = plan_.longest_prompt();
    settings.max_new_tokens = static_cast<int>(plan_.writing.max_new_tokens);
    settings.capture = plan_.capture;
    settings.entropies = true;
    settings.stop_strings = stop_strings_of(plan_.writing);
    settings.threads = plan_.threads;
    settings.stop_rule = [this](std::size_t job, std::string_view text) {
        const PromptedProblem& problem = plan_.problems[jobs_[job].problem];
        return tasks::program_end(text, problem.entry_point, problem.continued).has_value();
    };
    return settings;
}

// Of this call.
std::vector<std::size_t> Loop::conditions() const {
    if (!plan_.only.empty()) return plan_.only;
    std::vector<std::size_t> all(plan_.temperatures.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    return all;
}

double Loop::cost_of(const Item& item) const {
    // Prefill by its tokens, decoding by a guess that is the same for all.
    return static_cast<double>(plan_.problems[item.problem].tokens.size()) + 400.0 * static_cast<double>(item.temperatures.size()) * static_cast<double>(plan_.samples);
}

// Conditions of a problem that share the reading of its prompt go together, but no more than fit the engine at once, so that a
// stop need not wait for dozens of texts.
std::vector<Batch> Loop::batches_with_edits() const {
    const auto most = static_cast<std::size_t>(std::max<std::int64_t>(1, plan_.writing.batch_size / plan_.samples));
    std::vector<Batch> batches;
    std::size_t rows = 0;  // of the last batch
    bool open = false;
    for (std::size_t problem = 0; problem < plan_.problems.size(); ++problem) {
        std::vector<Item> items;
        bool shared_goes_on = false;
        for (const std::size_t condition : conditions()) {
            // Where rows depend on their neighbours, what is done already is written once more.
            if (!alone_ && file_.is_done(unit_of(problem, condition))) continue;
            const bool shares = generate::shares_prompt(plan_.edits[condition]);
            if (!shares || !shared_goes_on || items.back().temperatures.size() == most) items.push_back({problem, {}});
            shared_goes_on = shares;
            items.back().temperatures.push_back(condition);
        }
        for (Item& item : items) {
            const bool item_open = std::any_of(item.temperatures.begin(), item.temperatures.end(), [&](std::size_t t) { return !file_.is_done(unit_of(problem, t)); });
            if (!alone_ || batches.empty() || rows + item.temperatures.size() > most) {
                if (alone_ && !batches.empty() && !open) batches.pop_back();
                batches.emplace_back();
                rows = 0;
                open = false;
            }
            rows += item.temperatures.size();
            open = open || item_open;
            batches.back().cost += cost_of(item);
            batches.back().items.push_back(std::move(item));
        }
    }
    if (alone_ && !batches.empty() && !open) batches.pop_back();
    return batches;
}

void Loop::make_engine() {
    while (!engine_) {
        try {
            engine_ = std::make_unique<generate::Engine>(model_, &tokenizer_, settings());
        } catch (const model::OutOfMemory& error) {
            take_fewer_rows(error);
        }
    }
}

// Half as many rows at a time, where rows do not depend on their neighbours. Errors: OutOfMemory saying what to take.
void Loop::take_fewer_rows(const model::OutOfMemory& error) {
    const std::string what = error.what();
    if (slots_ == 1) throw model::OutOfMemory(what + ". Not even one row fits: take a smaller --max-new-tokens, --dtype bfloat16, fewer ranks a node, or a larger machine");
    if (alone_) {
        throw model::OutOfMemory(what + ". With this forward pass rows can depend on the rows beside them, so their number is not changed on the way. Take --batch-size " +
                          std::to_string(plan_.writing.batch_size / 2) + "; that is another run, begun with --fresh");
    }
    slots_ = slots_ / 2;
    context_.log.warning(what + ". This rank goes on with " + std::to_string(slots_) + (slots_ == 1 ? " row" : " rows") + " at a time; the results are the same");
}

// A new engine for what the last one had in hand and was not handed over.
void Loop::begin_again(const model::OutOfMemory& error) {
    earlier_use_ = use();
    engine_.reset();
    take_fewer_rows(error);
    make_engine();
    for (const InHand& old : std::exchange(jobs_, {})) {
        InHand rest{old.problem, {}};
        for (const auto& [temperature, sample] : old.branches) {
            const auto unit = units_.find(unit_of(old.problem, temperature));
            if (unit != units_.end() && !unit->second.samples[sample].written) rest.branches.emplace_back(temperature, sample);
        }
        if (!rest.branches.empty()) submit(std::move(rest));
    }
}

generate::EngineUse Loop::use() const {
    generate::EngineUse sum = earlier_use_;
    if (!engine_) return sum;
    const generate::EngineUse& now = engine_->use();
    sum.prompts += now.prompts;
    sum.prefill_tokens += now.prefill_tokens;
    sum.decode_tokens += now.decode_tokens;
    sum.generated_tokens += now.generated_tokens;
    sum.prefill_seconds += now.prefill_seconds;
    sum.decode_seconds += now.decode_seconds;
    sum.choosing_seconds += now.choosing_seconds;
    return sum;
}

// Work that is left, as it is dealt to ranks. The same on every rank.
std::vector<Batch> Loop::batches() const {
    if (!plan_.edits.empty()) return batches_with_edits();
    std::vector<Batch> batches;
    if (alone_) {
        const std::int64_t rows_of_problem = static_cast<std::int64_t>(plan_.temperatures.size()) * plan_.samples;
        const std::size_t problems_of_batch = static_cast<std::size_t>(std::max<std::int64_t>(1, plan_.writing.batch_size / rows_of_problem));
        for (std::size_t first = 0; first < plan_.problems.size(); first += problems_of_batch) {
            Batch batch;
            bool open = false;
            for (std::size_t problem = first; problem < std::min(plan_.problems.size(), first + problems_of_batch); ++problem) {
                Item item{problem, {}};
                for (std::size_t t = 0; t < plan_.temperatures.size(); ++t) {
                    item.temperatures.push_back(t);
                    open = open || !file_.is_done(unit_of(problem, t));
                }
                batch.cost += cost_of(item);
                batch.items.push_back(std::move(item));
            }
            if (open) batches.push_back(std::move(batch));
        }
        return batches;
    }
    std::vector<Item> open;
    for (std::size_t problem = 0; problem < plan_.problems.size(); ++problem) {
        Item item{problem, {}};
        for (std::size_t t = 0; t < plan_.temperatures.size(); ++t) {
            if (!file_.is_done(unit_of(problem, t))) item.temperatures.push_back(t);
        }
        if (!item.temperatures.empty()) open.push_back(std::move(item));
    }
    // Whole problems where there are enough of them, for a prompt is read once; else their temperatures apart.
    const bool apart = open.size() < 2 * static_cast<std::size_t>(context_.comm.size());
    for (const Item& item : open) {
        if (!apart) {
            batches.push_back({{item}, cost_of(item)});
            continue;
        }
        for (const std::size_t temperature : item.temperatures) {
            const Item one{item.problem, {temperature}};
            batches.push_back({{one}, cost_of(one)});
        }
    }
    return batches;
}

void Loop::submit(const Item& item) {
    InHand work{item.problem, {}};
    for (const std::size_t t : item.temperatures) {
        for (std::size_t sample = 0; sample < static_cast<std::size_t>(plan_.samples); ++sample) work.branches.emplace_back(t, sample);
        units_[unit_of(item.problem, t)].samples.resize(static_cast<std::size_t>(plan_.samples));
    }
    submit(std::move(work));
}

void Loop::submit(InHand work) {
    const PromptedProblem& problem = plan_.problems[work.problem];
    generate::Job job{problem.tokens, {}};
    for (const auto& [t, sample] : work.branches) {
        const double temperature = plan_.temperatures[t];
        job.branches.push_back({{temperature, static_cast<int>(plan_.writing.top_k), plan_.writing.top_p, plan_.writing.min_p},
                                {static_cast<std::uint64_t>(plan_.writing.seed), static_cast<std::uint64_t>(problem.problem.task_id), temperature,
                                 static_cast<std::uint32_t>(sample)},
                                plan_.edits.empty() ? std::vector<std::shared_ptr<const generate::StreamEdit>>() : plan_.edits[t]});
    }
    jobs_.push_back(std::move(work));
    const std::size_t number = engine_->submit(std::move(job));
    if (number + 1 != jobs_.size()) throw InternalError("the engine counts its jobs differently");
}

void Loop::take(std::size_t job, std::size_t branch, generate::Generation generation) {
    const auto [temperature, number] = jobs_[job].branches[branch];
    const std::int64_t unit = unit_of(jobs_[job].problem, temperature);
    if (file_.is_done(unit)) return;  // written again only for its neighbours' sake
    const PromptedProblem& problem = plan_.problems[jobs_[job].problem];
    Sample& sample = units_.at(unit).samples[number];
    sample.generation = std::move(generation);
    sample.extraction = tasks::extract_program(extraction_, sample.generation.text, problem.prompt, problem.entry_point, problem.problem.opening);
    sample.written = true;
    if (plan_.remember_tests) {
        const auto known = tested_.find({jobs_[job].problem, sample.extraction.program});
        if (known != tested_.end()) {
            sample.outcome = known->second;
            Unit& whole = units_.at(unit);
            if (++whole.judged == plan_.samples) write(unit);
            return;
        }
    }
    const std::uint64_t test = context_.python->submit({sample.extraction.program, problem.problem.test_setup_code, problem.problem.test_list});
    testing_[test] = {unit, number};
}

void Loop::collect(bool wait) {
    const auto judged = [&](std::uint64_t test, exec::Outcome outcome) {
        const auto [unit, sample] = testing_.at(test);
        testing_.erase(test);
        const PromptedProblem& problem = plan_.problems[static_cast<std::size_t>(unit) / plan_.temperatures.size()];
        if (outcome.verdict == exec::Verdict::internal) {
            throw InternalError("the tester broke on problem " + problem.problem.name + " (" + outcome.detail +
                                "); this says nothing about the program, so nothing was stored for it. Run the same command again");
        }
        if (plan_.writing.stream) {
            const Sample& row = units_.at(unit).samples[sample];
            const double temperature = plan_.temperatures[static_cast<std::size_t>(unit) % plan_.temperatures.size()];
            context_.log.info("problem " + problem.problem.name + (plan_.samples > 1 || temperature > 0 ? ", temperature " + fixed(temperature, 2) + ", sample " + std::to_string(sample) : "") + ": " +
                              std::string(exec::to_string(outcome.verdict)) + ", " + std::to_string(outcome.asserts_passed) + " of " + std::to_string(outcome.asserts_total) + " asserts, " +
                              std::to_string(row.generation.tokens.size()) + " tokens (" + std::string(generate::stop_reason_name(row.generation.reason)) + ")");
        }
        Unit& whole = units_.at(unit);
        if (plan_.remember_tests)
            tested_.emplace(std::pair(static_cast<std::size_t>(unit) / plan_.temperatures.size(), whole.samples[sample].extraction.program), outcome);
        whole.samples[sample].outcome = std::move(outcome);
        if (++whole.judged == plan_.samples) write(unit);
    };
    while (const auto finished = context_.python->try_collect()) judged(finished->first, finished->second);
    if (wait && !testing_.empty()) {
        const auto clock = Clock::now();
        const std::uint64_t first = testing_.begin()->first;
        exec::Outcome outcome = context_.python->wait(first);
        waiting_seconds_ += seconds_since(clock);
        judged(first, std::move(outcome));
    }
}

// Rows of one sample behind those of the samples before it.
void append(io::Columns& columns, const io::Columns& row) {
    for (const auto& [name, bytes] : row) {
        std::vector<std::byte>& all = columns[name];
        all.insert(all.end(), bytes.begin(), bytes.end());
    }
}

io::Columns columns_of(const Sample& sample, const io::Sizes& sizes) {
    const auto one = [](auto value) { return io::to_bytes(std::vector{value}); };
    const auto width = static_cast<std::size_t>(sizes.at("token"));
    const auto padded = [&](const auto& values, auto filler) {
        std::vector<decltype(filler)> all(width, filler);
        std::copy(values.begin(), values.end(), all.begin());
        return io::to_bytes(all);
    };
    const generate::Generation& generation = sample.generation;
    const auto output_bytes = static_cast<std::size_t>(sizes.at("output_bytes"));
    double sum = 0;
    for (const float log_probability : generation.log_probabilities) sum += static_cast<double>(log_probability);
    io::Columns columns = {
        {"token_ids", padded(generation.tokens, std::int32_t{-1})},
        {"log_probability", padded(generation.log_probabilities, 0.0F)},
        {"entropy", padded(generation.entropies, 0.0F)},
        {"mean_log_probability", one(generation.tokens.empty() ? 0.0 : sum / static_cast<double>(generation.tokens.size()))},
        {"generated_tokens", one(static_cast<std::int32_t>(generation.tokens.size()))},
        {"stop_reason", one(static_cast<std::uint8_t>(generation.reason))},
        {"raw_output", io::pack_texts({generation.text}, output_bytes)},
        {"raw_output_bytes", one(static_cast<std::int64_t>(generation.text.size()))},
        {"program", io::pack_texts({sample.extraction.program}, output_bytes)},
        {"program_bytes", one(static_cast<std::int64_t>(sample.extraction.program.size()))},
    };
    add_verdict_columns(columns, *sample.outcome);
    return columns;
}

void Loop::write(std::int64_t unit) {
    const auto clock = Clock::now();
    const Unit& whole = units_.at(unit);
    io::Columns columns;
    for (const Sample& sample : whole.samples) {
        io::Columns row = columns_of(sample, sizes_);
        if (plan_.more_columns) plan_.more_columns(unit, sample.generation, sample.extraction, row);
        append(columns, row);
        solved_ += sample.outcome->verdict == exec::Verdict::passed ? 1 : 0;
        ++rows_;
    }
    if (!plan_.capture.layers.empty()) {
        columns["residual/" + std::string(model::site_name(plan_.capture.site))] = io::to_bytes(whole.samples.front().generation.residual);
    }
    file_.write_unit(unit, columns);
    context_.log.debug("unit " + std::to_string(unit) + " (problem " + plan_.problems[static_cast<std::size_t>(unit) / plan_.temperatures.size()].problem.name + ") is written");
    units_.erase(unit);
    ++written_;
    ++unsaved_;
    writing_seconds_ += seconds_since(clock);
    save_now_and_then(false);
}

// A power failure may cost what the system has not yet written; a killed process costs nothing that write_unit has taken.
void Loop::save_now_and_then(bool now) {
    if (unsaved_ == 0) return;
    if (!now && unsaved_ < plan_.writing.checkpoint_every && seconds_since(saved_) < 60 * plan_.writing.checkpoint_minutes) return;
    const auto clock = Clock::now();
    file_.save();
    unsaved_ = 0;
    saved_ = Clock::now();
    writing_seconds_ += seconds_since(clock);
}

// True when everything of `own` is done; false when a stop was asked for before.
bool Loop::work(const std::vector<Batch>& own, mpi::Bulletin& bulletin, const std::function<void()>& show) {
    std::size_t next = 0;
    std::int64_t told_units = 0;
    std::int64_t told_solved = 0;
    std::int64_t told_tokens = 0;
    auto told_work = Clock::now() - std::chrono::hours(1);
    while (true) {
        const bool stopping = bulletin.stop_requested();
        // Few programs wait for their tests, so that a stop need not wait for many.
        const bool tests_lag = testing_.size() >= most_waiting_tests * static_cast<std::size_t>(plan_.test_workers);
        const auto may_go_on = [&] { return alone_ ? engine_->idle() : engine_->free_slots() > 0; };
        while (!stopping && !tests_lag && next < own.size() && may_go_on()) {
            for (const Item& item : own[next].items) submit(item);
            ++next;
        }
        if (!engine_->idle()) {
            try {
                engine_->step([&](std::size_t job, std::size_t branch, generate::Generation generation) { take(job, branch, std::move(generation)); });
            } catch (const model::OutOfMemory& error) {
                begin_again(error);
            }
        }
        // Nothing to write meanwhile: wait for a test. Few tests in hand: the engine goes on first.
        collect(engine_->idle() && (stopping || tests_lag || next == own.size()));
        if (written_ > told_units) bulletin.add_done(written_ - told_units, solved_ - told_solved);
        told_units = written_;
        told_solved = solved_;
        const bool over = engine_->idle() && testing_.empty() && (stopping || next == own.size());
        if (over || seconds_since(told_work) > 1) {
            const std::int64_t tokens = use().generated_tokens;
            bulletin.tell_work(tokens - told_tokens, static_cast<std::int64_t>(units_.size()));
            told_tokens = tokens;
            told_work = Clock::now();
        }
        if (context_.first_rank()) show();
        if (over) return next == own.size();
    }
}

GenerationUse Loop::run() {
    const mpi::Communicator& comm = context_.comm;
    const std::vector<Batch> all = batches();
    std::vector<double> costs;
    for (const Batch& batch : all) costs.push_back(batch.cost);
    const auto shares = mpi::share_by_cost(costs, comm.size());
    std::vector<Batch> own;
    for (const std::int64_t index : shares[static_cast<std::size_t>(comm.rank())]) own.push_back(all[static_cast<std::size_t>(index)]);

    std::vector<std::int64_t> finished_units;
    std::int64_t total = 0;
    for (std::size_t problem = 0; problem < plan_.problems.size(); ++problem) {
        for (const std::size_t condition : conditions()) {
            ++total;
            if (const std::int64_t unit = unit_of(problem, condition); file_.is_done(unit)) finished_units.push_back(unit);
        }
    }
    const auto finished_before = static_cast<std::int64_t>(finished_units.size());
    const std::int64_t solved_before = context_.first_rank() ? passed_programs(file_, finished_units) : 0;
    const std::string unit_name = !plan_.unit_name.empty() ? plan_.unit_name : plan_.temperatures.size() == 1 ? "problems" : "problems at a temperature";
    const auto clock = Clock::now();
    mpi::Bulletin bulletin(comm, context_.common.max_minutes);
    Progress progress(context_.log, unit_name, total, finished_before,
                      {context_.first_rank() && context_.log.level() >= LogLevel::info, stdout_is_terminal(), 15});
    const auto show = [&] {
        const double rate = static_cast<double>(bulletin.work()) / std::max(1e-9, seconds_since(clock));
        progress.update(finished_before + bulletin.done(), std::to_string(solved_before + bulletin.good()) + (plan_.samples == 1 ? " solved, " : " programs right, ") +
                                                               std::to_string(bulletin.running()) + " running, " + fixed(rate, 0) + " tokens/s");
    };
    std::optional<mpi::Failure> failure;
    try {
        work(own, bulletin, show);
        save_now_and_then(true);
    } catch (const Error& error) {
        // The others finish what they have in hand and come to the agreement below.
        failure = mpi::Failure{error.exit_code(), error.what()};
        bulletin.request_stop();
    }
    const double seconds = seconds_since(clock);
    const bool stopped = bulletin.finish(context_.first_rank() ? std::function<void()>(show) : std::function<void()>());
    if (context_.first_rank()) {
        show();
        progress.finish();
    }
    const std::int64_t done_now = comm.all_sum(context_.first_rank() ? bulletin.done() : 0);
    mpi::agree(comm, failure);
    end_if_stopped(context_, file_, stopped, finished_before + done_now, total, unit_name);

    const generate::EngineUse use = this->use();
    const auto sum = [&](double value) { return static_cast<double>(comm.all_sum(static_cast<std::int64_t>(value * 1000))) / 1000; };
    const auto count = [&](std::int64_t value) { return comm.all_sum(value); };
    const std::vector<std::string> ends = comm.all_gather(fixed(seconds, 3));
    double slowest = 0;
    double quickest = 1e300;
    for (const std::string& end : ends) {
        slowest = std::max(slowest, std::stod(end));
        quickest = std::min(quickest, std::stod(end));
    }
    GenerationUse result;
    nlohmann::ordered_json& m = result.measured;
    m["prompts_read"] = count(use.prompts);
    m["prefill_tokens"] = count(use.prefill_tokens);
    m["decode_tokens"] = count(use.decode_tokens);
    m["generated_tokens"] = count(use.generated_tokens);
    m["rank_seconds"] = sum(seconds);
    m["rank_seconds_prefill"] = sum(use.prefill_seconds);
    m["rank_seconds_decode"] = sum(use.decode_seconds);
    m["rank_seconds_choosing_tokens"] = sum(use.choosing_seconds);
    m["rank_seconds_waiting_for_tests"] = sum(waiting_seconds_);
    m["rank_seconds_writing"] = sum(writing_seconds_);
    m["slowest_rank_seconds"] = slowest;
    m["quickest_rank_seconds"] = quickest;
    const auto per_second = [](std::int64_t tokens, double time) { return time > 0 ? static_cast<double>(tokens) / time : 0.0; };
    m["prefill_tokens_per_rank_second"] = per_second(m["prefill_tokens"], m["rank_seconds_prefill"]);
    m["decode_tokens_per_rank_second"] = per_second(m["decode_tokens"], m["rank_seconds_decode"]);
    if (m["prompts_read"].get<std::int64_t>() > 0) {
        const double total = std::max(1e-9, m["rank_seconds"].get<double>());
        const auto share = [&](const char* key) { return fixed(100 * m[key].get<double>() / total, 1) + " %"; };
        result.lines.push_back("read " + std::to_string(m["prefill_tokens"].get<std::int64_t>()) + " prompt tokens at " + fixed(m["prefill_tokens_per_rank_second"], 0) + " tokens/s a rank, wrote " +
                               std::to_string(m["generated_tokens"].get<std::int64_t>()) + " at " + fixed(m["decode_tokens_per_rank_second"], 0) + "; time: prefill " + share("rank_seconds_prefill") +
                               ", decoding " + share("rank_seconds_decode") + ", choosing tokens " + share("rank_seconds_choosing_tokens") + ", waiting for tests " +
                               share("rank_seconds_waiting_for_tests") + ", writing " + share("rank_seconds_writing"));
        if (slowest > 1.5 * quickest && slowest > quickest + 60) {
            const auto lagging = std::find_if(ends.begin(), ends.end(), [&](const std::string& end) { return std::stod(end) == slowest; }) - ends.begin();
            if (context_.first_rank()) {
                context_.log.warning("rank " + std::to_string(lagging) + " worked " + duration_text(slowest) + ", the quickest one " + duration_text(quickest) +
                                     "; a busy or slower node, or work that could not be shared evenly");
            }
        }
    }
    return result;
}

}  // namespace

void register_options(OptionSet& set, WritingOptions& options) {
    set.add("prompt", options.prompt, "NAME", "form of the prompt").one_of(tasks::prompt_template_names()).changes_results();
    set.add("extraction", options.extraction, "RULE", "how the program is taken from an answer").one_of({"complete-program", "reference"}).changes_results();
    set.add("max-new-tokens", options.max_new_tokens, "N", "longest answer").at_least(1).changes_results();
    set.add("top-k", options.top_k, "K", "draw from the K most probable tokens (0: all)").at_least(0).changes_results();
    set.add("top-p", options.top_p, "P", "draw from the most probable tokens that hold this share (1: all)").changes_results();
    set.add("min-p", options.min_p, "P", "draw from tokens of at least this share of the most probable one's probability (0: all)").changes_results();
    set.add("seed", options.seed, "N", "names the random numbers of a run, with task, temperature, sample and position").at_least(0).changes_results();
    set.add("stop-strings", options.stop_strings, "JSON", "list of texts that end an answer, which is cut before them").changes_results();
    set.add("batch-size", options.batch_size, "N", "rows generated together (0: 16, or as many as fit the memory); unless the forward pass is fast it belongs to the identity of a run").at_least(0).changes_results();
    set.add("threads", options.threads, "N", "threads a rank (0: by the affinity mask); unless the forward pass is fast it belongs to the identity of a run").at_least(0);
    set.add("checkpoint-every", options.checkpoint_every, "N", "units after which results are forced to the disk itself (a killed run loses nothing that was written; this is for failing machines)").at_least(1);
    set.add("checkpoint-minutes", options.checkpoint_minutes, "M", "minutes after which they are, too").at_least(0.01);
    set.add_flag("stream", options.stream, "a line in the log for every finished program");
}

std::vector<PromptedProblem> prompted_problems(Context& context, std::span<const tasks::Problem> problems, tasks::PromptTemplate prompt_template,
                                               const text::Tokenizer& tokenizer) {
    std::vector<PromptedProblem> prompted;
    std::string shots;
    mpi::agreed(context.comm, [&] {
        for (const tasks::Problem& problem : problems) {
            if (tasks::is_shot(prompt_template, problem)) {
                shots += (shots.empty() ? "" : ", ") + problem.name;
                continue;
            }
            PromptedProblem one{problem, tasks::build_prompt(problem, prompt_template), {}, tasks::entry_point(problem), ""};
            one.tokens = tokenizer.encode(one.prompt);
            if (tasks::continues_opening(prompt_template, problem)) one.continued = problem.opening;
            prompted.push_back(std::move(one));
        }
        if (prompted.empty()) throw InputError("--prompt " + tasks::prompt_template_name(prompt_template) + " shows every problem of the range; take more problems");
    });
    if (!shots.empty()) context.log.info("problems " + shots + " stand in every prompt with their solutions, so they leave the run");
    return prompted;
}

std::int64_t GenerationPlan::longest_prompt() const {
    std::size_t longest = 1;
    for (const PromptedProblem& problem : problems) longest = std::max(longest, problem.tokens.size());
    return static_cast<std::int64_t>(longest);
}

model::PassSize GenerationPlan::pass_size(std::int64_t batch_size) const {
    const std::int64_t longest = longest_prompt();
    const std::int64_t slots = std::min(batch_size, std::max<std::int64_t>(1, rows()));
    // New prompts are read together up to the engine's number of tokens, at least one of them.
    return {slots, std::max<std::int64_t>(longest, generate::EngineSettings().prefill_tokens), longest + writing.max_new_tokens};
}

void check_plan(const GenerationPlan& plan) {
    if (plan.temperatures.empty()) throw UsageError("no temperature is given");
    for (const double temperature : plan.temperatures) {
        generate::check_sampling({temperature, static_cast<int>(plan.writing.top_k), plan.writing.top_p, plan.writing.min_p});
        if (temperature == 0 && plan.samples > 1) {
            throw UsageError(std::to_string(plan.samples) + " samples at temperature 0 would all be the same; take one, or a temperature above 0");
        }
    }
    stop_strings_of(plan.writing);
}

GenerationUse generate_programs(Context& context, const model::Model& model, const text::Tokenizer& tokenizer, io::ResultFile& file, const io::Sizes& sizes,
                                const GenerationPlan& plan) {
    std::optional<Loop> loop;
    mpi::agreed(context.comm, [&] { loop.emplace(context, model, tokenizer, file, sizes, plan); });
    return loop->run();
}

}  // namespace pva::phases
