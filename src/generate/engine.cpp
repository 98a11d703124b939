// Slots, prompts shared by samples, one decoding step at a time.
#include "pva/generate/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <limits>
#include <optional>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "pva/core/error.h"
#include "pva/kernels/thread_pool.h"
#include "pva/model/kv_cache.h"
#include "pva/model/out_of_memory.h"

namespace pva::generate {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

at::Tensor on_cpu(const at::Tensor& logits) {
    return logits.to(at::TensorOptions().dtype(at::kFloat).device(at::kCPU)).contiguous();
}

// A prompt whose samples are being written.
struct Prefilled {
    std::size_t job = 0;
    Job work;
    std::size_t next_branch = 0;  // not yet begun
    std::vector<float> logits;    // after the last prompt token
    std::vector<float> residual;
};

struct Slot {
    std::shared_ptr<Prefilled> prompt;  // whose tokens the slot's cache begins with, also after the branch has ended
    bool busy = false;
    std::size_t branch = 0;
    Generation generation;
};

}  // namespace

std::string_view stop_reason_name(StopReason reason) {
    switch (reason) {
        case StopReason::eos:
            return "eos";
        case StopReason::stop_rule:
            return "stop_rule";
        case StopReason::limit:
            return "limit";
        case StopReason::stop_string:
            return "stop_string";
    }
    throw InternalError("unknown stop reason " + std::to_string(static_cast<int>(reason)));
}

struct Engine::State {
    const model::Model& model;
    const text::Tokenizer* tokenizer;
    EngineSettings settings;
    model::KvCache cache;
    std::vector<Slot> slots;
    std::deque<std::shared_ptr<Prefilled>> queue;  // not yet read
    std::deque<std::shared_ptr<Prefilled>> open;   // read, with branches not yet begun
    std::size_t jobs = 0;
    EngineUse use;
    kernels::ThreadPool pool;
    std::vector<std::vector<float>> scratch;  // of each slot
    model::SiteHook edits;

    State(const model::Model& the_model, const text::Tokenizer* the_tokenizer, EngineSettings the_settings)
        : model(the_model), tokenizer(the_tokenizer), settings(std::move(the_settings)), pool(std::max(1, settings.threads)) {}

    std::size_t vocabulary() const { return static_cast<std::size_t>(model.config().vocab_size); }
    void set_up_edits();
    void step(const FinishedCallback& on_finished);
    void fill_slots(const FinishedCallback& on_finished);
    void begin(std::size_t slot, const std::shared_ptr<Prefilled>& prompt);
    void read_prompts(std::vector<std::size_t> free, const FinishedCallback& on_finished);
    void take_tokens(const std::vector<std::size_t>& rows, const float* logits, const FinishedCallback& on_finished);
    bool goes_on(Slot& slot, const Choice& choice);
    void finish(std::size_t slot, const FinishedCallback& on_finished);
};

void Engine::State::set_up_edits() {
    std::vector<model::SiteHook> hooks;
    for (const StreamEdit& edit : settings.edits) {
        if (static_cast<std::int64_t>(edit.vector.size()) != model.config().hidden_size) {
            throw UsageError("a vector of " + std::to_string(edit.vector.size()) + " numbers is to be added to a stream of " +
                             std::to_string(model.config().hidden_size) + ".");
        }
        model::Intervention intervention;
        intervention.site = edit.site;
        intervention.layers = edit.layers;
        intervention.positions = [this, where = edit.positions](std::int64_t row, std::int64_t position) {
            if (where == EditPositions::all) return true;
            const auto length = static_cast<std::int64_t>(slots[static_cast<std::size_t>(row)].prompt->work.prompt.size());
            if (where == EditPositions::prompt) return position < length;
            if (where == EditPositions::last_prompt) return position == length - 1;
            return position >= length;
        };
        const at::Tensor added = at::tensor(at::ArrayRef<float>(edit.vector));
        intervention.change = [added](const model::SiteContext&, const at::Tensor& rows) {
            return rows + added.to(rows.options());
        };
        hooks.push_back(model::intervene(std::move(intervention), model.config()));
    }
    edits = model::combine(std::move(hooks));
}

void Engine::State::begin(std::size_t slot, const std::shared_ptr<Prefilled>& prompt) {
    Slot& row = slots[slot];
    const auto length = static_cast<std::int64_t>(prompt->work.prompt.size());
    if (row.prompt == prompt) {
        model::Model::shorten(cache, static_cast<std::int64_t>(slot), length);
    } else {
        const auto other = std::find_if(slots.begin(), slots.end(), [&](const Slot& one) { return one.prompt == prompt; });
        if (other == slots.end()) throw InternalError("a prompt with samples to be written has left its slots");
        model.copy_prefix(cache, other - slots.begin(), static_cast<std::int64_t>(slot), length);
    }
    row.prompt = prompt;
    row.busy = true;
    row.branch = prompt->next_branch++;
    row.generation = Generation();
    row.generation.residual = prompt->residual;
}

