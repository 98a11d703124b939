// The greedy decoding loop.
#include "pva/generate/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "pva/core/error.h"
#include "pva/model/kv_cache.h"

namespace pva::generate {

namespace {

struct Choice {
    std::int32_t token = 0;
    float log_probability = 0;
};

Choice greedy_choice(std::span<const float> logits, bool with_log_probability, std::size_t row) {
    std::size_t best = 0;
    bool finite = true;
    for (std::size_t id = 0; id < logits.size(); ++id) {
        finite = finite && std::isfinite(logits[id]);
        if (logits[id] > logits[best]) best = id;
    }
    if (!finite) {
        throw InputError("the model's logits for row " + std::to_string(row) +
                         " of a block are not finite. Its weights overflow float32 or are damaged.");
    }
    Choice choice{static_cast<std::int32_t>(best), 0};
    if (with_log_probability) {
        double sum = 0;
        for (const float logit : logits)
            sum += std::exp(static_cast<double>(logit) - logits[best]);
        choice.log_probability = static_cast<float>(-std::log(sum));
    }
    return choice;
}

at::Tensor on_cpu(const at::Tensor& logits) {
    return logits.to(at::TensorOptions().dtype(at::kFloat).device(at::kCPU)).contiguous();
}

void check_settings(const model::ModelConfig& config, std::span<const Prompt> prompts,
                    const GenerationSettings& settings) {
    if (settings.max_new_tokens < 0) {
        throw UsageError("max_new_tokens is " + std::to_string(settings.max_new_tokens) + "; it must be 0 or more.");
    }
    model::check_capture_request(settings.capture, config);
    const std::int64_t room = config.max_position_embeddings - settings.max_new_tokens;
    for (std::size_t row = 0; row < prompts.size(); ++row) {
        if (static_cast<std::int64_t>(prompts[row].tokens.size()) > room) {
            throw InputError("prompt " + std::to_string(row) + " of a block has " +
                             std::to_string(prompts[row].tokens.size()) + " tokens; with " +
                             std::to_string(settings.max_new_tokens) + " new ones at most " + std::to_string(room) +
                             " fit the model's " + std::to_string(config.max_position_embeddings) +
                             " positions. Ask for fewer new tokens or leave the problem out.");
        }
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
    }
    throw InternalError("unknown stop reason " + std::to_string(static_cast<int>(reason)));
}

std::vector<Generation> generate_batch(const model::Model& model, const text::Tokenizer* tokenizer,
                                       std::span<const Prompt> prompts, const GenerationSettings& settings,
                                       const StopRule& stop_rule, const FinishedCallback& on_finished) {
    const c10::InferenceMode no_gradients;
    const model::ModelConfig& config = model.config();
    check_settings(config, prompts, settings);
    std::vector<Generation> generations(prompts.size());
    if (prompts.empty()) return generations;

    std::vector<std::vector<std::int32_t>> rows;
    std::size_t longest = 0;
    for (const Prompt& prompt : prompts) {
        rows.push_back(prompt.tokens);
        longest = std::max(longest, prompt.tokens.size());
    }
    model::KvCache cache = model.make_cache(static_cast<std::int64_t>(rows.size()),
                                            static_cast<std::int64_t>(longest) + settings.max_new_tokens);
    std::vector<std::vector<float>> residual(rows.size());
    model::SiteHook capture;
    if (!settings.capture.layers.empty()) capture = model::capture_last_token(settings.capture, residual);
    at::Tensor logits = on_cpu(model.prefill(rows, cache, capture));

    std::vector<std::int64_t> active;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        generations[row].residual = std::move(residual[row]);
        if (settings.max_new_tokens > 0) {
            active.push_back(static_cast<std::int64_t>(row));
        } else if (on_finished) {
            on_finished(row, generations[row]);
        }
    }

    // One new token for a row; true when the row goes on.
    const auto take_token = [&](std::size_t row, std::span<const float> row_logits) {
        Generation& generation = generations[row];
        const Choice choice = greedy_choice(row_logits, settings.log_probabilities, row);
        generation.tokens.push_back(choice.token);
        if (settings.log_probabilities) generation.log_probabilities.push_back(choice.log_probability);
        if (settings.stop_at_eos && std::find(config.eos_token_ids.begin(), config.eos_token_ids.end(), choice.token) !=
                                        config.eos_token_ids.end()) {
            generation.reason = StopReason::eos;
            return false;
        }
        if (tokenizer != nullptr) tokenizer->append(choice.token, generation.text);
        if (stop_rule && stop_rule(row, generation.text)) {
            generation.reason = StopReason::stop_rule;
            return false;
        }
        generation.reason = StopReason::limit;
        return generation.tokens.size() < static_cast<std::size_t>(settings.max_new_tokens);
    };

    const auto vocab = static_cast<std::size_t>(config.vocab_size);
    while (!active.empty()) {
        const float* data = logits.const_data_ptr<float>();
        std::vector<std::int64_t> still_active;
        std::vector<std::int32_t> next_tokens;
        for (std::size_t slot = 0; slot < active.size(); ++slot) {
            const auto row = static_cast<std::size_t>(active[slot]);
            if (take_token(row, {data + slot * vocab, vocab})) {
                still_active.push_back(active[slot]);
                next_tokens.push_back(generations[row].tokens.back());
            } else if (on_finished) {
                on_finished(row, generations[row]);
            }
        }
        active = std::move(still_active);
        if (!active.empty()) logits = on_cpu(model.decode_step(next_tokens, active, cache));
    }
    return generations;
}

Rates measure_rates(const model::Model& model, std::span<const std::vector<std::int32_t>> rows, int steps) {
    const c10::InferenceMode no_gradients;
    const auto seconds_since = [](std::chrono::steady_clock::time_point start) {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
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
