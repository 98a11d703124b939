// SAE loader, discovery, codes, reconstruction and quality. Golden values: tests/reference/sae/make_golden.py.
#define BOOST_TEST_MODULE sae
#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "../npz/npz_writer.h"
#include "../scratch.h"
#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/kernels/thread_pool.h"
#include "pva/sae/discover.h"
#include "pva/sae/encode.h"
#include "pva/sae/load.h"
#include "pva/sae/quality.h"
#include "pva/sae/sae.h"
#include "sae_test.h"

using namespace pva;
using namespace pva::test;

namespace {

const std::string golden_folder = PVA_SOURCE_DIR "/tests/golden/sae/";

const Scratch& scratch() {
    static const Scratch folder;
    return folder;
}

/// W_enc [d_in, d_sae] of a made-up SAE, whose decoder is its transpose.
std::vector<float> encoder_of(std::uint64_t stream, std::size_t d_in, std::size_t d_sae) {
    return scaled(splitmix(stream, d_in * d_sae), 0.125f);
}

sae::Sae make_sae(std::uint64_t stream, std::size_t d_in, std::size_t d_sae, float threshold) {
    sae::Sae made;
    made.d_in = d_in;
    made.d_sae = d_sae;
    made.d_out = d_in;
    const std::vector<float> encoder = encoder_of(stream, d_in, d_sae);
    made.W_enc = sae::pack_encoder(encoder, d_in, d_sae);
    made.W_dec.resize(d_in * d_sae);
    for (std::size_t k = 0; k < d_in; ++k) {
        for (std::size_t j = 0; j < d_sae; ++j)
            made.W_dec[j * d_in + k] = encoder[k * d_sae + j];
    }
    made.b_enc = scaled(splitmix(stream + 1, d_sae), 0.125f);
    made.b_dec = scaled(splitmix(stream + 2, d_in), 0.25f);
    made.threshold = scaled(splitmix(stream + 3, d_sae), 0.125f, threshold);
    made.site = "resid_post";
    made.source = "test";
    return made;
}

sae::Sae load_file(const std::string& path) {
    return sae::load(sae::identify(path));
}

std::vector<float> small_rows() {
    auto rows = scaled(splitmix(120, 5 * 7), 4.0f);
    std::fill_n(rows.begin() + 2 * 7, 7, 0.0f);
    return rows;
}

const nlohmann::json& golden() {
    static const nlohmann::json values = nlohmann::json::parse(std::ifstream(golden_folder + "codes.json"));
    return values;
}

sae::Quality quality_of(const sae::Sae& sae, const std::vector<float>& rows, const sae::CsrRows& codes) {
    sae::QualitySums sums;
    add_rows(sums, sae, rows, codes);
    return quality(sums);
}

void check_against_golden(const sae::Sae& sae, const std::vector<float>& rows, const nlohmann::json& expected) {
    const sae::CsrRows codes = sae::encode(sae, rows, rows.size() / sae.d_in);
    BOOST_TEST(codes.n_latents == sae.d_sae);
    BOOST_TEST(codes.row_offsets == expected["row_offsets"].get<std::vector<std::uint64_t>>(),
               boost::test_tools::per_element());
    BOOST_TEST(codes.latents == expected["latents"].get<std::vector<std::uint32_t>>(),
               boost::test_tools::per_element());
    const auto values = expected["values"].get<std::vector<double>>();
    BOOST_REQUIRE(values.size() == codes.values.size());
    for (std::size_t e = 0; e < values.size(); ++e)
        BOOST_TEST(std::abs(codes.values[e] - values[e]) < 1e-6);
    const auto x_hat = expected["x_hat"].get<std::vector<double>>();
    const auto decoded = sae::decode(sae, codes);
    BOOST_REQUIRE(decoded.size() == x_hat.size());
    for (std::size_t i = 0; i < x_hat.size(); ++i)
        BOOST_TEST(std::abs(decoded[i] - x_hat[i]) < 2e-6);
    const sae::Quality quality = quality_of(sae, rows, codes);
    BOOST_TEST(quality.n_rows == codes.n_rows());
    BOOST_TEST(quality.l0 == expected["l0"].get<double>(), boost::test_tools::tolerance(1e-14));
    BOOST_TEST(std::abs(quality.explained_variance - expected["explained_variance"].get<double>()) < 1e-6);
    BOOST_TEST(std::abs(quality.cosine - expected["cosine"].get<double>()) < 1e-6);
    const sae::WeightSummary weights = summarize_weights(sae);
    BOOST_TEST(weights.decoder_norm_min == expected["decoder_norm"][0].get<double>(),
               boost::test_tools::tolerance(1e-12));
    BOOST_TEST(weights.decoder_norm_mean == expected["decoder_norm"][1].get<double>(),
               boost::test_tools::tolerance(1e-12));
    BOOST_TEST(weights.decoder_norm_max == expected["decoder_norm"][2].get<double>(),
               boost::test_tools::tolerance(1e-12));
    BOOST_TEST(std::abs(weights.encoder_decoder_cosine_mean - expected["encoder_decoder_cosine_mean"].get<double>()) <
               1e-12);
}

/// The members of a right params.npz with d_in 2 and d_sae 3, by name.
using Arrays = std::vector<std::pair<std::string, std::pair<std::string, std::vector<float>>>>;
Arrays right_arrays() {
    return {{"W_enc", {"(2, 3)", {1, 2, 3, 4, 5, 6}}},
            {"W_dec", {"(3, 2)", {1, 0, 0, 1, 0.6f, 0.8f}}},
            {"b_enc", {"(3,)", {0, 0, 0}}},
            {"b_dec", {"(2,)", {0, 0}}},
            {"threshold", {"(3,)", {0, 1, 2}}}};
}

std::string save(const Arrays& arrays, const std::string& name = "params.npz") {
    std::vector<ZipMember> members;
    for (const auto& [array, content] : arrays) {
        members.push_back({.name = array + ".npy", .data = npy(header(content.first), content.second)});
    }
    return scratch().write(name, zip(members));
}

template <typename Change>
std::string save_changed(Change change) {
    Arrays arrays = right_arrays();
    change(arrays);
    return save(arrays);
}

void check_load_refused(const std::string& path, std::vector<std::string> parts) {
    parts.push_back(path);
    check_input_error([&] { load_file(path); }, parts);
}

}  // namespace

