// What the options of phase 2 mean, and intervals of rates on general text.
#define BOOST_TEST_MODULE phase2
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <vector>

#include "pva/core/error.h"
#include "pva/phases/phase2.h"
#include "pva/phases/segment_record.h"
#include "pva/stats/intervals.h"

using namespace pva::phases;
using pva::analysis::Score;
namespace tt = boost::test_tools;

// The table in docs/methods.md.
BOOST_AUTO_TEST_CASE(rules_by_name) {
    Phase2Options options;
    const Phase2Rules ours = phase2_rules(options);
    BOOST_TEST((ours.selection.score == Score::auroc));
    BOOST_TEST(ours.selection.min_rows == 5u);
    BOOST_TEST(!ours.selection.strict);
    BOOST_TEST(ours.selection.filter_after == 0u);
    BOOST_TEST((ours.text.positions == TextPositions::all));
    BOOST_TEST(ours.text.tokens == 256);
    BOOST_TEST(ours.text.documents == 0);
    BOOST_TEST(ours.text.activation_threshold == 0.0);
    BOOST_TEST(ours.least_per_class == 2u);

    options.compat = "first";
    const Phase2Rules first = phase2_rules(options);
    BOOST_TEST((first.selection.score == Score::notebook_d));
    BOOST_TEST(first.text.activation_threshold == 0.05);
    BOOST_TEST(!first.selection.strict);
    BOOST_TEST(first.selection.filter_after == 0u);
    BOOST_TEST(first.selection.max_general_text_rate == 0.02);

    options.compat = "paper";
    const Phase2Rules paper = phase2_rules(options);
    BOOST_TEST((paper.selection.score == Score::frequency_difference));
    BOOST_TEST(paper.text.activation_threshold == 0.0);
    BOOST_TEST(paper.selection.strict);
    BOOST_TEST(paper.selection.filter_after == 100u);
    BOOST_TEST(paper.selection.top_k == 20u);
    BOOST_TEST(paper.least_per_class == 10u);
    for (const Phase2Rules& published : {first, paper}) {
        BOOST_TEST(published.selection.min_rows == 0u);
        BOOST_TEST((published.text.positions == TextPositions::one_word));
        BOOST_TEST(published.text.tokens == 128);
        BOOST_TEST(published.text.documents == 10000);
    }

    // What is given wins.
    options.score = "welch-t";
    options.min_rows = 3;
    options.general_positions = "all";
    options.general_tokens = 64;
    options.general_documents = 0;
    options.general_threshold = 0.01;
    options.activation_threshold = 0.5;
    const Phase2Rules given = phase2_rules(options);
    BOOST_TEST((given.selection.score == Score::welch_t));
    BOOST_TEST(given.selection.min_rows == 3u);
    BOOST_TEST((given.text.positions == TextPositions::all));
    BOOST_TEST(given.text.tokens == 64);
    BOOST_TEST(given.text.documents == 0);
    BOOST_TEST(given.selection.max_general_text_rate == 0.01);
    BOOST_TEST(given.text.activation_threshold == 0.5);

    options.q_from = "permutation";
    options.permutations = 0;
    BOOST_CHECK_THROW(phase2_rules(options), pva::UsageError);
}

BOOST_AUTO_TEST_CASE(rates_of_clusters) {
    // Independent tokens: groups differ as binomial draws do, and the interval is Wilson's of about all tokens.
    const std::vector<std::uint64_t> tokens(4, 100);
    const RateInterval even = clustered_rate({5, 5, 5, 5}, tokens);
    BOOST_TEST(even.rate == 0.05);
    BOOST_TEST(even.low == pva::stats::wilson(20, 400).lower, tt::tolerance(1e-12));
    BOOST_TEST(even.high == pva::stats::wilson(20, 400).upper, tt::tolerance(1e-12));
    // All in one text: far less is known. By hand: rate 1/20, deviations 15 and three times -5, squares 300 * 4 / 3 / 400^2 = 1/400,
    // so 0.0475 / 0.0025 = 19 tokens.
    const RateInterval uneven = clustered_rate({20, 0, 0, 0}, tokens);
    BOOST_TEST(uneven.rate == 0.05);
    const double z = pva::stats::two_sided_normal_quantile(0.95), n = 19;
    const double half = z * std::sqrt(0.05 * 0.95 / n + z * z / (4 * n * n));
    BOOST_TEST(uneven.low == (0.05 + z * z / (2 * n) - half) / (1 + z * z / n), tt::tolerance(1e-9));
    BOOST_TEST(uneven.high == (0.05 + z * z / (2 * n) + half) / (1 + z * z / n), tt::tolerance(1e-9));
    BOOST_TEST(clustered_rate({0, 0}, {10, 20}).low == 0.0);
    BOOST_TEST(clustered_rate({0, 0}, {10, 20}).high == pva::stats::wilson(0, 30).upper, tt::tolerance(1e-12));
    BOOST_TEST(clustered_rate({10, 20}, {10, 20}).high == 1.0);
    // One group says nothing about how groups differ.
    BOOST_TEST(clustered_rate({3}, {10}).rate == 0.3);
    BOOST_TEST(clustered_rate({3}, {10}).low == 0.0);
    BOOST_TEST(clustered_rate({3}, {10}).high == 1.0);
}

BOOST_AUTO_TEST_CASE(records_give_back_what_was_put_in) {
    RecordWriter record;
    record.add(std::uint64_t{7});
    record.add(std::vector<float>{1.5F, 2.5F});
    record.add(std::vector<std::uint32_t>{});
    RecordReader reader{record.bytes};
    BOOST_TEST(reader.number() == 7u);
    BOOST_TEST(reader.take<float>(2)[1] == 2.5F);
    BOOST_TEST(reader.take<std::uint32_t>(0).empty());
    BOOST_CHECK_THROW(reader.take<char>(1), pva::InternalError);
    RecordReader huge{record.bytes};
    BOOST_CHECK_THROW(huge.take<double>(std::size_t{1} << 62), pva::InternalError);
}
