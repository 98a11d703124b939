// The sections of the report, one function each. A section whose results are missing says in a sentence what would make them.
#pragma once

#include <vector>

#include "pva/phases/report_contexts.h"
#include "pva/phases/report_page.h"
#include "pva/phases/report_study.h"

namespace pva::phases {

void section_brief(Page& page, const ReportStudy& study);          ///< what came out, in sentences
void section_study(Page& page, const ReportStudy& study);          ///< what was run and on what
void section_solved(Page& page, const ReportStudy& study);         ///< solved by difficulty, verdicts, temperatures
void section_latents(Page& page, const ReportStudy& study);        ///< separation scores, top latents, layers, general text
void section_detection(Page& page, const ReportStudy& study);      ///< figures, ROC, precision and recall, F1
void section_writing(Page& page, const ReportStudy& study);        ///< detection over the course of writing
/// Tests of one intervention of a steering file (all where the name is empty), without published ones and those that had no
/// controls to compare with.
struct SteeringTally {
    std::size_t tests = 0;
    std::vector<std::string> survivors;  ///< names of those with Holm's p below 0.05
    std::string rank;                    ///< "rank 18 of 61", among all controls
};
SteeringTally steering_tally(const nlohmann::ordered_json& summary, const std::string& intervention);

/// Summaries of the analysis parts of the study's runs of steering. With more than one Holm's p and q are adjusted again, over the
/// tests of all of them, so that arms tried one by one are not held to a lower standard than arms tried together.
std::vector<nlohmann::ordered_json> steering_summaries(const ReportStudy& study);

/// One sentence about a condition of the analysis part: what changed, and what the tests say.
std::string steering_in_brief(const nlohmann::ordered_json& summary, const nlohmann::ordered_json& condition);

void section_steering(Page& page, const ReportStudy& study);       ///< coefficients, correction and corruption
void section_caveats(Page& page, const ReportStudy& study);        ///< what to keep in mind of these results
/// Figures, activations by class and strongest contexts of one latent, as a part of a section.
void part_latent(Page& page, const ReportStudy& study, const LatentGrid& grid, const ContextFinder& contexts, const ChosenLatent& latent);

/// Points of the curve of a score: for every threshold from the highest down, the share of positives and of negatives at or above it, precision and F1.
struct ScoreCurve {
    std::vector<double> called;     ///< share of all rows that are called positive
    std::vector<double> recall;
    std::vector<double> false_positive_rate;
    std::vector<double> precision;
    std::vector<double> f1;
};
/// Starts at (0, 0); equal scores are one threshold. Empty when a class has no row. Errors: InputError for unequal lengths or a NaN.
ScoreCurve score_curve(std::span<const double> scores, std::span<const std::uint8_t> positive);

/// Sentences that apply, most serious first.
std::vector<std::string> caveats(const ReportStudy& study);

}  // namespace pva::phases
