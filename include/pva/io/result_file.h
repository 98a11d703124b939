// The result-file mechanism of all phases: a file that survives kill -9 at any moment, is taken up by the same command, and
// is equal bit for bit (outside measured/) however often it was interrupted. Described in docs/formats/common.md.
//
// Life: `<prefix>_<identity>.h5.part` is created by rank 0 with every dataset at its full size and its space reserved on
// disk. From then on only raw data is overwritten: a unit's rows, then its checksum into `done`. When all units are done the
// summary is written, `complete` is set, and the file is renamed to its final name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pva/core/log.h"
#include "pva/core/provenance.h"
#include "pva/io/schema.h"
#include "pva/io/segments.h"
#include "pva/mpi/communicator.h"

namespace pva::io {

/// Content of datasets by name.
using Columns = std::map<std::string, std::vector<std::byte>>;

/// Bytes of a vector of numbers.
template <class T>
std::vector<std::byte> to_bytes(std::span<const T> values) {
    const auto bytes = std::as_bytes(values);
    return {bytes.begin(), bytes.end()};
}
template <class T>
std::vector<std::byte> to_bytes(const std::vector<T>& values) {
    return to_bytes(std::span<const T>(values));
}
/// Texts as fixed-width, zero-padded UTF-8; a text longer than `width` is cut between characters.
std::vector<std::byte> pack_texts(const std::vector<std::string>& texts, std::size_t width);

/// Everything that says what a run is and what its file looks like.
struct RunPlan {
    const FileSchema* schema = nullptr;
    std::string folder;                ///< <data>/phase1_0, ...
    std::string prefix;                ///< dataset, ...
    std::string model;                 ///< model (or problem set) in the file name
    std::string range;                 ///< "0-399"
    std::string suffix;                ///< may be empty
    Sizes sizes;                       ///< of all dimensions known before the phase starts
    std::int64_t n_units = 0;
    /// Dimensions in which units differ: unit u has the rows [first[u], first[u + 1]) of n_units + 1 numbers. Of any other
    /// dimension every unit has the same share.
    std::map<std::string, std::vector<std::int64_t>> unit_rows;
    bool segmented = false;            ///< units go to segment files; the datasets are laid out at the end (lay_out)
    nlohmann::ordered_json identity;   ///< everything that affects results
    Provenance provenance;
    bool fresh = false;                ///< start over even if there is a finished or unfinished file
};

class ResultFile;

/// What `open_result_file` found.
struct OpenedResult {
    std::string complete_path;         ///< not empty: a complete file of this identity exists; nothing to do
    std::unique_ptr<ResultFile> file;  ///< otherwise: the working file, new or adopted
};

/// Collective. Finds a complete file, adopts the `.part` of the same identity (verifying the checksums of its done units),
/// or creates a new one with the content of `at_creation`.
/// Errors (AgreedError): another live run holds it (65), an unfinished run of the same phase, model and range with other
/// settings exists (65, the keys that differ are named), no space (74).
OpenedResult open_result_file(const mpi::Communicator& comm, Log& log, const RunPlan& plan, const Columns& at_creation);

class ResultFile {
  public:
    ~ResultFile();
    ResultFile(const ResultFile&) = delete;
    ResultFile& operator=(const ResultFile&) = delete;

    const std::string& path() const;
    std::int64_t n_units() const;
    /// Units found finished when the file was opened, and those that this rank finished since.
    bool is_done(std::int64_t unit) const;
    std::int64_t n_adopted() const;

    /// Writes the rows of one unit, then marks it done. Independent of other ranks. `columns` holds every per-unit dataset
    /// of the schema; the checksum covers those outside measured/. Errors: IoError; InternalError for a missing column or a wrong size.
    void write_unit(std::int64_t unit, const Columns& columns);
    /// The same for a segmented file: appends the unit's record to this rank's segment file.
    void write_segment(std::int64_t unit, std::span<const std::byte> payload);
    /// Payload of a finished unit of a segmented file, whichever rank and run wrote it. Call refresh_segments first.
    std::vector<std::byte> read_segment_of(std::int64_t unit) const;
    std::int64_t segment_size(std::int64_t unit) const;
    /// Collective. Makes the records of all ranks known here.
    void refresh_segments();

    /// Independent write and read of rows of any dataset.
    void write_rows(const std::string& dataset, std::int64_t first_row, std::int64_t count, std::span<const std::byte> bytes);
    void read_rows(const std::string& dataset, std::int64_t first_row, std::int64_t count, std::span<std::byte> bytes) const;
    /// Shape of a dataset of this file.
    const std::vector<std::int64_t>& shape(const std::string& dataset) const;

    /// Forces what this node has written to the disk itself, so that a machine that fails loses nothing of it. (A process
    /// that ends, however, loses nothing anyway.) Independent of other ranks. Errors: IoError.
    void save();

    /// Collective. Makes what was written safe and leaves the file for a later run.
    void leave_unfinished();
    /// Collective. Makes everything written visible to all ranks.
    void flush();

    /// Collective; segmented files only, all units done. Creates the final layout with the sizes now known.
    /// The returned file is published instead of this one, which stays until then.
    std::unique_ptr<ResultFile> lay_out(const Sizes& sizes, const Columns& at_creation);

    /// Collective. Checks that all units are done, writes `at_end` (rank 0's), the summary and the measurements, sets
    /// `complete`, closes, renames, writes the JSON beside it, removes lock and segments. Returns the final path.
    std::string publish(const Columns& at_end, const nlohmann::ordered_json& summary, const nlohmann::ordered_json& measured);

  private:
    friend OpenedResult open_result_file(const mpi::Communicator&, Log&, const RunPlan&, const Columns&);
    struct State;
    explicit ResultFile(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

/// First 16 hexadecimal digits of the SHA-256 of the identity.
std::string identity_hash(const nlohmann::ordered_json& identity);

/// Keys in which two identities differ, with both values: "seed: 1 there, 2 here".
std::vector<std::string> differences(const nlohmann::ordered_json& there, const nlohmann::ordered_json& here);

}  // namespace pva::io
