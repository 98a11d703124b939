// Plain baseline: logistic regression on the words of the problem text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pva::analysis {

struct BagOfWordsOptions {
    std::uint32_t min_document_frequency = 2;  ///< a term enters the vocabulary if so many training texts hold it
};

/// A fitted model. A term is a word or two words that follow each other, joined by one blank.
struct BagOfWords {
    std::vector<std::string> vocabulary;  ///< [n_terms], ascending bytes
    std::vector<double> weights;          ///< [n_terms]
    double intercept = 0;                 ///< penalised like the weights
};

/// Words of a text: maximal runs of ASCII letters, digits and underscores, ASCII letters made lower case.
std::vector<std::string> words(std::string_view text);

/// Fits L2-penalised logistic regression, min 1/2 |w|^2 + sum log(1 + exp(-y (w.x))), on binary features (a term occurs
/// or not) and a constant feature 1. What scikit-learn calls CountVectorizer(ngram_range=(1, 2), binary=True, min_df=2,
/// token_pattern="[A-Za-z0-9_]+") and LogisticRegression(solver="liblinear", C=1). `labels`: 1 or 0 for each text.
/// Solved by liblinear in the dual form, whose loops call no BLAS: which BLAS a process happens to load must not
/// change bits. The solution's gradient is checked: decision values are within 1e-5 of the optimum, else InternalError.
/// Seeds the C library's rand(), which orders liblinear's steps, so that the same input gives the same weights.
/// InputError for unequal lengths, another label, or a missing class. An empty vocabulary leaves the intercept alone.
BagOfWords fit_bag_of_words(std::span<const std::string> texts, std::span<const std::uint8_t> labels,
                            const BagOfWordsOptions& options = {});

/// Decision value of each text: intercept + sum of the weights of the terms in it. Positive speaks for label 1.
std::vector<double> decision_values(const BagOfWords& model, std::span<const std::string> texts);

}  // namespace pva::analysis
