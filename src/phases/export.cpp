// Tables of HDF5 files as text or npz: what they are, and writing them block by block.
#include "pva/phases/export.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "pva/core/comma_list.h"
#include "pva/core/error.h"
#include "pva/io/array_files.h"
#include "pva/io/float_values.h"
#include "pva/io/reader.h"
#include "pva/io/whole_file.h"
#include "pva/phases/schemas.h"
#include "pva/text/utf8.h"

namespace pva::phases {

using io::h5::Element;

void register_options(OptionSet& set, ExportOptions& options) {
    set.add_positional("file", options.file, "FILE", "a complete result file of any phase, or a dump or codes of pva_check");
    set.add("table", options.table, "NAME", "which table; --list shows them");
    set.add("format", options.format, "FORMAT", "what is written").one_of({"csv", "jsonl", "npz"});
    set.add("output", options.output, "FILE", "where to; standard output when not given (npz needs a file)");
    set.add("columns", options.columns, "LIST", "only these datasets, separated by commas; wide ones are included").list();
    set.add_flag("wide", options.wide, "csv, jsonl: arrays of every row too (npz always has them)");
    set.add_flag("list", options.list, "show the tables with their rows and columns");
}

std::int64_t ExportTable::rows() const {
    std::int64_t n = 1;
    for (const std::int64_t extent : shape) n *= extent;
    return n;
}

namespace {

constexpr std::size_t block_bytes = std::size_t{16} << 20;
constexpr std::size_t largest_row = std::size_t{1} << 30;

ExportColumn column_of(const io::h5::Dataset& dataset, std::size_t table_dimensions) {
    return {dataset.name, dataset.element, dataset.text_width, dataset.shape, table_dimensions};
}

std::string joined(const std::vector<std::string>& parts, const std::string& between) {
    std::string text;
    for (const std::string& part : parts) text += (text.empty() ? "" : between) + part;
    return text;
}

/// Tables of a result file: one for each list of dimensions that a dataset has, and for each dimension that comes first.
std::vector<ExportTable> schema_tables(const io::h5::File& file, const io::FileSchema& schema) {
    std::vector<io::DatasetSpec> specs = schema.datasets;
    specs.insert(specs.end(), io::common_datasets().begin(), io::common_datasets().end());
    std::vector<std::pair<io::DatasetSpec, io::h5::Dataset>> sets;
    std::map<std::string, std::pair<std::int64_t, std::string>> extents;  // of each dimension, and the dataset that said so
    for (const io::DatasetSpec& spec : specs) {
        io::h5::Dataset dataset = io::h5::open_dataset(file, spec.name);
        const std::string where = file.path + " dataset " + spec.name;
        if (dataset.element != spec.element) throw InputError(where + ": holds " + io::h5::element_name(dataset.element) + ", expected " + io::h5::element_name(spec.element));
        if (dataset.shape.size() != spec.dims.size()) {
            throw InputError(where + ": has " + std::to_string(dataset.shape.size()) + " dimensions, expected " + std::to_string(spec.dims.size()));
        }
        for (std::size_t i = 0; i < spec.dims.size(); ++i) {
            const auto [known, added] = extents.try_emplace(spec.dims[i], dataset.shape[i], spec.name);
            if (!added && known->second.first != dataset.shape[i]) {
                throw InputError(where + ": has " + std::to_string(dataset.shape[i]) + " along `" + spec.dims[i] + "`, but " + known->second.second + " has " +
                                 std::to_string(known->second.first) + "; the file is damaged");
            }
        }
        sets.emplace_back(spec, std::move(dataset));
    }
    std::vector<std::vector<std::string>> shapes;
    const auto want = [&shapes](const std::vector<std::string>& dims) {
        if (std::find(shapes.begin(), shapes.end(), dims) == shapes.end()) shapes.push_back(dims);
    };
    for (const auto& [spec, dataset] : sets) want({spec.dims.front()});
    for (const auto& [spec, dataset] : sets) want(spec.dims);

    std::vector<ExportTable> tables;
    for (const std::vector<std::string>& dims : shapes) {
        ExportTable table;
        table.name = joined(dims, "/");
        for (const std::string& dim : dims) table.shape.push_back(extents.at(dim).first);
        for (const auto& [spec, dataset] : sets) {
            if (spec.dims == dims) table.columns.push_back(column_of(dataset, dims.size()));
        }
        const bool named_by_rows = dims.size() == 1 && !table.columns.empty();
        for (const auto& [spec, dataset] : sets) {
            if (spec.dims.size() > dims.size() && std::equal(dims.begin(), dims.end(), spec.dims.begin())) table.columns.push_back(column_of(dataset, dims.size()));
        }
        if (!named_by_rows) {
            for (std::size_t i = 0; i < dims.size(); ++i) {
                ExportKey key{dims[i], table.shape[i], ""};
                for (const auto& [spec, dataset] : sets) {
                    const bool whole = dataset.element == Element::i32 || dataset.element == Element::i64;
                    if (spec.name == dims[i] && spec.dims == std::vector{dims[i]} && whole) key.dataset = spec.name;
                }
                table.keys.push_back(key);
            }
        }
        tables.push_back(std::move(table));
    }
    return tables;
}

/// Tables of a file without a schema: datasets of one group that have the same number of rows.
std::vector<ExportTable> plain_tables(const io::h5::File& file) {
    struct Rows {
        std::string group;
        std::int64_t rows;
        std::vector<ExportColumn> columns;
    };
    std::vector<Rows> found;
    for (const std::string& name : io::h5::dataset_names(file)) {
        const io::h5::Dataset dataset = io::h5::open_dataset(file, name);
        if (dataset.shape.empty()) continue;
        const std::string group = name.substr(0, name.rfind('/') == std::string::npos ? 0 : name.rfind('/'));
        const auto same = std::find_if(found.begin(), found.end(), [&](const Rows& r) { return r.group == group && r.rows == dataset.shape[0]; });
        Rows& rows = same != found.end() ? *same : found.emplace_back(Rows{group, dataset.shape[0], {}});
        rows.columns.push_back(column_of(dataset, 1));
    }
    std::vector<ExportTable> tables;
    for (Rows& rows : found) {
        const auto of_group = std::count_if(found.begin(), found.end(), [&](const Rows& r) { return r.group == rows.group; });
        ExportTable table;
        table.name = of_group == 1 && !rows.group.empty() ? rows.group : rows.columns.front().name;
        table.shape = {rows.rows};
        std::stable_sort(rows.columns.begin(), rows.columns.end(), [](const ExportColumn& a, const ExportColumn& b) { return a.wide() < b.wide(); });
        table.columns = std::move(rows.columns);
        if (table.columns.front().wide()) table.keys.push_back({"row", rows.rows, ""});
        tables.push_back(std::move(table));
    }
    return tables;
}

/// "[0][3]" of the value at `index` of an array of this shape.
std::string indices(std::size_t index, std::span<const std::int64_t> shape) {
    std::string text;
    for (std::size_t i = shape.size(); i-- > 0;) {
        const auto extent = static_cast<std::size_t>(shape[i]);
        text = "[" + std::to_string(index % extent) + "]" + text;
        index /= extent;
    }
    return text;
}

template <class T>
T value_at(const std::byte* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

std::string_view text_at(const std::byte* at, std::size_t width) {
    const std::string_view padded(reinterpret_cast<const char*>(at), width);
    return padded.substr(0, padded.find_last_not_of('\0') + 1);
}

/// The bytes with what is no UTF-8, and zero bytes where `zeros` says so, replaced by U+FFFD.
std::string mended(std::string_view bytes, bool zeros) {
    std::string text;
    while (!bytes.empty()) {
        const std::size_t good = text::valid_utf8_prefix(bytes);
        text += bytes.substr(0, good);
        if (good < bytes.size()) text += "\xEF\xBF\xBD";
        bytes.remove_prefix(std::min(bytes.size(), good + 1));
    }
    if (zeros) {
        for (std::size_t at = 0; (at = text.find('\0', at)) != std::string::npos;) text.replace(at, 1, "\xEF\xBF\xBD");
    }
    return text;
}

std::string json_number(double value, const std::string& digits) {
    if (std::isnan(value)) return "null";
    if (std::isinf(value)) return value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    return digits;
}

/// The spelling of io/float_values.h.
std::string_view float_dtype(Element element) { return element == Element::f16 ? "F16" : element == Element::bf16 ? "BF16" : "F32"; }

void append_value(std::string& line, Element element, std::size_t width, const std::byte* at, bool json) {
    switch (element) {
        case Element::u8: line += std::to_string(value_at<std::uint8_t>(at)); break;
        case Element::u16: line += std::to_string(value_at<std::uint16_t>(at)); break;
        case Element::i32: line += std::to_string(value_at<std::int32_t>(at)); break;
        case Element::u32: line += std::to_string(value_at<std::uint32_t>(at)); break;
        case Element::i64: line += std::to_string(value_at<std::int64_t>(at)); break;
        case Element::u64: line += std::to_string(value_at<std::uint64_t>(at)); break;
        case Element::f16:
        case Element::bf16:
        case Element::f32: {
            float value = 0;
            io::to_floats(float_dtype(element), at, std::span(&value, 1));
            line += json ? json_number(static_cast<double>(value), export_number(value)) : export_number(value);
            break;
        }
        case Element::f64: {
            const auto value = value_at<double>(at);
            line += json ? json_number(value, export_number(value)) : export_number(value);
            break;
        }
        case Element::text:
            line += json ? nlohmann::json(mended(text_at(at, width), false)).dump() : csv_text(std::string(text_at(at, width)));
            break;
    }
}

/// Values of one row as nested lists.
void append_nested(std::string& line, const ExportColumn& column, std::span<const std::int64_t> shape, std::size_t element_bytes, const std::byte*& at) {
    if (shape.empty()) {
        append_value(line, column.element, column.text_width, at, true);
        at += element_bytes;
        return;
    }
    line += '[';
    for (std::int64_t i = 0; i < shape[0]; ++i) {
        if (i > 0) line += ',';
        append_nested(line, column, shape.subspan(1), element_bytes, at);
    }
    line += ']';
}

std::size_t values_per_row(const ExportColumn& column) {
    std::size_t n = 1;
    for (std::size_t i = column.table_dimensions; i < column.shape.size(); ++i) n *= static_cast<std::size_t>(column.shape[i]);
    return n;
}

std::vector<std::int64_t> key_values(const io::h5::File& file, const ExportKey& key) {
    std::vector<std::int64_t> values(static_cast<std::size_t>(key.extent));
    if (key.dataset.empty()) {
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i);
        return values;
    }
    const io::h5::Dataset dataset = io::h5::open_dataset(file, key.dataset);
    std::vector<std::byte> bytes(values.size() * dataset.row_bytes());
    io::h5::read_rows(dataset, 0, key.extent, bytes);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const std::byte* at = bytes.data() + i * dataset.row_bytes();
        values[i] = dataset.element == Element::i32 ? value_at<std::int32_t>(at) : value_at<std::int64_t>(at);
    }
    return values;
}

/// How many indices of the first dimension are read at a time. Errors: InputError when one alone is too large.
std::int64_t rows_at_once(const io::h5::File& file, const std::vector<io::h5::Dataset>& sets) {
    std::size_t bytes = 0;
    for (const io::h5::Dataset& dataset : sets) {
        if (dataset.row_bytes() > largest_row) throw InputError(file.path + " dataset " + dataset.name + ": one row has " + std::to_string(dataset.row_bytes()) + " bytes; read it with h5py");
        bytes += dataset.row_bytes();
    }
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(block_bytes / std::max<std::size_t>(1, bytes)));
}

