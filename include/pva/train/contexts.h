// Text as sequences of one length, and which rows of them a training step sees: a stream in random order through a
// shuffle buffer, a function of the seed alone.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace pva::train {

/// What stands between two documents of one sequence.
enum class Separator : std::uint8_t { none, bos, eos };
/// "none", "bos" or "eos". Errors: UsageError.
Separator separator_from_name(std::string_view name);

struct Packing {
    std::int64_t length = 0;             ///< tokens of a sequence, BOS among them
    std::optional<std::int32_t> bos;     ///< first token of each sequence
    std::optional<std::int32_t> between; ///< between documents
};

/// Documents (token ids without BOS) one after another, cut into sequences of the length; the last one is left out unless
/// it is the only one. Errors: UsageError for a length below 2 (or 3 with BOS).
std::vector<std::vector<std::int32_t>> pack(std::span<const std::vector<std::int32_t>> documents, const Packing& packing);

/// Positions whose rows are trained on and measured: all but 0 (an attention sink of huge norm, whatever token stands
/// there) and BOS tokens.
std::vector<std::int64_t> used_positions(std::span<const std::int32_t> tokens, std::optional<std::int32_t> bos);

/// A random order of 0 .. n - 1 (Fisher and Yates, Philox keyed by seed, stream and item).
std::vector<std::uint32_t> random_order(std::uint64_t seed, std::uint64_t stream, std::uint32_t item, std::uint32_t n);

/// What one filling of the shuffle buffer holds: rows of sequences, then rows of prompts, in the order in which they are
/// made; order[slot] is the row that leaves at that slot. Slot = step in the filling * batch + place in the batch.
struct Filling {
    std::int64_t first_step = 0;
    std::int64_t steps = 0;
    std::vector<std::uint32_t> sequences;  ///< indices, in the order of the stream
    std::vector<std::uint32_t> prompts;    ///< indices, one row each
    std::int64_t text_rows = 0;            ///< of the sequences' rows the first so many are used
    std::int64_t rows() const { return text_rows + static_cast<std::int64_t>(prompts.size()); }
};

struct StreamSettings {
    std::uint64_t seed = 0;
    std::int64_t steps = 0;
    std::int64_t batch = 0;
    std::int64_t buffer = 0;     ///< rows; at least a batch is held
    double prompt_share = 0;     ///< of each filling's rows
};

/// All fillings of a training. Sequences come in a random order, every one once before any comes again (another order
/// each time); the same of prompts. rows_of[i]: used positions of sequence i. Errors: UsageError when nothing can be drawn.
std::vector<Filling> plan_fillings(const StreamSettings& settings, std::span<const std::uint32_t> rows_of, std::int64_t n_prompts);

/// Of slot s of the filling the row that leaves there: a random order of the filling's rows.
std::vector<std::uint32_t> order_of(const StreamSettings& settings, const Filling& filling, std::uint32_t index);

/// How often the sequences are read: rows wanted of text over rows there.
double epochs(const StreamSettings& settings, std::span<const std::uint32_t> rows_of);

}  // namespace pva::train
