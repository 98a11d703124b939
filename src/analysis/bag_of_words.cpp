// Terms of texts, and logistic regression on them by liblinear.
#include "pva/analysis/bag_of_words.h"

#include <linear.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "pva/core/error.h"

namespace pva::analysis {

namespace {

// The distinct terms of a text, ascending.
std::set<std::string> terms_of(std::string_view text) {
    std::set<std::string> terms;
    std::string previous;
    for (const std::string& word : words(text)) {
        if (!previous.empty()) terms.insert(previous + ' ' + word);
        terms.insert(word);
        previous = word;
    }
    return terms;
}

// Positions in the vocabulary of the terms of a text, ascending; terms outside it are left out.
std::vector<std::size_t> features_of(std::string_view text, const std::vector<std::string>& vocabulary) {
    std::vector<std::size_t> features;
    for (const std::string& term : terms_of(text)) {
        const auto place = std::lower_bound(vocabulary.begin(), vocabulary.end(), term);
        if (place != vocabulary.end() && *place == term) {
            features.push_back(static_cast<std::size_t>(place - vocabulary.begin()));
        }
    }
    return features;
}

double decision_value(const BagOfWords& model, const std::vector<std::size_t>& features) {
    double sum = model.intercept;
    for (std::size_t feature : features)
        sum += model.weights[feature];
    return sum;
}

// Norm of the gradient of the objective in the header: w - sum y sigma(-y f) x. The objective is strongly convex with
// constant 1, so the weights are at most this far from the optimum.
double gradient_norm(const BagOfWords& model, const std::vector<std::vector<std::size_t>>& rows,
                     std::span<const std::uint8_t> labels) {
    std::vector<double> gradient = model.weights;
    double intercept_gradient = model.intercept;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        const double y = labels[row] == 1 ? 1 : -1;
        const double pull = y / (1 + std::exp(y * decision_value(model, rows[row])));
        for (std::size_t feature : rows[row])
            gradient[feature] -= pull;
        intercept_gradient -= pull;
    }
    double squares = intercept_gradient * intercept_gradient;
    for (double g : gradient)
        squares += g * g;
    return std::sqrt(squares);
}

struct FreeModel {
    void operator()(::model* fitted) const { free_and_destroy_model(&fitted); }
};

void fit_weights(BagOfWords& model, const std::vector<std::vector<std::size_t>>& rows,
                 std::span<const std::uint8_t> labels) {
    // liblinear counts features from 1; the constant feature is the last, and index -1 ends a row.
    const int constant = static_cast<int>(model.vocabulary.size()) + 1;
    std::vector<std::vector<feature_node>> nodes(rows.size());
    std::vector<feature_node*> starts;
    std::vector<double> targets;
    for (std::size_t row = 0; row < rows.size(); ++row) {
        for (std::size_t feature : rows[row])
            nodes[row].push_back({static_cast<int>(feature) + 1, 1.0});
        nodes[row].push_back({constant, 1.0});
        nodes[row].push_back({-1, 0.0});
        starts.push_back(nodes[row].data());
        targets.push_back(labels[row] == 1 ? 1 : -1);
    }
    problem training{};
    training.l = static_cast<int>(rows.size());
    training.n = constant;
    training.y = targets.data();
    training.x = starts.data();
    training.bias = 1;
    parameter settings{};
    settings.solver_type = L2R_LR_DUAL;
    settings.eps = 1e-12;
    settings.C = 1;
    if (const char* fault = check_parameter(&training, &settings)) {
        throw InternalError(std::string("liblinear refuses its parameters: ") + fault);
    }
    // It prints every iteration otherwise. Its one warning, too many iterations, is covered by the check of the
    // gradient.
    set_print_string_function([](const char*) {});
    std::srand(1);
    const std::unique_ptr<::model, FreeModel> fitted(train(&training, &settings));
    // The weights belong to the label that liblinear puts first.
    const double sign = fitted->label[0] == 1 ? 1 : -1;
    for (std::size_t i = 0; i < model.vocabulary.size(); ++i)
        model.weights[i] = sign * fitted->w[i];
    model.intercept = sign * fitted->w[constant - 1];
}

}  // namespace

std::vector<std::string> words(std::string_view text) {
    std::vector<std::string> result;
    std::string word;
    for (char c : text) {
        const bool upper = c >= 'A' && c <= 'Z';
        if (upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_') {
            word += upper ? static_cast<char>(c - 'A' + 'a') : c;
        } else if (!word.empty()) {
            result.push_back(std::move(word));
            word.clear();
        }
    }
    if (!word.empty()) result.push_back(std::move(word));
    return result;
}

BagOfWords fit_bag_of_words(std::span<const std::string> texts, std::span<const std::uint8_t> labels,
                            const BagOfWordsOptions& options) {
    if (texts.size() != labels.size()) {
        throw InputError(std::to_string(texts.size()) + " texts but " + std::to_string(labels.size()) +
                         " labels; both must come from the same problems");
    }
    std::size_t passing = 0;
    for (std::size_t i = 0; i < labels.size(); ++i) {
        if (labels[i] > 1) {
            throw InputError("label of text " + std::to_string(i) + " is " + std::to_string(labels[i]) +
                             ", expected 1 or 0");
        }
        passing += labels[i];
    }
    if (passing == 0 || passing == labels.size()) {
        throw InputError("bag of words: " + std::to_string(passing) + " texts with label 1 and " +
                         std::to_string(labels.size() - passing) +
                         " with label 0 to train on; both must occur: use more problems");
    }
    std::map<std::string, std::uint32_t> document_frequency;
    for (const std::string& text : texts) {
        for (const std::string& term : terms_of(text))
            ++document_frequency[term];
    }
    BagOfWords model;
    for (const auto& [term, frequency] : document_frequency) {
        if (frequency >= options.min_document_frequency) model.vocabulary.push_back(term);
    }
    model.weights.assign(model.vocabulary.size(), 0);
    std::vector<std::vector<std::size_t>> rows;
    for (const std::string& text : texts)
        rows.push_back(features_of(text, model.vocabulary));
    fit_weights(model, rows, labels);
    // Decision values sum at most the square root of a text's number of terms times this: 1e-5 for 10,000 terms.
    const double error = gradient_norm(model, rows, labels);
    if (!(error <= 1e-7)) {
        throw InternalError("logistic regression on the words of " + std::to_string(texts.size()) +
                            " texts did not converge: the norm of the gradient is " + std::to_string(error) +
                            ", at most 1e-7 is wanted");
    }
    return model;
}

std::vector<double> decision_values(const BagOfWords& model, std::span<const std::string> texts) {
    std::vector<double> values;
    for (const std::string& text : texts)
        values.push_back(decision_value(model, features_of(text, model.vocabulary)));
    return values;
}

}  // namespace pva::analysis
