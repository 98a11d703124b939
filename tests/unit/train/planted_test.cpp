// A planted dictionary: rows made of few known directions, which the trained SAE must find again.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>

#include "pva/sae/encode.h"
#include "pva/sae/quality.h"
#include "pva/train/gradients.h"
#include "pva/train/state.h"
#include "rows.h"

using namespace pva;

namespace {

constexpr std::size_t d = 48;
constexpr std::size_t n_directions = 64;
constexpr std::size_t active = 4;

std::vector<float> directions() {
    std::vector<float> all = test::normal_numbers(11, n_directions * d, 1);
    for (std::size_t j = 0; j < n_directions; ++j) {
        double norm = 0;
        for (std::size_t i = 0; i < d; ++i) norm += static_cast<double>(all[j * d + i]) * all[j * d + i];
        for (std::size_t i = 0; i < d; ++i) all[j * d + i] = static_cast<float>(all[j * d + i] / std::sqrt(norm));
    }
    return all;
}

/// Each row: four different directions times numbers between 0.5 and 1.5, plus an offset; then divided by the mean norm.
std::vector<float> planted_rows(const std::vector<float>& truth, std::size_t n, std::uint64_t seed, double& scale) {
    std::vector<float> rows(n * d, 0.2F);
    double norms = 0;
    for (std::size_t row = 0; row < n; ++row) {
        PhiloxStream random(seed, row, 0);
        std::vector<std::uint32_t> chosen;
        while (chosen.size() < active) {
            const std::uint32_t j = random.below(n_directions);
            if (std::find(chosen.begin(), chosen.end(), j) == chosen.end()) chosen.push_back(j);
        }
        double squares = 0;
        for (const std::uint32_t j : chosen) {
            const auto size = static_cast<float>(0.5 + random.uniform());
            for (std::size_t i = 0; i < d; ++i) rows[row * d + i] += size * truth[j * d + i];
        }
        for (std::size_t i = 0; i < d; ++i) squares += static_cast<double>(rows[row * d + i]) * rows[row * d + i];
        norms += std::sqrt(squares);
    }
    if (scale == 0) scale = static_cast<double>(n) / norms;
    for (float& value : rows) value *= static_cast<float>(scale);
    return rows;
}

struct Outcome {
    double mean_cosine = 0;   ///< of each true direction and the decoder row nearest to it
    double found = 0;         ///< share of directions with a cosine above 0.9
    double explained_variance = 0;
    double l0 = 0;
};

Outcome train_on_planted(train::Kind kind, double learning_rate, std::int64_t steps) {
    const std::vector<float> truth = directions();
    double scale = 0;
    train::Settings s;
    s.kind = kind;
    s.d = d;
    s.latents = 96;
    s.l0 = active;
    s.steps = steps;
    s.batch = 512;
    s.micro_batches = 2;
    s.learning_rate = learning_rate;
    s.warm_up = steps / 20;
    s.decay = steps / 5;
    s.sparsity_warm_up = steps / 5;
    s.bandwidth = 0.05;
    s.dead_after = 512 * 100;
    s.revive = 1.0 / 32;
    s.revive_k = 8;
    const kernels::ThreadPool pool(1);
    const std::vector<float> sample = planted_rows(truth, 2048, 1000, scale);
    train::SaeState state = train::first_state(s, train::initial_parameters(s, sample, pool), 0, s.latents);
    train::Gradients sum(s.latents, d);
    for (std::int64_t step = 0; step < steps; ++step) {
        const std::vector<float> rows = planted_rows(truth, 512, 2000 + static_cast<std::uint64_t>(step), scale);
        sum.clear(pool);
        const train::Packed packed(s, state.parameters, {train::sparsity_at(s, step), state.batch_threshold, state.dead}, pool);
        packed.add_gradients(std::span(rows).first(256 * d), pool, sum);
        packed.add_gradients(std::span(rows).last(256 * d), pool, sum);
        const train::OwnedGradients gradients{sum.encoder, sum.decoder, sum.small};
        train::prepare_gradients(state, gradients, sum.decoder, pool);
        train::update(state, gradients, sum.b_dec, sum.sums, 1.0, pool);
    }
    Outcome outcome;
    for (std::size_t j = 0; j < n_directions; ++j) {
        double best = 0;
        for (std::size_t l = 0; l < s.latents; ++l) {
            double cosine = 0;
            for (std::size_t i = 0; i < d; ++i) cosine += static_cast<double>(truth[j * d + i]) * state.parameters.decoder[l * d + i];
            best = std::max(best, cosine);
        }
        outcome.mean_cosine += best / n_directions;
        outcome.found += best > 0.9 ? 1.0 / n_directions : 0;
    }
    // The finished SAE on rows it has not seen, in their own scale.
    double own_scale = 1;
    const std::vector<float> fresh = planted_rows(truth, 1024, 5000, own_scale);
    const sae::Sae finished = sae::to_sae(train::finished(s, state.parameters, scale, state.batch_threshold));
    sae::QualitySums sums;
    sae::add_rows(sums, finished, fresh, sae::encode(finished, fresh, 1024));
    outcome.explained_variance = sae::quality(sums).explained_variance;
    outcome.l0 = sae::quality(sums).l0;
    BOOST_TEST_MESSAGE(train::kind_name(kind) << ": mean cosine " << outcome.mean_cosine << ", found " << outcome.found << ", explained variance " << outcome.explained_variance << ", L0 " << outcome.l0);
    return outcome;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(planted)

BOOST_AUTO_TEST_CASE(topk_finds_the_directions) {
    const Outcome outcome = train_on_planted(train::Kind::topk, 3e-3, 1200);
    BOOST_TEST(outcome.found > 0.95);
    BOOST_TEST(outcome.mean_cosine > 0.95);
    BOOST_TEST(outcome.explained_variance > 0.95);
    BOOST_TEST(outcome.l0 <= active);
}

BOOST_AUTO_TEST_CASE(batchtopk_finds_the_directions) {
    const Outcome outcome = train_on_planted(train::Kind::batchtopk, 3e-3, 1200);
    BOOST_TEST(outcome.found > 0.95);
    BOOST_TEST(outcome.explained_variance > 0.95);
    BOOST_TEST(std::abs(outcome.l0 - active) < 0.6);
}

BOOST_AUTO_TEST_CASE(jumprelu_finds_the_directions_at_its_target) {
    const Outcome outcome = train_on_planted(train::Kind::jumprelu, 3e-3, 1200);
    BOOST_TEST(outcome.found > 0.9);
    BOOST_TEST(outcome.explained_variance > 0.9);
    BOOST_TEST(std::abs(outcome.l0 - active) < 1.0);
}

BOOST_AUTO_TEST_SUITE_END()
