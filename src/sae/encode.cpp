// Encoding tile by tile: the product of a tile is thresholded and compacted while it is in the cache, so that what
// leaves is sparse. The kernel's order of sums does not depend on the shape of the call, and nothing after it looks at
// another row.
#include "pva/sae/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "pva/core/error.h"
#include "pva/kernels/linear.h"

namespace pva::sae {

namespace {

constexpr std::size_t tile_latents = 256;  // of one product; a multiple of the kernel's strips of 32
constexpr std::size_t tile_stride = 272;   // not a power of two: rows of a tile spread over the sets of the cache
constexpr std::size_t most_rows = 96;      // of one product, as the kernel cuts rows itself
constexpr std::size_t chunk_rows = 16 * most_rows;  // rows whose prepared copies exist at once
static_assert(tile_latents % static_cast<std::size_t>(kernels::strip_width) == 0);

[[noreturn]] void refuse_row(const Sae& sae, std::size_t row, const std::string& what) {
    throw InputError("encoding with " + sae.source + ": row " + std::to_string(row) + ": " + what +
                     ". Check the activations that were stored for this row.");
}

// --- rows ------------------------------------------------------------------------------------------------------------

/// The row as the encoder wants it, and what undoes its normalization. Sums in float64 by ascending index.
RowNorm prepare_row(const Sae& sae, std::size_t row, const float* x, float* s) {
    RowNorm undo;
    const std::size_t d = sae.d_in;
    if (sae.normalization == Normalization::constant_norm) {
        double squares = 0.0;
        for (std::size_t k = 0; k < d; ++k)
            squares += static_cast<double>(x[k]) * x[k];
        const double norm = std::sqrt(squares);
        if (norm == 0.0) refuse_row(sae, row, "its norm is 0, so this SAE's constant_norm_rescale is not defined");
        const auto factor = static_cast<float>(std::sqrt(static_cast<double>(d)) / norm);
        undo.scale = static_cast<float>(norm / std::sqrt(static_cast<double>(d)));
        for (std::size_t k = 0; k < d; ++k)
            s[k] = x[k] * factor;
    } else if (sae.normalization == Normalization::layer_norm) {
        double sum = 0.0;
        for (std::size_t k = 0; k < d; ++k)
            sum += x[k];
        const double mean = sum / static_cast<double>(d);
        double squares = 0.0;
        for (std::size_t k = 0; k < d; ++k)
            squares += (x[k] - mean) * (x[k] - mean);
        const double deviation = std::sqrt(squares / static_cast<double>(d - 1));
        undo = {static_cast<float>(deviation), static_cast<float>(mean)};
        for (std::size_t k = 0; k < d; ++k)
            s[k] = static_cast<float>((x[k] - mean) / (deviation + 1e-5));
    } else {
        std::copy_n(x, d, s);
    }
    for (std::size_t k = 0; k < sae.b_in.size(); ++k)
        s[k] -= sae.b_in[k];
    return undo;
}

bool all_finite(const float* values, std::size_t n) {
    bool finite = true;
    for (std::size_t i = 0; i < n; ++i)
        finite &= std::abs(values[i]) <= std::numeric_limits<float>::max();
    return finite;
}

// --- one row of a tile -----------------------------------------------------------------------------------------------

using Vector = float __attribute__((vector_size(32)));
using Mask = std::int32_t __attribute__((vector_size(32)));

/// Writes the latents of [0, n) whose h is above `cut`, counted from `first`, and their h, and returns how many; n + 1
/// when some h is not finite. Mostly nothing is above: 32 at a time are looked at together.
#if defined(__x86_64__)
[[gnu::target_clones("avx2", "default")]]
#endif
std::size_t
scan(const float* h, const float* cut, std::size_t n, std::uint32_t first, std::uint32_t* latents, float* values) {
    constexpr std::size_t lanes = sizeof(Vector) / sizeof(float);
    const Vector largest = Vector{} + std::numeric_limits<float>::max();
    std::size_t found = 0;
    for (std::size_t j0 = 0; j0 < n; j0 += 4 * lanes) {
        const std::size_t end = std::min(j0 + 4 * lanes, n);
        if (end == j0 + 4 * lanes) {
            Mask any{};
            for (std::size_t v = 0; v < 4; ++v) {
                Vector a, c;
                std::memcpy(&a, h + j0 + v * lanes, sizeof(a));
                std::memcpy(&c, cut + j0 + v * lanes, sizeof(c));
                any |= (a > c) | ~((a <= largest) & (a >= -largest));
            }
            std::uint64_t parts[4];
            std::memcpy(parts, &any, sizeof(any));
            if ((parts[0] | parts[1] | parts[2] | parts[3]) == 0) continue;
        }
        for (std::size_t j = j0; j < end; ++j) {
            if (!(std::abs(h[j]) <= std::numeric_limits<float>::max())) return n + 1;
            if (h[j] > cut[j]) {
                latents[found] = first + static_cast<std::uint32_t>(j);
                values[found] = h[j];
                ++found;
            }
        }
    }
    return found;
}

/// Entries of some rows, row by row.
struct Entries {
    std::vector<std::uint32_t> counts;  ///< a row
    std::vector<std::uint32_t> latents;
    std::vector<float> values;
};

struct Candidate {
    float value;
    std::uint32_t latent;
};
bool better(const Candidate& a, const Candidate& b) {
    return a.value > b.value || (a.value == b.value && a.latent < b.latent);
}

/// The k best of a row's candidates so far. New ones come by ascending latent, so one that equals the worst of k is
/// not among them.
struct BestOfRow {
    std::vector<Candidate> candidates;
    float bound = 0.0f;

