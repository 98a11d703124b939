// The report: one HTML page on what a folder of results holds. docs/report.md says what is on it.
#pragma once

#include <string>

#include "pva/core/log.h"
#include "pva/core/options.h"

namespace pva::phases {

struct ReportOptions {
    std::string folder;
    std::string output;           ///< report.html in the folder when empty
    std::string model;            ///< only results of the model of this name
    std::string latent;           ///< "L/J": the page of this latent alone
    std::int64_t latents = 3;     ///< of each direction that get a section
    std::int64_t contexts = 5;    ///< of each text, for each latent
    std::string codes;            ///< codes of pva_check --codes, separated by commas; those in <folder>/codes when empty
    std::string tokenizer;        ///< tokenizer file; the one phase 1 read when empty
};
void register_options(OptionSet& set, ReportOptions& options);

/// Writes the page. Phases without results leave a sentence on the page. Starts gnuplot; the page has sentences
/// for figures where it is missing. Errors: UsageError for a latent that is not there; InputError when the folder is missing or holds
/// no result of a phase; IoError.
void run_report(Log& log, const ReportOptions& options);

}  // namespace pva::phases