void write_text(const io::h5::File& file, const ExportTable& table, const std::vector<ExportColumn>& columns, bool json, const std::function<void(std::string_view)>& write) {
    std::vector<io::h5::Dataset> sets;
    for (const ExportColumn& column : columns) sets.push_back(io::h5::open_dataset(file, column.name));
    std::vector<std::vector<std::int64_t>> keys;
    for (const ExportKey& key : table.keys) keys.push_back(key_values(file, key));
    if (!json) {
        std::string head;
        for (const ExportKey& key : table.keys) head += (head.empty() ? "" : ",") + key.name;
        for (const ExportColumn& column : columns) {
            const auto shape = std::span(column.shape).subspan(column.table_dimensions);
            for (std::size_t i = 0; i < values_per_row(column); ++i) head += (head.empty() ? "" : ",") + column.name + indices(i, shape);
        }
        write(head + "\n");
    }
    std::vector<std::string> names;
    for (const ExportColumn& column : columns) names.push_back(nlohmann::json(column.name).dump() + ":");
    std::int64_t inner = 1;  // rows of the table for one index of the first dimension
    for (std::size_t i = 1; i < table.shape.size(); ++i) inner *= table.shape[i];
    const std::int64_t step = rows_at_once(file, sets);
    std::vector<std::vector<std::byte>> bytes(sets.size());
    std::string lines;
    for (std::int64_t first = 0; first < table.shape[0]; first += step) {
        const std::int64_t count = std::min(step, table.shape[0] - first);
        for (std::size_t c = 0; c < sets.size(); ++c) {
            bytes[c].resize(static_cast<std::size_t>(count) * sets[c].row_bytes());
            io::h5::read_rows(sets[c], first, count, bytes[c]);
        }
        for (std::int64_t row = 0; row < count * inner; ++row) {
            if (json) lines += '{';
            bool begun = false;
            const auto separate = [&] {
                if (begun) lines += ',';
                begun = true;
            };
            std::int64_t rest = first * inner + row;
            std::vector<std::int64_t> place(table.shape.size());
            for (std::size_t d = table.shape.size(); d-- > 0; rest /= table.shape[d]) place[d] = rest % table.shape[d];
            for (std::size_t k = 0; k < table.keys.size(); ++k) {
                separate();
                if (json) lines += nlohmann::json(table.keys[k].name).dump() + ":";
                lines += std::to_string(keys[k][static_cast<std::size_t>(place[k])]);
            }
            for (std::size_t c = 0; c < columns.size(); ++c) {
                const std::size_t size = io::h5::element_bytes(columns[c].element, columns[c].text_width);
                const std::size_t n = values_per_row(columns[c]);
                const std::byte* at = bytes[c].data() + static_cast<std::size_t>(row) * n * size;
                if (json) {
                    separate();
                    lines += names[c];
                    append_nested(lines, columns[c], std::span(columns[c].shape).subspan(columns[c].table_dimensions), size, at);
                } else {
                    for (std::size_t i = 0; i < n; ++i, at += size) {
                        separate();
                        append_value(lines, columns[c].element, columns[c].text_width, at, false);
                    }
                }
            }
            lines += json ? "}\n" : "\n";
            if (lines.size() > block_bytes) {
                write(lines);
                lines.clear();
            }
        }
    }
    write(lines);
}

