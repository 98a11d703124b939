// When does the model know? Detection at every stage of writing. File: docs/formats/stages.md.
#pragma once

#include <string>

#include "pva/phases/context.h"
#include "pva/phases/inputs.h"
#include "pva/phases/saes.h"

namespace pva::phases {

struct StagesInput {
    const Study& study;
    const io::ResultReader& latents;  ///< rates on general text and the rule that latents must meet come from it
    const SaeSet& saes;
    const SaeOptions& sae_options;
    std::string site;
    std::string activations;  ///< file named on the command line, or empty
    int threads = 1;
    bool fresh = false;
    std::uint64_t seed = 0;
};

/// Collective. Where there is an activations file of the dataset with the site at two or more stages (last prompt token, end
/// of the signature, each tenth of the program, last token): at each stage and layer the latents that are best on
/// selection, difference of means and logistic probe, and at each stage words, tokens, log-probability and entropy so far, all
/// measured on the analysis part. Writes <data>/phase3/stages_<model>_<range>_<time>.h5 and adds its path, summary and lines
/// to the report; else one line that says what is missing. Programs that were cut at the token limit or that lack a stage are left
/// out. Errors (AgreedError): InputError for a named file that does not fit.
void add_stages(Context& context, const StagesInput& input, Report& report);

}  // namespace pva::phases
