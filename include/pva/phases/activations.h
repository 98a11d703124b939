// Activations beside those of a dataset: other sites, and other positions of prompt and program. Written by phase 1 when
// the dataset is complete, so that every length is known. File: docs/formats/activations.md.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pva/io/reader.h"
#include "pva/model/model.h"
#include "pva/phases/context.h"
#include "pva/phases/generation.h"
#include "pva/phases/inputs.h"

namespace pva::phases {

/// What a row's position is. Stored in files as these numbers.
enum class PositionKind : std::uint8_t {
    last_prompt = 0,    ///< last token of the prompt
    signature_end = 1,  ///< the token that holds the colon of the entry point's signature
    tenth = 2,          ///< last token of each tenth of the program's tokens
    last_token = 3,     ///< last token of the program
    all = 4,            ///< every token of prompt and answer
};

/// One position that a program has at most once: "last-prompt", "signature-end", "tenth-1" to "tenth-10", "last-token".
struct Position {
    PositionKind kind = PositionKind::last_prompt;
    int tenth = 0;  ///< 1 to 10 for PositionKind::tenth, else 0

    bool operator==(const Position&) const = default;
};
/// Errors: UsageError that lists the names.
Position position_from_name(const std::string& name);
std::string position_name(const Position& position);

struct ActivationOptions {
    std::string sites = "resid_post";
    std::string positions = "last-prompt";
    std::string dtype = "float32";
};
/// --sites, --positions and --activations-dtype.
void register_options(OptionSet& set, ActivationOptions& options);

/// True when something is asked for that the dataset itself does not hold.
bool wants_activations(const ActivationOptions& options);

/// Kinds of positions of a list such as "last-prompt,tenths", in the order of the enumeration. Errors: UsageError.
std::vector<PositionKind> position_kinds(const std::string& list);

/// A row of the file: a token of prompt and answer.
struct TokenPosition {
    PositionKind kind = PositionKind::last_prompt;
    int tenth = 0;
    std::int64_t token = 0;  ///< index in prompt and answer together, BOS counted

    bool operator==(const TokenPosition&) const = default;
};

/// The rows of one answer, in the order of the kinds, tenths and tokens ascending. Kinds that the answer does not have (no
/// program; an entry point without `def`) give none. `answer`: generated tokens, EOS included. `text_bytes`: length of the
/// answer's text, which may be shorter than its tokens' (a stop string was cut off). A program that continues the prompt's
/// opening counts from the answer's first token on; only its signature may stand in the prompt.
std::vector<TokenPosition> token_positions(const text::Tokenizer& tokenizer, const PromptedProblem& problem, std::span<const std::int32_t> answer,
                                           std::size_t text_bytes, std::int32_t eos_tokens, tasks::ExtractionRule rule,
                                           std::span<const PositionKind> kinds);

/// Collective. Writes <data>/phase1_0/activations_<model>_<range>_<time>.h5 for a complete dataset, or finds that it is
/// there. `identity` is the dataset's. Errors (AgreedError): as generate_programs; InputError when a value does not fit
/// into float16.
Report write_activations(Context& context, const model::Model& model, const text::Tokenizer& tokenizer, const GenerationPlan& plan,
                         const std::string& dataset, const ActivationOptions& options, const std::string& layers, const ModelInput& model_input,
                         bool fresh);

/// Collective. The file named on the command line, or the newest one that was made of this dataset and has this site and
/// position. Errors (AgreedError): InputError that says which there are, and how to make what is missing.
io::ResultReader open_activations(Context& context, const std::string& named, const io::ResultReader& dataset, const std::string& site,
                                  const Position& position);

/// Which row of the file each program of the dataset has at a position; -1 where it has none.
std::vector<std::int64_t> rows_at(const io::ResultReader& activations, const Position& position);

/// Layers stored of a site, in the order of the file (0 for a site without layers). Errors: InputError.
std::vector<std::int32_t> stored_layers(const io::ResultReader& activations, const std::string& site);

/// Values [rows, width] at a site and layer, widened to float32. Errors: InputError for a site or layer that is not stored.
std::vector<float> read_activations(const io::ResultReader& activations, const std::string& site, std::int32_t layer, std::span<const std::int64_t> rows);

}  // namespace pva::phases