std::string descr_of(const ExportColumn& column) {
    switch (column.element) {
        case Element::u8: return "|u1";
        case Element::u16: return "<u2";
        case Element::i32: return "<i4";
        case Element::u32: return "<u4";
        case Element::i64: return "<i8";
        case Element::u64: return "<u8";
        case Element::f16: return "<f2";
        case Element::bf16:  // numpy has no such type; every value is a float32
        case Element::f32: return "<f4";
        case Element::f64: return "<f8";
        case Element::text: return "|S" + std::to_string(column.text_width);
    }
    throw InternalError("descr_of: unknown element");
}

void write_arrays(const io::h5::File& file, const ExportTable& table, const std::vector<ExportColumn>& columns, const std::string& output) {
    std::vector<io::StreamedArray> arrays;
    std::vector<std::vector<std::int64_t>> keys;
    for (const ExportKey& key : table.keys) keys.push_back(key_values(file, key));
    for (std::size_t k = 0; k < keys.size(); ++k) {
        const auto taken = std::any_of(columns.begin(), columns.end(), [&](const ExportColumn& c) { return c.name == table.keys[k].name; });
        if (taken) continue;
        const auto bytes = std::as_bytes(std::span(keys[k]));
        arrays.push_back({table.keys[k].name, "<i8", {table.keys[k].extent}, bytes.size(), [bytes](const auto& take) { take(bytes); }});
    }
    for (const ExportColumn& column : columns) {
        const auto dataset = std::make_shared<io::h5::Dataset>(io::h5::open_dataset(file, column.name));
        const bool widened = column.element == Element::bf16;
        const std::uint64_t bytes = dataset->row_bytes() * static_cast<std::uint64_t>(dataset->rows()) * (widened ? 2 : 1);
        const std::int64_t step = std::max<std::int64_t>(1, static_cast<std::int64_t>(block_bytes / std::max<std::size_t>(1, dataset->row_bytes())));
        if (dataset->row_bytes() > largest_row) throw InputError(file.path + " dataset " + column.name + ": one row has " + std::to_string(dataset->row_bytes()) + " bytes; read it with h5py");
        arrays.push_back({column.name, descr_of(column), column.shape, bytes, [dataset, step, widened](const auto& take) {
                              std::vector<std::byte> block;
                              std::vector<float> floats;
                              for (std::int64_t first = 0; first < dataset->rows(); first += step) {
                                  const std::int64_t count = std::min(step, dataset->rows() - first);
                                  block.resize(static_cast<std::size_t>(count) * dataset->row_bytes());
                                  io::h5::read_rows(*dataset, first, count, block);
                                  if (!widened) {
                                      take(block);
                                      continue;
                                  }
                                  floats.resize(block.size() / 2);
                                  io::to_floats("BF16", block.data(), floats);
                                  take(std::as_bytes(std::span(floats)));
                              }
                          }});
    }
    io::write_npz(output, arrays);
}

