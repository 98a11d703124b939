// Every table of every file type, written as CSV, JSON Lines and npz and read back by readers of the test's own.
#define BOOST_TEST_MODULE export
#include <zlib.h>

#include <boost/test/unit_test.hpp>
#include <bit>
#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "../scratch.h"
#include "made_file.h"
#include "pva/core/error.h"
#include "pva/phases/export.h"
#include "pva/phases/schemas.h"

using namespace pva;
using io::h5::Element;

namespace {

const Scratch& scratch() {
    static const Scratch folder;
    return folder;
}

std::string text_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Cells of a CSV text by RFC 4180; a quoted cell keeps its opening quote, so that texts can be told from numbers.
std::vector<std::vector<std::string>> csv_rows(const std::string& text) {
    std::vector<std::vector<std::string>> rows;
    std::vector<std::string> row;
    std::string cell;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '"') {
            cell += '"';
            for (++i; text.at(i) != '"' || (i + 1 < text.size() && text[i + 1] == '"'); ++i) {
                if (text[i] == '"') ++i;
                cell += text[i];
            }
        } else if (text[i] == ',' || text[i] == '\n') {
            row.push_back(std::exchange(cell, ""));
            if (text[i] == '\n') rows.push_back(std::exchange(row, {}));
        } else {
            cell += text[i];
        }
    }
    BOOST_TEST((cell.empty() && row.empty()), "the last line has no end");
    return rows;
}

/// A file of a type with sizes that are all different and values of every kind.
std::string random_file(const io::FileSchema& schema, const std::string& name) {
    std::mt19937 random(17);
    test::MadeFile made;
    std::vector<io::DatasetSpec> specs = schema.datasets;
    made.sizes["unit"] = 2;
    std::int64_t next = 3;
    for (const io::DatasetSpec& spec : specs) {
        for (const std::string& dim : spec.dims) {
            if (dim != "one" && made.sizes.try_emplace(dim, next).second) ++next;
        }
        if (!spec.text_width.empty()) made.sizes.try_emplace(spec.text_width, 24);
    }
    made.sizes.try_emplace("one", 1);
    const std::vector<std::string> texts = {"plain", "", "a,b", "say \"yes\"", "two\nlines\r\n", " blank ", "\xC3\xA4\xE2\x82\xAC \xF0\x9F\x90\x8D", "=1+1"};
    const std::vector<double> numbers = {0.0, -0.0, 1.0 / 3, 1e300, 5e-324, std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(), std::nan("")};
    for (const io::DatasetSpec& spec : specs) {
        std::size_t n = 1;
        for (const std::int64_t extent : io::shape_of(spec, made.sizes)) n *= static_cast<std::size_t>(extent);
        if (spec.element == Element::text) {
            std::vector<std::string> values(n);
            for (std::string& value : values) value = texts[random() % texts.size()];
            made.content[spec.name] = test::bytes_of(values, io::text_width_of(spec, made.sizes));
        } else if (spec.element == Element::f64) {
            std::vector<double> values(n);
            for (double& value : values) value = random() % 2 ? numbers[random() % numbers.size()] : std::bit_cast<double>((std::uint64_t{random()} << 32) | random());
            made.content[spec.name] = test::bytes_of(values);
        } else if (spec.element == Element::f32) {
            std::vector<float> values(n);
            for (float& value : values) value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
            made.content[spec.name] = test::bytes_of(values);
        } else {
            std::vector<std::byte> values(n * io::h5::element_bytes(spec.element));
            for (std::byte& value : values) value = static_cast<std::byte>(random());
            made.content[spec.name] = values;
        }
    }
    const std::string path = scratch().file(name);
    test::write_made_file(path, schema, made);
    return path;
}

struct Value {
    Element element = Element::u8;
    std::string bytes;
};

/// The value of a column in a row of the table, as it stands in the file.
Value stored(const io::h5::File& file, const phases::ExportColumn& column, std::size_t index) {
    const io::h5::Dataset dataset = io::h5::open_dataset(file, column.name);
    std::vector<std::byte> bytes(static_cast<std::size_t>(dataset.rows()) * dataset.row_bytes());
    io::h5::read_rows(dataset, 0, dataset.rows(), bytes);
    const std::size_t size = io::h5::element_bytes(dataset.element, dataset.text_width);
    return {dataset.element, std::string(reinterpret_cast<const char*>(bytes.data()) + index * size, size)};
}

