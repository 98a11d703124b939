// Checks of the sparse-row layout.
#include "pva/stats/csr_view.h"

#include <cmath>
#include <string>

#include "pva/core/error.h"

namespace pva::stats {

void check(const CsrView& codes) {
    const std::string advice = "; the codes are damaged: write them again";
    if (codes.row_offsets.empty()) {
        throw InputError("sparse codes without row offsets: even no rows at all have one offset, 0" + advice);
    }
    if (codes.latents.size() != codes.values.size()) {
        throw InputError("sparse codes with " + std::to_string(codes.latents.size()) + " latent numbers but " +
                         std::to_string(codes.values.size()) + " values" + advice);
    }
    if (codes.row_offsets.front() != 0 || codes.row_offsets.back() != codes.latents.size()) {
        throw InputError("row offsets of sparse codes run from " + std::to_string(codes.row_offsets.front()) + " to " +
                         std::to_string(codes.row_offsets.back()) + ", expected 0 to " +
                         std::to_string(codes.latents.size()) + advice);
    }
    for (std::uint64_t row = 0; row < codes.n_rows(); ++row) {
        const std::uint64_t begin = codes.row_offsets[row];
        const std::uint64_t end = codes.row_offsets[row + 1];
        if (end < begin || end > codes.latents.size()) {
            throw InputError("row " + std::to_string(row) + " of sparse codes spans entries " + std::to_string(begin) +
                             " to " + std::to_string(end) + advice);
        }
        for (std::uint64_t entry = begin; entry < end; ++entry) {
            const std::uint32_t latent = codes.latents[entry];
            if (latent >= codes.n_latents) {
                throw InputError("row " + std::to_string(row) + " of sparse codes names latent " +
                                 std::to_string(latent) + " of " + std::to_string(codes.n_latents) + advice);
            }
            if (entry > begin && latent <= codes.latents[entry - 1]) {
                throw InputError("row " + std::to_string(row) + " of sparse codes: latent " + std::to_string(latent) +
                                 " follows latent " + std::to_string(codes.latents[entry - 1]) +
                                 ", expected ascending order" + advice);
            }
            if (!std::isfinite(codes.values[entry])) {
                throw InputError("row " + std::to_string(row) + ", latent " + std::to_string(latent) +
                                 " of sparse codes is not a finite number" + advice);
            }
        }
    }
}

}  // namespace pva::stats
