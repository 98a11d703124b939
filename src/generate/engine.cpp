// Slots, prompts shared by samples, one decoding step at a time.
#include "pva/generate/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <iterator>
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
    // Pinned memory takes a copy from a GPU several times as fast; the tensor library keeps and reuses it.
    if (logits.is_cuda()) return at::empty(logits.sizes(), at::TensorOptions().dtype(at::kFloat).pinned_memory(true)).copy_(logits);
    return logits.to(at::TensorOptions().dtype(at::kFloat).device(at::kCPU)).contiguous();
}

// How far into the prompt an edit reaches, or what its gate looks at.
enum class Reach { not_at_all, last_token, before_it };

Reach reach_of(const StreamEdit& edit) {
    if (edit.gate && edit.gate->moment == GateMoment::first_generated) return Reach::not_at_all;
    if (edit.gate && edit.gate->moment == GateMoment::last_prompt) return Reach::last_token;
    switch (edit.positions) {
        case EditPositions::all:
        case EditPositions::prompt:
            return Reach::before_it;
        case EditPositions::last_prompt:
        case EditPositions::last:
            return Reach::last_token;
        case EditPositions::generated:
            return Reach::not_at_all;
    }
    throw InternalError("unknown positions of an edit");
}

bool reaches(EditPositions positions, std::int64_t position, std::int64_t prompt_length) {
    switch (positions) {
        case EditPositions::all:
            return true;
        case EditPositions::prompt:
            return position < prompt_length;
        case EditPositions::last_prompt:
            return position == prompt_length - 1;
        case EditPositions::generated:
            return position >= prompt_length;
        case EditPositions::last:
            return position >= prompt_length - 1;
    }
    throw InternalError("unknown positions of an edit");
}

using Edits = std::vector<std::shared_ptr<const StreamEdit>>;

// What the gates of a row's edits have said so far; one entry an edit.
struct GateState {
    std::vector<std::uint8_t> open;
    std::vector<double> values;
    std::vector<std::vector<std::uint8_t>> here;  // GateMoment::each: of each token of the pass

    GateState() = default;
    explicit GateState(const Edits& edits) : values(edits.size(), std::numeric_limits<double>::quiet_NaN()), here(edits.size()) {
        for (const auto& edit : edits)
            open.push_back(edit->gate ? 0 : 1);
    }
};

// A prompt whose samples are being written.
struct Prefilled {
    std::size_t job = 0;
    Job work;
    std::vector<std::size_t> numbers;  // of the branches here, as they were submitted
    Reach reach = Reach::not_at_all;   // the furthest of all edits
    GateState gates;                  // after the prompt was read with edits
    std::size_t next_branch = 0;  // not yet begun
    std::vector<float> logits;    // after the last prompt token
    std::vector<float> residual;
};

struct Slot {
    std::shared_ptr<Prefilled> prompt;  // whose tokens the slot's cache begins with, also after the branch has ended
    bool busy = false;
    std::size_t branch = 0;
    Generation generation;
    const Edits* edits = nullptr;  // of the pass to come; null: none
    GateState gates;
};

const char* const position_names[] = {"all", "prompt", "last-prompt", "generated", "last"};
const char* const moment_names[] = {"each", "last-prompt", "first-generated"};

template <std::size_t n>
std::size_t place_of(const char* const (&names)[n], std::string_view name, const std::string& what) {
    for (std::size_t i = 0; i < n; ++i) {
        if (name == names[i]) return i;
    }
    std::string known;
    for (const char* one : names)
        known += (known.empty() ? "" : ", ") + std::string(one);
    throw UsageError("there are no " + what + " '" + std::string(name) + "'; they are " + known + ".");
}

// Where a site stands in the forward pass.
int order_of(model::Site site, int layer) {
    return 3 * layer + (site == model::Site::resid_pre ? 0 : site == model::Site::resid_mid ? 1 : 2);
}