std::vector<std::string> listing(const std::vector<ExportTable>& tables) {
    std::vector<std::string> lines;
    for (const ExportTable& table : tables) {
        lines.push_back(table.name + ": " + std::to_string(table.rows()) + (table.rows() == 1 ? " row" : " rows"));
        std::vector<std::string> narrow;
        std::vector<std::string> wide;
        for (const ExportKey& key : table.keys) narrow.push_back(key.name);
        for (const ExportColumn& column : table.columns) {
            if (!column.wide()) {
                narrow.push_back(column.name);
                continue;
            }
            std::string shape;
            for (std::size_t i = column.table_dimensions; i < column.shape.size(); ++i) shape += "[" + std::to_string(column.shape[i]) + "]";
            wide.push_back(column.name + shape);
        }
        if (!narrow.empty()) lines.push_back("    " + joined(narrow, ", "));
        if (!wide.empty()) lines.push_back("    wide: " + joined(wide, ", "));
    }
    return lines;
}

std::vector<ExportColumn> chosen_columns(const ExportTable& table, const ExportOptions& options) {
    std::vector<ExportColumn> chosen;
    if (options.columns.empty()) {
        for (const ExportColumn& column : table.columns) {
            if (!column.wide() || options.wide || options.format == "npz") chosen.push_back(column);
        }
        return chosen;
    }
    std::set<std::string> seen;
    for (const std::string& name : split_at_commas(options.columns)) {
        const auto column = std::find_if(table.columns.begin(), table.columns.end(), [&](const ExportColumn& c) { return c.name == name; });
        if (column == table.columns.end()) {
            std::vector<std::string> names;
            for (const ExportColumn& c : table.columns) names.push_back(c.name);
            throw UsageError("--columns: table " + table.name + " has no column '" + name + "'; it has " + joined(names, ", "));
        }
        if (!seen.insert(name).second) throw UsageError("--columns: '" + name + "' is there twice");
        chosen.push_back(*column);
    }
    return chosen;
}

}  // namespace

