// Sparse code files: widths of indices and values, one file or one each, what is in them.
#define BOOST_TEST_MODULE code_store
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <limits>

#include "../scratch.h"
#include "pva/core/error.h"
#include "pva/io/h5.h"
#include "pva/phases/code_store.h"

using namespace pva;

namespace {

const Scratch& scratch() {
    static const Scratch folder;
    return folder;
}

sae::CsrRows codes(std::uint32_t n_latents, std::vector<std::uint64_t> offsets, std::vector<std::uint32_t> latents, std::vector<float> values) {
    return {std::move(offsets), std::move(latents), std::move(values), n_latents};
}

template <class T>
std::vector<T> read(const io::h5::File& file, const std::string& name) {
    const io::h5::Dataset dataset = io::h5::open_dataset(file, name);
    std::vector<T> values(static_cast<std::size_t>(dataset.rows()) * (dataset.row_bytes() / sizeof(T)));
    if (!values.empty()) io::h5::read_rows(dataset, 0, dataset.rows(), std::as_writable_bytes(std::span(values)));
    return values;
}

nlohmann::ordered_json about(const io::h5::File& file, const std::string& group) {
    return nlohmann::ordered_json::parse(*io::h5::read_text_attribute(file, group + "/row_offset", "about"));
}

}  // namespace

BOOST_AUTO_TEST_CASE(widths_by_need) {
    const std::string folder = scratch().file("spool");
    std::filesystem::create_directories(folder);
    // 65,536 latents: the last index is 65,535 and fits 2 bytes; one latent more does not.
    phases::CodeSpool narrow(folder, 0, 65536, true);
    narrow.append(codes(65536, {0, 2, 2}, {0, 65535}, {1.5F, 3.0F}));
    narrow.append(codes(65536, {0, 1}, {7}, {2.0F}));
    BOOST_TEST(narrow.bytes() == 3u * 4 + 4 * 8);
    narrow.finish({{"path", "a"}});
    phases::CodeSpool wide(folder, 1, 65537, false);
    sae::CsrRows normed = codes(65537, {0, 1, 1, 2}, {65536, 3}, {0.1F, 7.25F});
    normed.norms = {{2.0F, 0.5F}, {1.0F, 0.0F}, {4.0F, -1.0F}};
    wide.append(normed);
    BOOST_TEST(wide.bytes() == 2u * 8 + 4 * 8 + 3 * 8);
    wide.finish({{"path", "b"}});
    phases::CodeSpool empty(folder, 2, 10, false);
    empty.append(codes(10, {0, 0, 0, 0}, {}, {}));
    empty.finish({{"path", "c"}});

    const phases::CodeRows rows{{0, 0, 1}, {0, 1, 0}, {2, 5, 2}};
    const std::string path = scratch().file("codes.h5");
    phases::write_code_files(folder, 3, path, rows, {{"program", "test"}});
    BOOST_TEST(!std::filesystem::exists(folder));
    const io::h5::File file = io::h5::open_readonly(path);
    BOOST_TEST(*io::h5::read_text_attribute(file, "/", "filetype") == "codes");
    BOOST_TEST(*io::h5::read_integer_attribute(file, "/", "saes") == 3);
    BOOST_TEST(read<std::int32_t>(file, "row/token") == rows.token, boost::test_tools::per_element());
    BOOST_TEST(read<std::uint64_t>(file, "sae/0/row_offset") == (std::vector<std::uint64_t>{0, 2, 2, 3}), boost::test_tools::per_element());
    BOOST_TEST((io::h5::open_dataset(file, "sae/0/latent").element == io::h5::Element::u16));
    BOOST_TEST(read<std::uint16_t>(file, "sae/0/latent") == (std::vector<std::uint16_t>{0, 65535, 7}), boost::test_tools::per_element());
    BOOST_TEST(read<std::uint16_t>(file, "sae/0/value") == (std::vector<std::uint16_t>{0x3fc0, 0x4040, 0x4000}), boost::test_tools::per_element());
    BOOST_TEST(about(file, "sae/0")["values"] == "bfloat16");
    BOOST_TEST((io::h5::open_dataset(file, "sae/1/latent").element == io::h5::Element::u32));
    BOOST_TEST(read<float>(file, "sae/1/value") == (std::vector<float>{0.1F, 7.25F}), boost::test_tools::per_element());
    BOOST_TEST(read<float>(file, "sae/1/norm") == (std::vector<float>{2, 0.5F, 1, 0, 4, -1}), boost::test_tools::per_element());
    BOOST_TEST(about(file, "sae/1")["entries"] == 2);
    BOOST_TEST(read<float>(file, "sae/2/value").empty());
}

BOOST_AUTO_TEST_CASE(one_file_an_sae) {
    const std::string folder = scratch().file("spool2");
    std::filesystem::create_directories(folder);
    for (std::size_t i = 0; i < 2; ++i) {
        phases::CodeSpool spool(folder, i, 10, false);
        spool.append(codes(10, {0, 1}, {static_cast<std::uint32_t>(i)}, {1.0F}));
        spool.finish({{"path", std::to_string(i)}});
    }
    const std::string path = scratch().file("codes");
    scratch().write("codes/sae_7.h5", "of an earlier run");
    scratch().write("codes/notes.txt", "mine");
    phases::write_code_files(folder, 2, path, {{0}, {0}, {1}}, {});
    BOOST_TEST(!std::filesystem::exists(path + "/sae_7.h5"));
    BOOST_TEST(std::filesystem::exists(path + "/notes.txt"));
    for (std::size_t i = 0; i < 2; ++i) {
        const io::h5::File file = io::h5::open_readonly(path + "/sae_" + std::to_string(i) + ".h5");
        BOOST_TEST(read<std::uint16_t>(file, "sae/0/latent").front() == i);
        BOOST_TEST(about(file, "sae/0")["path"] == std::to_string(i));
    }
}

BOOST_AUTO_TEST_CASE(folders_that_cannot_be_written) {
    BOOST_CHECK_THROW(phases::CodeSpool(scratch().file("absent"), 0, 10, false), IoError);
}
