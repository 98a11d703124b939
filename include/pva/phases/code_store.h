// Sparse codes of many SAEs over the rows of a text, growing piece by piece on disk, then as HDF5: docs/formats/codes.md.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "pva/sae/encode.h"

namespace pva::phases {

/// Codes of one SAE, appended in plain files of a folder that all ranks see.
class CodeSpool {
  public:
    /// Latent indices take 2 bytes up to 65,536 latents, else 4. Errors: IoError.
    CodeSpool(const std::string& folder, std::size_t index, std::uint64_t n_latents, bool bfloat16);
    void append(const sae::CsrRows& codes);
    /// Writes what is left to say; `about` describes the SAE. Errors: IoError.
    void finish(nlohmann::ordered_json about);
    /// Bytes of latents, values and row offsets so far.
    std::uint64_t bytes() const;

  private:
    void write(const std::string& what, std::span<const std::byte> bytes, bool first) const;

    std::string base_;
    bool narrow_;
    bool bfloat16_;
    std::uint64_t n_latents_;
    std::uint64_t n_rows_ = 0;
    std::uint64_t n_entries_ = 0;
    bool has_norms_ = false;
};

/// Which row of the text a row of codes is.
struct CodeRows {
    std::vector<std::int32_t> sequence;
    std::vector<std::int32_t> position;
    std::vector<std::int32_t> token;
};

/// Puts the finished spools 0 to n - 1 of a folder into `path` (*.h5: one file with a group an SAE; else a folder with one file
/// each) and removes the spools. Errors: IoError.
void write_code_files(const std::string& spool_folder, std::size_t n, const std::string& path, const CodeRows& rows, const nlohmann::ordered_json& provenance);

}  // namespace pva::phases
