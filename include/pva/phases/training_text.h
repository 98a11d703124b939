// What pva_train_sae reads: documents and prompts, as token sequences, with what must not be among them kept out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "pva/model/config.h"
#include "pva/phases/context.h"
#include "pva/text/tokenizer.h"

namespace pva::phases {

struct TrainingTextOptions {
    std::string text;                                      ///< files and folders, separated by commas
    std::string endings = ".txt,.md,.rst,.py,.jsonl";      ///< of the files taken from folders
    std::int64_t context = 256;                            ///< tokens of a sequence
    std::string bos = "auto";
    std::string separator = "auto";
    std::string held_out_text;
    double held_out_share = 0.02;
    std::string problems;  ///< of the study: tuning and analysis must not be seen
    std::string splits;
    bool drop_held_out = false;
    double prompt_share = 0;  ///< of the rows
    std::string prompt_problems;
    std::string prompt = "solution";
};
void register_options(OptionSet& set, TrainingTextOptions& options);

using Sequences = std::vector<std::vector<std::int32_t>>;

struct TrainingText {
    std::optional<std::int32_t> bos;       ///< first token of every sequence
    Sequences sequences;                   ///< to train on
    Sequences held_out;                    ///< to measure on
    Sequences prompts;                     ///< whose last token is trained on
    Sequences held_out_prompts;            ///< whose last token is measured on
    nlohmann::ordered_json about;          ///< files and their hashes, counts, what was left out
    std::string documents_table;           ///< one line a document: source, record, SHA-256, tokens, part
    std::string sha256;                    ///< of that table: stands for everything that was read
};

/// Collective. Reads, checks, hashes and tokenizes, documents shared among ranks. A document goes to the held-out part by
/// its hash; one that occurs twice is taken once. Errors (AgreedError): InputError for unreadable or empty texts, for a
/// document that holds the text of a held-out problem (unless they are dropped), for prompts of held-out problems.
TrainingText read_training_text(Context& context, const TrainingTextOptions& options, const text::Tokenizer& tokenizer, const model::ModelConfig& config);

}  // namespace pva::phases
