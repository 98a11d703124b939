// Forward passes, exchange of rows, the shuffle buffer.
#include "pva/phases/training_rows.h"

#include <algorithm>

#include "pva/capture/capture.h"
#include "pva/core/error.h"
#include "pva/mpi/agree.h"

namespace pva::phases {

namespace {

constexpr int sequences_of_pass = 4;

std::vector<std::int64_t> last_position(std::span<const std::int32_t> tokens) { return {static_cast<std::int64_t>(tokens.size()) - 1}; }

/// The rank whose contiguous block of n things holds thing i.
int rank_of(std::int64_t i, std::int64_t n, int ranks) {
    for (int rank = 0; rank < ranks; ++rank) {
        const mpi::Block block = mpi::contiguous_block(n, ranks, rank);
        if (i < block.last) return rank;
    }
    throw InternalError("rank_of: nobody has it");
}

}  // namespace

std::vector<model::CaptureRequest> requests_of(std::span<const TrainingPlace> places) {
    std::vector<model::CaptureRequest> requests;
    for (const TrainingPlace& place : places) {
        auto request = std::find_if(requests.begin(), requests.end(), [&](const model::CaptureRequest& r) { return r.site == place.site; });
        if (request == requests.end()) request = requests.insert(requests.end(), {place.site, {}});
        request->layers.push_back(place.layer);
    }
    return requests;
}

std::vector<std::vector<float>> rows_of_sequences(const model::Model& model, std::span<const std::vector<std::int32_t>> sequences, std::span<const TrainingPlace> places,
                                                  const std::function<std::vector<std::int64_t>(std::span<const std::int32_t>)>& positions) {
    std::vector<std::vector<float>> rows(places.size());
    if (sequences.empty()) return rows;
    const std::vector<model::CaptureRequest> requests = requests_of(places);
    capture::CaptureSettings settings{sequences_of_pass, false, [&](std::size_t sequence, std::size_t) { return positions(sequences[sequence]); }};
    capture::capture_rows(model, sequences, requests, settings, [&](const capture::CapturedRows& captured) {
        for (std::size_t p = 0; p < places.size(); ++p) {
            if (places[p].site == captured.site && places[p].layer == captured.layer) rows[p].insert(rows[p].end(), captured.rows.begin(), captured.rows.end());
        }
    });
    return rows;
}

RowStream::RowStream(const mpi::Communicator& comm, const model::Model& model, const TrainingText& text, std::span<const TrainingPlace> places, const train::StreamSettings& settings, std::int64_t micro_batches)
    : comm_(comm), model_(model), text_(text), places_(places), settings_(settings), micro_batches_(micro_batches) {
    for (const auto& sequence : text.sequences) rows_of_.push_back(static_cast<std::uint32_t>(train::used_positions(sequence, text.bos).size()));
    mpi::agreed(comm_, [&] {
        fillings_ = train::plan_fillings(settings_, rows_of_, static_cast<std::int64_t>(text.prompts.size()));
        const mpi::Block own = mpi::contiguous_block(static_cast<std::int64_t>(text.prompts.size()), comm_.size(), comm_.rank());
        prompt_rows_ = rows_of_sequences(model_, std::span(text.prompts).subspan(static_cast<std::size_t>(own.first), static_cast<std::size_t>(own.last - own.first)), places_, last_position);
    });
}

std::vector<std::vector<float>> RowStream::sample(std::size_t sequences) const {
    const std::vector<std::uint32_t>& stream = fillings_.front().sequences;
    const std::size_t n = std::min(sequences, stream.size());
    std::vector<std::size_t> row_offsets = {0};  // of ranks
    Sequences own;
    for (int rank = 0; rank < comm_.size(); ++rank) {
        const mpi::Block block = mpi::contiguous_block(static_cast<std::int64_t>(n), comm_.size(), rank);
        std::size_t rows = 0;
        for (std::int64_t i = block.first; i < block.last; ++i) {
            const std::uint32_t sequence = stream[static_cast<std::size_t>(i)];
            rows += rows_of_[sequence];
            if (rank == comm_.rank()) own.push_back(text_.sequences[sequence]);
        }
        row_offsets.push_back(row_offsets.back() + rows);
    }
    const auto rows = mpi::agreed(comm_, [&] {
        return rows_of_sequences(model_, own, places_, [&](std::span<const std::int32_t> tokens) { return train::used_positions(tokens, text_.bos); });
    });
    std::vector<std::vector<float>> all;
    for (std::size_t p = 0; p < places_.size(); ++p) {
        std::vector<float>& of_place = all.emplace_back(row_offsets.back() * places_[p].width);
        std::vector<std::size_t> offsets;
        for (const std::size_t offset : row_offsets) offsets.push_back(offset * places_[p].width * sizeof(float));
        std::copy(rows[p].begin(), rows[p].end(), of_place.begin() + static_cast<std::ptrdiff_t>(row_offsets[static_cast<std::size_t>(comm_.rank())] * places_[p].width));
        comm_.share_blocks(std::as_writable_bytes(std::span(of_place)), offsets);
    }
    return all;
}

std::span<const float> RowStream::rows(std::int64_t step, std::size_t place) {
    const std::int64_t steps_of_filling = fillings_.front().steps;
    const auto index = static_cast<std::size_t>(step / steps_of_filling);
    if (filled_ != index) fill(index);
    const mpi::Block own = mpi::contiguous_block(micro_batches_, comm_.size(), comm_.rank());
    const auto n = static_cast<std::size_t>((own.last - own.first) * (settings_.batch / micro_batches_)) * places_[place].width;
    return std::span(buffer_[place]).subspan(static_cast<std::size_t>(step - fillings_[index].first_step) * n, n);
}

void RowStream::fill(std::size_t index) {
    const train::Filling& filling = fillings_.at(index);
    const int ranks = comm_.size();
    const auto me = static_cast<std::size_t>(comm_.rank());
    buffer_.clear();

    // Where each row of the filling is made: rank, and its place among that rank's rows.
    const auto n_rows = static_cast<std::size_t>(filling.rows());
    struct Origin {
        std::uint32_t rank;
        std::uint32_t place;
    };
    std::vector<Origin> origins;
    Sequences own;
    for (int rank = 0; rank < ranks; ++rank) {
        const mpi::Block block = mpi::contiguous_block(static_cast<std::int64_t>(filling.sequences.size()), ranks, rank);
        std::uint32_t place = 0;
        for (std::int64_t i = block.first; i < block.last; ++i) {
            const std::uint32_t sequence = filling.sequences[static_cast<std::size_t>(i)];
            if (rank == comm_.rank()) own.push_back(text_.sequences[sequence]);
            for (std::uint32_t row = 0; row < rows_of_[sequence]; ++row) origins.push_back({static_cast<std::uint32_t>(rank), place++});
        }
    }
    origins.resize(static_cast<std::size_t>(filling.text_rows));  // the end of the last sequence has no slot
    const auto n_prompts = static_cast<std::int64_t>(text_.prompts.size());
    for (const std::uint32_t prompt : filling.prompts) {
        const int rank = rank_of(prompt, n_prompts, ranks);
        origins.push_back({static_cast<std::uint32_t>(rank), prompt - static_cast<std::uint32_t>(mpi::contiguous_block(n_prompts, ranks, rank).first)});
    }

    // Where each row goes: the rank of its micro-batch.
    const std::vector<std::uint32_t> order = train::order_of(settings_, filling, static_cast<std::uint32_t>(index));
    std::vector<std::uint32_t> slot_of(n_rows);
    for (std::size_t slot = 0; slot < n_rows; ++slot) slot_of[order[slot]] = static_cast<std::uint32_t>(slot);
    const std::int64_t micro_rows = settings_.batch / micro_batches_;
    std::vector<std::uint32_t> rank_of_micro;
    for (std::int64_t micro = 0; micro < micro_batches_; ++micro) rank_of_micro.push_back(static_cast<std::uint32_t>(rank_of(micro, micro_batches_, ranks)));
    const mpi::Block own_micro = mpi::contiguous_block(micro_batches_, ranks, comm_.rank());
    const std::size_t own_rows = static_cast<std::size_t>((own_micro.last - own_micro.first) * micro_rows);
    const auto target_of = [&](std::size_t row) { return rank_of_micro[slot_of[row] % static_cast<std::size_t>(settings_.batch) / static_cast<std::size_t>(micro_rows)]; };

    const auto made = mpi::agreed(comm_, [&] {
        return rows_of_sequences(model_, own, places_, [&](std::span<const std::int32_t> tokens) { return train::used_positions(tokens, text_.bos); });
    });
    std::vector<std::size_t> to(static_cast<std::size_t>(ranks), 0);
    std::vector<std::size_t> from(static_cast<std::size_t>(ranks), 0);
    for (std::size_t row = 0; row < n_rows; ++row) {
        if (origins[row].rank == me) ++to[target_of(row)];
        if (target_of(row) == me) ++from[origins[row].rank];
    }
    for (std::size_t p = 0; p < places_.size(); ++p) {
        const std::size_t d = places_[p].width;
        const auto scale = static_cast<float>(places_[p].scale);
        std::vector<float>& buffer = buffer_.emplace_back(static_cast<std::size_t>(filling.steps) * own_rows * d);
        const auto put = [&](std::size_t row, const float* values) {
            const std::size_t slot = slot_of[row];
            const std::size_t batch = static_cast<std::size_t>(settings_.batch);
            float* const target = buffer.data() + ((slot / batch) * own_rows + slot % batch - static_cast<std::size_t>(own_micro.first * micro_rows)) * d;
            for (std::size_t i = 0; i < d; ++i) target[i] = values[i] * scale;
        };
        std::vector<std::vector<float>> send(to.size());
        std::vector<std::vector<float>> receive(from.size());
        for (std::size_t rank = 0; rank < to.size(); ++rank) {
            if (rank == me) continue;
            send[rank].reserve(to[rank] * d);
            receive[rank].resize(from[rank] * d);
        }
        for (std::size_t row = 0; row < n_rows; ++row) {
            if (origins[row].rank != me) continue;
            const std::vector<float>& source = row < static_cast<std::size_t>(filling.text_rows) ? made[p] : prompt_rows_[p];
            const float* const values = source.data() + origins[row].place * d;
            const std::size_t target = target_of(row);
            if (target == me) put(row, values);
            else send[target].insert(send[target].end(), values, values + d);
        }
        std::vector<std::span<const std::byte>> sent;
        std::vector<std::span<std::byte>> received;
        for (std::size_t rank = 0; rank < to.size(); ++rank) {
            sent.push_back(std::as_bytes(std::span<const float>(send[rank])));
            received.push_back(std::as_writable_bytes(std::span(receive[rank])));
        }
        comm_.exchange(sent, received);
        std::vector<std::size_t> at(from.size(), 0);
        for (std::size_t row = 0; row < n_rows; ++row) {
            const std::size_t source = origins[row].rank;
            if (source == me || target_of(row) != me) continue;
            put(row, receive[source].data() + at[source]++ * d);
        }
    }
    filled_ = index;
}

}  // namespace pva::phases