void check_edit(const StreamEdit& edit, const model::ModelConfig& config) {
    const auto check_place = [&](model::Site site, const std::vector<int>& layers, std::size_t width) {
        if (!model::site_is_residual(site)) throw UsageError(std::string(model::site_name(site)) + " is no residual site; only the stream itself is edited.");
        model::check_capture_request({site, layers}, config);
        if (static_cast<std::int64_t>(width) != config.hidden_size) {
            throw UsageError("a vector of " + std::to_string(width) + " numbers is meant for a stream of " + std::to_string(config.hidden_size) + ".");
        }
    };
    check_place(edit.site, edit.layers, edit.vector.size());
    if (!edit.gate) return;
    check_place(edit.gate->site, {edit.gate->layer}, edit.gate->direction.size());
    if (edit.gate->moment != GateMoment::each) return;
    for (const int layer : edit.layers) {
        if (order_of(edit.gate->site, edit.gate->layer) > order_of(edit.site, layer))
            throw UsageError("a gate at layer " + std::to_string(edit.gate->layer) + " lies behind the edit at layer " + std::to_string(layer) + ", which it should decide.");
    }
}

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

bool shares_prompt(std::span<const std::shared_ptr<const StreamEdit>> edits) {
    return std::all_of(edits.begin(), edits.end(), [](const auto& edit) { return reach_of(*edit) != Reach::before_it; });
}

std::string_view edit_positions_name(EditPositions positions) {
    return position_names[static_cast<std::size_t>(positions)];
}

std::vector<std::string> edit_positions_names() {
    return {std::begin(position_names), std::end(position_names)};
}

EditPositions edit_positions_from_name(std::string_view name) {
    return static_cast<EditPositions>(place_of(position_names, name, "positions"));
}

std::string_view gate_moment_name(GateMoment moment) {
    return moment_names[static_cast<std::size_t>(moment)];
}

std::vector<std::string> gate_moment_names() {
    return {std::begin(moment_names), std::end(moment_names)};
}

GateMoment gate_moment_from_name(std::string_view name) {
    return static_cast<GateMoment>(place_of(moment_names, name, "moments"));
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
    State(const model::Model& the_model, const text::Tokenizer* the_tokenizer, EngineSettings the_settings)
        : model(the_model), tokenizer(the_tokenizer), settings(std::move(the_settings)), pool(std::max(1, settings.threads)) {}

    std::size_t vocabulary() const { return static_cast<std::size_t>(model.config().vocab_size); }
    void look_at_gates(const model::SiteContext& context, const at::Tensor& values);
    void edit(const model::SiteContext& context, at::Tensor& values);
    model::SiteHook edit_hook(bool wanted);
    void step(const FinishedCallback& on_finished);
    void fill_slots(const FinishedCallback& on_finished);
    void begin(std::size_t slot, const std::shared_ptr<Prefilled>& prompt);
    void read_prompts(std::vector<std::size_t> free, const FinishedCallback& on_finished);
    void take_tokens(const std::vector<std::size_t>& rows, const float* logits, const FinishedCallback& on_finished);
    bool goes_on(Slot& slot, const Choice& choice);
    void finish(std::size_t slot, const FinishedCallback& on_finished);
};

void Engine::State::look_at_gates(const model::SiteContext& context, const at::Tensor& values) {
    for (std::size_t b = 0; b < context.rows.size(); ++b) {
        Slot& slot = slots[static_cast<std::size_t>(context.rows[b])];
        if (slot.edits == nullptr) continue;
        const auto length = static_cast<std::int64_t>(slot.prompt->work.prompt.size());
        for (std::size_t e = 0; e < slot.edits->size(); ++e) {
            const StreamEdit& edit = *(*slot.edits)[e];
            if (!edit.gate || edit.gate->site != context.site || edit.gate->layer != context.layer) continue;
            const StreamGate& gate = *edit.gate;
            if (gate.moment == GateMoment::each) slot.gates.here[e].assign(static_cast<std::size_t>(context.valid_tokens[b]), 0);
            for (std::int64_t t = 0; t < context.valid_tokens[b]; ++t) {
                const std::int64_t position = context.first_position[b] + t;
                if (gate.moment == GateMoment::each ? !reaches(edit.positions, position, length)
                                                    : position != (gate.moment == GateMoment::last_prompt ? length - 1 : length)) {
                    continue;
                }
                const at::Tensor row = values[static_cast<std::int64_t>(b)][t].to(at::TensorOptions().dtype(at::kFloat).device(at::kCPU)).contiguous();
                const float* x = row.const_data_ptr<float>();
                double value = gate.offset;
                for (std::size_t i = 0; i < gate.direction.size(); ++i)
                    value += static_cast<double>(gate.direction[i]) * static_cast<double>(x[i]);
                const bool open = value > gate.threshold;
                if (open) slot.gates.open[e] = 1;
                if (!(value <= slot.gates.values[e])) slot.gates.values[e] = value;
                if (gate.moment == GateMoment::each) slot.gates.here[e][static_cast<std::size_t>(t)] = open ? 1 : 0;
            }
        }
    }
}