template <class T>
bool same_number(const std::string& cell, const std::string& bytes) {
    T wanted;
    std::memcpy(&wanted, bytes.data(), sizeof wanted);
    T got{};
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), got);
    if (error != std::errc() || end != cell.data() + cell.size()) return false;
    if constexpr (std::is_floating_point_v<T>) {
        if (std::isnan(wanted)) return std::isnan(got);
        return got == wanted && std::signbit(got) == std::signbit(wanted);
    } else {
        return got == wanted;
    }
}

bool same(const std::string& cell, const Value& value) {
    switch (value.element) {
        case Element::u8: {
            unsigned got = 999;
            std::from_chars(cell.data(), cell.data() + cell.size(), got);
            return got == static_cast<unsigned char>(value.bytes[0]);
        }
        case Element::u16: return same_number<std::uint16_t>(cell, value.bytes);
        case Element::i32: return same_number<std::int32_t>(cell, value.bytes);
        case Element::u32: return same_number<std::uint32_t>(cell, value.bytes);
        case Element::i64: return same_number<std::int64_t>(cell, value.bytes);
        case Element::u64: return same_number<std::uint64_t>(cell, value.bytes);
        case Element::f16:
        case Element::bf16: return false;  // in a test of their own
        case Element::f32: return same_number<float>(cell, value.bytes);
        case Element::f64: return same_number<double>(cell, value.bytes);
        case Element::text: return cell == "\"" + value.bytes.substr(0, value.bytes.find_last_not_of('\0') + 1);
    }
    return false;
}

std::string written(phases::ExportOptions options) {
    std::ostringstream out;
    phases::run_export(options, out);
    return options.output.empty() ? out.str() : text_of(options.output);
}

