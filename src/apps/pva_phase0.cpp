// pva_phase0: difficulty of every problem.
#include "pva/phases/phase0.h"

int main(int argc, char** argv) {
    pva::phases::Phase0Options options;
    pva::CommonOptions common;
    pva::OptionSet set("pva_phase0",
                       "Phase 0: cyclomatic complexity (radon's rules) of every problem's reference solution.",
                       {"mpirun -n 2 pva_phase0 --problems data/demo/problems.jsonl",
                        "pva_phase0 --problems mbpp.jsonl --start 0 --end 99 --dry-run"});
    pva::phases::register_options(set, options);
    pva::register_options(set, common);
    return pva::phases::run_executable(argc, argv, set, common, &options.python,
                                       [&](pva::phases::Context& context) { return pva::phases::run_phase0(context, options); });
}
