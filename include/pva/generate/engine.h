// Generation by continuous batching: a row that ends is replaced at once, and a prompt is read once for all its samples.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pva/generate/sampling.h"
#include "pva/model/model.h"
#include "pva/model/sites.h"
#include "pva/text/tokenizer.h"

namespace pva::generate {

/// Why a generation ended. Stored in files as these numbers.
enum class StopReason : std::uint8_t { eos = 0, stop_rule = 1, limit = 2, stop_string = 3 };

/// "eos", "stop_rule", "limit" or "stop_string".
std::string_view stop_reason_name(StopReason reason);

/// Asked after every new token with everything the row has generated so far (bytes; they may end in the middle of a
/// UTF-8 character); true ends the row. The answer must depend on its arguments only. `job` is the number of the job.
using StopRule = std::function<bool(std::size_t job, std::string_view generated_text)>;

/// One text to be written after a prompt.
struct Branch {
    Sampling sampling;
    RandomKey key;  ///< not looked at when the temperature is 0
};

/// A prompt and what is to be written after it, each on its own.
struct Job {
    std::vector<std::int32_t> prompt;  ///< token ids, with BOS where the model wants it
    std::vector<Branch> branches;      ///< at least one
};

struct Generation {
    std::vector<std::int32_t> tokens;  ///< what the model wrote, with the EOS token if it ended there
    std::string text;                  ///< the bytes of the tokens, without EOS, cut before a stop string
    StopReason reason = StopReason::limit;
    std::vector<float> residual;           ///< [capture layers, d_model] at the last prompt token, from the prefill itself
    std::vector<float> log_probabilities;  ///< of each token under the model (temperature 1, no filters), natural log
    float first_entropy = 0;               ///< of the first token's distribution under the model, nats
    std::vector<float> entropies;          ///< of every token's, if asked for
};

/// Positions of a row that a StreamEdit changes.
enum class EditPositions : std::uint8_t {
    all,
    prompt,       ///< tokens of the prompt
    last_prompt,  ///< its last token alone
    generated,    ///< tokens that the model wrote, as it reads them
};

/// A vector added to the residual stream of every row.
struct StreamEdit {
    model::Site site = model::Site::resid_post;
    std::vector<int> layers;
    EditPositions positions = EditPositions::all;
    std::vector<float> vector;  ///< [hidden_size], added in the model's data type
};

struct EngineSettings {
    int slots = 16;                  ///< rows generated at the same time
    std::int64_t longest_prompt = 1; ///< tokens; decides, with max_new_tokens, the room of a slot
    int max_new_tokens = 0;          ///< EOS counts; 0 runs the prompts only
    int prefill_tokens = 1024;       ///< new prompts are read together up to so many tokens (at least one prompt)
    model::CaptureRequest capture;   ///< which layers' rows to keep at the last prompt token; none by default
    bool entropies = false;          ///< of every token; the first one's is always there
    bool stop_at_eos = true;         ///< false: an EOS token is a token like any other
    std::vector<std::string> stop_strings;
    StopRule stop_rule;              ///< may be empty
    std::vector<StreamEdit> edits;
    int threads = 1;                 ///< for choosing tokens
};

/// Where the time went, seconds, and how much was done.
struct EngineUse {
    std::int64_t prompts = 0;
    std::int64_t prefill_tokens = 0;  ///< each prompt once, however many samples it has
    std::int64_t decode_tokens = 0;   ///< tokens that were read to predict the next
    std::int64_t generated_tokens = 0;
    double prefill_seconds = 0;
    double decode_seconds = 0;
    double choosing_seconds = 0;  ///< choosing tokens, text and stop rules
};

/// Called once per branch, in the order in which they end.
using FinishedCallback = std::function<void(std::size_t job, std::size_t branch, Generation generation)>;

/// Generates for many jobs. What a branch becomes depends on its prompt, its sampling and its key alone, bit for bit, where
/// the model's rows do not depend on their neighbours (the fast engine on CPU); not on the slots, the order of the jobs or
/// what else is generated. Otherwise only a block of jobs submitted together to an idle engine is reproducible.
class Engine {
  public:
    /// Takes memory for all slots. `tokenizer` may be null: there is no text then, and stop rules see an empty one.
    /// Errors: UsageError for senseless settings; InputError when prompt and new tokens do not fit the model; OutOfMemory.
    Engine(const model::Model& model, const text::Tokenizer* tokenizer, EngineSettings settings);
    ~Engine();
    Engine(Engine&&) noexcept;

    /// Queues a job and returns its number (0, 1, ...). Errors: InputError for a prompt that is empty, too long or holds
    /// unknown ids; UsageError for bad sampling or no branch.
    std::size_t submit(Job job);

    /// Branches queued and not yet begun.
    std::size_t waiting() const;
    /// Slots that have nothing to do and no branch waiting for them.
    std::size_t free_slots() const;
    /// Nothing is queued or being written.
    bool idle() const;

    /// Gives free slots to waiting branches, then adds one token to every row. Errors: InputError when logits are not finite
    /// or a token is unknown to the tokenizer, naming the job; OutOfMemory, after which the engine is of no more use: what it has
    /// not handed over is to be given to another one with fewer slots.
    void step(const FinishedCallback& on_finished);

    const EngineUse& use() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Token ids of one prompt, with BOS.
struct Prompt {
    std::vector<std::int32_t> tokens;
};

struct GenerationSettings {
    int max_new_tokens = 0;         ///< EOS counts; 0 runs the prompts only
    model::CaptureRequest capture;  ///< which layers' rows to keep at the last prompt token; none by default
    bool stop_at_eos = true;        ///< false: an EOS token is a token like any other
};

/// Continues every prompt greedily, all at once. Errors: as Engine.
std::vector<Generation> generate_batch(const model::Model& model, const text::Tokenizer* tokenizer,
                                       std::span<const Prompt> prompts, const GenerationSettings& settings,
                                       const StopRule& stop_rule = {});

/// How fast a model reads and writes.
struct Rates {
    std::int64_t prefill_tokens = 0;
    double prefill_seconds = 0;
    std::int64_t decode_tokens = 0;
    double decode_seconds = 0;
    double prefill_tokens_per_second() const { return prefill_seconds > 0 ? static_cast<double>(prefill_tokens) / prefill_seconds : 0; }
    double decode_tokens_per_second() const { return decode_seconds > 0 ? static_cast<double>(decode_tokens) / decode_seconds : 0; }
};

/// Prefills the rows as one batch and decodes `steps` tokens of each, twice, and reports the second time. Only tokens of
/// the rows count, not padding. Errors: UsageError for no rows or fewer than 0 steps; InputError as model::check_tokens.
Rates measure_rates(const model::Model& model, std::span<const std::vector<std::int32_t>> rows, int steps);

}  // namespace pva::generate
