// pva_phase3: held-out detection by the chosen latents and by plain baselines.
#include "pva/phases/phase3.h"

int main(int argc, char** argv) {
    pva::phases::Phase3Options options;
    pva::CommonOptions common;
    pva::OptionSet set("pva_phase3",
                       "Phase 3: how well the latents chosen by phase 2 predict right and wrong programs on problems they were not chosen on, "
                       "beside plain baselines.",
                       {"mpirun -n 2 pva_phase3 --model data/demo/model --problems data/demo/problems.jsonl --sae data/demo/saes"});
    pva::phases::register_options(set, options);
    pva::register_options(set, common);
    return pva::phases::run_executable(argc, argv, set, common, nullptr,
                                       [&](pva::phases::Context& context) { return pva::phases::run_phase3(context, options); });
}
