// HDF5 handles with the serial driver (no MPI_Init in this process): datasets, attributes, wrong kinds, damaged files.
#include "pva/io/h5.h"

#include <boost/test/unit_test.hpp>

#include <cstring>
#include <span>
#include <vector>

#include "../scratch.h"
#include "pva/core/error.h"

using namespace pva;
namespace h5 = pva::io::h5;
using h5::Element;

namespace {

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
    return std::as_bytes(std::span(values));
}

template <class T>
void write_all(const h5::Dataset& dataset, const std::vector<T>& values) {
    h5::write_rows(dataset, 0, dataset.rows(), bytes_of(values));
}

template <class T>
std::vector<T> read_all(const h5::Dataset& dataset, std::int64_t first, std::int64_t count) {
    std::vector<T> values(static_cast<std::size_t>(count) * dataset.row_bytes() / sizeof(T));
    h5::read_rows(dataset, first, count, std::as_writable_bytes(std::span(values)));
    return values;
}

/// Runs `call` and expects the error type with all of the words in its message.
template <class Expected, class Call>
void check_fails(Call&& call, const std::vector<std::string>& words) {
    try {
        call();
        BOOST_ERROR("no error; wanted: " << (words.empty() ? "" : words.front()));
    } catch (const Expected& error) {
        for (const std::string& word : words) BOOST_TEST(std::string(error.what()).find(word) != std::string::npos, word << " in: " << error.what());
    }
}

