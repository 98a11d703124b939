// Rows of a dataset's programs at one site and position, whichever file holds them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pva/io/reader.h"
#include "pva/phases/context.h"

namespace pva::phases {

class ProgramRows {
  public:
    /// Collective. The dataset's own residual stream where site and position are its own; else the activations file beside it
    /// that holds them, `named` or the newest that does. Errors (AgreedError): UsageError for a position that there is not;
    /// InputError that says what is missing and how to make it.
    static ProgramRows open(Context& context, const io::ResultReader& dataset, const std::string& site, const std::string& position, const std::string& named);

    const std::string& site() const { return site_; }
    const std::string& position() const { return position_; }
    /// Layers that are stored, in the order of the file.
    const std::vector<std::int32_t>& layers() const { return layers_; }
    std::int64_t width() const { return width_; }
    /// Whether a program of the dataset has a row at this position.
    bool has(std::int64_t dataset_row) const { return rows_.at(static_cast<std::size_t>(dataset_row)) >= 0; }
    /// Programs of the dataset.
    std::int64_t n_programs() const { return static_cast<std::int64_t>(rows_.size()); }

    /// [rows, width] of a layer, for programs that have a row. Errors: InputError; InternalError for one that has none.
    std::vector<float> read(std::int32_t layer, std::span<const std::int64_t> dataset_rows) const;

    /// What of this belongs to an identity: site, position, and the file beside the dataset where there is one.
    nlohmann::ordered_json identity() const;
    /// The file that the rows stand in.
    const std::string& path() const { return activations_ ? activations_->path() : dataset_.path(); }

  private:
    explicit ProgramRows(const io::ResultReader& dataset) : dataset_(dataset) {}

    const io::ResultReader& dataset_;
    std::optional<io::ResultReader> activations_;
    std::string site_;
    std::string position_;
    std::vector<std::int32_t> layers_;
    std::int64_t width_ = 0;
    std::vector<std::int64_t> rows_;  // of each program of the dataset, its row in the file; -1: none
};

}  // namespace pva::phases
