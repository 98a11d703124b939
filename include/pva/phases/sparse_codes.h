// SAE codes of a whole dataset as compressed sparse rows: written once, read by every run of phase 2 after it. File:
// docs/formats/sparse.md.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "pva/phases/context.h"
#include "pva/phases/inputs.h"
#include "pva/phases/program_rows.h"
#include "pva/phases/saes.h"
#include "pva/sae/encode.h"

namespace pva::phases {

/// Collective. The codes of every program that has a row: the finished file where there is one, else encoded now and
/// written to <data>/phase2/sparse_<model>_<range>_<time>.h5. Blocks of rows of a layer are shared among ranks; a run that
/// was stopped goes on. Errors (AgreedError): as the SAEs and result files have them; StopRequested (75).
io::ResultReader sparse_codes(Context& context, const Study& study, const ProgramRows& rows, const SaeSet& saes, const SaeOptions& options,
                              const model::Placement& placement, int threads, bool fresh);

/// Codes and quality of one layer of such a file.
struct LayerCodes {
    sae::CsrRows codes;                 ///< of the rows that were asked for, in their order
    std::vector<double> squared_error;  ///< |x - x_hat|^2 of each
    std::vector<double> cosine;         ///< cos(x, x_hat) of each
};
/// `layer`: index among the file's layers. `rows`: places in the file's task_id. Values at or below `threshold` are left
/// out unless it is 0. Errors: InputError for a damaged file.
LayerCodes read_layer_codes(const io::ResultReader& file, std::int64_t layer, std::span<const std::int64_t> rows, std::uint32_t d_sae, double threshold);

/// Values of one latent, one a row; 0 where it does not fire.
std::vector<double> latent_column(const sae::CsrRows& codes, std::uint32_t latent);

}  // namespace pva::phases
