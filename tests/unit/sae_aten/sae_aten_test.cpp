// Codes by ATen against the codes of the families' own software and against the CPU kernels. The tensors are on the CPU
// here; the same program runs on a GPU (tests/gpu/run.sh).
#define BOOST_TEST_MODULE sae_aten
#include "pva/sae_aten/coder.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "../sae/sae_test.h"
#include "pva/sae/load.h"

using namespace pva;
using namespace pva::test;

namespace {

const std::string folder = PVA_SOURCE_DIR "/tests/golden/sae/families/";
const kernels::ThreadPool one(1);

/// PVA_TEST_DEVICE=cuda: on the first GPU.
const model::Placement& placement() {
    static const model::Placement chosen = [] {
        const char* device = std::getenv("PVA_TEST_DEVICE");
        return model::choose_placement(device == nullptr ? "cpu" : device, model::Dtype::float32, device == nullptr ? -1 : 0);
    }();
    return chosen;
}

double largest(const std::vector<double>& values) {
    double found = 0;
    for (const double value : values) found = std::max(found, std::abs(value));
    return found;
}

/// Largest difference over the larger of the value and a tenth of the largest one.
double relative_difference(const std::vector<float>& found, const std::vector<double>& expected) {
    BOOST_REQUIRE(found.size() == expected.size());
    const double scale = largest(expected);
    double worst = 0;
    for (std::size_t i = 0; i < found.size(); ++i) worst = std::max(worst, std::abs(found[i] - expected[i]) / std::max(std::abs(expected[i]), 0.1 * scale));
    return worst;
}

std::vector<double> as_double(const std::vector<float>& values) {
    return {values.begin(), values.end()};
}

sae::Sae made(sae::Architecture architecture, std::size_t d, std::size_t n_latents, std::size_t k) {
    sae::Sae made;
    made.architecture = architecture;
    made.d_in = d;
    made.d_out = d;
    made.d_sae = n_latents;
    made.k = k;
    made.W_enc = sae::pack_encoder(scaled(splitmix(900, d * n_latents), 0.125f), d, n_latents);
    made.W_dec = scaled(splitmix(901, d * n_latents), 0.125f);
    made.b_enc = scaled(splitmix(902, n_latents), 0.125f);
    made.b_dec = scaled(splitmix(903, d), 0.25f);
    made.source = "made up";
    return made;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_family_against_its_own_software) {
    const nlohmann::json golden = nlohmann::json::parse(std::ifstream(folder + "golden.json"))["families"];
    const std::vector<float> rows = scaled(splitmix(700, 6 * 12), 3.0f, 0.5f);
    std::size_t n_checked = 0;
    for (const auto& [name, expected] : golden.items()) {
        BOOST_TEST_CONTEXT(name) {
            sae::LoadOptions options;
            if (expected.contains("input_scale")) options.input_scale = expected["input_scale"].get<double>();
            const sae::Sae sae = sae::load(sae::identify(folder + name), options);
            if (sae.architecture == sae::Architecture::matching_pursuit) {
                BOOST_CHECK_THROW(sae_aten::AtenCoder(sae, placement()), UsageError);
                const sae_aten::Coder coder(sae, placement());  // by the kernels wherever the model is
                BOOST_TEST((coder.encode(rows, 6, one).latents == sae::encode(sae, rows, 6).latents));
                continue;
            }
            const sae_aten::AtenCoder coder(sae, placement());
            const sae::CsrRows codes = coder.encode(rows, 6, one);
            stats::check(codes.view());
            BOOST_TEST(codes.row_offsets == expected["row_offsets"].get<std::vector<std::uint64_t>>(), boost::test_tools::per_element());
            BOOST_TEST(codes.latents == expected["latents"].get<std::vector<std::uint32_t>>(), boost::test_tools::per_element());
            BOOST_TEST(relative_difference(codes.values, expected["values"].get<std::vector<double>>()) < 1e-5);
            std::vector<float> decoded(6 * sae.d_out);
            coder.decode(codes, decoded, rows);
            BOOST_TEST(relative_difference(decoded, expected["x_hat"].get<std::vector<double>>()) < 1e-5);
            ++n_checked;
        }
    }
    BOOST_TEST(n_checked > 30u);
}

BOOST_AUTO_TEST_CASE(many_rows_in_tiles_against_the_kernels) {
    // So many latents that a tile holds 33 rows: one tile and a ragged rest.
    const std::size_t d = 3, n_latents = 2'000'001, n = 40;
    sae::Sae wide = made(sae::Architecture::jumprelu, d, n_latents, 0);
    wide.threshold.assign(n_latents, 0.38f);
    const std::vector<float> rows = scaled(splitmix(910, n * d), 1.0f);
    const sae::CsrRows expected = sae::encode(wide, rows, n);
    const sae::CsrRows codes = sae_aten::AtenCoder(wide, placement()).encode(rows, n, one);
    BOOST_REQUIRE(codes.n_rows() == n);
    BOOST_TEST(expected.latents.size() > 100u);
    // Of a sum near its threshold the last bit may decide; there are few.
    std::size_t common = 0;
    for (std::size_t row = 0; row < n; ++row) {
        const auto a = codes.latents_of(row), b = expected.latents_of(row);
        std::vector<std::uint32_t> both;
        std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
        common += both.size();
    }
    BOOST_TEST(common + 5 >= expected.latents.size());
    BOOST_TEST(common + 5 >= codes.latents.size());
}

BOOST_AUTO_TEST_CASE(equal_values_go_to_the_lower_latent) {
    for (const auto architecture : {sae::Architecture::topk, sae::Architecture::groupmax}) {
        sae::Sae equal = made(architecture, 2, 12, 3);
        equal.W_enc = sae::pack_encoder(std::vector<float>(2 * 12, 1.0f), 2, 12);
        equal.b_enc.assign(12, 0.0f);
        const std::vector<float> rows = {1, 1, -1, -1, 2, 0};
        const sae::CsrRows expected = sae::encode(equal, rows, 3);
        const sae::CsrRows codes = sae_aten::AtenCoder(equal, placement()).encode(rows, 3, one);
        BOOST_TEST(codes.latents == expected.latents, boost::test_tools::per_element());
        BOOST_TEST(codes.row_offsets == expected.row_offsets, boost::test_tools::per_element());
    }
}

BOOST_AUTO_TEST_CASE(larger_sizes_against_the_kernels) {
    for (const auto architecture : {sae::Architecture::relu, sae::Architecture::topk, sae::Architecture::groupmax}) {
        const sae::Sae sae = made(architecture, 96, 1536, 32);
        const std::vector<float> rows = scaled(splitmix(920, 50 * 96), 2.0f);
        const sae::CsrRows expected = sae::encode(sae, rows, 50);
        const sae_aten::AtenCoder coder(sae, placement());
        const sae::CsrRows codes = coder.encode(rows, 50, one);
        BOOST_TEST(codes.latents == expected.latents, boost::test_tools::per_element());
        BOOST_TEST(relative_difference(codes.values, as_double(expected.values)) < 1e-5);
        std::vector<float> decoded(50 * 96);
        coder.decode(codes, decoded);
        BOOST_TEST(relative_difference(decoded, as_double(sae::decode(sae, expected))) < 1e-5);
    }
}

BOOST_AUTO_TEST_CASE(no_rows_and_bad_rows) {
    sae::Sae sae = made(sae::Architecture::relu, 4, 40, 0);
    const sae_aten::AtenCoder coder(sae, placement());
    const sae::CsrRows none = coder.encode({}, 0, one);
    BOOST_TEST(none.n_rows() == 0u);
    coder.decode(none, {});
    std::vector<float> rows(3 * 4, 1.0f);
    rows[9] = std::numeric_limits<float>::quiet_NaN();
    check_input_error([&] { coder.encode(rows, 3, one); }, {"row 2", "value 1", "not finite"});
    sae.W_enc = sae::pack_encoder(std::vector<float>(4 * 40, 3e38f), 4, 40);
    rows.assign(3 * 4, 0.0f);
    rows[4] = rows[5] = 1e10f;
    check_input_error([&] { sae_aten::AtenCoder(sae, placement()).encode(rows, 3, one); }, {"row 1", "overflows"});
    BOOST_CHECK_THROW(coder.encode(rows, 2, one), InternalError);
    BOOST_CHECK_THROW(coder.decode(none, rows), InternalError);
}