void Engine::State::fill_slots(const FinishedCallback& on_finished) {
    while (true) {
        // Free slots, those first that hold no prompt which others still need.
        std::vector<std::size_t> free;
        std::vector<std::size_t> holding;
        for (std::size_t slot = 0; slot < slots.size(); ++slot) {
            if (slots[slot].busy) continue;
            const bool needed = slots[slot].prompt && slots[slot].prompt->next_branch < slots[slot].prompt->work.branches.size();
            (needed ? holding : free).push_back(slot);
        }
        std::vector<std::size_t> begun;
        // Samples of prompts already read, in the slot that holds the prompt where there is one.
        while (!open.empty() && (!free.empty() || !holding.empty())) {
            const std::shared_ptr<Prefilled> prompt = open.front();
            const auto own = std::find_if(holding.begin(), holding.end(), [&](std::size_t slot) { return slots[slot].prompt == prompt; });
            std::size_t slot = 0;
            if (own != holding.end()) {
                slot = *own;
                holding.erase(own);
            } else if (!free.empty()) {
                slot = free.back();
                free.pop_back();
            } else {
                break;  // what is free holds other prompts, whose turn comes
            }
            begin(slot, prompt);
            begun.push_back(slot);
            if (prompt->next_branch == prompt->work.branches.size()) open.pop_front();
        }
        if (!begun.empty()) {
            for (const std::size_t slot : begun)
                take_tokens({slot}, slots[slot].prompt->logits.data(), on_finished);
            continue;  // some may have ended with their first token
        }
        if (queue.empty() || free.empty() || !open.empty()) return;
        read_prompts(std::move(free), on_finished);
    }
}

void Engine::State::read_prompts(std::vector<std::size_t> free, const FinishedCallback& on_finished) {
    const auto clock = Clock::now();
    std::vector<std::vector<std::int32_t>> rows;
    std::vector<std::int64_t> cache_rows;
    std::vector<std::shared_ptr<Prefilled>> prompts;
    std::size_t tokens = 0;
    while (!queue.empty() && rows.size() < free.size()) {
        const std::shared_ptr<Prefilled> prompt = queue.front();
        if (!rows.empty() && tokens + prompt->work.prompt.size() > static_cast<std::size_t>(settings.prefill_tokens)) break;
        queue.pop_front();
        tokens += prompt->work.prompt.size();
        Slot& slot = slots[free[rows.size()]];
        slot.prompt = prompt;
        cache_rows.push_back(static_cast<std::int64_t>(free[rows.size()]));
        rows.push_back(prompt->work.prompt);
        prompts.push_back(prompt);
    }
    std::vector<std::vector<float>> residual(slots.size());
    std::vector<model::SiteHook> hooks;
    if (edits) hooks.push_back(edits);
    if (!settings.capture.layers.empty()) hooks.push_back(model::capture_last_token(settings.capture, residual));
    const at::Tensor logits = on_cpu(model.prefill(rows, cache_rows, cache, model::combine(std::move(hooks))));
    const float* data = logits.const_data_ptr<float>();
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        prompts[i]->logits.assign(data + i * vocabulary(), data + (i + 1) * vocabulary());
        prompts[i]->residual = std::move(residual[static_cast<std::size_t>(cache_rows[i])]);
        if (settings.max_new_tokens > 0) {
            open.push_back(prompts[i]);
            continue;
        }
        for (std::size_t branch = 0; branch < prompts[i]->work.branches.size(); ++branch) {
            Generation generation;
            generation.residual = prompts[i]->residual;
            prompts[i]->next_branch = branch + 1;
            on_finished(prompts[i]->job, branch, std::move(generation));
        }
    }
    use.prompts += static_cast<std::int64_t>(prompts.size());
    use.prefill_tokens += static_cast<std::int64_t>(tokens);
    use.prefill_seconds += seconds_since(clock);
}

// Logits of row i at logits + i * vocabulary.
void Engine::State::take_tokens(const std::vector<std::size_t>& rows, const float* logits, const FinishedCallback& on_finished) {
    const auto clock = Clock::now();
    std::vector<Choice> choices(rows.size());
    pool.run(static_cast<std::int64_t>(rows.size()), [&](std::int64_t i) {
        const auto at = static_cast<std::size_t>(i);
        const Slot& slot = slots[rows[at]];
        const Branch& branch = slot.prompt->work.branches[slot.branch];
        const std::size_t position = slot.generation.tokens.size();
        const double random = branch.sampling.temperature > 0 ? random_number(branch.key, static_cast<std::uint32_t>(position)) : 0.0;
        try {
            choices[at] = choose_token({logits + at * vocabulary(), vocabulary()}, branch.sampling, random,
                                       settings.entropies || position == 0, scratch[rows[at]]);
        } catch (const InputError& error) {
            throw InputError("job " + std::to_string(slot.prompt->job) + ", token " + std::to_string(position) + ": " + error.what());
        }
    });
    std::vector<std::size_t> ended;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (!goes_on(slots[rows[i]], choices[i])) ended.push_back(rows[i]);
    }
    use.generated_tokens += static_cast<std::int64_t>(rows.size());
    use.choosing_seconds += seconds_since(clock);
    for (const std::size_t slot : ended)
        finish(slot, on_finished);
}