void Engine::State::edit(const model::SiteContext& context, at::Tensor& values) {
    look_at_gates(context, values);
    at::Tensor changed;
    for (std::size_t b = 0; b < context.rows.size(); ++b) {
        const Slot& slot = slots[static_cast<std::size_t>(context.rows[b])];
        if (slot.edits == nullptr) continue;
        const auto length = static_cast<std::int64_t>(slot.prompt->work.prompt.size());
        for (std::size_t e = 0; e < slot.edits->size(); ++e) {
            const StreamEdit& edit = *(*slot.edits)[e];
            if (edit.site != context.site || std::find(edit.layers.begin(), edit.layers.end(), context.layer) == edit.layers.end()) continue;
            const auto wanted = [&](std::int64_t t) {
                const std::int64_t position = context.first_position[b] + t;
                if (!reaches(edit.positions, position, length)) return false;
                if (!edit.gate) return true;
                if (edit.gate->moment == GateMoment::each) return slot.gates.here[e][static_cast<std::size_t>(t)] == 1;
                return slot.gates.open[e] == 1 && position > (edit.gate->moment == GateMoment::last_prompt ? length - 1 : length);
            };
            at::Tensor added;
            for (std::int64_t t = 0; t < context.valid_tokens[b];) {
                if (!wanted(t)) {
                    ++t;
                    continue;
                }
                std::int64_t end = t + 1;
                while (end < context.valid_tokens[b] && wanted(end))
                    ++end;
                if (!changed.defined()) changed = values.clone();
                if (!added.defined()) added = at::tensor(at::ArrayRef<float>(edit.vector)).to(values.options());
                changed[static_cast<std::int64_t>(b)].narrow(0, t, end - t).add_(added);
                t = end;
            }
        }
    }
    if (changed.defined()) values = changed;
}

// Nothing is looked at where no row of the pass has edits.
model::SiteHook Engine::State::edit_hook(bool wanted) {
    if (!wanted) return {};
    return [this](const model::SiteContext& context, at::Tensor& values) {
        if (model::site_is_residual(context.site)) edit(context, values);
    };
}

