// Gradients of all ranks in a fixed order, and the update.
#include "pva/phases/training_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "pva/core/error.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/share.h"
#include "pva/train/sum_tree.h"

namespace pva::phases {

namespace {

using Held = std::unique_ptr<train::Gradients>;

/// The parts of a node that everybody needs: gradient of b_dec and sums, as text for all_gather.
std::string common_part(const train::Gradients& gradients) {
    std::vector<double> values;
    const train::StepSums& s = gradients.sums;
    for (const double value : {s.squared_error, s.squared_norm, s.revive_loss, s.sparsity_loss, s.smallest_active, s.n_active, s.n_rows}) values.push_back(value);
    values.insert(values.end(), s.row_sum.begin(), s.row_sum.end());
    values.insert(values.end(), gradients.b_dec.begin(), gradients.b_dec.end());  // floats are exact as doubles
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double)};
}

struct Common {
    std::vector<float> b_dec;
    train::StepSums sums;
};

Common read_common(const char* bytes, std::size_t d) {
    std::vector<double> v(7 + 2 * d);
    std::memcpy(v.data(), bytes, v.size() * sizeof(double));
    Common common;
    common.sums = {v[0], v[1], v[2], v[3], v[4], v[5], v[6], {v.begin() + 7, v.begin() + 7 + static_cast<std::ptrdiff_t>(d)}};
    for (std::size_t i = 0; i < d; ++i) common.b_dec.push_back(static_cast<float>(v[7 + d + i]));
    return common;
}

void add_spans(const kernels::ThreadPool& pool, std::span<float> left, std::span<const float> right) {
    constexpr std::size_t piece = 1 << 16;
    pool.run(static_cast<std::int64_t>((left.size() + piece - 1) / piece), [&](std::int64_t task) {
        const std::size_t first = static_cast<std::size_t>(task) * piece;
        for (std::size_t i = first; i < std::min(left.size(), first + piece); ++i) left[i] += right[i];
    });
}

/// A sum that may be null, for sum_tree.
template <class T>
struct Maybe {
    T* value = nullptr;
    explicit operator bool() const { return value != nullptr; }
};

}  // namespace

std::vector<std::size_t> latent_offsets(std::size_t latents, int ranks) {
    std::vector<std::size_t> offsets = {0};
    for (int rank = 0; rank < ranks; ++rank) offsets.push_back(static_cast<std::size_t>(mpi::contiguous_block(static_cast<std::int64_t>(latents), ranks, rank).last));
    return offsets;
}

Held GradientStore::take() {
    if (free_.empty()) return std::make_unique<train::Gradients>(latents_, d_);
    Held taken = std::move(free_.back());
    free_.pop_back();
    return taken;
}

