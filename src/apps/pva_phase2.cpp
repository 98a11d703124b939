// pva_phase2: SAE codes, how each latent differs between right and wrong programs, ranked lists.
#include "pva/phases/phase2.h"

int main(int argc, char** argv) {
    pva::phases::Phase2Options options;
    pva::CommonOptions common;
    pva::OptionSet set("pva_phase2",
                       "Phase 2: encodes the residuals of one part of the split with the SAE of each layer, compares every latent between right "
                       "and wrong programs, drops those of general language, and ranks the rest.",
                       {"mpirun -n 2 pva_phase2 --model data/demo/model --problems data/demo/problems.jsonl --sae data/demo/saes "
                        "--general-text data/demo/general_text.jsonl"});
    pva::phases::register_options(set, options);
    pva::register_options(set, common);
    return pva::phases::run_executable(argc, argv, set, common, nullptr,
                                       [&](pva::phases::Context& context) { return pva::phases::run_phase2(context, options); });
}
