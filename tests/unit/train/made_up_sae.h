// An SAE of random numbers, in the form in which it is written.
#pragma once

#include "pva/sae/save.h"
#include "rows.h"

namespace pva::test {

/// 24 wide, 70 latents; k 5 for topk, else thresholds of 0.8. Decoder rows have norms about 1, none is 1.
inline sae::SavedSae made_up_sae(sae::Architecture architecture) {
    constexpr std::size_t d = 24;
    constexpr std::size_t n_latents = 70;
    sae::SavedSae saved;
    saved.architecture = architecture;
    saved.d_in = d;
    saved.d_sae = n_latents;
    saved.k = architecture == sae::Architecture::topk ? 5 : 0;
    saved.encoder = normal_numbers(1, d * n_latents, 0.3);
    saved.b_enc = normal_numbers(2, n_latents, 0.1);
    saved.W_dec = normal_numbers(3, d * n_latents, 0.2);
    saved.b_dec = normal_numbers(4, d, 0.5);
    if (saved.k == 0) saved.threshold.assign(n_latents, 0.8F);
    return saved;
}

}  // namespace pva::test