    void add(Candidate candidate, std::size_t k) {
        candidates.push_back(candidate);
        if (candidates.size() >= 2 * k + 16) keep(k);
    }
    void keep(std::size_t k) {
        if (candidates.size() < k) return;
        const auto kth = candidates.begin() + static_cast<std::ptrdiff_t>(k - 1);
        std::nth_element(candidates.begin(), kth, candidates.end(), better);
        candidates.resize(k);
        bound = candidates.back().value;
    }
};

// --- a block of rows and some latents --------------------------------------------------------------------------------

struct Work {
    const Sae& sae;
    const float* s;              ///< prepared rows
    std::size_t first_row;       ///< of the caller's rows, for messages
    std::span<const float> cut;  ///< [d_sae], h must be above
};

/// h of rows [row0, row1) of `work.s` and latents [j0, j1) into `tile`.
void multiply(const Work& work, const kernels::ThreadPool& one, std::size_t row0, std::size_t row1, std::size_t j0,
              std::size_t j1, std::vector<float>& tile) {
    const Sae& sae = work.sae;
    kernels::PackedView view = sae.W_enc.view();
    view.data = static_cast<const float*>(view.data) + j0 * sae.d_in;
    view.outputs = static_cast<std::int64_t>(j1 - j0);
    const auto width = static_cast<std::int64_t>(sae.d_in);
    kernels::linear(one, work.s + row0 * sae.d_in, static_cast<std::int64_t>(row1 - row0), width, view,
                    sae.b_enc.empty() ? nullptr : sae.b_enc.data() + j0, tile.data(),
                    static_cast<std::int64_t>(tile_stride));
}

[[noreturn]] void refuse_pre_activation(const Work& work, std::size_t row, const float* h, std::size_t n,
                                        std::size_t j0) {
    std::size_t j = 0;
    while (j + 1 < n && std::isfinite(h[j]))
        ++j;
    refuse_row(work.sae, work.first_row + row, "the pre-activation of latent " + std::to_string(j0 + j) + " overflows");
}

/// Entries of one tile where the cut alone decides, or with what the architecture does after it.
Entries encode_tile(const Work& work, std::size_t row0, std::size_t row1, std::size_t j0) {
    const Sae& sae = work.sae;
    const std::size_t j1 = std::min(j0 + tile_latents, sae.d_sae);
    const kernels::ThreadPool one(1);
    std::vector<float> tile((row1 - row0) * tile_stride);
    multiply(work, one, row0, row1, j0, j1, tile);
    Entries entries;
    entries.counts.reserve(row1 - row0);
    std::uint32_t latents[tile_latents];
    float values[tile_latents];
    const std::size_t group = sae.architecture == Architecture::groupmax ? sae.d_sae / sae.k : 1;
    for (std::size_t row = row0; row < row1; ++row) {
        const float* const h = tile.data() + (row - row0) * tile_stride;
        std::size_t n = scan(h, work.cut.data() + j0, j1 - j0, static_cast<std::uint32_t>(j0), latents, values);
        if (n > j1 - j0) refuse_pre_activation(work, row, h, j1 - j0, j0);
        std::size_t kept = n;
        if (sae.architecture == Architecture::gated) {
            kept = 0;
            for (std::size_t e = 0; e < n; ++e) {
                const float value = values[e] * sae.magnitude[latents[e]] + sae.b_mag[latents[e]];
                if (!std::isfinite(value)) {
                    refuse_row(sae, work.first_row + row,
                               "the magnitude of latent " + std::to_string(latents[e]) + " overflows");
                }
                if (!(value > 0.0f)) continue;
                latents[kept] = latents[e];
                values[kept++] = value;
            }
        } else if (group > 1) {
            kept = 0;  // the best so far of each group; neighbours of one group stand together
            for (std::size_t e = 0; e < n; ++e) {
                if (kept > 0 && latents[kept - 1] / group == latents[e] / group) {
                    if (!(values[e] > values[kept - 1])) continue;
                    --kept;
                }
                latents[kept] = latents[e];
                values[kept++] = values[e];
            }
        }
        entries.counts.push_back(static_cast<std::uint32_t>(kept));
        entries.latents.insert(entries.latents.end(), latents, latents + kept);
        entries.values.insert(entries.values.end(), values, values + kept);
    }
    return entries;
}

/// The k largest of each row among latents [first, last), not in order; tiles one after the other, so that the worst of
/// the k found so far keeps most of the rest away.
Entries encode_topk(const Work& work, std::size_t row0, std::size_t row1, std::size_t first, std::size_t last) {
    const Sae& sae = work.sae;
    const kernels::ThreadPool one(1);
    std::vector<float> tile((row1 - row0) * tile_stride);
    std::vector<BestOfRow> best(row1 - row0);
    std::uint32_t latents[tile_latents];
    float values[tile_latents];
    float cut[tile_latents];
    for (std::size_t j0 = first; j0 < last; j0 += tile_latents) {
        const std::size_t j1 = std::min(j0 + tile_latents, last);
        multiply(work, one, row0, row1, j0, j1, tile);
        for (std::size_t row = row0; row < row1; ++row) {
            BestOfRow& mine = best[row - row0];
            const float* const h = tile.data() + (row - row0) * tile_stride;
            std::fill_n(cut, j1 - j0, mine.bound);
            const std::size_t n = scan(h, cut, j1 - j0, static_cast<std::uint32_t>(j0), latents, values);
            if (n > j1 - j0) refuse_pre_activation(work, row, h, j1 - j0, j0);
            for (std::size_t e = 0; e < n; ++e) {
                if (values[e] > mine.bound) mine.add({values[e], latents[e]}, sae.k);
            }
        }
    }
    Entries entries;
    for (BestOfRow& mine : best) {
        mine.keep(sae.k);
        entries.counts.push_back(static_cast<std::uint32_t>(mine.candidates.size()));
        for (const Candidate& candidate : mine.candidates) {
            entries.latents.push_back(candidate.latent);
            entries.values.push_back(candidate.value);
        }
    }
    return entries;
}

std::size_t pieces(std::size_t n, std::size_t size) {
    return (n + size - 1) / size;
}

/// Codes of prepared rows [0, n), appended to `codes`.
void encode_prepared(const Work& work, std::size_t n, const kernels::ThreadPool& pool, CsrRows& codes) {
    const Sae& sae = work.sae;
    const bool topk = sae.architecture == Architecture::topk;
    const std::size_t row_blocks = pieces(n, most_rows);
    const std::size_t tiles = pieces(sae.d_sae, tile_latents);
    // A few tasks for each thread; a task of topk takes many tiles, so that it knows a good bound for most of them.
    const std::size_t wanted = pieces(4 * static_cast<std::size_t>(pool.threads()), row_blocks);
    const std::size_t tiles_of_group = topk ? pieces(tiles, std::min(tiles, wanted)) : 1;
    const std::size_t groups = pieces(tiles, tiles_of_group);
    std::vector<Entries> found(groups * row_blocks);
    const auto first_row = [&](std::size_t block) { return n * block / row_blocks; };
    // Blocks of rows first: the weights of a tile are fetched once for all of them.
    pool.run(static_cast<std::int64_t>(found.size()), [&](std::int64_t task) {
        const std::size_t block = static_cast<std::size_t>(task) % row_blocks;
        const std::size_t group = static_cast<std::size_t>(task) / row_blocks;
        const std::size_t j0 = group * tiles_of_group * tile_latents;
        const std::size_t j1 = std::min(j0 + tiles_of_group * tile_latents, sae.d_sae);
        found[static_cast<std::size_t>(task)] = topk ? encode_topk(work, first_row(block), first_row(block + 1), j0, j1)
                                                     : encode_tile(work, first_row(block), first_row(block + 1), j0);
    });

    const std::size_t group_size = sae.architecture == Architecture::groupmax ? sae.d_sae / sae.k : 1;
    std::vector<Candidate> of_row;
    for (std::size_t block = 0; block < row_blocks; ++block) {
        std::vector<std::size_t> at(groups, 0);
        for (std::size_t row = 0; row < first_row(block + 1) - first_row(block); ++row) {
            of_row.clear();
            for (std::size_t g = 0; g < groups; ++g) {
                const Entries& entries = found[g * row_blocks + block];
                for (std::uint32_t e = 0; e < entries.counts[row]; ++e, ++at[g]) {
                    const Candidate candidate{entries.values[at[g]], entries.latents[at[g]]};
                    if (group_size > 1 && !of_row.empty() &&
                        of_row.back().latent / group_size == candidate.latent / group_size) {
                        if (candidate.value > of_row.back().value) of_row.back() = candidate;
                    } else {
                        of_row.push_back(candidate);
                    }
                }
            }
            if (topk) {
                if (of_row.size() > sae.k) {
                    std::nth_element(of_row.begin(), of_row.begin() + static_cast<std::ptrdiff_t>(sae.k - 1),
                                     of_row.end(), better);
                    of_row.resize(sae.k);
                }
                std::sort(of_row.begin(), of_row.end(),
                          [](const Candidate& a, const Candidate& b) { return a.latent < b.latent; });
            }
            for (const Candidate& candidate : of_row) {
                codes.latents.push_back(candidate.latent);
                codes.values.push_back(candidate.value);
            }
            codes.row_offsets.push_back(codes.latents.size());
        }
    }
}

// --- matching pursuit ------------------------------------------------------------------------------------------------

/// Codes of prepared rows, which are used up. All rows that go on are multiplied together in each step; a row's own
/// steps do not depend on which those are.
void pursue(const Work& work, std::size_t n, std::vector<float>& rest, const kernels::ThreadPool& pool,
            CsrRows& codes) {
    const Sae& sae = work.sae;
    const std::size_t d = sae.d_in;
    std::vector<std::vector<Candidate>> code(n);
    std::vector<std::size_t> going(n);
    for (std::size_t i = 0; i < n; ++i)
        going[i] = i;
    const std::size_t tiles = pieces(sae.d_sae, tile_latents);
    for (std::size_t step = 0; step < sae.max_iterations && !going.empty(); ++step) {
        // Rows that go on stand together at the front.
        const std::size_t count = going.size();
        const std::size_t row_blocks = pieces(count, most_rows);
        const auto first_row = [&](std::size_t block) { return count * block / row_blocks; };
        std::vector<Candidate> best(tiles * count);
        const Work product{sae, rest.data(), work.first_row, {}};
        pool.run(static_cast<std::int64_t>(tiles * row_blocks), [&](std::int64_t task) {
            const std::size_t block = static_cast<std::size_t>(task) % row_blocks;
            const std::size_t t = static_cast<std::size_t>(task) / row_blocks;
            const std::size_t j0 = t * tile_latents;
            const std::size_t j1 = std::min(j0 + tile_latents, sae.d_sae);
            const kernels::ThreadPool one(1);
            std::vector<float> tile((first_row(block + 1) - first_row(block)) * tile_stride);
            multiply(product, one, first_row(block), first_row(block + 1), j0, j1, tile);
            for (std::size_t row = first_row(block); row < first_row(block + 1); ++row) {
                const float* const h = tile.data() + (row - first_row(block)) * tile_stride;
                Candidate largest{0.0f, 0};
                for (std::size_t j = j0; j < j1; ++j) {
                    if (!std::isfinite(h[j - j0]))
                        refuse_row(sae, work.first_row + going[row],
                                   "the product with latent " + std::to_string(j) + " overflows");
                    if (h[j - j0] > largest.value) largest = {h[j - j0], static_cast<std::uint32_t>(j)};
                }
                best[t * count + row] = largest;
            }
        });
        std::vector<std::size_t> still;
        for (std::size_t row = 0; row < count; ++row) {
            Candidate largest{0.0f, 0};
            for (std::size_t t = 0; t < tiles; ++t) {
                if (best[t * count + row].value > largest.value) largest = best[t * count + row];
            }
            if (!(largest.value > 0.0f)) continue;  // nothing points at what is left
            std::vector<Candidate>& mine = code[going[row]];
            const auto known =
                std::find_if(mine.begin(), mine.end(), [&](const Candidate& c) { return c.latent == largest.latent; });
            const bool again = known != mine.end();
            if (again) {
                known->value += largest.value;
            } else {
                mine.push_back(largest);
            }
            float* const left = rest.data() + row * d;
            const float* const atom = sae.W_dec.data() + largest.latent * d;
            double squares = 0.0;
            for (std::size_t k = 0; k < d; ++k) {
                left[k] -= largest.value * atom[k];
                squares += static_cast<double>(left[k]) * left[k];
            }
            if (again && sae.stop_on_duplicate_support) continue;
            if (sae.residual_threshold > 0.0 && std::sqrt(squares) < sae.residual_threshold) continue;
            if (still.size() != row) std::copy_n(left, d, rest.data() + still.size() * d);
            still.push_back(going[row]);
        }
        going = std::move(still);
    }
    for (std::vector<Candidate>& mine : code) {
        std::sort(mine.begin(), mine.end(), [](const Candidate& a, const Candidate& b) { return a.latent < b.latent; });
        for (const Candidate& candidate : mine) {
            codes.latents.push_back(candidate.latent);
            codes.values.push_back(candidate.value);
        }
        codes.row_offsets.push_back(codes.latents.size());
    }
}

/// Checks rows [first_row, first_row + n) at x, writes what the encoder's product reads to `prepared` unless that is
/// null, and what undoes their normalization to `norms` unless that is null.
void prepare(const Sae& sae, const float* x, std::size_t n, std::size_t first_row, const kernels::ThreadPool& pool,
             float* prepared, RowNorm* norms) {
    const std::size_t d = sae.d_in;
    pool.run(static_cast<std::int64_t>(n), [&](std::int64_t task) {
        const auto i = static_cast<std::size_t>(task);
        if (!all_finite(x + i * d, d)) {
            std::size_t k = 0;
            while (std::isfinite(x[i * d + k]))
                ++k;
            refuse_row(sae, first_row + i, "value " + std::to_string(k) + " is not finite");
        }
        if (prepared == nullptr) return;
        const RowNorm norm = prepare_row(sae, first_row + i, x + i * d, prepared + i * d);
        if (norms != nullptr) norms[i] = norm;
    });
}

bool undoes_normalization(const Sae& sae) {
    return sae.normalization != Normalization::none && !sae.transcoder;
}

void check_rows(const Sae& sae, std::span<const float> rows, std::size_t n) {
    if (rows.size() == n * sae.d_in) return;
    throw InternalError("encode: " + std::to_string(rows.size()) + " values given for " + std::to_string(n) +
                        " rows of width " + std::to_string(sae.d_in));
}

}  // namespace

PreparedRows prepare_rows(const Sae& sae, std::span<const float> rows, std::size_t first_row, const kernels::ThreadPool& pool) {
    const std::size_t n = rows.size() / sae.d_in;
    check_rows(sae, rows, n);
    PreparedRows prepared;
    prepared.rows.resize(rows.size());
    if (undoes_normalization(sae)) prepared.norms.resize(n);
    prepare(sae, rows.data(), n, first_row, pool, prepared.rows.data(), prepared.norms.empty() ? nullptr : prepared.norms.data());
    return prepared;
}

std::vector<float> activation_cut(const Sae& sae) {
    std::vector<float> cut(sae.threshold);
    if (sae.architecture == Architecture::gated) {
        cut = sae.b_gate;
        for (float& value : cut)
            value = -value;
    }
    cut.resize(sae.d_sae, 0.0f);
    return cut;
}

CsrRows encode(const Sae& sae, std::span<const float> rows, std::size_t n, const kernels::ThreadPool& pool) {
    check_rows(sae, rows, n);
    const bool pursuit = sae.architecture == Architecture::matching_pursuit;
    const bool changes = pursuit || sae.normalization != Normalization::none || !sae.b_in.empty();
    const bool undo = undoes_normalization(sae);
    CsrRows codes;
    codes.n_latents = static_cast<std::uint32_t>(sae.d_sae);
    codes.row_offsets.reserve(n + 1);
    if (undo) codes.norms.resize(n);
    const std::vector<float> cut = activation_cut(sae);

    std::vector<float> prepared;
    for (std::size_t first = 0; first < n; first += chunk_rows) {
        const std::size_t count = std::min(chunk_rows, n - first);
        const float* const x = rows.data() + first * sae.d_in;
        if (changes) prepared.resize(count * sae.d_in);
        prepare(sae, x, count, first, pool, changes ? prepared.data() : nullptr, undo ? codes.norms.data() + first : nullptr);
        const Work work{sae, changes ? prepared.data() : x, first, cut};
        if (pursuit) {
            pursue(work, count, prepared, pool, codes);
        } else {
            encode_prepared(work, count, pool, codes);
        }
    }
    return codes;
}

CsrRows encode(const Sae& sae, std::span<const float> rows, std::size_t n) {
    const kernels::ThreadPool one(1);
    return encode(sae, rows, n, one);
}

}  // namespace pva::sae