namespace {

/// With ".0" where a reader would take the digits for an integer.
template <class T>
std::string shortest(T value) {
    char buffer[64];
    std::string digits(buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr);
    if (digits.find_first_not_of("-0123456789") == std::string::npos) digits += ".0";
    return digits;
}

}  // namespace

std::string export_number(double value) { return shortest(value); }
std::string export_number(float value) { return shortest(value); }

std::string csv_text(const std::string& bytes) {
    std::string cell = "\"";
    for (const char c : mended(bytes, true)) {
        if (c == '"') cell += '"';
        cell += c;
    }
    return cell + "\"";
}

std::vector<ExportTable> export_tables(const std::string& path) {
    const io::h5::File file = io::h5::open_readonly(path);
    const auto filetype = io::h5::read_text_attribute(file, "/", "filetype");
    if (filetype == "check" || filetype == "codes" || filetype == "sae_check") return plain_tables(file);
    if (filetype == "pva activations") {
        // Its datasets depend on the sites and the type that were asked for.
        std::vector<std::string> sites;
        Element element = Element::f32;
        for (const std::string& name : io::h5::dataset_names(file)) {
            if (!name.starts_with("activations/")) continue;
            sites.push_back(name.substr(std::strlen("activations/")));
            element = io::h5::open_dataset(file, name).element;
        }
        const io::FileSchema schema = activations_schema(sites, element);
        io::ResultReader::open(path, schema);
        return schema_tables(file, schema);
    }
    for (const io::FileSchema* schema : all_schemas()) {
        if (filetype != schema->filetype) continue;
        io::ResultReader::open(path, *schema);  // complete, and of the version that the schema describes
        return schema_tables(file, *schema);
    }
    throw InputError(path + ": " + (filetype ? "files of type '" + *filetype + "' are not pva's" : "this HDF5 file was not written by pva (no attribute filetype)"));
}

