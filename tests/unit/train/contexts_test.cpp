// Packing, the order of rows, the tree of sums, texts that must not be seen.
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>

#include "pva/core/error.h"
#include "pva/tasks/overlap.h"
#include "pva/train/contexts.h"
#include "pva/train/settings.h"
#include "pva/train/sum_tree.h"

using namespace pva;
using Documents = std::vector<std::vector<std::int32_t>>;

BOOST_AUTO_TEST_SUITE(contexts)

BOOST_AUTO_TEST_CASE(documents_are_packed_with_bos_first_and_a_separator_between) {
    const Documents documents = {{10, 11, 12}, {20, 21}, {}, {30, 31, 32, 33}};
    const auto packed = train::pack(documents, {4, 2, 1});
    BOOST_TEST((packed == Documents{{2, 10, 11, 12}, {2, 20, 21, 1}, {2, 30, 31, 32}}));  // 33 does not fill a sequence
    BOOST_TEST((train::pack(documents, {3, std::nullopt, std::nullopt}) == Documents{{10, 11, 12}, {20, 21, 30}, {31, 32, 33}}));
    BOOST_TEST((train::pack(Documents{{5, 6}}, {8, 2, 1}) == Documents{{2, 5, 6}}));  // the only one may be short
    BOOST_TEST(train::pack(Documents{}, {8, 2, 1}).empty());
    BOOST_TEST(train::pack(Documents{{}}, {8, 2, 1}).empty());
    BOOST_CHECK_THROW(train::pack(documents, {2, 2, 1}), UsageError);
}

BOOST_AUTO_TEST_CASE(position_0_and_bos_are_not_used) {
    const std::vector<std::int32_t> tokens = {2, 7, 2, 8};
    BOOST_TEST((train::used_positions(tokens, 2) == std::vector<std::int64_t>{1, 3}));
    BOOST_TEST((train::used_positions(tokens, std::nullopt) == std::vector<std::int64_t>{1, 2, 3}));
    BOOST_TEST(train::used_positions(std::vector<std::int32_t>{7}, std::nullopt).empty());
}

BOOST_AUTO_TEST_CASE(fillings_hold_every_sequence_once_before_any_comes_again) {
    const std::vector<std::uint32_t> rows(10, 6);
    const train::StreamSettings settings{7, 11, 10, 30, 0.2};
    const auto fillings = train::plan_fillings(settings, rows, 5);
    BOOST_TEST(fillings.size() == 4U);  // 3 + 3 + 3 + 2 steps
    std::vector<std::uint32_t> stream;
    std::int64_t step = 0;
    for (std::size_t i = 0; i < fillings.size(); ++i) {
        BOOST_TEST(fillings[i].first_step == step);
        step += fillings[i].steps;
        BOOST_TEST(fillings[i].rows() == fillings[i].steps * 10);
        BOOST_TEST(static_cast<std::int64_t>(fillings[i].prompts.size()) == fillings[i].steps * 2);
        stream.insert(stream.end(), fillings[i].sequences.begin(), fillings[i].sequences.end());
        const auto order = train::order_of(settings, fillings[i], static_cast<std::uint32_t>(i));
        BOOST_TEST(std::set<std::uint32_t>(order.begin(), order.end()).size() == static_cast<std::size_t>(fillings[i].rows()));
        BOOST_TEST(!std::is_sorted(order.begin(), order.end()));
    }
    BOOST_TEST(step == 11);
    BOOST_TEST(std::set<std::uint32_t>(stream.begin(), stream.begin() + 10).size() == 10U);
    BOOST_TEST(!std::is_sorted(stream.begin(), stream.begin() + 10));
    const auto other = train::plan_fillings({8, 11, 10, 30, 0.2}, rows, 5);
    BOOST_TEST((other[0].sequences != fillings[0].sequences));
    BOOST_TEST((train::plan_fillings(settings, rows, 5)[3].sequences == fillings[3].sequences));
    BOOST_CHECK_THROW(train::plan_fillings(settings, {}, 5), UsageError);
    BOOST_CHECK_THROW(train::plan_fillings(settings, rows, 0), UsageError);
}