BOOST_AUTO_TEST_CASE(small_files_of_numpy_against_saelens) {
    for (const std::string name : {"small_stored.npz", "small_deflated.npz"}) {
        const sae::Sae sae = load_file(golden_folder + name);
        BOOST_TEST(sae.d_in == 7u);
        BOOST_TEST(sae.d_sae == 13u);
        BOOST_TEST(sae.site == "resid_post");
        BOOST_TEST(sae.source == golden_folder + name);
        BOOST_TEST(sae::source_sha256(sae::identify(golden_folder + name)) == sha256_file_hex(golden_folder + name));
        check_against_golden(sae, small_rows(), golden()["small"]);
    }
}

BOOST_AUTO_TEST_CASE(wide_sae_against_saelens) {
    check_against_golden(make_sae(200, 160, 1024, 1.25f), splitmix(220, 9 * 160), golden()["wide"]);
}

BOOST_AUTO_TEST_CASE(a_code_does_not_depend_on_its_neighbours) {
    // Several blocks of rows, more inputs than one chain, a last tile that is not full; one row, one latent.
    for (const auto& [d_in, d_sae, n] :
         {std::array<std::size_t, 3>{300, 547, 399}, {7, 13, 16}, {160, 1024, 16}, {1, 1, 16}}) {
        for (const sae::Architecture architecture :
             {sae::Architecture::jumprelu, sae::Architecture::relu, sae::Architecture::topk}) {
            sae::Sae sae = make_sae(300, d_in, d_sae, 0.125f);
            sae.architecture = architecture;
            sae.k = std::min<std::size_t>(d_sae, 20);
            if (architecture != sae::Architecture::jumprelu) sae.threshold.clear();
            check_rows_stand_alone(sae, scaled(splitmix(330, n * d_in), 16.0f), n);
        }
    }
}