train::StepSums training_step(const mpi::Communicator& comm, train::SaeState& state, std::span<const float> rows, GradientStore& store, const kernels::ThreadPool& pool) {
    const train::Settings& settings = state.settings;
    const std::size_t d = settings.d;
    const int ranks = comm.size();
    const mpi::Block own = mpi::contiguous_block(settings.micro_batches, ranks, comm.rank());
    const std::size_t micro_numbers = static_cast<std::size_t>(settings.batch / settings.micro_batches) * d;

    // This rank's nodes of the tree.
    std::vector<Held> nodes;
    mpi::agreed(comm, [&] {
        if (own.first == own.last) return;
        const train::StepState now{train::sparsity_at(settings, state.step), state.batch_threshold, state.dead};
        const train::Packed packed(settings, state.parameters, now, pool);
        const auto leaf = [&](const train::TreeNode& node) -> Held {
            if (node.last - node.first > 1) return nullptr;
            Held gradients = store.take();
            gradients->clear(pool);
            packed.add_gradients(rows.subspan(static_cast<std::size_t>(node.first - own.first) * micro_numbers, micro_numbers), pool, *gradients);
            return gradients;
        };
        const auto add = [&](Held& left, Held& right) {
            train::add(pool, *left, *right);
            store.give_back(std::move(right));
        };
        for (const train::TreeNode& node : train::nodes_within(settings.micro_batches, own.first, own.last)) nodes.push_back(train::sum_tree<Held>(node, leaf, add));
    });

    // Whose nodes they are, in the order of ranks.
    std::vector<std::vector<train::TreeNode>> nodes_of(static_cast<std::size_t>(ranks));
    for (int rank = 0; rank < ranks; ++rank) {
        const mpi::Block block = mpi::contiguous_block(settings.micro_batches, ranks, rank);
        nodes_of[static_cast<std::size_t>(rank)] = train::nodes_within(settings.micro_batches, block.first, block.last);
    }
    const std::vector<std::size_t> offsets = latent_offsets(settings.latents, ranks);
    const auto me = static_cast<std::size_t>(comm.rank());
    const std::size_t owned = offsets[me + 1] - offsets[me];
    const train::TreeNode root{0, settings.micro_batches};

    // Of all ranks' nodes the gradients of the owned latents: encoder, decoder, small.
    std::vector<float> flat;
    std::span<float> encoder;
    std::span<float> decoder;
    std::span<float> small;
    Common common;
    if (ranks == 1) {
        encoder = nodes[0]->encoder;
        decoder = nodes[0]->decoder;
        small = nodes[0]->small;
        common = {nodes[0]->b_dec, nodes[0]->sums};
    } else {
        const std::size_t record = 2 * d + 3;
        std::vector<std::vector<float>> send(static_cast<std::size_t>(ranks));
        std::vector<std::vector<float>> receive(static_cast<std::size_t>(ranks));
        std::vector<std::span<const std::byte>> sent;
        std::vector<std::span<std::byte>> received;
        for (std::size_t rank = 0; rank < send.size(); ++rank) {
            const std::size_t first = offsets[rank];
            const std::size_t n = offsets[rank + 1] - first;
            for (const Held& node : nodes) {
                const auto append = [&](const std::vector<float>& values, std::size_t width) {
                    send[rank].insert(send[rank].end(), values.begin() + static_cast<std::ptrdiff_t>(first * width), values.begin() + static_cast<std::ptrdiff_t>((first + n) * width));
                };
                append(node->encoder, d);
                append(node->decoder, d);
                append(node->small, 3);
            }
            receive[rank].resize(nodes_of[rank].size() * owned * record);
            sent.push_back(std::as_bytes(std::span<const float>(send[rank])));
        }
        for (std::vector<float>& bytes : receive) received.push_back(std::as_writable_bytes(std::span(bytes)));
        comm.exchange(sent, received);

        std::string own_common;
        for (const Held& node : nodes) own_common += common_part(*node);
        const std::vector<std::string> all_common = comm.all_gather(own_common);
        std::vector<std::span<float>> slices;
        std::vector<Common> commons;
        std::vector<train::TreeNode> places;
        for (std::size_t rank = 0; rank < nodes_of.size(); ++rank) {
            for (std::size_t i = 0; i < nodes_of[rank].size(); ++i) {
                places.push_back(nodes_of[rank][i]);
                slices.push_back(std::span(receive[rank]).subspan(i * owned * record, owned * record));
                commons.push_back(read_common(all_common[rank].data() + i * (7 + 2 * d) * sizeof(double), d));
            }
        }
        const auto place_of = [&](const train::TreeNode& node) { return static_cast<std::size_t>(std::find(places.begin(), places.end(), node) - places.begin()); };
        using Slice = Maybe<std::span<float>>;
        const Slice sum = train::sum_tree<Slice>(
            root, [&](const train::TreeNode& node) { return place_of(node) < places.size() ? Slice{&slices[place_of(node)]} : Slice{}; },
            [&](Slice& left, Slice& right) { add_spans(pool, *left.value, *right.value); });
        using Shared = Maybe<Common>;
        const Shared shared = train::sum_tree<Shared>(
            root, [&](const train::TreeNode& node) { return place_of(node) < places.size() ? Shared{&commons[place_of(node)]} : Shared{}; },
            [&](Shared& left, Shared& right) {
                add_spans(pool, left.value->b_dec, right.value->b_dec);
                left.value->sums.add(right.value->sums);
            });
        flat.assign(sum.value->begin(), sum.value->end());
        encoder = std::span(flat).subspan(0, owned * d);
        decoder = std::span(flat).subspan(owned * d, owned * d);
        small = std::span(flat).subspan(2 * owned * d, 3 * owned);
        common = std::move(*shared.value);
    }

    const train::OwnedGradients gradients{encoder, decoder, small};
    std::vector<double> squares(settings.latents, 0.0);
    const std::vector<double> own_squares = train::prepare_gradients(state, gradients, decoder, pool);
    std::copy(own_squares.begin(), own_squares.end(), squares.begin() + static_cast<std::ptrdiff_t>(offsets[me]));
    const auto share = [&](auto& values, std::size_t width) {
        std::vector<std::size_t> bytes;
        for (const std::size_t offset : offsets) bytes.push_back(offset * width * sizeof(values[0]));
        comm.share_blocks(std::as_writable_bytes(std::span(values)), bytes);
    };
    double factor = 1;
    if (settings.clip > 0) {
        share(squares, 1);
        double total = 0;
        for (const double value : squares) total += value;
        for (const float value : common.b_dec) total += static_cast<double>(value) * value;
        const double norm = std::sqrt(total);
        // Every rank has the same numbers, so all leave together.
        if (!std::isfinite(norm)) mpi::agree(comm, mpi::Failure{ExitCode::bad_input, "the training has diverged: a gradient is not finite. Take a smaller --learning-rate"});
        factor = norm > settings.clip ? settings.clip / norm : 1;
    }
    train::update(state, gradients, common.b_dec, common.sums, factor, pool);
    share(state.parameters.encoder, d);
    share(state.parameters.decoder, d);
    share(state.parameters.b_enc, 1);
    if (settings.kind == train::Kind::jumprelu) share(state.parameters.threshold, 1);
    share(state.dead, 1);
    for (Held& node : nodes) store.give_back(std::move(node));
    return common.sums;
}

}  // namespace pva::phases