void Engine::State::begin(std::size_t slot, const std::shared_ptr<Prefilled>& prompt) {
    Slot& row = slots[slot];
    // Where the last prompt token is read again, with the branch's own edits, the shared reading ends before it.
    const auto length = static_cast<std::int64_t>(prompt->work.prompt.size()) - (prompt->reach == Reach::last_token ? 1 : 0);
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
    const Edits& edits = prompt->work.branches[row.branch].edits;
    row.edits = edits.empty() ? nullptr : &edits;
    row.gates = prompt->reach == Reach::before_it ? prompt->gates : GateState(edits);
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
            for (const std::size_t slot : begun) {
                // The others get their first logits from the next step.
                if (slots[slot].prompt->reach != Reach::last_token) take_tokens({slot}, slots[slot].prompt->logits.data(), on_finished);
            }
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
    bool any_edits = false;
    while (!queue.empty() && rows.size() < free.size()) {
        const std::shared_ptr<Prefilled> prompt = queue.front();
        if (!rows.empty() && tokens + prompt->work.prompt.size() > static_cast<std::size_t>(settings.prefill_tokens)) break;
        queue.pop_front();
        tokens += prompt->work.prompt.size();
        Slot& slot = slots[free[rows.size()]];
        slot.prompt = prompt;
        const bool edited = prompt->reach == Reach::before_it;
        slot.edits = edited ? &prompt->work.branches.front().edits : nullptr;
        slot.gates = edited ? GateState(*slot.edits) : GateState();
        any_edits = any_edits || edited;
        cache_rows.push_back(static_cast<std::int64_t>(free[rows.size()]));
        rows.push_back(prompt->work.prompt);
        prompts.push_back(prompt);
    }
    std::vector<std::vector<float>> residual(slots.size());
    std::vector<model::SiteHook> hooks;
    hooks.push_back(edit_hook(any_edits));
    if (!settings.capture.layers.empty()) hooks.push_back(model::capture_last_token(settings.capture, residual));
    const at::Tensor logits = on_cpu(model.prefill(rows, cache_rows, cache, model::combine(std::move(hooks))));
    const float* data = logits.const_data_ptr<float>();
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        prompts[i]->logits.assign(data + i * vocabulary(), data + (i + 1) * vocabulary());
        prompts[i]->residual = std::move(residual[static_cast<std::size_t>(cache_rows[i])]);
        prompts[i]->gates = slots[static_cast<std::size_t>(cache_rows[i])].gates;
        if (settings.max_new_tokens > 0) {
            open.push_back(prompts[i]);
            continue;
        }
        for (std::size_t branch = 0; branch < prompts[i]->work.branches.size(); ++branch) {
            Generation generation;
            generation.residual = prompts[i]->residual;
            prompts[i]->next_branch = branch + 1;
            on_finished(prompts[i]->job, prompts[i]->numbers[branch], std::move(generation));
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
    row.generation.gates = std::move(row.gates.open);
    row.generation.gate_values = std::move(row.gates.values);
    row.edits = nullptr;
    row.gates = GateState();
    if (on_finished) on_finished(prompt->job, prompt->numbers[row.branch], std::move(row.generation));
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
    Reach reach = Reach::not_at_all;
    for (const Branch& branch : job.branches) {
        check_sampling(branch.sampling);
        for (const auto& edit : branch.edits) {
            check_edit(*edit, state.model.config());
            reach = std::max(reach, reach_of(*edit));
        }
    }
    // Nothing lies before the only token of a prompt.
    if (reach == Reach::last_token && length == 1) reach = Reach::before_it;
    // Branches that share the reading of the prompt.
    std::vector<std::shared_ptr<Prefilled>> groups;
    for (std::size_t number = 0; number < job.branches.size(); ++number) {
        Branch& branch = job.branches[number];
        auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& one) { return reach != Reach::before_it || one->work.branches.front().edits == branch.edits; });
        if (group == groups.end()) {
            groups.push_back(std::make_shared<Prefilled>());
            group = groups.end() - 1;
            (*group)->job = state.jobs;
            (*group)->work.prompt = job.prompt;
            (*group)->reach = reach;
        }
        (*group)->numbers.push_back(number);
        (*group)->work.branches.push_back(std::move(branch));
    }
    for (auto& group : groups)
        state.queue.push_back(std::move(group));
    return state.jobs++;
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
    bool any_edits = false;
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
        const Slot& one = slots[slot];
        if (!one.busy) continue;
        rows.push_back(slot);
        active.push_back(static_cast<std::int64_t>(slot));
        tokens.push_back(one.generation.tokens.empty() ? one.prompt->work.prompt.back() : one.generation.tokens.back());
        any_edits = any_edits || one.edits != nullptr;
    }
    if (rows.empty()) return;
    const auto clock = Clock::now();
    const at::Tensor logits = on_cpu(model.decode_step(tokens, active, cache, edit_hook(any_edits)));
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
    model::KvCache cache = model.make_cache(static_cast<std::int64_t>(rows.size()),
                                            static_cast<std::int64_t>(longest) + steps);
    // The first time pays for what is set up once.
    for (int round = 0; round < 2; ++round) {
        auto start = std::chrono::steady_clock::now();
        on_cpu(model.prefill(rows, active, cache));  // copied, so that a device has really finished
        rates.prefill_seconds = seconds_since(start);
        start = std::chrono::steady_clock::now();
        for (int step = 0; step < steps; ++step)
            on_cpu(model.decode_step(next_tokens, active, cache));
        rates.decode_seconds = seconds_since(start);
    }
    return rates;
}

}  // namespace pva::generate
