// Tables of pva's HDF5 files as CSV, JSON Lines or npz. docs/export.md says what the tables of a file are.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "pva/core/options.h"
#include "pva/io/h5.h"

namespace pva::phases {

/// A dataset as a column of a table.
struct ExportColumn {
    std::string name;                  ///< of the dataset, with its groups
    io::h5::Element element = io::h5::Element::u8;
    std::size_t text_width = 0;
    std::vector<std::int64_t> shape;   ///< of the dataset
    std::size_t table_dimensions = 1;  ///< how many of its dimensions are those of the table
    bool wide() const { return shape.size() > table_dimensions; }
};

/// What tells the rows of a table of several dimensions apart: the index, or the dataset that names it ("layer").
struct ExportKey {
    std::string name;
    std::int64_t extent = 0;
    std::string dataset;  ///< integers [extent]; empty: the index counts
};

struct ExportTable {
    std::string name;                  ///< its dimensions, "row", "layer/latent"; in files without schema the group or dataset
    std::vector<std::int64_t> shape;   ///< one extent a dimension; rows are their product, the last one running fastest
    std::vector<ExportKey> keys;       ///< columns in front; empty where the rows name themselves
    std::vector<ExportColumn> columns; ///< narrow ones first
    std::int64_t rows() const;
};

/// The tables of a file: complete result files of every type (by their schemas), dumps and codes of pva_check.
/// Errors: InputError for other files, incomplete ones, and sizes that disagree with each other.
std::vector<ExportTable> export_tables(const std::string& path);

struct ExportOptions {
    std::string file;
    std::string table;
    std::string format = "csv";
    std::string output;   ///< standard output when empty
    std::string columns;  ///< names separated by commas; empty: all narrow ones
    bool wide = false;    ///< wide arrays too, one column a value (CSV) or nested lists (JSONL)
    bool list = false;
};
void register_options(OptionSet& set, ExportOptions& options);

/// Writes the table, or with `list` the list of tables. Errors: UsageError for a table or column that is not there (naming those that
/// are); InputError for damaged files; IoError.
void run_export(const ExportOptions& options, std::ostream& standard_output);

/// The parts that have a form of their own, for tests. Shortest digits that read back to the same value and look like no integer ("3.0"); "nan", "inf", "-inf".
std::string export_number(double value);
std::string export_number(float value);
/// In quotes, quotes doubled (RFC 4180); zero bytes and bytes that are no UTF-8 become U+FFFD.
std::string csv_text(const std::string& bytes);

}  // namespace pva::phases
