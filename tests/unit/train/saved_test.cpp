// SAEs written and read again in both formats, and the files' structure.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "../scratch.h"
#include "made_up_sae.h"
#include "pva/core/error.h"
#include "pva/io/array_files.h"
#include "pva/io/npz.h"
#include "pva/io/safetensors.h"
#include "pva/io/whole_file.h"
#include "pva/sae/encode.h"
#include "pva/sae/load.h"

using namespace pva;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(saved)

BOOST_AUTO_TEST_CASE(saelens_folders_come_back_bit_for_bit) {
    const Scratch folder;
    for (const auto architecture : {sae::Architecture::topk, sae::Architecture::jumprelu}) {
        const sae::SavedSae saved = test::made_up_sae(architecture);
        const sae::Sae direct = sae::to_sae(saved);
        sae::save_saelens(folder.file("layer_3"), saved, {"a-model", "blocks.3.hook_resid_post", true, 128, "texts", {{"pva_training", {{"steps", 7}}}}});
        const sae::Sae loaded = sae::load(sae::identify(folder.file("layer_3")));
        BOOST_TEST(loaded.site == "resid_post");
        BOOST_TEST(*loaded.layer == 3U);
        BOOST_TEST(loaded.model == "a-model");
        BOOST_TEST(*loaded.prepend_bos);
        BOOST_TEST(*loaded.context_size == 128);
        BOOST_TEST(loaded.W_dec == direct.W_dec);
        BOOST_TEST(loaded.b_in == direct.b_in);
        const auto rows = test::normal_numbers(9, 24 * 33, 1);
        const sae::CsrRows a = sae::encode(direct, rows, 33);
        const sae::CsrRows b = sae::encode(loaded, rows, 33);
        BOOST_TEST(!a.values.empty());
        BOOST_TEST(a.latents == b.latents);
        BOOST_TEST(a.values == b.values);
    }
}

BOOST_AUTO_TEST_CASE(params_npz_has_the_same_codes_without_subtracting) {
    const Scratch folder;
    const sae::SavedSae saved = test::made_up_sae(sae::Architecture::jumprelu);
    sae::save_gemma_scope(folder.file("layer_5/params.npz"), saved);
    const sae::Sae loaded = sae::load(sae::identify(folder.file("layer_5")));
    BOOST_TEST(*loaded.layer == 5U);
    BOOST_TEST(loaded.b_in.empty());
    const sae::Sae direct = sae::to_sae(saved);
    const auto rows = test::normal_numbers(9, 24 * 33, 1);
    const sae::CsrRows a = sae::encode(direct, rows, 33);
    const sae::CsrRows b = sae::encode(loaded, rows, 33);
    BOOST_TEST(a.latents == b.latents);
    double most = 0;
    for (std::size_t e = 0; e < a.values.size(); ++e) most = std::max(most, std::abs(static_cast<double>(a.values[e]) - b.values[e]));
    BOOST_TEST(most < 1e-5);
    BOOST_CHECK_THROW(sae::save_gemma_scope(folder.file("no.npz"), test::made_up_sae(sae::Architecture::topk)), InternalError);
}

BOOST_AUTO_TEST_CASE(arrays_of_both_files_are_what_was_written) {
    const Scratch folder;
    const std::vector<float> values = test::normal_numbers(5, 6, 1);
    const std::vector<std::int64_t> numbers = {-1, 0, std::int64_t{1} << 40};
    const std::vector<float> none;
    const std::vector<io::NamedArray> arrays = {{"b", {2, 3}, std::span<const float>(values)}, {"a", {3}, std::span<const std::int64_t>(numbers)}, {"none", {0, 4}, std::span<const float>(none)}};
    io::write_safetensors(folder.file("x.safetensors"), arrays, {{"key", "text with \" and \n"}});
    const io::SafetensorsFile file(folder.file("x.safetensors"));
    BOOST_TEST((file.names() == std::vector<std::string>{"a", "b", "none"}));
    BOOST_TEST((file.entry("b").shape == std::vector<std::int64_t>{2, 3}));
    BOOST_TEST(file.entry("b").dtype == "F32");
    BOOST_TEST(file.metadata().at("key") == "text with \" and \n");
    BOOST_TEST(std::equal(file.bytes("b").begin(), file.bytes("b").end(), std::as_bytes(std::span(values)).begin()));
    BOOST_TEST(std::equal(file.bytes("a").begin(), file.bytes("a").end(), std::as_bytes(std::span(numbers)).begin()));

    const std::vector<io::NamedArray> floats = {arrays[0], {"one", {1}, std::span<const float>(values).first(1)}};
    io::write_npz(folder.file("x.npz"), floats);
    const io::NpzFile npz(folder.file("x.npz"));
    BOOST_TEST((npz.find("b")->shape == std::vector<std::uint64_t>{2, 3}));
    BOOST_TEST(npz.read(*npz.find("b")) == values);
    BOOST_TEST(npz.read(*npz.find("one")) == std::vector<float>{values[0]});

    BOOST_CHECK_THROW(io::write_npz(folder.file("y.npz"), arrays), InternalError);
    const std::vector<io::NamedArray> twice = {arrays[0], arrays[0]};
    BOOST_CHECK_THROW(io::write_safetensors(folder.file("y"), twice), InternalError);
    const std::vector<io::NamedArray> wrong = {{"b", {7}, std::span<const float>(values)}};
    BOOST_CHECK_THROW(io::write_safetensors(folder.file("y"), wrong), InternalError);
}

BOOST_AUTO_TEST_CASE(a_file_is_there_whole_or_not_at_all) {
    const Scratch folder;
    io::write_whole_file(folder.file("deep/er/file"), "old");
    {
        io::WholeFile file(folder.file("deep/er/file"));
        file.write("half of the n");
    }
    std::ifstream file(folder.file("deep/er/file"));
    BOOST_TEST(std::string(std::istreambuf_iterator<char>(file), {}) == "old");
    BOOST_TEST(!fs::exists(folder.file("deep/er/file.part")));
    io::write_whole_file(folder.file("plain"), "x");
    BOOST_CHECK_THROW(io::write_whole_file(folder.file("plain/below"), "x"), IoError);
}

BOOST_AUTO_TEST_SUITE_END()
