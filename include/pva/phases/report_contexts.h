// Where a latent is strongest: tokens of programs and of general text with their activations.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pva/phases/report.h"
#include "pva/phases/report_study.h"
#include "pva/text/tokenizer.h"

namespace pva::phases {

/// A stretch of tokens around the one where a latent is strongest.
struct ShownContext {
    std::string title;                                    ///< which program or text
    std::vector<std::pair<std::string, double>> tokens;   ///< bytes, activation; tokens that share a character are one
    std::size_t peak = 0;
    double strongest = 0;
};

/// Contexts of any latent of a study. Programs: rows at all positions (pva_phase1 --positions all) through the SAE, for programs evenly
/// spread over the dataset. Other texts: files of pva_check --codes with the same SAE.
class ContextFinder {
  public:
    /// Reads the tokenizer. What is missing for contexts stands in `notes`, it is no error.
    ContextFinder(const ReportStudy& study, const ReportOptions& options);

    /// Prepares the programs' codes of these latents.
    void prepare(const std::vector<ChosenLatent>& latents);
    std::vector<ShownContext> in_programs(const ChosenLatent& latent) const;
    /// One list a text, with the text's name.
    std::vector<std::pair<std::string, std::vector<ShownContext>>> in_texts(const ChosenLatent& latent) const;

    const std::vector<std::string>& notes() const { return notes_; }
    bool has_programs() const { return !program_rows_.empty(); }
    bool has_texts() const { return !code_files_.empty(); }

  private:
    struct Row {
        std::int64_t sequence;
        std::int64_t position;
        std::int32_t token;
    };
    std::vector<ShownContext> strongest(const std::vector<Row>& rows, const std::vector<double>& values, bool programs) const;

    const ReportStudy& study_;
    std::size_t most_;
    std::optional<text::Tokenizer> tokenizer_;
    std::vector<std::string> notes_;
    std::vector<Row> program_rows_;
    std::vector<std::int64_t> stored_rows_;  ///< of each of program_rows_ in the activations file
    std::vector<std::int64_t> task_ids_;     ///< of the dataset's programs
    std::vector<std::uint8_t> passed_;
    std::map<std::pair<std::int32_t, std::int32_t>, std::vector<double>> values_;  ///< of program_rows_
    std::vector<std::string> code_files_;
};

/// HTML of contexts, tokens shaded by activation.
std::string contexts_html(const std::vector<ShownContext>& contexts);

}  // namespace pva::phases
