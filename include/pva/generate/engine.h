// Greedy generation for a block of prompts: one prefill, then decoding steps with a KV cache.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pva/model/model.h"
#include "pva/model/sites.h"
#include "pva/text/tokenizer.h"

namespace pva::generate {

/// Token ids of one prompt, with BOS.
struct Prompt {
    std::vector<std::int32_t> tokens;
};

/// Why a generation ended. Stored in files as these numbers.
enum class StopReason : std::uint8_t { eos = 0, stop_rule = 1, limit = 2 };

/// "eos", "stop_rule" or "limit".
std::string_view stop_reason_name(StopReason reason);

/// Asked after every new token with everything the row has generated so far (bytes; they may end in the middle of a
/// UTF-8 character); true ends the row. The answer must depend on its arguments only. `row` is the index of the prompt.
using StopRule = std::function<bool(std::size_t row, std::string_view generated_text)>;

struct GenerationSettings {
    int max_new_tokens = 0;         ///< EOS counts; 0 runs the prompts only
    model::CaptureRequest capture;  ///< which layers' rows to keep at the last prompt token; none by default
    bool log_probabilities = false;
    bool stop_at_eos = true;  ///< false: an EOS token is a token like any other
};

struct Generation {
    std::vector<std::int32_t> tokens;  ///< what the model wrote, with the EOS token if it ended there
    std::string text;                  ///< the bytes of the tokens, without EOS
    StopReason reason = StopReason::limit;
    std::vector<float> residual;  ///< [capture layers, d_model] at the last prompt token, from the prefill itself
    std::vector<float> log_probabilities;  ///< natural log of each token's probability, if asked for
};

/// Called once per prompt, in the order in which rows end, while the others are still being generated.
using FinishedCallback = std::function<void(std::size_t row, const Generation& generation)>;

/// Continues every prompt greedily (largest logit; of equal ones the lowest id). A row ends at an EOS token of the
/// model, when `stop_rule` (may be empty) says so, or after max_new_tokens, and leaves the batch then. Without a
/// tokenizer (null) there is no text, and a stop rule sees an empty one. The result is a
/// function of the whole block of prompts and the settings at a fixed number of threads: rows of other blocks do not
/// matter, rows of the same block may in the last bits. Errors: InputError for a prompt without tokens, with an id the
/// model does not have, or longer than max_position_embeddings - max_new_tokens (naming the row), for a generated id
/// unknown to the tokenizer, and when logits are not finite; UsageError for bad settings.
std::vector<Generation> generate_batch(const model::Model& model, const text::Tokenizer* tokenizer,
                                       std::span<const Prompt> prompts, const GenerationSettings& settings,
                                       const StopRule& stop_rule = {}, const FinishedCallback& on_finished = {});

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
