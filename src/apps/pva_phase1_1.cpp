// pva_phase1_1: dividing the problems into selection, tuning and analysis.
#include "pva/phases/phase1_1.h"

int main(int argc, char** argv) {
    pva::phases::Phase11Options options;
    pva::CommonOptions common;
    pva::OptionSet set("pva_phase1_1",
                       "Phase 1.1: divides the problems 50/10/40 into selection, tuning and analysis, balanced over difficulty.",
                       {"pva_phase1_1 --problems data/demo/problems.jsonl", "pva_phase1_1 --problems mbpp.jsonl --compat paper"});
    pva::phases::register_options(set, options);
    pva::register_options(set, common);
    return pva::phases::run_executable(argc, argv, set, common, nullptr,
                                       [&](pva::phases::Context& context) { return pva::phases::run_phase1_1(context, options); });
}