BOOST_AUTO_TEST_CASE(the_tree_has_the_same_sums_however_its_parts_are_held) {
    for (const std::int64_t total : {1, 2, 5, 8, 13}) {
        // Sums as words: their brackets show the order.
        struct Text {
            std::string words;
            explicit operator bool() const { return !words.empty(); }
        };
        const auto add = [](Text& left, Text& right) { left.words = "(" + left.words + "+" + right.words + ")"; };
        const auto leaf = [](const train::TreeNode& node) { return node.last - node.first == 1 ? Text{std::to_string(node.first)} : Text{}; };
        const std::string alone = train::sum_tree<Text>({0, total}, leaf, add).words;
        for (std::int64_t cut = 0; cut <= total; ++cut) {
            std::vector<std::pair<train::TreeNode, std::string>> held;
            for (const auto& [first, last] : {std::pair<std::int64_t, std::int64_t>{0, cut}, {cut, total}}) {
                for (const train::TreeNode& node : train::nodes_within(total, first, last)) held.emplace_back(node, train::sum_tree<Text>(node, leaf, add).words);
            }
            const auto known = [&](const train::TreeNode& node) {
                for (const auto& [place, words] : held) {
                    if (place == node) return Text{words};
                }
                return Text{};
            };
            BOOST_TEST(train::sum_tree<Text>({0, total}, known, add).words == alone);
        }
    }
    BOOST_TEST(train::nodes_within(8, 0, 8).size() == 1U);
    BOOST_TEST(train::nodes_within(8, 3, 3).empty());
}

BOOST_AUTO_TEST_CASE(schedules) {
    train::Settings settings;
    settings.steps = 100;
    settings.learning_rate = 1;
    settings.warm_up = 10;
    settings.decay = 20;
    settings.sparsity = 2;
    settings.sparsity_warm_up = 4;
    BOOST_TEST(train::learning_rate_at(settings, 0) == 0.1);
    BOOST_TEST(train::learning_rate_at(settings, 9) == 1.0);
    BOOST_TEST(train::learning_rate_at(settings, 80) == 1.0);
    BOOST_TEST(train::learning_rate_at(settings, 99) == 0.05);
    BOOST_TEST(train::sparsity_at(settings, 1) == 1.0);
    BOOST_TEST(train::sparsity_at(settings, 50) == 2.0);
    BOOST_TEST(train::usual_learning_rate(16384, 1000000) == 2e-4);
    BOOST_TEST(train::usual_learning_rate(4096, 25000) == 8e-4);
    BOOST_TEST(train::usual_learning_rate(4096, 10) == 4e-3);
    settings.steps = 100000;
    BOOST_TEST(train::threshold_memory(settings) == 0.99);
    settings.steps = 500;
    BOOST_TEST(train::threshold_memory(settings) == 0.9);
    settings.steps = 3;
    BOOST_TEST(train::threshold_memory(settings) == 0.0);
    BOOST_CHECK_THROW(train::kind_from_name("relu"), UsageError);
    settings.d = 4;
    settings.latents = 8;
    settings.l0 = 9;
    settings.batch = 10;
    BOOST_CHECK_THROW(train::check(settings), UsageError);
    settings.l0 = 8;
    settings.micro_batches = 3;
    BOOST_CHECK_THROW(train::check(settings), UsageError);
    settings.micro_batches = 2;
    BOOST_CHECK_NO_THROW(train::check(settings));
}

BOOST_AUTO_TEST_CASE(texts_are_found_word_by_word) {
    const std::vector<std::string> wanted = {"Write a function to add two numbers and return the sum.", "", "short one", "Write a function to add two numbers and return the product."};
    const tasks::TextFinder finder(wanted);
    BOOST_TEST(finder.first_in("# Write a function\n#   to add").has_value() == false);
    BOOST_TEST(*finder.first_in("\"\"\" Write a function to\n\t add two numbers  and return the product. \"\"\"") == 3U);
    BOOST_TEST(*finder.first_in("a short one, short one") == 2U);
    BOOST_TEST(!finder.first_in("a short ones").has_value());
    BOOST_TEST(!finder.first_in("").has_value());
    BOOST_TEST(*finder.first_in("short one " + wanted[0]) == 0U);  // the lowest, wherever it stands
    BOOST_TEST(!finder.first_in("Write a function to add two numbers and return the").has_value());
    BOOST_TEST(!tasks::TextFinder({}).first_in("anything").has_value());
}

BOOST_AUTO_TEST_SUITE_END()