BOOST_AUTO_TEST_CASE(ties_of_topk_and_groupmax_go_to_the_lower_latent) {
    // pre = x0 times (1, 2, 2, 2, 1, 2, 0, -1): four equal ones for three places.
    sae::Sae sae = make_sae(500, 1, 8, 0.0f);
    sae.W_enc = sae::pack_encoder(std::vector<float>{1, 2, 2, 2, 1, 2, 0, -1}, 1, 8);
    sae.b_enc.assign(8, 0.0f);
    sae.threshold.clear();
    sae.architecture = sae::Architecture::topk;
    const auto latents = [&](std::size_t k, float x) {
        sae.k = k;
        return sae::encode(sae, std::vector<float>{x}, 1).latents;
    };
    using Latents = std::vector<std::uint32_t>;
    BOOST_TEST((latents(1, 1.0f) == Latents{1}));
    BOOST_TEST((latents(3, 1.0f) == Latents{1, 2, 3}));
    BOOST_TEST((latents(5, 1.0f) == Latents{0, 1, 2, 3, 5}));
    BOOST_TEST((latents(8, 1.0f) == Latents{0, 1, 2, 3, 4, 5}));  // fewer than k are above 0
    BOOST_TEST((latents(2, -1.0f) == Latents{7}));
    BOOST_TEST((latents(2, 0.0f) == Latents{}));
    sae.architecture = sae::Architecture::groupmax;
    BOOST_TEST((latents(2, 1.0f) == Latents{1, 5}));
    BOOST_TEST((latents(4, 1.0f) == Latents{1, 2, 5}));
    BOOST_TEST((latents(8, 1.0f) == Latents{0, 1, 2, 3, 4, 5}));
    // The same over many tiles: all latents equal, so the first k are chosen, whatever the tile they are in.
    sae::Sae wide = make_sae(500, 3, 2000, 0.0f);
    wide.W_enc = sae::pack_encoder(std::vector<float>(3 * 2000, 1.0f), 3, 2000);
    wide.b_enc.assign(2000, 0.0f);
    wide.threshold.clear();
    wide.architecture = sae::Architecture::topk;
    wide.k = 600;
    const kernels::ThreadPool pool(2);
    const sae::CsrRows codes = sae::encode(wide, std::vector<float>{1, 1, 1, 2, 2, 2}, 2, pool);
    BOOST_TEST(codes.row_offsets == (std::vector<std::uint64_t>{0, 600, 1200}), boost::test_tools::per_element());
    for (std::size_t e = 0; e < codes.latents.size(); ++e)
        BOOST_TEST(codes.latents[e] == e % 600);
    wide.architecture = sae::Architecture::groupmax;
    wide.k = 4;  // groups of 500, across the tiles of 256
    BOOST_TEST((sae::encode(wide, std::vector<float>{1, 1, 1}, 1, pool).latents == Latents{0, 500, 1000, 1500}));
}

BOOST_AUTO_TEST_CASE(rows_that_cannot_be_normalized) {
    sae::Sae sae = make_sae(500, 7, 13, 0.25f);
    sae.normalization = sae::Normalization::constant_norm;
    auto rows = splitmix(1, 3 * 7);
    std::fill_n(rows.begin() + 7, 7, 0.0f);
    check_input_error([&] { sae::encode(sae, rows, 3); }, {"row 1", "norm is 0"});
}