bool Engine::State::goes_on(Slot& slot, const Choice& choice) {
    Generation& generation = slot.generation;
    if (generation.tokens.empty()) generation.first_entropy = choice.entropy;
    if (settings.entropies) generation.entropies.push_back(choice.entropy);
    generation.tokens.push_back(choice.token);
    generation.log_probabilities.push_back(choice.log_probability);
    const auto& eos = model.config().eos_token_ids;
    if (settings.stop_at_eos && std::find(eos.begin(), eos.end(), choice.token) != eos.end()) {
        generation.reason = StopReason::eos;
        return false;
    }
    const std::size_t before = generation.text.size();
    if (tokenizer != nullptr) tokenizer->append(choice.token, generation.text);
    std::size_t cut = std::string::npos;
    for (const std::string& stop : settings.stop_strings) {
        const std::size_t from = before - std::min(before, stop.size() - 1);
        cut = std::min(cut, generation.text.find(stop, from));
    }
    if (cut != std::string::npos) {
        generation.text.resize(cut);
        generation.reason = StopReason::stop_string;
        return false;
    }
    if (settings.stop_rule && settings.stop_rule(slot.prompt->job, generation.text)) {
        generation.reason = StopReason::stop_rule;
        return false;
    }
    generation.reason = StopReason::limit;
    return generation.tokens.size() < static_cast<std::size_t>(settings.max_new_tokens);
}

void Engine::State::finish(std::size_t slot, const FinishedCallback& on_finished) {
    Slot& row = slots[slot];
    row.busy = false;
    const std::shared_ptr<Prefilled> prompt = row.prompt;
    if (on_finished) on_finished(prompt->job, row.branch, std::move(row.generation));
    row.generation = Generation();
}

Engine::Engine(const model::Model& model, const text::Tokenizer* tokenizer, EngineSettings settings)
    : state_(std::make_unique<State>(model, tokenizer, std::move(settings))) {
    State& state = *state_;
    const EngineSettings& given = state.settings;
    if (given.slots < 1) throw UsageError("a batch of " + std::to_string(given.slots) + " rows; it must be 1 or more.");
    if (given.max_new_tokens < 0)
        throw UsageError("max_new_tokens is " + std::to_string(given.max_new_tokens) + "; it must be 0 or more.");
    for (const std::string& stop : given.stop_strings) {
        if (stop.empty()) throw UsageError("an empty stop string would end every text at once.");
    }
    model::check_capture_request(given.capture, model.config());
    const c10::InferenceMode no_gradients;
    model::within_memory("taking room for " + std::to_string(given.slots) + " rows", [&] {
        state.cache = model.make_cache(given.slots, given.longest_prompt + given.max_new_tokens);
        state.slots.resize(static_cast<std::size_t>(given.slots));
        state.scratch.resize(state.slots.size());
        state.set_up_edits();
    });
}

Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;

std::size_t Engine::submit(Job job) {
    State& state = *state_;
    const EngineSettings& settings = state.settings;
    const std::string which = "prompt " + std::to_string(state.jobs);
    model::check_tokens(job.prompt, state.model.config(), which);
    const auto length = static_cast<std::int64_t>(job.prompt.size());
    const std::int64_t room = state.model.config().max_position_embeddings - settings.max_new_tokens;
    if (length > room) {
        throw InputError(which + " has " + std::to_string(length) + " tokens; with " + std::to_string(settings.max_new_tokens) +
                         " new ones at most " + std::to_string(room) + " fit the model's " +
                         std::to_string(state.model.config().max_position_embeddings) +
                         " positions. Ask for fewer new tokens or leave the problem out.");
    }
    if (length > settings.longest_prompt) throw InternalError(which + " is longer than the longest prompt the engine was made for");
    if (job.branches.empty()) throw UsageError(which + ": nothing is to be written after it.");
    for (const Branch& branch : job.branches)
        check_sampling(branch.sampling);
    auto prompt = std::make_shared<Prefilled>();
    prompt->job = state.jobs++;
    prompt->work = std::move(job);
    state.queue.push_back(std::move(prompt));
    return state.jobs - 1;
}

