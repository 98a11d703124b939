// Packing and the order of rows.
#include "pva/train/contexts.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "pva/core/error.h"
#include "pva/core/philox.h"

namespace pva::train {

namespace {
constexpr std::uint64_t sequence_stream = 0x73657175656e6365ULL;  // "sequence"
constexpr std::uint64_t prompt_stream = 0x70726f6d70742020ULL;    // "prompt  "
constexpr std::uint64_t row_stream = 0x726f77732020202aULL;       // "rows   *"

/// 0 .. n - 1 again and again, each round in a random order of its own.
class EndlessOrder {
  public:
    EndlessOrder(std::uint64_t seed, std::uint64_t stream, std::uint32_t n) : seed_(seed), stream_(stream), n_(n) {}
    std::uint32_t next() {
        if (at_ == order_.size()) {
            order_ = random_order(seed_, stream_, round_++, n_);
            at_ = 0;
        }
        return order_[at_++];
    }

  private:
    std::uint64_t seed_;
    std::uint64_t stream_;
    std::uint32_t n_;
    std::uint32_t round_ = 0;
    std::vector<std::uint32_t> order_;
    std::size_t at_ = 0;
};

std::int64_t prompts_of(const StreamSettings& settings, std::int64_t rows) { return std::llround(settings.prompt_share * static_cast<double>(rows)); }

}  // namespace

Separator separator_from_name(std::string_view name) {
    if (name == "none") return Separator::none;
    if (name == "bos") return Separator::bos;
    if (name == "eos") return Separator::eos;
    throw UsageError("unknown separator '" + std::string(name) + "'; known: none, bos, eos");
}

std::vector<std::vector<std::int32_t>> pack(std::span<const std::vector<std::int32_t>> documents, const Packing& packing) {
    const std::size_t head = packing.bos ? 1 : 0;
    if (packing.length < static_cast<std::int64_t>(2 + head))
        throw UsageError("sequences of " + std::to_string(packing.length) + " tokens are too short; at least " + std::to_string(2 + head) + " are needed");
    const auto length = static_cast<std::size_t>(packing.length);
    std::vector<std::vector<std::int32_t>> sequences;
    std::vector<std::int32_t> now;
    const auto begin = [&] {
        now.clear();
        if (packing.bos) now.push_back(*packing.bos);
    };
    const auto append = [&](std::int32_t token) {
        now.push_back(token);
        if (now.size() < length) return;
        sequences.push_back(now);
        begin();
    };
    begin();
    bool first = true;
    for (const std::vector<std::int32_t>& document : documents) {
        if (!first && packing.between && now.size() > head) append(*packing.between);
        first = false;
        for (const std::int32_t token : document) append(token);
    }
    if (sequences.empty() && now.size() > 1) sequences.push_back(now);
    return sequences;
}

std::vector<std::int64_t> used_positions(std::span<const std::int32_t> tokens, std::optional<std::int32_t> bos) {
    std::vector<std::int64_t> positions;
    for (std::size_t i = 1; i < tokens.size(); ++i) {
        if (!bos || tokens[i] != *bos) positions.push_back(static_cast<std::int64_t>(i));
    }
    return positions;
}

std::vector<std::uint32_t> random_order(std::uint64_t seed, std::uint64_t stream, std::uint32_t item, std::uint32_t n) {
    std::vector<std::uint32_t> order(n);
    std::iota(order.begin(), order.end(), 0U);
    PhiloxStream random(seed, stream, item);
    for (std::uint32_t i = n; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    return order;
}

std::vector<Filling> plan_fillings(const StreamSettings& settings, std::span<const std::uint32_t> rows_of, std::int64_t n_prompts) {
    const std::uint64_t all_rows = std::accumulate(rows_of.begin(), rows_of.end(), std::uint64_t{0});
    if (all_rows == 0) throw UsageError("the text gives no rows to train on");
    if (settings.prompt_share > 0 && n_prompts == 0) throw UsageError("there is no prompt to draw from");
    const std::int64_t steps_of_filling = std::max<std::int64_t>(1, settings.buffer / settings.batch);
    EndlessOrder sequences(settings.seed, sequence_stream, static_cast<std::uint32_t>(rows_of.size()));
    EndlessOrder prompts(settings.seed, prompt_stream, static_cast<std::uint32_t>(n_prompts));
    std::vector<Filling> fillings;
    for (std::int64_t step = 0; step < settings.steps; step += steps_of_filling) {
        Filling filling;
        filling.first_step = step;
        filling.steps = std::min(steps_of_filling, settings.steps - step);
        const std::int64_t rows = filling.steps * settings.batch;
        const std::int64_t of_prompts = prompts_of(settings, rows);
        for (std::int64_t i = 0; i < of_prompts; ++i) filling.prompts.push_back(prompts.next());
        filling.text_rows = rows - of_prompts;
        for (std::int64_t have = 0; have < filling.text_rows;) {
            filling.sequences.push_back(sequences.next());
            have += rows_of[filling.sequences.back()];
        }
        fillings.push_back(std::move(filling));
    }
    return fillings;
}

std::vector<std::uint32_t> order_of(const StreamSettings& settings, const Filling& filling, std::uint32_t index) {
    return random_order(settings.seed, row_stream, index, static_cast<std::uint32_t>(filling.rows()));
}

double epochs(const StreamSettings& settings, std::span<const std::uint32_t> rows_of) {
    const std::uint64_t there = std::accumulate(rows_of.begin(), rows_of.end(), std::uint64_t{0});
    return static_cast<double>(settings.steps * settings.batch) * (1 - settings.prompt_share) / static_cast<double>(std::max<std::uint64_t>(1, there));
}

}  // namespace pva::train