BOOST_AUTO_TEST_CASE(the_documented_order_of_sums) {
    // What encode.h promises, written plainly: chains of 256 fused multiply-adds, added in order, then the bias.
    const std::size_t d_in = 700, d_sae = 290, n = 9;
    const sae::Sae sae = make_sae(400, d_in, d_sae, 0.25f);
    const std::vector<float> encoder = encoder_of(400, d_in, d_sae);
    const auto rows = splitmix(430, n * d_in);
    const sae::CsrRows codes = sae::encode(sae, rows, n);
    std::size_t e = 0;
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < d_sae; ++j) {
            float total = 0.0f;
            for (std::size_t k0 = 0; k0 < d_in; k0 += 256) {
                float chain = 0.0f;
                for (std::size_t k = k0; k < std::min(k0 + 256, d_in); ++k)
                    chain = std::fma(rows[i * d_in + k], encoder[k * d_sae + j], chain);
                total = k0 == 0 ? chain : total + chain;
            }
            const float pre = total + sae.b_enc[j];
            if (pre > sae.threshold[j]) {
                BOOST_REQUIRE(e < codes.latents.size());
                BOOST_TEST(codes.latents[e] == j);
                BOOST_TEST(std::memcmp(&codes.values[e], &pre, sizeof(pre)) == 0);
                ++e;
            }
        }
        BOOST_TEST(codes.row_offsets[i + 1] == e);
    }
    BOOST_TEST(e > 0u);
}

BOOST_AUTO_TEST_CASE(ties_zero_thresholds_and_empty_rows) {
    sae::Sae sae = make_sae(500, 2, 4, 1.0f);
    // pre = (x0, x0, x0, -x0) exactly.
    sae.W_enc = sae::pack_encoder(std::vector<float>{1, 1, 1, -1, 0, 0, 0, 0}, 2, 4);
    sae.b_enc = {0, 0, 0, 0};
    sae.threshold = {1.5f, std::nextafter(1.5f, 0.0f), std::nextafter(1.5f, 2.0f), 0.0f};
    const std::vector<float> rows = {1.5f, 9.0f, 0.0f, 0.0f, -2.0f, 1.0f, -0.0f, 0.0f};
    const sae::CsrRows codes = sae::encode(sae, rows, 4);
    BOOST_TEST(codes.row_offsets == (std::vector<std::uint64_t>{0, 1, 1, 2, 2}), boost::test_tools::per_element());
    BOOST_TEST(codes.latents == (std::vector<std::uint32_t>{1, 3}), boost::test_tools::per_element());
    BOOST_TEST(codes.values == (std::vector<float>{1.5f, 2.0f}), boost::test_tools::per_element());

    const auto decoded = sae::decode(sae, codes);
    for (std::size_t k = 0; k < 2; ++k) {
        BOOST_TEST(decoded[k] == 1.5f * sae.W_dec[2 + k] + sae.b_dec[k]);
        BOOST_TEST(decoded[2 + k] == sae.b_dec[k]);  // an empty row is the bias
    }
}

BOOST_AUTO_TEST_CASE(no_rows) {
    const sae::Sae sae = make_sae(500, 7, 13, 0.25f);
    const sae::CsrRows codes = sae::encode(sae, {}, 0);
    BOOST_TEST(codes.n_rows() == 0u);
    BOOST_TEST(codes.row_offsets.size() == 1u);
    BOOST_TEST(sae::decode(sae, codes).empty());
    const sae::Quality quality = quality_of(sae, {}, codes);
    BOOST_TEST(quality.n_rows == 0u);
    BOOST_TEST((std::isnan(quality.l0) && std::isnan(quality.explained_variance) && std::isnan(quality.cosine)));
}

