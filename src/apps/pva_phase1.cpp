// pva_phase1: a program for every problem, its verdict, and the residual stream at the last prompt token.
#include "pva/phases/phase1.h"

int main(int argc, char** argv) {
    pva::phases::Phase1Options options;
    pva::CommonOptions common;
    pva::OptionSet set("pva_phase1",
                       "Phase 1: the model writes a program for every problem (greedily), the program is run on its tests, and the "
                       "residual stream of all layers at the last prompt token is stored.",
                       {"mpirun -n 2 pva_phase1 --model data/demo/model --problems data/demo/problems.jsonl --max-new-tokens 128",
                        "mpirun -n 8 pva_phase1 --model /models/gemma-2-2b --problems mbpp.jsonl --start 0 --end 486"});
    pva::phases::register_options(set, options);
    pva::register_options(set, common);
    return pva::phases::run_executable(argc, argv, set, common, &options.python,
                                       [&](pva::phases::Context& context) { return pva::phases::run_phase1(context, options); });
}
