// One declarative schema per file type: it drives creation, checking, reading and the test of the page in docs/formats.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "pva/io/h5.h"

namespace pva::io {

/// When a dataset gets its content.
enum class Filled {
    at_creation,  ///< known before the phase starts; written by rank 0 before the file is seen
    per_unit,     ///< rows of units, written by the rank that computed them; covered by the unit's checksum
    at_end        ///< written when all units are done
};

struct DatasetSpec {
    std::string name;               ///< with its groups: "residual/resid_post"; "measured/..." differs between equal runs
    h5::Element element;
    std::vector<std::string> dims;  ///< names of sizes, slowest first; a per-unit dataset's first one is a multiple of the units
    Filled filled;
    std::string unit;               ///< physical unit, "1" for a pure number
    std::string meaning;
    std::string text_width;         ///< name of the size that is the width, for text
};

/// Values of the named dimensions and text widths of one file.
using Sizes = std::map<std::string, std::int64_t>;

struct FileSchema {
    std::string filetype;        ///< attribute `filetype` of the file
    std::int64_t version;        ///< attribute `format_version`; readers refuse others
    std::string page;            ///< page in docs/formats that describes it
    std::string unit_dimension;  ///< what a unit is: "problem", "document", ...
    std::vector<DatasetSpec> datasets;
};

/// Bytes kept for the summary and for the measurements of a run (JSON), in every file.
inline constexpr std::int64_t summary_bytes = 1 << 17;

/// The datasets that every file has besides its own: done, complete, summary, measured/run.
const std::vector<DatasetSpec>& common_datasets();

const DatasetSpec& find_spec(const FileSchema& schema, const std::string& name);

/// Shape of a dataset. Errors: InternalError for a size that is not given.
std::vector<std::int64_t> shape_of(const DatasetSpec& spec, const Sizes& sizes);
std::size_t text_width_of(const DatasetSpec& spec, const Sizes& sizes);

}  // namespace pva::io