BOOST_AUTO_TEST_CASE(rows_that_are_not_finite_or_do_not_fit) {
    sae::Sae sae = make_sae(500, 7, 13, 0.25f);
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
        auto rows = splitmix(1, 3 * 7);
        rows[2 * 7 + 4] = bad;
        check_input_error([&] { sae::encode(sae, rows, 3); }, {"row 2", "value 4", "not finite"});
    }
    auto rows = splitmix(1, 3 * 7);
    std::fill_n(rows.begin() + 7, 7, std::numeric_limits<float>::max());
    auto encoder = encoder_of(500, 7, 13);
    encoder[2] = 100.0f;
    sae.W_enc = sae::pack_encoder(encoder, 7, 13);
    check_input_error([&] { sae::encode(sae, rows, 3); }, {"row 1", "latent", "overflows"});
    BOOST_CHECK_THROW(sae::encode(sae, splitmix(1, 20), 3), InternalError);
    sae::CsrRows codes{{0, 1}, {13}, {1.0f}, 13};
    BOOST_CHECK_THROW(sae::decode(sae, codes), InternalError);
    codes.n_latents = 12;
    BOOST_CHECK_THROW(sae::decode(sae, codes), InternalError);
}

BOOST_AUTO_TEST_CASE(explained_variance_by_its_definition) {
    sae::Sae sae = make_sae(600, 3, 4, 0.0f);
    const std::vector<float> rows = {1, 2, 3, 3, 2, 1, 5, 2, 2, 3, 2, 6};  // mean 3 2 3
    const sae::CsrRows none{{0, 0, 0, 0, 0}, {}, {}, 4};
    // Predicting the mean explains nothing, however long the mean is.
    for (const float shift : {0.0f, 4096.0f}) {
        sae.b_dec = {3 + shift, 2 + shift, 3 + shift};
        auto shifted = scaled(rows, 1.0f, shift);
        const sae::Quality quality = quality_of(sae, shifted, none);
        BOOST_TEST(std::abs(quality.explained_variance) < 1e-6);
        BOOST_TEST(quality.l0 == 0.0);
    }
    // A perfect reconstruction: latent 0, 1, 2 are the axes, b_dec is 0.
    sae.W_dec = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0};
    sae.b_dec = {0, 0, 0};
    const sae::CsrRows exact{{0, 3, 6, 9, 12}, {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}, rows, 4};
    const sae::Quality perfect = quality_of(sae, rows, exact);
    BOOST_TEST(perfect.explained_variance == 1.0);
    BOOST_TEST(perfect.cosine == 1.0, boost::test_tools::tolerance(1e-15));
    BOOST_TEST(perfect.l0 == 3.0);
    // Equal rows and a single row have no variance to explain.
    const std::vector<float> equal = {0.1f, 0.2f, 0.3f, 0.1f, 0.2f, 0.3f};
    BOOST_TEST(std::isnan(quality_of(sae, equal, sae::CsrRows{{0, 0, 0}, {}, {}, 4}).explained_variance));
    const sae::Quality one = quality_of(sae, {1, 2, 3}, sae::CsrRows{{0, 0}, {}, {}, 4});
    BOOST_TEST(std::isnan(one.explained_variance));
    BOOST_TEST(one.cosine == 0.0);  // the reconstruction is the zero vector
}

BOOST_AUTO_TEST_CASE(quality_does_not_depend_on_how_rows_are_cut) {
    const sae::Sae sae = make_sae(200, 160, 64, 0.5f);
    const std::size_t n = 37;
    const auto rows = splitmix(221, n * 160);
    const sae::Quality whole = quality_of(sae, rows, sae::encode(sae, rows, n));
    sae::QualitySums sums;
    for (std::size_t i = 0; i < n; i += 5) {
        const std::size_t count = std::min<std::size_t>(5, n - i);
        const auto part = std::span(rows).subspan(i * 160, count * 160);
        add_rows(sums, sae, part, sae::encode(sae, part, count));
    }
    const sae::Quality cut = quality(sums);
    BOOST_TEST(cut.n_rows == n);
    BOOST_TEST(
        (cut.l0 == whole.l0 && cut.explained_variance == whole.explained_variance && cut.cosine == whole.cosine));
    const sae::Sae other = make_sae(200, 7, 64, 0.5f);
    BOOST_CHECK_THROW(add_rows(sums, other, {}, sae::CsrRows{{0}, {}, {}, 64}), InternalError);
}