void run_export(const ExportOptions& options, std::ostream& standard_output) {
    if (options.file.empty()) throw UsageError("which file? pva_export FILE --table NAME (pva_export FILE --list shows the tables)");
    const std::vector<ExportTable> tables = export_tables(options.file);
    const auto finish = [&] {
        standard_output.flush();
        if (!standard_output) throw IoError("standard output: writing failed");
    };
    if (options.list) {
        for (const std::string& line : listing(tables)) standard_output << line << "\n";
        return finish();
    }
    const auto table = std::find_if(tables.begin(), tables.end(), [&](const ExportTable& t) { return t.name == options.table; });
    if (table == tables.end()) {
        std::vector<std::string> names;
        for (const ExportTable& t : tables) names.push_back(t.name);
        throw UsageError((options.table.empty() ? "--table is needed; " : "--table " + options.table + ": no such table; ") + options.file + " has " + joined(names, ", "));
    }
    if (options.format == "npz" && options.output.empty()) throw UsageError("--format npz needs --output FILE");
    const io::h5::File file = io::h5::open_readonly(options.file);
    const std::vector<ExportColumn> columns = chosen_columns(*table, options);
    if (options.format == "npz") return write_arrays(file, *table, columns, options.output);
    if (options.output.empty()) {
        write_text(file, *table, columns, options.format == "jsonl", [&](std::string_view text) {
            standard_output << text;
            if (!standard_output) throw IoError("standard output: writing failed");
        });
        return finish();
    }
    io::WholeFile output(options.output);
    write_text(file, *table, columns, options.format == "jsonl", [&](std::string_view text) { output.write(text); });
    output.finish();
}

}  // namespace pva::phases
