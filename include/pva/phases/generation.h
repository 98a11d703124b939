// Generating and testing programs, for phases 1 and 1.2: prompts, the loop over units, columns of the result file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "pva/generate/engine.h"
#include "pva/io/result_file.h"
#include "pva/model/memory.h"
#include "pva/model/model.h"
#include "pva/phases/context.h"
#include "pva/phases/inputs.h"
#include "pva/tasks/extraction.h"
#include "pva/tasks/prompt.h"
#include "pva/text/tokenizer.h"

namespace pva::phases {

/// How programs are written and taken from the answers: options that phases 1 and 1.2 have in common.
struct WritingOptions {
    std::string prompt = "solution";
    std::string extraction = "complete-program";
    std::int64_t max_new_tokens = 800;
    std::int64_t batch_size = 0;  ///< rows generated together (0: to be chosen); rows may depend on it with the reference forward pass
    std::int64_t threads = 0;
    std::int64_t top_k = 0;
    double top_p = 1;
    double min_p = 0;
    std::int64_t seed = 0;
    std::string stop_strings;  ///< JSON list of texts
    bool stream = false;
    double checkpoint_minutes = 1;
    std::int64_t checkpoint_every = 50;
};
void register_options(OptionSet& set, WritingOptions& options);

/// A problem with its prompt.
struct PromptedProblem {
    tasks::Problem problem;
    std::string prompt;
    std::vector<std::int32_t> tokens;
    std::string entry_point;
    std::string continued;  ///< what an answer goes on from, for the stop rule
};

/// Collective. Prompts of the problems but those that the prompt shows with their solutions. Errors (AgreedError):
/// InputError when no problem is left, and what the template and the tokenizer refuse.
std::vector<PromptedProblem> prompted_problems(Context& context, std::span<const tasks::Problem> problems,
                                               tasks::PromptTemplate prompt_template, const text::Tokenizer& tokenizer);

/// What is generated: unit u is problem u / temperatures.size() at temperature u % temperatures.size(), with all its
/// samples. Rows of a unit: its samples, in order.
struct GenerationPlan {
    std::vector<PromptedProblem> problems;
    std::vector<double> temperatures;
    std::int64_t samples = 1;
    WritingOptions writing;
    int threads = 1;
    std::int64_t test_workers = 1;  ///< programs tested at the same time by each rank
    model::CaptureRequest capture;  ///< at the last prompt token; empty layers: nothing is captured

    std::int64_t units() const { return static_cast<std::int64_t>(problems.size() * temperatures.size()); }
    std::int64_t rows() const { return units() * samples; }
    std::int64_t longest_prompt() const;
    /// The largest pass of a rank.
    model::PassSize pass_size(std::int64_t batch_size) const;
};

/// Errors: UsageError for senseless sampling options, no temperature, several samples at temperature 0.
void check_plan(const GenerationPlan& plan);

/// What all ranks of this run did: figures for the group measured/ and the last lines.
struct GenerationUse {
    nlohmann::ordered_json measured;
    std::vector<std::string> lines;
};

/// Collective. Generates, tests and writes every unit of the file that is not done. A program goes to its test while
/// others are being written, and a unit is written when its last program has been judged. Rows do not depend on the number
/// of ranks, nor (with the fast forward pass) on the batch or the order of the work; otherwise batches are cut by index.
/// A rank that runs out of memory goes on with half as many rows at a time where rows do not depend on it, and says so.
/// Errors (AgreedError): a failure on any rank, with OutOfMemory naming the batch size to take; StopRequested (75) when
/// stopped with units left.
GenerationUse generate_programs(Context& context, const model::Model& model, const text::Tokenizer& tokenizer,
                                io::ResultFile& file, const io::Sizes& sizes, const GenerationPlan& plan);

}  // namespace pva::phases