BOOST_AUTO_TEST_CASE(weights_show_a_permuted_decoder) {
    sae::Sae sae = make_sae(200, 160, 256, 1.0f);
    BOOST_TEST(summarize_weights(sae).encoder_decoder_cosine_mean == 1.0, boost::test_tools::tolerance(1e-12));
    BOOST_TEST(summarize_weights(sae).encoder_decoder_cosine_positive_share == 1.0);
    BOOST_TEST(summarize_weights(sae).unit_norm_share == 0.0);
    std::rotate(sae.W_dec.begin(), sae.W_dec.begin() + 160, sae.W_dec.end());
    BOOST_TEST(std::abs(summarize_weights(sae).encoder_decoder_cosine_mean) < 0.05);
    const sae::WeightSummary unit = summarize_weights(load_file(save(right_arrays())));
    BOOST_TEST(unit.unit_norm_share == 1.0);
    BOOST_TEST(unit.decoder_norm_max == 1.0, boost::test_tools::tolerance(1e-7));
}

BOOST_AUTO_TEST_CASE(params_files_that_are_refused) {
    BOOST_TEST(load_file(save(right_arrays())).d_sae == 3u);
    for (std::size_t i = 0; i < right_arrays().size(); ++i) {
        const std::string name = right_arrays()[i].first;
        check_load_refused(save_changed([&](Arrays& a) { a.erase(a.begin() + static_cast<std::ptrdiff_t>(i)); }),
                           {"array '" + name + "' is missing"});
        for (const float bad : {NAN, INFINITY}) {
            check_load_refused(save_changed([&](Arrays& a) { a[i].second.second[1] = bad; }),
                               {name + (i < 2 ? "[0, 1]" : "[1]"), "finite"});
        }
        check_load_refused(save_changed([&](Arrays& a) { a[i].second = {"(4,)", {1, 2, 3, 4}}; }), {"has shape"});
        check_load_refused(save_changed([&](Arrays& a) { a[i].second = {"()", {1}}; }), {"has shape"});
        check_load_refused(save_changed([&](Arrays& a) { a[i].second = {"(0, 3)", {}}; }), {"has shape"});
    }
    check_load_refused(save_changed([](Arrays& a) { a[1].second.first = "(2, 3)"; }),
                       {"W_dec has shape [2, 3]", "[3, 2]", "transposed"});
    check_load_refused(save_changed([](Arrays& a) {
                           a.push_back({"b_gate", {"(3,)", {0, 0, 0}}});
                       }),
                       {"unknown array 'b_gate'"});
    check_load_refused(save_changed([](Arrays& a) {
                           a.push_back({"w_enc", a[0].second});
                       }),
                       {"two arrays for 'W_enc'"});
    check_load_refused(save_changed([](Arrays& a) { a[4].second.second[2] = -1.0f; }),
                       {"threshold[2] is -1", "never set"});
    const auto scaling = [](float last) {
        return save_changed([&](Arrays& a) { a.push_back({"scaling_factor", {"(3,)", {1, 1, last}}}); });
    };
    check_load_refused(scaling(2.0f), {"scaling_factor[2] is 2"});
    check_load_refused(scaling(NAN), {"scaling_factor[2]"});
    BOOST_TEST(load_file(scaling(1.0f)).threshold[2] == 2.0f);
    check_load_refused(save_changed([](Arrays& a) {
                           a.push_back({"scaling_factor", {"(2,)", {1, 1}}});
                       }),
                       {"scaling_factor has shape"});
    check_load_refused(scratch().file("nothing.npz"), {"no such file"});
    check_load_refused(scratch().write("text.npz", "no archive, only a line of text\n"), {"not an npz"});
    BOOST_TEST(load_file(save(right_arrays(), "gemma-scope-2b-pt-res/layer_0/params.npz")).d_in == 2u);
}