/// Members of an npz file with stored members: name to the npy file, by the archive's own directory.
std::map<std::string, std::string> npz_members(const std::string& path) {
    const std::string archive = text_of(path);
    const auto number = [&](std::size_t at, std::size_t bytes) {
        std::size_t value = 0;
        for (std::size_t i = 0; i < bytes; ++i) value |= static_cast<std::size_t>(static_cast<unsigned char>(archive.at(at + i))) << (8 * i);
        return value;
    };
    const std::size_t end = archive.size() - 22;
    BOOST_REQUIRE(number(end, 4) == 0x06054b50);
    std::map<std::string, std::string> members;
    std::size_t at = number(end + 16, 4);
    for (std::size_t i = 0; i < number(end + 10, 2); ++i) {
        BOOST_REQUIRE(number(at, 4) == 0x02014b50);
        const std::size_t name_bytes = number(at + 28, 2);
        const std::size_t local = number(at + 42, 4);
        const std::size_t data = local + 30 + number(local + 26, 2) + number(local + 28, 2);
        const std::string npy = archive.substr(data, number(at + 20, 4));
        BOOST_TEST(::crc32(0, reinterpret_cast<const Bytef*>(npy.data()), static_cast<uInt>(npy.size())) == number(at + 16, 4));
        members[archive.substr(at + 46, name_bytes)] = npy;
        at += 46 + name_bytes + number(at + 30, 2);
    }
    return members;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_table_of_every_type_reads_back_the_same) {
    for (const io::FileSchema* schema : phases::all_schemas()) {
        const std::string path = random_file(*schema, schema->filetype + ".h5");
        const io::h5::File file = io::h5::open_readonly(path);
        const std::vector<phases::ExportTable> tables = phases::export_tables(path);
        // Every dataset is a narrow column of exactly one table.
        std::map<std::string, int> narrow;
        for (const auto& table : tables) {
            for (const auto& column : table.columns) narrow[column.name] += column.wide() ? 0 : 1;
        }
        BOOST_TEST(narrow.size() == schema->datasets.size() + io::common_datasets().size());
        for (const auto& [name, times] : narrow) BOOST_TEST(times == 1, name + " is in " + std::to_string(times) + " tables");

        for (const auto& table : tables) {
            BOOST_TEST_CONTEXT(schema->filetype << ", table " << table.name) {
                phases::ExportOptions options;
                options.file = path;
                options.table = table.name;
                options.wide = true;
                const auto rows = csv_rows(written(options));
                options.format = "jsonl";
                std::istringstream lines(written(options));
                BOOST_REQUIRE(rows.size() == static_cast<std::size_t>(table.rows()) + 1);
                std::vector<nlohmann::json> objects;
                for (std::string line; std::getline(lines, line);) objects.push_back(nlohmann::json::parse(line));
                BOOST_REQUIRE(objects.size() == rows.size() - 1);
                std::size_t at = table.keys.size();
                for (const auto& column : table.columns) {
                    std::size_t per_row = 1;
                    for (std::size_t d = column.table_dimensions; d < column.shape.size(); ++d) per_row *= static_cast<std::size_t>(column.shape[d]);
                    for (std::size_t row = 0; row + 1 < rows.size(); ++row) {
                        BOOST_REQUIRE(rows[row + 1].size() == rows[0].size());
                        BOOST_REQUIRE(objects[row].contains(column.name));
                        const nlohmann::json& nested = objects[row][column.name];
                        const nlohmann::json flat = nested.is_array() ? nested.flatten() : nlohmann::json{nested};
                        BOOST_TEST(flat.size() == per_row);
                        for (std::size_t i = 0; i < per_row; ++i) {
                            // Reading the whole dataset for every value is slow: the first and last values will do for wide ones.
                            if (i > 2 && i + 1 < per_row) continue;
                            const Value value = stored(file, column, row * per_row + i);
                            BOOST_TEST(same(rows[row + 1][at + i], value), rows[0][at + i] + " of row " + std::to_string(row) + " reads " + rows[row + 1][at + i]);
                            if (column.wide()) continue;
                            std::string cell = nested.is_string() && value.element == Element::text ? "\"" + nested.get<std::string>() : nested.is_null() ? "nan" : nested.is_string() ? nested.get<std::string>() : nested.dump();
                            if (cell == "Infinity" || cell == "-Infinity") cell = cell.substr(0, cell.size() - 8) + "inf";
                            if (nested.is_number_float()) continue;  // compared below, by the reader's own value
                            BOOST_TEST(same(cell, value), column.name + " of row " + std::to_string(row) + " reads " + cell);
                        }
                        if (!column.wide() && nested.is_number_float() && column.element == Element::f64) {
                            double wanted = 0;
                            std::memcpy(&wanted, stored(file, column, row).bytes.data(), sizeof wanted);
                            BOOST_TEST(nested.get<double>() == wanted);
                        }
                    }
                    BOOST_TEST((rows[0][at] == column.name || (column.wide() && rows[0][at].starts_with(column.name + "[0]"))));
                    at += per_row;
                }
                BOOST_TEST(at == rows[0].size());

                options.format = "npz";
                options.output = scratch().file("table.npz");
                written(options);
                const auto members = npz_members(options.output);
                for (const auto& column : table.columns) {
                    BOOST_REQUIRE(members.count(column.name + ".npy") == 1);
                    const std::string& npy = members.at(column.name + ".npy");
                    const io::h5::Dataset dataset = io::h5::open_dataset(file, column.name);
                    std::vector<std::byte> bytes(static_cast<std::size_t>(dataset.rows()) * dataset.row_bytes());
                    io::h5::read_rows(dataset, 0, dataset.rows(), bytes);
                    BOOST_REQUIRE(npy.size() > bytes.size());
                    BOOST_TEST(npy.substr(npy.size() - bytes.size()) == std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
                    std::string shape;
                    for (const std::int64_t extent : column.shape) shape += std::to_string(extent) + (column.shape.size() == 1 ? "," : ", ");
                    if (column.shape.size() > 1) shape.resize(shape.size() - 2);
                    BOOST_TEST(npy.find("'shape': (" + shape + ")") != std::string::npos, npy.substr(0, 128));
                }
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(tables_of_a_dataset) {
    const std::string path = random_file(phases::dataset_schema(), "d.h5");
    phases::ExportOptions options;
    options.file = path;
    options.list = true;
    const std::string list = written(options);
    for (const std::string part : {"row: 3 rows\n", "wide: token_ids[", "\nproblem: ", "residual/resid_post[", "\nproblem/layer/d_model: ", "\nrow/token: ", "unit: 2 rows\n    done\n"}) {
        BOOST_TEST(list.find(part) != std::string::npos, part + "is not in\n" + list);
    }
    // The key of a dimension is the dataset that names it; other dimensions count from 0.
    options.list = false;
    options.table = "problem/layer/d_model";
    const auto rows = csv_rows(written(options));
    BOOST_TEST(rows[0] == (std::vector<std::string>{"problem", "layer", "d_model", "residual/resid_post"}), boost::test_tools::per_element());
    options.table = "layer";
    const auto layers = csv_rows(written(options));
    BOOST_TEST(rows[1][1] == layers[1][0]);
    BOOST_TEST(rows[1][0] == "0");
    BOOST_TEST(rows.back()[0] == std::to_string(io::h5::open_dataset(io::h5::open_readonly(path), "residual/resid_post").shape[0] - 1));
    // Chosen columns, in the order asked for.
    options.table = "row";
    options.columns = "passed,token_ids,task_id";
    const auto chosen = csv_rows(written(options));
    BOOST_TEST(chosen[0][0] == "passed");
    BOOST_TEST(chosen[0][1] == "token_ids[0]");
    BOOST_TEST(chosen[0].back() == "task_id");
}

BOOST_AUTO_TEST_CASE(texts_and_numbers) {
    BOOST_TEST(phases::csv_text("a\"b") == "\"a\"\"b\"");
    BOOST_TEST(phases::csv_text("") == "\"\"");
    BOOST_TEST(phases::csv_text(std::string("a\0b\xff", 4)) == "\"a\xEF\xBF\xBD" "b\xEF\xBF\xBD\"");
    BOOST_TEST(phases::csv_text("cut \xE2\x82") == "\"cut \xEF\xBF\xBD\xEF\xBF\xBD\"");
    BOOST_TEST(phases::export_number(0.1F) == "0.1");
    BOOST_TEST(phases::export_number(0.1) == "0.1");
    BOOST_TEST(phases::export_number(3.0) == "3.0");
    BOOST_TEST(phases::export_number(1e22) == "1e+22");
    BOOST_TEST(phases::export_number(-0.0) == "-0.0");
    BOOST_TEST(phases::export_number(-std::numeric_limits<double>::infinity()) == "-inf");
}

BOOST_AUTO_TEST_CASE(empty_tables_and_codes) {
    test::MadeFile made;
    made.sizes = {{"unit", 0}, {"problem", 0}, {"name_bytes", 4}};
    test::write_made_file(scratch().file("empty.h5"), phases::difficulty_schema(), made);
    phases::ExportOptions options;
    options.file = scratch().file("empty.h5");
    options.table = "problem";
    BOOST_TEST(written(options) == "task_id,task_name,complexity,stratum\n");
    options.format = "jsonl";
    BOOST_TEST(written(options).empty());

    // A file of pva_check has no schema: groups are tables, and what has other rows stands alone.
    const std::string path = scratch().file("codes.h5");
    {
        const io::h5::File file = io::h5::create(path);
        const auto add = [&](const std::string& name, Element element, const std::vector<std::int64_t>& shape) { io::h5::create_dataset(file, name, element, 0, shape, true); };
        add("row/sequence", Element::i32, {2});
        add("row/token", Element::i32, {2});
        add("sae/0/row_offset", Element::u64, {3});
        add("sae/0/latent", Element::u16, {5});
        add("sae/0/value", Element::f32, {5});
        io::h5::write_attribute(file, "/", "filetype", "codes");
    }
    options = {};
    options.file = path;
    options.list = true;
    BOOST_TEST(written(options) == "row: 2 rows\n    row/sequence, row/token\nsae/0/latent: 5 rows\n    sae/0/latent, sae/0/value\nsae/0/row_offset: 3 rows\n    sae/0/row_offset\n");
    options.list = false;
    options.table = "row";
    BOOST_TEST(written(options) == "row/sequence,row/token\n0,0\n0,0\n");
}

BOOST_AUTO_TEST_CASE(activations_of_other_sites_and_types) {
    for (const bool half : {true, false}) {
        const io::FileSchema schema = phases::activations_schema({"embedding", "z"}, half ? Element::f16 : Element::bf16);
        test::MadeFile made;
        made.sizes = {{"unit", 1}, {"program", 1}, {"program_plus_one", 2}, {"row", 2}, {"layer_embedding", 1}, {"width_embedding", 1}, {"layer_z", 1}, {"width_z", 2}};
        // 1.5, -0 and infinity and a value that the type holds exactly.
        made.content["activations/z"] = test::bytes_of(half ? std::vector<std::uint16_t>{0x3e00, 0x8000, 0x7c00, 0x2e66} : std::vector<std::uint16_t>{0x3fc0, 0x8000, 0x7f80, 0x3dcd});
        phases::ExportOptions options;
        options.file = scratch().file("activations.h5");
        test::write_made_file(options.file, schema, made);
        options.table = "row/layer_z/width_z";
        const auto rows = csv_rows(written(options));
        BOOST_REQUIRE(rows.size() == 5u);
        BOOST_TEST(rows[0].back() == "activations/z");
        BOOST_TEST(rows[1].back() == "1.5");
        BOOST_TEST(rows[2].back() == "-0.0");
        BOOST_TEST(rows[3].back() == "inf");
        BOOST_TEST(rows[4].back() == (half ? "0.099975586" : "0.100097656"));
        options.format = "npz";
        options.output = scratch().file("activations.npz");
        written(options);
        const std::string npy = npz_members(options.output).at("activations/z.npy");
        BOOST_TEST(npy.find(half ? "'<f2'" : "'<f4'") != std::string::npos);
        const float value = 1.5F;
        if (!half) BOOST_TEST(npy.substr(npy.size() - 16, 4) == std::string(reinterpret_cast<const char*>(&value), 4));
    }
}

BOOST_AUTO_TEST_CASE(bad_input) {
    const auto says = [](const std::string& wanted) { return [wanted](const Error& e) { return std::string(e.what()).find(wanted) != std::string::npos || (BOOST_TEST_MESSAGE(e.what()), false); }; };
    phases::ExportOptions options;
    std::ostringstream out;
    BOOST_CHECK_EXCEPTION(phases::run_export(options, out), UsageError, says("which file"));
    options.file = random_file(phases::difficulty_schema(), "bad.h5");
    BOOST_CHECK_EXCEPTION(phases::run_export(options, out), UsageError, says("has problem, unit, one"));
    options.table = "row";
    BOOST_CHECK_EXCEPTION(phases::run_export(options, out), UsageError, says("no such table"));
    options.table = "problem";
    options.columns = "task_id,nothing";
    BOOST_CHECK_EXCEPTION(phases::run_export(options, out), UsageError, says("no column 'nothing'"));
    options.columns = "task_id,task_id";
    BOOST_CHECK_EXCEPTION(phases::run_export(options, out), UsageError, says("twice"));
    options.columns = "";
    options.format = "npz";
    BOOST_CHECK_EXCEPTION(phases::run_export(options, out), UsageError, says("--output"));
    options.format = "csv";
    options.output = "/proc/nothing/there.csv";
    BOOST_CHECK_THROW(phases::run_export(options, out), IoError);
    BOOST_TEST(out.str().empty());
    options.output = "";

    options.file = scratch().file("missing.h5");
    BOOST_CHECK_THROW(phases::run_export(options, out), InputError);
    options.file = scratch().write("text.h5", "no HDF5");
    BOOST_CHECK_EXCEPTION(phases::run_export(options, out), InputError, says("not an HDF5 file"));
    options.file = scratch().file("other.h5");
    { io::h5::create(options.file); }
    BOOST_CHECK_EXCEPTION(phases::run_export(options, out), InputError, says("no attribute filetype"));
    { io::h5::write_attribute(io::h5::create(options.file), "/", "filetype", "pva nonsense"); }
    BOOST_CHECK_EXCEPTION(phases::run_export(options, out), InputError, says("pva nonsense"));

    test::MadeFile made;
    made.sizes = {{"unit", 2}, {"problem", 2}, {"name_bytes", 4}};
    const auto refused = [&](const test::MadeFile& file, const std::string& wanted) {
        options.file = scratch().file("fault.h5");
        test::write_made_file(options.file, phases::difficulty_schema(), file);
        BOOST_CHECK_EXCEPTION(phases::run_export(options, out), InputError, says(wanted));
    };
    test::MadeFile fault = made;
    fault.complete = 0;
    refused(fault, "not complete");
    fault = made;
    fault.left_out = "stratum";
    refused(fault, "stratum");
    fault = made;
    fault.other_shape["stratum"] = {3};
    refused(fault, "has 3 along `problem`, but task_id has 2");
    fault = made;
    fault.other_shape["complexity"] = {2, 2};
    refused(fault, "has 2 dimensions, expected 1");
    BOOST_TEST(out.str().empty());
}
