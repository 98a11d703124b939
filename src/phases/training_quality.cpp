// Explained variance by kind of position, and losses with the reconstruction put in.
#include "pva/phases/training_quality.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "pva/capture/splice.h"
#include "pva/capture/trace.h"
#include "pva/mpi/agree.h"
#include "pva/sae/encode.h"

namespace pva::phases {

namespace {

constexpr std::int64_t first_positions = 8;  // after position 0, as pva_check has it
constexpr std::size_t classes = 2;           // first, rest

/// Sums as plain numbers, to be sent.
void append(std::vector<double>& numbers, const sae::QualitySums& sums, std::size_t d) {
    for (const double value : {static_cast<double>(sums.n_rows), static_cast<double>(sums.n_active), sums.squared_error, sums.squared_norm, sums.cosine, sums.norm_ratio}) numbers.push_back(value);
    for (std::size_t i = 0; i < d; ++i) numbers.push_back(i < sums.row_sum.size() ? sums.row_sum[i] : 0.0);
}

/// Takes them from `at` on and adds them.
void take(const double*& at, sae::QualitySums& sums, std::size_t d) {
    sums.n_rows += static_cast<std::uint64_t>(at[0]);
    sums.n_active += static_cast<std::uint64_t>(at[1]);
    sums.squared_error += at[2];
    sums.squared_norm += at[3];
    sums.cosine += at[4];
    sums.norm_ratio += at[5];
    sums.row_sum.resize(d, 0.0);
    for (std::size_t i = 0; i < d; ++i) sums.row_sum[i] += at[6 + i];
    at += 6 + d;
}

void join(sae::QualitySums& sums, const sae::QualitySums& other) {
    sums.n_rows += other.n_rows;
    sums.n_active += other.n_active;
    sums.squared_error += other.squared_error;
    sums.squared_norm += other.squared_norm;
    sums.cosine += other.cosine;
    sums.norm_ratio += other.norm_ratio;
    sums.row_sum.resize(std::max(sums.row_sum.size(), other.row_sum.size()), 0.0);
    for (std::size_t i = 0; i < other.row_sum.size(); ++i) sums.row_sum[i] += other.row_sum[i];
}

/// Numbers of every rank, in rank order, on every rank.
std::vector<double> all_numbers(const mpi::Communicator& comm, const std::vector<double>& own) {
    std::vector<std::size_t> offsets = {0};
    for (const std::string& count : comm.all_gather(std::to_string(own.size()))) offsets.push_back(offsets.back() + std::stoul(count) * sizeof(double));
    std::vector<double> all(offsets.back() / sizeof(double));
    std::copy(own.begin(), own.end(), all.begin() + static_cast<std::ptrdiff_t>(offsets[static_cast<std::size_t>(comm.rank())] / sizeof(double)));
    comm.share_blocks(std::as_writable_bytes(std::span(all)), offsets);
    return all;
}

void add_reconstructed(const sae::Sae& sae, std::span<const float> rows, const kernels::ThreadPool& pool, const std::function<sae::QualitySums&(std::size_t row)>& sums_of) {
    const std::size_t d = sae.d_in;
    const std::size_t n = rows.size() / d;
    if (n == 0) return;
    const sae::CsrRows codes = sae::encode(sae, rows, n, pool);
    std::vector<float> x_hat(rows.size());
    sae::decode(sae, codes, pool, x_hat);
    for (std::size_t i = 0; i < n; ++i)
        sae::add_row(sums_of(i), rows.subspan(i * d, d), std::span<const float>(x_hat).subspan(i * d, d), codes.row_offsets[i + 1] - codes.row_offsets[i]);
}

nlohmann::ordered_json number(double value) { return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(); }

nlohmann::ordered_json quality_json(const sae::Quality& q) {
    return {{"rows", q.n_rows}, {"l0", number(q.l0)}, {"explained_variance", number(q.explained_variance)}, {"cosine", number(q.cosine)}, {"norm_ratio", number(q.norm_ratio)}};
}

}  // namespace

/// Loss of one sequence, summed over its predicted tokens; with a place its rows are replaced by the SAE's reconstruction or, without
/// an SAE, by zeros. Position 0 and BOS keep their rows in both.
double QualityMeasure::loss_of(std::size_t sequence, std::optional<std::size_t> place, const sae::Sae* sae, const kernels::ThreadPool& pool) const {
    const std::vector<std::int32_t>& tokens = text_.held_out[sequence];
    if (!place) return capture::summed_loss(capture::trace_sequence(model_, tokens, {}).logits, tokens);
    const TrainingPlace& where = places_[*place];
    const std::vector<std::int64_t> positions = train::used_positions(tokens, text_.bos);
    const std::vector<float> logits = capture::logits_with_change(model_, tokens, where.site, where.layer, [&](std::span<float> rows) {
        std::vector<float> x_hat(rows.size(), 0.0F);
        if (sae != nullptr) sae::decode(*sae, sae::encode(*sae, rows, tokens.size(), pool), pool, x_hat);
        for (const std::int64_t position : positions) {
            const std::size_t first = static_cast<std::size_t>(position) * where.width;
            std::copy_n(x_hat.begin() + static_cast<std::ptrdiff_t>(first), where.width, rows.begin() + static_cast<std::ptrdiff_t>(first));
        }
    });
    return capture::summed_loss(logits, tokens);
}

std::vector<SaeQuality> QualityMeasure::measure(std::span<const MeasuredSae> saes, std::size_t sequences, const kernels::ThreadPool& pool) {
    const std::size_t n = sequences == 0 ? text_.held_out.size() : std::min(sequences, text_.held_out.size());
    const std::size_t n_loss = std::min(loss_sequences_, text_.held_out.size());
    const auto share = [&](std::size_t count) { return mpi::contiguous_block(static_cast<std::int64_t>(count), comm_.size(), comm_.rank()); };
    const mpi::Block own = share(n);
    const mpi::Block own_prompts = share(text_.held_out_prompts.size());
    const mpi::Block own_losses = share(n_loss);

    std::vector<double> text_numbers;
    std::vector<double> prompt_numbers;
    std::vector<double> losses;
    mpi::agreed(comm_, [&] {
        for (std::int64_t s = own.first; s < own.last; ++s) {
            const auto one = std::span(text_.held_out).subspan(static_cast<std::size_t>(s), 1);
            const std::vector<std::int64_t> positions = train::used_positions(one[0], text_.bos);
            const auto rows = rows_of_sequences(model_, one, places_, [&](std::span<const std::int32_t>) { return positions; });
            for (const MeasuredSae& measured : saes) {
                std::array<sae::QualitySums, classes> sums;
                add_reconstructed(measured.sae, rows[measured.place], pool, [&](std::size_t row) -> sae::QualitySums& { return sums[positions[row] <= first_positions ? 0 : 1]; });
                for (const sae::QualitySums& of_class : sums) append(text_numbers, of_class, measured.sae.d_in);
            }
        }
        const auto prompts = std::span(text_.held_out_prompts).subspan(static_cast<std::size_t>(own_prompts.first), static_cast<std::size_t>(own_prompts.last - own_prompts.first));
        const auto rows = rows_of_sequences(model_, prompts, places_, [](std::span<const std::int32_t> tokens) { return std::vector<std::int64_t>{static_cast<std::int64_t>(tokens.size()) - 1}; });
        for (std::size_t i = 0; i < prompts.size(); ++i) {
            for (const MeasuredSae& measured : saes) {
                sae::QualitySums sums;
                const std::size_t d = measured.sae.d_in;
                add_reconstructed(measured.sae, std::span(rows[measured.place]).subspan(i * d, d), pool, [&](std::size_t) -> sae::QualitySums& { return sums; });
                append(prompt_numbers, sums, d);
            }
        }
        if (clean_.empty()) {
            for (std::int64_t s = own_losses.first; s < own_losses.last; ++s) clean_.push_back(loss_of(static_cast<std::size_t>(s), std::nullopt, nullptr, pool));
            ablated_.assign(places_.size(), {});
            for (std::size_t p = 0; p < places_.size(); ++p) {
                for (std::int64_t s = own_losses.first; s < own_losses.last && model::site_is_residual(places_[p].site); ++s) ablated_[p].push_back(loss_of(static_cast<std::size_t>(s), p, nullptr, pool));
            }
        }
        for (std::int64_t s = own_losses.first; s < own_losses.last; ++s) {
            const auto i = static_cast<std::size_t>(s - own_losses.first);
            losses.push_back(static_cast<double>(text_.held_out[static_cast<std::size_t>(s)].size()) - 1);
            losses.push_back(clean_[i]);
            for (const MeasuredSae& measured : saes) {
                const bool residual = model::site_is_residual(places_[measured.place].site);
                losses.push_back(residual ? ablated_[measured.place][i] : 0);
                losses.push_back(residual ? loss_of(static_cast<std::size_t>(s), measured.place, &measured.sae, pool) : 0);
            }
        }
    });
    const std::vector<double> all_text = all_numbers(comm_, text_numbers);
    const std::vector<double> all_prompts = all_numbers(comm_, prompt_numbers);
    const std::vector<double> all_losses = all_numbers(comm_, losses);

    std::vector<std::array<sae::QualitySums, classes + 1>> sums(saes.size());  // first, rest, last prompt
    const double* at = all_text.data();
    for (std::size_t s = 0; s < n; ++s) {
        for (std::size_t i = 0; i < saes.size(); ++i) {
            for (std::size_t c = 0; c < classes; ++c) take(at, sums[i][c], saes[i].sae.d_in);
        }
    }
    at = all_prompts.data();
    for (std::size_t s = 0; s < text_.held_out_prompts.size(); ++s) {
        for (std::size_t i = 0; i < saes.size(); ++i) take(at, sums[i][classes], saes[i].sae.d_in);
    }
    std::vector<double> total(2 + 2 * saes.size(), 0.0);
    for (std::size_t i = 0; i < all_losses.size(); ++i) total[i % total.size()] += all_losses[i];

    std::vector<SaeQuality> result;
    for (std::size_t i = 0; i < saes.size(); ++i) {
        SaeQuality& quality = result.emplace_back();
        sae::QualitySums all = sums[i][0];
        join(all, sums[i][1]);
        quality.all = sae::quality(all);
        quality.first = sae::quality(sums[i][0]);
        quality.rest = sae::quality(sums[i][1]);
        quality.last_prompt = sae::quality(sums[i][2]);
        const double nan = std::numeric_limits<double>::quiet_NaN();
        const bool residual = total[0] > 0 && model::site_is_residual(places_[saes[i].place].site);
        quality.clean_loss = total[0] > 0 ? total[1] / total[0] : nan;
        quality.ablated_loss = residual ? total[2 + 2 * i] / total[0] : nan;
        quality.spliced_loss = residual ? total[3 + 2 * i] / total[0] : nan;
        quality.loss_recovered = (quality.ablated_loss - quality.spliced_loss) / (quality.ablated_loss - quality.clean_loss);
    }
    return result;
}

nlohmann::ordered_json to_json(const SaeQuality& quality) {
    return {{"all", quality_json(quality.all)},
            {"first", quality_json(quality.first)},
            {"rest", quality_json(quality.rest)},
            {"last_prompt", quality_json(quality.last_prompt)},
            {"clean_loss", number(quality.clean_loss)},
            {"spliced_loss", number(quality.spliced_loss)},
            {"ablated_loss", number(quality.ablated_loss)},
            {"loss_recovered", number(quality.loss_recovered)}};
}

}  // namespace pva::phases