BOOST_AUTO_TEST_CASE(width_is_checked_against_the_model) {
    const sae::Sae sae = load_file(golden_folder + "small_stored.npz");
    BOOST_CHECK_NO_THROW(check_width(sae, 7, 3));
    check_input_error([&] { check_width(sae, 160, 3); }, {"small_stored.npz", "width 7", "width 160", "layer 3"});
}

BOOST_AUTO_TEST_CASE(saes_are_found_by_layer) {
    for (const int layer : {10, 2, 0})
        scratch().write("flat/layer_" + std::to_string(layer) + "/params.npz", "x");
    scratch().write("flat/README.md", "x");
    scratch().write("flat/embedding/width_4k/average_l0_6/params.npz", "x");
    const std::string flat = scratch().file("flat");
    const std::vector<sae::SaeFile> expected = {
        {0, flat + "/layer_0/params.npz"}, {2, flat + "/layer_2/params.npz"}, {10, flat + "/layer_10/params.npz"}};
    BOOST_TEST((sae::find_saes(flat) == expected));

    scratch().write("release/layer_3/width_16k/average_l0_59/params.npz", "x");
    scratch().write("release/layer_3/width_16k/average_l0_14/notes.txt", "x");
    const std::string release = scratch().file("release");
    const auto found = sae::find_saes(release);
    BOOST_REQUIRE(found.size() == 1u);
    BOOST_TEST(found[0].layer == 3u);
    BOOST_TEST(found[0].path == release + "/layer_3/width_16k/average_l0_59/params.npz");
    BOOST_TEST(sae::layer_of_path(found[0].path) == 3u);
    scratch().write("release/layer_3/width_65k/average_l0_53/params.npz", "x");
    check_input_error([&] { sae::find_saes(release); }, {"2 SAEs for layer 3", "width_16k/average_l0_59/params.npz",
                                                         "width_65k/average_l0_53/params.npz", "commas"});

    check_input_error([&] { sae::find_saes(scratch().file("absent")); }, {"absent", "no such folder"});
    scratch().write("bare/README.md", "x");
    check_input_error([&] { sae::find_saes(scratch().file("bare")); }, {"no SAEs"});
    scratch().write("hollow/layer_4/README.md", "x");
    check_input_error([&] { sae::find_saes(scratch().file("hollow")); }, {"layer_4", "holds no SAE"});
    for (const std::string name : {"layer_04", "layer_", "layer_x", "layer_4b", "layer_-1", "layer_99999999999"}) {
        scratch().write("odd_" + name + "/" + name + "/params.npz", "x");
        check_input_error([&] { sae::find_saes(scratch().file("odd_" + name)); }, {name, "not the name of a layer"});
    }
    check_input_error([] { sae::layer_of_path("saes/params.npz"); }, {"saes/params.npz", "layer_N"});
    BOOST_TEST(sae::layer_of_path("layer_1/layer_12/params.npz") == 12u);
}

BOOST_AUTO_TEST_CASE(the_saes_of_the_demo_study) {
    const std::string folder = PVA_SOURCE_DIR "/data/demo/saes";
    if (!std::filesystem::exists(folder)) {
        BOOST_TEST_MESSAGE("skipped: no " << folder);
        return;
    }
    const auto found = sae::find_saes(folder);
    BOOST_TEST(found.size() >= 3u);
    for (const auto& [layer, path] : found) {
        const sae::Sae sae = load_file(path);
        const sae::WeightSummary weights = summarize_weights(sae);
        BOOST_TEST(weights.encoder_decoder_cosine_mean > 0.2, "layer " << layer);
        BOOST_TEST(weights.unit_norm_share == 1.0, "layer " << layer);
    }
}