template <class T>
void round_trip(const h5::File& file, const std::string& name, Element element, const std::vector<T>& values) {
    write_all(h5::create_dataset(file, name, element, 0, {static_cast<std::int64_t>(values.size())}, false), values);
    const h5::Dataset opened = h5::open_dataset(file, name);
    BOOST_TEST((opened.element == element), name);
    BOOST_TEST(opened.row_bytes() == sizeof(T));
    BOOST_TEST((read_all<T>(opened, 0, opened.rows()) == values), name);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(hdf5)

BOOST_AUTO_TEST_CASE(part_of_a_row) {
    const Scratch scratch;
    const h5::File file = h5::create(scratch.file("parts.h5"));
    const h5::Dataset set = h5::create_dataset(file, "x", Element::f32, 0, {3, 4, 2}, false);
    std::vector<float> values(24);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    write_all(set, values);
    std::vector<float> part(2);
    h5::read_row_part(set, 2, 1, std::as_writable_bytes(std::span(part)));
    BOOST_TEST(part[0] == 18.0f);
    BOOST_TEST(part[1] == 19.0f);
    const auto bytes = std::as_writable_bytes(std::span(part));
    check_fails<InternalError>([&] { h5::read_row_part(set, 3, 0, bytes); }, {"there is no such part"});
    check_fails<InternalError>([&] { h5::read_row_part(set, 0, 4, bytes); }, {"there is no such part"});
    check_fails<InternalError>([&] { h5::read_row_part(set, 0, 0, bytes.first(4)); }, {"there is no such part"});
}

BOOST_AUTO_TEST_CASE(every_element_type) {
    const Scratch scratch;
    const h5::File file = h5::create(scratch.file("types.h5"));
    round_trip<std::uint8_t>(file, "u8", Element::u8, {0, 1, 255});
    round_trip<std::int32_t>(file, "i32", Element::i32, {-2147483647 - 1, 0, 2147483647});
    round_trip<std::uint32_t>(file, "u32", Element::u32, {0, 4294967295u});
    round_trip<std::int64_t>(file, "i64", Element::i64, {INT64_MIN, -1, INT64_MAX});
    round_trip<std::uint64_t>(file, "u64", Element::u64, {0, UINT64_MAX});
    round_trip<std::uint16_t>(file, "f16", Element::f16, {0, 0x3C00, 0x7BFF, 0x8001});
    round_trip<std::uint16_t>(file, "bf16", Element::bf16, {0, 0x3F80, 0x7F7F, 0x8001});
    round_trip<float>(file, "f32", Element::f32, {-0.5f, 1e-45f, 3.4e38f});
    round_trip<double>(file, "f64", Element::f64, {-0.5, 5e-324, 1.7e308});
    BOOST_TEST(h5::element_name(Element::u8) == "uint8");
    BOOST_TEST(h5::element_name(Element::f64) == "float64");
    BOOST_TEST(h5::element_name(Element::f16) == "float16");
    BOOST_TEST(h5::element_name(Element::bf16) == "bfloat16");
    BOOST_TEST(h5::element_bytes(Element::bf16) == 2u);
    BOOST_TEST(h5::element_name(Element::text) == "text");
    BOOST_TEST(h5::element_bytes(Element::text, 17) == 17u);
    BOOST_TEST(h5::element_bytes(Element::u64) == 8u);
}

BOOST_AUTO_TEST_CASE(rows_groups_and_names) {
    const Scratch scratch;
    const std::string path = scratch.file("rows.h5");
    std::vector<float> values(6 * 2 * 3);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    {
        h5::File file = h5::create(path);
        const h5::Dataset rows = h5::create_dataset(file, "group/inner/rows", Element::f32, 0, {6, 2, 3}, true);
        BOOST_TEST(rows.row_bytes() == 24u);
        // In two parts, in the other order; rows 4 and 5 stay zero.
        h5::write_rows(rows, 1, 3, bytes_of(values).subspan(24, 72));
        h5::write_rows(rows, 0, 1, bytes_of(values).first(24));
        h5::write_rows(rows, 6, 0, {});
        h5::create_dataset(file, "alpha", Element::u8, 0, {2}, true);
        h5::flush(file);
        file.handle.close(path);
    }
    const h5::File file = h5::open_readonly(path);
    BOOST_TEST((h5::dataset_names(file) == std::vector<std::string>{"alpha", "group/inner/rows"}));
    BOOST_TEST(h5::exists(file, "alpha"));
    BOOST_TEST(h5::exists(file, "group"));
    BOOST_TEST(h5::exists(file, "group/inner/rows"));
    BOOST_TEST(!h5::exists(file, "group/absent/rows"));
    BOOST_TEST(!h5::exists(file, "absent/inner/rows"));
    const h5::Dataset rows = h5::open_dataset(file, "group/inner/rows");
    BOOST_TEST((rows.shape == std::vector<std::int64_t>{6, 2, 3}));
    BOOST_TEST((read_all<float>(rows, 0, 4) == std::vector<float>(values.begin(), values.begin() + 24)));
    BOOST_TEST((read_all<float>(rows, 2, 1) == std::vector<float>(values.begin() + 12, values.begin() + 18)));
    BOOST_TEST((read_all<float>(rows, 4, 2) == std::vector<float>(12, 0.0f)));
    BOOST_TEST((read_all<std::uint8_t>(h5::open_dataset(file, "alpha"), 0, 2) == std::vector<std::uint8_t>{0, 0}));
    // Beyond the end, before the start, another number of bytes.
    std::vector<std::byte> buffer(24);
    check_fails<InternalError>([&] { h5::read_rows(rows, 6, 1, buffer); }, {path, "group/inner/rows", "do not fit"});
    check_fails<InternalError>([&] { h5::read_rows(rows, -1, 1, buffer); }, {"do not fit"});
    check_fails<InternalError>([&] { h5::read_rows(rows, 0, 2, buffer); }, {"do not fit"});
    // Opened for reading only: HDF5's own words come along.
    check_fails<IoError>([&] { h5::write_rows(rows, 0, 1, buffer); }, {path, "group/inner/rows", "rows 0 to 0", "H5Dwrite failed", "no write intent"});
}

BOOST_AUTO_TEST_CASE(scalars_text_and_nothing) {
    const Scratch scratch;
    const h5::File file = h5::create(scratch.file("odd.h5"));
    const h5::Dataset scalar = h5::create_dataset(file, "scalar", Element::f64, 0, {}, false);
    BOOST_TEST(scalar.rows() == 1);
    write_all<double>(scalar, {2.5});
    BOOST_TEST((read_all<double>(h5::open_dataset(file, "scalar"), 0, 1) == std::vector<double>{2.5}));
    BOOST_TEST(h5::open_dataset(file, "scalar").shape.empty());

    const h5::Dataset text = h5::create_dataset(file, "text", Element::text, 8, {2}, false);
    const std::string packed = std::string("caf\xc3\xa9\0\0\0", 8) + "12345678";
    h5::write_rows(text, 0, 2, std::as_bytes(std::span(packed)));
    const h5::Dataset opened = h5::open_dataset(file, "text");
    BOOST_TEST((opened.element == Element::text));
    BOOST_TEST(opened.text_width == 8u);
    const std::vector<char> back = read_all<char>(opened, 0, 2);
    BOOST_TEST(std::string(back.begin(), back.end()) == packed);
    check_fails<InternalError>([&] { h5::create_dataset(file, "thin", Element::text, 0, {1}, false); }, {"thin", "width 0"});

    const h5::Dataset none = h5::create_dataset(file, "none", Element::f32, 0, {0, 5}, false);
    BOOST_TEST(none.rows() == 0);
    h5::write_rows(none, 0, 0, {});
    BOOST_TEST((h5::open_dataset(file, "none").shape == std::vector<std::int64_t>{0, 5}));
    const h5::Dataset thin = h5::create_dataset(file, "no_columns", Element::f32, 0, {3, 0}, false);
    h5::write_rows(thin, 0, 3, {});
}

BOOST_AUTO_TEST_CASE(attributes) {
    const Scratch scratch;
    const std::string path = scratch.file("attributes.h5");
    {
        const h5::File file = h5::create(path);
        h5::create_dataset(file, "rows", Element::u8, 0, {1}, true);
        h5::write_attribute(file, "/", "filetype", std::string("pva sample"));
        h5::write_attribute(file, "/", "empty", std::string());
        h5::write_attribute(file, "/", "format_version", std::int64_t{3});
        h5::write_attribute(file, "rows", "unit", std::string("1"));
        h5::write_attribute(file, "rows", "lowest", std::int64_t{INT64_MIN});
        // Longer than what fits into a dense object header, as the options' JSON may be.
        h5::write_attribute(file, "/", "options", std::string(60000, 'o'));
        check_fails<IoError>([&] { h5::write_attribute(file, "/", "filetype", std::string("again")); }, {"/@filetype", "H5Acreate2 failed"});
        check_fails<IoError>([&] { h5::write_attribute(file, "absent", "unit", std::string("1")); }, {"absent"});
    }
    const h5::File file = h5::open_readonly(path);
    BOOST_TEST(h5::read_text_attribute(file, "/", "filetype").value() == "pva sample");
    BOOST_TEST(h5::read_text_attribute(file, "/", "empty").value().empty());
    BOOST_TEST(h5::read_integer_attribute(file, "/", "format_version").value() == 3);
    BOOST_TEST(h5::read_text_attribute(file, "rows", "unit").value() == "1");
    BOOST_TEST(h5::read_integer_attribute(file, "rows", "lowest").value() == INT64_MIN);
    BOOST_TEST(h5::read_text_attribute(file, "/", "options").value() == std::string(60000, 'o'));
    // Absent, and of the other kind: nothing, so that a reader can say that the file is not ours.
    BOOST_TEST(!h5::read_text_attribute(file, "/", "absent").has_value());
    BOOST_TEST(!h5::read_integer_attribute(file, "/", "absent").has_value());
    BOOST_TEST(!h5::read_text_attribute(file, "/", "format_version").has_value());
    BOOST_TEST(!h5::read_integer_attribute(file, "/", "filetype").has_value());
}

BOOST_AUTO_TEST_CASE(files_that_cannot_be_opened) {
    const Scratch scratch;
    check_fails<InputError>([&] { h5::open_readonly(scratch.file("absent.h5")); }, {"absent.h5", "No such file"});
    write_file(scratch.file("text.h5"), "this is text");
    check_fails<InputError>([&] { h5::open_readonly(scratch.file("text.h5")); }, {"text.h5", "not an HDF5 file"});
    write_file(scratch.file("empty.h5"), "");
    check_fails<InputError>([&] { h5::open_readonly(scratch.file("empty.h5")); }, {"empty.h5"});
    check_fails<InputError>([&] { h5::open_readonly(scratch.path); }, {scratch.path});
    check_fails<IoError>([&] { h5::create(scratch.file("absent/new.h5")); }, {"absent/new.h5", "H5Fcreate failed"});
    // Cut short: the head is there, the data is not.
    const std::string path = scratch.file("cut.h5");
    {
        const h5::File file = h5::create(path);
        write_all<float>(h5::create_dataset(file, "rows", Element::f32, 0, {10000}, false), std::vector<float>(10000, 1.0f));
    }
    std::filesystem::resize_file(path, 20000);
    check_fails<InputError>([&] { h5::open_readonly(path); }, {"cut.h5", "HDF5 cannot open it"});
}

BOOST_AUTO_TEST_CASE(datasets_that_cannot_be_opened) {
    const Scratch scratch;
    const h5::File file = h5::create(scratch.file("some.h5"));
    h5::create_dataset(file, "rows", Element::f32, 0, {2}, false);
    check_fails<InputError>([&] { h5::open_dataset(file, "columns"); }, {"some.h5", "columns", "not in the file"});
    check_fails<IoError>([&] { h5::create_dataset(file, "rows", Element::f32, 0, {2}, false); }, {"rows", "H5Dcreate2 failed"});
}

BOOST_AUTO_TEST_CASE(files_of_others) {
    // Written by h5py (tests/reference/io/make_golden.py).
    const h5::File file = h5::open_readonly(PVA_SOURCE_DIR "/tests/golden/io/foreign.h5");
    BOOST_TEST(h5::read_text_attribute(file, "/", "made_by").value().find("h5py") == 0u);
    BOOST_TEST(h5::read_integer_attribute(file, "/", "small_integer").value() == -5);
    BOOST_TEST(h5::read_integer_attribute(file, "/", "big_endian").value() == 77);
    // Arrays, nothing, other kinds: no value, and no byte beyond the place for one.
    BOOST_TEST(!h5::read_integer_attribute(file, "/", "integers").has_value());
    BOOST_TEST(!h5::read_integer_attribute(file, "/", "nothing").has_value());
    BOOST_TEST(!h5::read_integer_attribute(file, "/", "number").has_value());
    BOOST_TEST(!h5::read_text_attribute(file, "/", "texts").has_value());
    BOOST_TEST(!h5::read_text_attribute(file, "/", "variable_text").has_value());
    BOOST_TEST(!h5::read_text_attribute(file, "/", "nothing").has_value());

    BOOST_TEST((read_all<float>(h5::open_dataset(file, "big_endian_floats"), 0, 3) == std::vector<float>{1.5f, -2.0f, 1e30f}));
    const h5::Dataset chunked = h5::open_dataset(file, "chunked");
    BOOST_TEST((read_all<std::int32_t>(chunked, 4, 2) == std::vector<std::int32_t>{8, 9, 10, 11}));
    BOOST_TEST((h5::open_dataset(file, "half").element == Element::f16));
    for (const char* name : {"short", "signed_bytes", "variable_texts", "complex", "nothing", "group"}) {
        check_fails<InputError>([&] { h5::open_dataset(file, name); }, {"foreign.h5", name});
    }
}

BOOST_AUTO_TEST_CASE(equal_content_gives_equal_bytes) {
    const Scratch scratch;
    for (const char* name : {"one.h5", "two.h5"}) {
        const h5::File file = h5::create(scratch.file(name));
        write_all<std::int64_t>(h5::create_dataset(file, "g/rows", Element::i64, 0, {3}, false), {1, 2, 3});
        h5::write_attribute(file, "/", "filetype", std::string("x"));
    }
    BOOST_TEST((read_file(scratch.file("one.h5")) == read_file(scratch.file("two.h5"))));
}

BOOST_AUTO_TEST_CASE(handles_move_and_close_once) {
    const Scratch scratch;
    h5::File file = h5::create(scratch.file("moved.h5"));
    h5::Handle moved(std::move(file.handle));
    BOOST_TEST(!file.handle);
    BOOST_TEST(static_cast<bool>(moved));
    h5::Handle assigned;
    assigned = std::move(moved);
    BOOST_TEST(static_cast<bool>(assigned));
    BOOST_TEST(!moved);
    assigned.close("moved.h5");
    BOOST_TEST(!assigned);
    assigned.close("moved.h5");
    h5::Handle closed_already(h5::Kind::dataset, 12345);
    check_fails<IoError>([&] { closed_already.close("a dataset that is none"); }, {"a dataset that is none"});
    BOOST_TEST(h5::library_version().find('.') != std::string::npos);
}

// A few hundred bytes can claim any size in chunks that are never written; sizes that overflow would end in writing past a buffer.
BOOST_AUTO_TEST_CASE(sizes_that_no_file_holds) {
    const h5::File file = h5::open_readonly(std::string(PVA_SOURCE_DIR) + "/tests/golden/hdf5/giant.h5");  // tests/reference/make_hostile_hdf5.py
    check_fails<InputError>([&] { h5::open_dataset(file, "wraps"); }, {"wraps", "damaged"});
    check_fails<InputError>([&] { h5::open_dataset(file, "more"); }, {"more", "damaged"});
    check_fails<InputError>([&] { h5::open_dataset(file, "nothing_behind_it"); }, {"claims 2147483648 bytes", "holds 0"});
    BOOST_TEST(h5::open_dataset(file, "small").row_bytes() == 16u);
}

BOOST_AUTO_TEST_SUITE_END()