std::size_t Engine::waiting() const {
    std::size_t branches = 0;
    for (const auto* list : {&state_->queue, &state_->open}) {
        for (const auto& prompt : *list)
            branches += prompt->work.branches.size() - prompt->next_branch;
    }
    return branches;
}

std::size_t Engine::free_slots() const {
    const auto busy = static_cast<std::size_t>(std::count_if(state_->slots.begin(), state_->slots.end(), [](const Slot& slot) { return slot.busy; }));
    const std::size_t taken = busy + waiting();
    return state_->slots.size() - std::min(taken, state_->slots.size());
}

bool Engine::idle() const {
    return state_->queue.empty() && state_->open.empty() &&
           std::none_of(state_->slots.begin(), state_->slots.end(), [](const Slot& slot) { return slot.busy; });
}

void Engine::step(const FinishedCallback& on_finished) {
    const c10::InferenceMode no_gradients;
    State& state = *state_;
    model::within_memory("writing " + std::to_string(state.slots.size()) + " rows", [&] { state.step(on_finished); });
}

void Engine::State::step(const FinishedCallback& on_finished) {
    fill_slots(on_finished);
    std::vector<std::size_t> rows;
    std::vector<std::int64_t> active;
    std::vector<std::int32_t> tokens;
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
        if (!slots[slot].busy) continue;
        rows.push_back(slot);
        active.push_back(static_cast<std::int64_t>(slot));
        tokens.push_back(slots[slot].generation.tokens.back());
    }
    if (rows.empty()) return;
    const auto clock = Clock::now();
    const at::Tensor logits = on_cpu(model.decode_step(tokens, active, cache, edits));
    use.decode_tokens += static_cast<std::int64_t>(rows.size());
    use.decode_seconds += seconds_since(clock);
    take_tokens(rows, logits.const_data_ptr<float>(), on_finished);
}

const EngineUse& Engine::use() const {
    return state_->use;
}

std::vector<Generation> generate_batch(const model::Model& model, const text::Tokenizer* tokenizer,
                                       std::span<const Prompt> prompts, const GenerationSettings& settings,
                                       const StopRule& stop_rule) {
    std::vector<Generation> generations(prompts.size());
    if (prompts.empty()) {
        model::check_capture_request(settings.capture, model.config());
        return generations;
    }
    EngineSettings engine_settings;
    engine_settings.slots = static_cast<int>(prompts.size());
    for (const Prompt& prompt : prompts)
        engine_settings.longest_prompt = std::max(engine_settings.longest_prompt, static_cast<std::int64_t>(prompt.tokens.size()));
    engine_settings.max_new_tokens = settings.max_new_tokens;
    engine_settings.prefill_tokens = std::numeric_limits<int>::max();
    engine_settings.capture = settings.capture;
    engine_settings.stop_at_eos = settings.stop_at_eos;
    engine_settings.stop_rule = stop_rule;
    Engine engine(model, tokenizer, std::move(engine_settings));
    for (const Prompt& prompt : prompts)
        engine.submit({prompt.tokens, {Branch{}}});
    while (!engine.idle()) {
        engine.step([&](std::size_t job, std::size_t, Generation generation) { generations[job] = std::move(generation); });
    }
    return generations;
}

Rates measure_rates(const model::Model& model, std::span<const std::vector<std::int32_t>> rows, int steps) {
    const c10::InferenceMode no_gradients;
    std::size_t longest = 0;
    Rates rates;
    std::vector<std::int64_t> active;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        model::check_tokens(rows[row], model.config(), "row " + std::to_string(row), steps);
        longest = std::max(longest, rows[row].size());
        rates.prefill_tokens += static_cast<std::int64_t>(rows[row].size());
        active.push_back(static_cast<std::int64_t>(row));
    }
    if (rows.empty() || steps < 0)
        throw UsageError("rates are measured with at least one row and no fewer than 0 steps.");
    rates.decode_tokens = static_cast<std::int64_t>(rows.size()) * steps;
    const std::vector<std::int32_t> next_tokens(rows.size(), 0);
    // The first time pays for what is set up once.
    for (int round = 0; round < 2; ++round) {
        model::KvCache cache = model.make_cache(static_cast<std::int64_t>(rows.size()),
                                                static_cast<std::int64_t>(longest) + steps);
        auto start = std::chrono::steady_clock::now();
        on_cpu(model.prefill(rows, cache));  // copied, so that a device has really finished
        rates.prefill_seconds = seconds_since(start);
        start = std::chrono::steady_clock::now();
        for (int step = 0; step < steps; ++step)
            on_cpu(model.decode_step(next_tokens, active, cache));
        rates.decode_seconds = seconds_since(start);
    }
    return rates;
}

}  // namespace pva::generate
