// The sparse gradients against automatic differentiation of the dense formulas, and their bits against threads.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>

#include "pva/core/error.h"
#include "pva/train/gradients.h"
#include "pva/train/state.h"
#include "rows.h"

using namespace pva;

namespace {

struct Case {
    train::Settings settings;
    train::Parameters parameters;
    std::vector<float> rows;
    std::vector<std::uint8_t> dead;
};

Case make_case(train::Kind kind, std::size_t d, std::size_t latents) {
    Case c;
    train::Settings& s = c.settings;
    s.kind = kind;
    s.d = d;
    s.latents = latents;
    s.l0 = 6;
    s.steps = 10;
    s.batch = 128;
    s.micro_batches = 2;
    s.learning_rate = 1e-3;
    s.bandwidth = 0.1;
    s.dead_after = 100;
    s.revive = 0.5;
    s.revive_k = 4;
    c.rows = test::normal_numbers(1, 64 * d, 1 / std::sqrt(static_cast<double>(d)));
    const kernels::ThreadPool pool(1);
    c.parameters = train::initial_parameters(s, c.rows, pool);
    const auto noise = test::normal_numbers(2, latents * d, 0.05);
    for (std::size_t i = 0; i < noise.size(); ++i) c.parameters.encoder[i] += noise[i];
    c.parameters.b_enc = test::normal_numbers(3, latents, 0.05);
    c.dead.assign(latents, 0);
    for (std::size_t j = 0; j < latents; j += 5) c.dead[j] = 1;
    return c;
}

double largest(const std::vector<float>& values) {
    double most = 0;
    for (const float value : values) most = std::max(most, std::abs(static_cast<double>(value)));
    return most;
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
    double most = 0;
    for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
    return most / std::max(1e-30, largest(b));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(gradients)

BOOST_AUTO_TEST_CASE(sparse_gradients_are_those_of_automatic_differentiation) {
    for (const train::Kind kind : {train::Kind::topk, train::Kind::batchtopk, train::Kind::jumprelu}) {
        for (const bool with_dead : {false, true}) {
            for (const std::size_t d : {std::size_t{37}, std::size_t{64}}) {
                const Case c = make_case(kind, d, 100);
                const train::StepState state{0.7, kind == train::Kind::batchtopk && with_dead ? 3.0 : 0.01, with_dead ? std::span<const std::uint8_t>(c.dead) : std::span<const std::uint8_t>()};
                const kernels::ThreadPool pool(2);
                train::Gradients ours(100, d);
                train::Gradients theirs(100, d);
                train::Packed(c.settings, c.parameters, state, pool).add_gradients(c.rows, pool, ours);
                train::add_gradients_reference(c.settings, c.parameters, state, c.rows, theirs);
                BOOST_TEST_CONTEXT(train::kind_name(kind) << " dead " << with_dead << " d " << d) {
                    BOOST_TEST(largest(theirs.encoder) > 0);
                    BOOST_TEST(difference(ours.encoder, theirs.encoder) < 2e-5);
                    BOOST_TEST(difference(ours.decoder, theirs.decoder) < 2e-5);
                    BOOST_TEST(difference(ours.b_dec, theirs.b_dec) < 2e-5);
                    // b_enc, threshold and counts, each by its own size.
                    for (std::size_t column = 0; column < 3; ++column) {
                        std::vector<float> a, b;
                        for (std::size_t j = 0; j < 100; ++j) {
                            a.push_back(ours.small[3 * j + column]);
                            b.push_back(theirs.small[3 * j + column]);
                        }
                        if (column == 1 && kind == train::Kind::jumprelu) BOOST_TEST(largest(b) > 0);
                        BOOST_TEST(difference(a, b) < 2e-5);
                    }
                    BOOST_TEST(ours.sums.squared_error == theirs.sums.squared_error, boost::test_tools::tolerance(1e-6));
                    BOOST_TEST(ours.sums.revive_loss == theirs.sums.revive_loss, boost::test_tools::tolerance(1e-6));
                    BOOST_TEST(ours.sums.sparsity_loss == theirs.sums.sparsity_loss, boost::test_tools::tolerance(1e-6));
                    BOOST_TEST(ours.sums.smallest_active == theirs.sums.smallest_active, boost::test_tools::tolerance(1e-5));
                    BOOST_TEST(ours.sums.n_active == theirs.sums.n_active);
                    BOOST_TEST(ours.sums.explained_variance() == theirs.sums.explained_variance(), boost::test_tools::tolerance(1e-6));
                }
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(threads_and_the_first_guess_do_not_change_a_bit) {
    for (const train::Kind kind : {train::Kind::topk, train::Kind::batchtopk, train::Kind::jumprelu}) {
        const Case c = make_case(kind, 48, 300);
        std::vector<train::Gradients> results;
        for (const int threads : {1, 3}) {
            const train::StepState state{0.7, threads == 1 ? 0.0 : 0.4, c.dead};
            const kernels::ThreadPool pool(threads);
            train::Gradients& sum = results.emplace_back(300, 48);
            train::Packed(c.settings, c.parameters, state, pool).add_gradients(c.rows, pool, sum);
        }
        BOOST_TEST((results[0].encoder == results[1].encoder));
        BOOST_TEST((results[0].decoder == results[1].decoder));
        BOOST_TEST((results[0].small == results[1].small));
        BOOST_TEST((results[0].b_dec == results[1].b_dec));
        BOOST_TEST(results[0].sums.squared_error == results[1].sums.squared_error);
    }
}

BOOST_AUTO_TEST_CASE(an_update_keeps_decoder_rows_unit_and_counts_silent_latents) {
    Case c = make_case(train::Kind::jumprelu, 32, 40);
    c.settings.steps = 4000;
    const kernels::ThreadPool pool(1);
    train::SaeState state = train::first_state(c.settings, c.parameters, 0, 40);
    train::Gradients sum(40, 32);
    train::Packed(c.settings, state.parameters, {}, pool).add_gradients(c.rows, pool, sum);
    sum.small[3 * 7 + 2] = 0;   // latent 7 did not fire
    sum.small[3 * 8 + 2] = 1;
    sum.small[3 * 9 + 1] = 1e6F;  // its threshold would fall below 0
    const train::OwnedGradients gradients{sum.encoder, sum.decoder, sum.small};
    train::prepare_gradients(state, gradients, sum.decoder, pool);
    for (std::size_t j = 0; j < 40; ++j) {
        double along = 0;
        for (std::size_t i = 0; i < 32; ++i) along += static_cast<double>(sum.decoder[j * 32 + i]) * state.parameters.decoder[j * 32 + i];
        BOOST_TEST(std::abs(along) < 1e-6);
    }
    for (int step = 0; step < 2000; ++step) train::update(state, gradients, sum.b_dec, sum.sums, 1.0, pool);
    for (std::size_t j = 0; j < 40; ++j) {
        double norm = 0;
        for (std::size_t i = 0; i < 32; ++i) norm += static_cast<double>(state.parameters.decoder[j * 32 + i]) * state.parameters.decoder[j * 32 + i];
        BOOST_TEST(std::sqrt(norm) == 1.0, boost::test_tools::tolerance(1e-6));
    }
    BOOST_TEST(state.parameters.threshold[9] == 1e-6F);
    BOOST_TEST(state.since_fired[7] == 2000 * 128);
    BOOST_TEST(state.dead[7] == 1);
    BOOST_TEST(state.since_fired[8] == 0);
    BOOST_TEST(state.dead[8] == 0);
}

BOOST_AUTO_TEST_CASE(rows_that_overflow_are_refused_not_trained_on) {
    Case c = make_case(train::Kind::topk, 32, 40);
    c.parameters.encoder.assign(c.parameters.encoder.size(), 3e38F);
    const kernels::ThreadPool pool(1);
    train::Gradients sum(40, 32);
    const train::Packed packed(c.settings, c.parameters, {}, pool);
    BOOST_CHECK_THROW(packed.add_gradients(c.rows, pool, sum), InputError);
}

BOOST_AUTO_TEST_SUITE_END()
