// Training that begins with an SAE that exists: the same reconstructions before the first step, and what is refused.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

#include "made_up_sae.h"
#include "pva/core/error.h"
#include "pva/sae/encode.h"
#include "pva/train/start.h"

using namespace pva;

namespace {

constexpr std::size_t d = 24;
constexpr std::size_t n_latents = 70;
constexpr double scale = 0.37;

sae::SavedSae made_up(sae::Architecture architecture, bool unit_rows) {
    sae::SavedSae saved = test::made_up_sae(architecture);
    for (std::size_t j = 0; unit_rows && j < n_latents; ++j) {
        const auto row = std::span(saved.W_dec).subspan(j * d, d);
        double squares = 0;
        for (const float value : row) squares += static_cast<double>(value) * value;
        for (float& value : row) value = static_cast<float>(value / std::sqrt(squares));
    }
    return saved;
}

train::Settings settings_of(train::Kind kind) {
    train::Settings settings;
    settings.kind = kind;
    settings.d = d;
    settings.latents = n_latents;
    settings.l0 = 5;
    settings.steps = 10;
    settings.batch = 8;
    settings.learning_rate = 0.01;
    settings.bandwidth = 0.05;
    return settings;
}

/// Largest difference of the reconstructions of 33 rows.
double farthest(const sae::Sae& a, const sae::Sae& b) {
    const auto rows = test::normal_numbers(9, d * 33, 1);
    const std::vector<float> from_a = sae::decode(a, sae::encode(a, rows, 33), rows);
    const std::vector<float> from_b = sae::decode(b, sae::encode(b, rows, 33), rows);
    double most = 0;
    for (std::size_t i = 0; i < from_a.size(); ++i) most = std::max(most, std::abs(static_cast<double>(from_a[i]) - from_b[i]));
    return most;
}

sae::Sae finished(const train::Settings& settings, const train::Parameters& parameters) { return sae::to_sae(train::finished(settings, parameters, scale, 0)); }

}  // namespace

BOOST_AUTO_TEST_SUITE(start)

BOOST_AUTO_TEST_CASE(no_step_leaves_the_sae_as_it_was) {
    for (const auto& [architecture, kind] : {std::pair(sae::Architecture::topk, train::Kind::topk), std::pair(sae::Architecture::jumprelu, train::Kind::jumprelu)}) {
        const sae::SavedSae saved = made_up(architecture, true);
        const sae::Sae loaded = sae::to_sae(saved);
        const train::Settings settings = settings_of(kind);
        const train::Parameters parameters = train::parameters_from(settings, sae::to_sae(saved), scale);
        BOOST_TEST(parameters.b_dec[3] == static_cast<float>(loaded.b_dec[3] * scale));
        BOOST_TEST(farthest(loaded, finished(settings, parameters)) < 1e-5);
    }
}

BOOST_AUTO_TEST_CASE(what_is_subtracted_and_decoder_norms_are_folded) {
    const sae::SavedSae saved = made_up(sae::Architecture::jumprelu, false);
    const train::Settings settings = settings_of(train::Kind::jumprelu);
    for (const bool subtracts_nothing : {false, true}) {
        const auto make = [&] {
            sae::Sae loaded = sae::to_sae(saved);
            if (subtracts_nothing) loaded.b_in.clear();  // Gemma Scope's form; another SAE than before
            return loaded;
        };
        const train::Parameters parameters = train::parameters_from(settings, make(), scale);
        for (std::size_t j = 0; j < n_latents; ++j) {
            double squares = 0;
            for (std::size_t i = 0; i < d; ++i) squares += static_cast<double>(parameters.decoder[j * d + i]) * parameters.decoder[j * d + i];
            BOOST_TEST(std::abs(std::sqrt(squares) - 1) < 1e-6);
        }
        BOOST_TEST(farthest(make(), finished(settings, parameters)) < 1e-5);
    }
}

BOOST_AUTO_TEST_CASE(thresholds_stay_above_zero) {
    sae::SavedSae saved = made_up(sae::Architecture::jumprelu, true);
    saved.threshold[7] = 0;
    const train::Parameters parameters = train::parameters_from(settings_of(train::Kind::jumprelu), sae::to_sae(saved), scale);
    BOOST_TEST(parameters.threshold[7] == train::smallest_threshold);
    BOOST_TEST(parameters.threshold[8] == static_cast<float>(0.8F * scale));
    // What keeps the largest has no use for them.
    BOOST_TEST(train::parameters_from(settings_of(train::Kind::batchtopk), sae::to_sae(saved), scale).threshold[8] == 0.0F);
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_refused) {
    const auto topk = [] { return sae::to_sae(made_up(sae::Architecture::topk, true)); };
    const auto refused = [](const std::string& part, const train::Settings& settings, sae::Sae loaded) {
        BOOST_CHECK_EXCEPTION(train::parameters_from(settings, std::move(loaded), scale), InputError, [&](const InputError& error) { return std::string(error.what()).find(part) != std::string::npos; });
    };
    refused("no thresholds", settings_of(train::Kind::jumprelu), topk());
    refused("would change which latents are the largest", settings_of(train::Kind::topk), sae::to_sae(made_up(sae::Architecture::topk, false)));
    train::Settings wrong = settings_of(train::Kind::topk);
    wrong.latents = 71;
    refused("--latents 70", wrong, topk());
    wrong = settings_of(train::Kind::topk);
    wrong.d = 32;
    refused("width 24", wrong, topk());
    sae::Sae odd = topk();
    odd.architecture = sae::Architecture::groupmax;
    refused("groupmax", settings_of(train::Kind::topk), std::move(odd));
    odd = topk();
    odd.normalization = sae::Normalization::layer_norm;
    refused("normalizes every row", settings_of(train::Kind::topk), std::move(odd));
    odd = topk();
    odd.transcoder = true;
    refused("transcoder", settings_of(train::Kind::topk), std::move(odd));
}

BOOST_AUTO_TEST_SUITE_END()
