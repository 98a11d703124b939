// Words, vocabulary and logistic regression: usual case, edges, repeatability, bad input.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "pva/analysis/bag_of_words.h"
#include "pva/core/error.h"

using namespace pva::analysis;
namespace tt = boost::test_tools;

namespace {

using Texts = std::vector<std::string>;
using Labels = std::vector<std::uint8_t>;

}  // namespace

BOOST_AUTO_TEST_SUITE(bag_of_words_suite)

BOOST_AUTO_TEST_CASE(words_are_runs_of_letters_digits_underscores) {
    const Texts expected = {"write", "my_list2", "x", "10", "na", "ve"};
    BOOST_TEST(words("Write MY_list2, x>=10; na\xc3\xafve.") == expected, tt::per_element());
    BOOST_TEST(words("").empty());
    BOOST_TEST(words(" .,;\n").empty());
}

BOOST_AUTO_TEST_CASE(vocabulary_needs_two_documents) {
    const Texts texts = {"Sum the list", "sum the, LIST twice sum the", "count vowels"};
    const BagOfWords model = fit_bag_of_words(texts, Labels{1, 1, 0});
    const Texts expected = {"list", "sum", "sum the", "the", "the list"};
    BOOST_TEST(model.vocabulary == expected, tt::per_element());
    BOOST_TEST(model.weights.size() == 5u);
}

BOOST_AUTO_TEST_CASE(learns_the_telling_word) {
    Texts texts;
    Labels labels;
    for (int i = 0; i < 20; ++i) {
        texts.push_back(i % 2 ? "count even numbers" : "count odd numbers");
        labels.push_back(i % 2);
    }
    const BagOfWords model = fit_bag_of_words(texts, labels);
    const std::vector<double> values = decision_values(model, Texts{"even", "odd", "even even", "", "unknown"});
    BOOST_TEST(values[0] > 0);
    BOOST_TEST(values[1] < 0);
    BOOST_TEST(values[2] == values[0]);  // binary features
    BOOST_TEST(values[3] == model.intercept);
    BOOST_TEST(values[4] == model.intercept);
}

BOOST_AUTO_TEST_CASE(intercept_alone_has_a_known_solution) {
    // No term is shared. With n1 = 3, n0 = 1 the intercept b solves b = 3 / (1 + e^b) - 1 / (1 + e^-b).
    const BagOfWords model = fit_bag_of_words(Texts{"a", "b", "c", ""}, Labels{1, 1, 1, 0});
    BOOST_TEST(model.vocabulary.empty());
    const double b = model.intercept;
    BOOST_TEST(b > 0);
    BOOST_TEST(std::fabs(b - 3 / (1 + std::exp(b)) + 1 / (1 + std::exp(-b))) < 1e-7);
    BOOST_TEST(decision_values(model, Texts{"a"})[0] == b);
    BOOST_TEST(decision_values(model, {}).empty());
}

BOOST_AUTO_TEST_CASE(same_input_same_bits) {
    Texts texts;
    Labels labels;
    for (int i = 0; i < 60; ++i) {
        texts.push_back("w" + std::to_string(i % 7) + " w" + std::to_string(i % 5) + " w" + std::to_string(i % 3));
        labels.push_back((i * i) % 4 == 1 || i % 7 == 2);
    }
    const BagOfWords first = fit_bag_of_words(texts, labels);
    for (int i = 0; i < 10; ++i)
        std::rand();  // someone else uses the generator in between
    const BagOfWords second = fit_bag_of_words(texts, labels);
    BOOST_TEST(first.weights == second.weights, tt::per_element());
    BOOST_TEST(first.intercept == second.intercept);
    // Turning all labels round turns all weights round, whichever label comes first.
    for (auto& label : labels)
        label = static_cast<std::uint8_t>(1 - label);
    const BagOfWords turned = fit_bag_of_words(texts, labels);
    for (std::size_t i = 0; i < first.weights.size(); ++i)
        BOOST_TEST(std::fabs(first.weights[i] + turned.weights[i]) < 1e-7);
}

BOOST_AUTO_TEST_CASE(bad_input) {
    const Texts texts = {"a b", "b c"};
    BOOST_CHECK_THROW(fit_bag_of_words(texts, Labels{1}), pva::InputError);
    BOOST_CHECK_THROW(fit_bag_of_words(texts, Labels{1, 2}), pva::InputError);
    BOOST_CHECK_THROW(fit_bag_of_words(texts, Labels{1, 1}), pva::InputError);
    BOOST_CHECK_THROW(fit_bag_of_words(texts, Labels{0, 0}), pva::InputError);
    BOOST_CHECK_THROW(fit_bag_of_words({}, Labels{}), pva::InputError);
    BOOST_CHECK_EXCEPTION(fit_bag_of_words(texts, Labels{1, 1}), pva::InputError, [](const pva::InputError& error) {
        return std::string(error.what()).find("2 texts with label 1 and 0 with label 0") != std::string::npos;
    });
}

BOOST_AUTO_TEST_SUITE_END()
