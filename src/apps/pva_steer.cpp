// pva_steer: what adding the chosen latents' directions to the stream does to the programs, beside controls.
#include "pva/phases/steering.h"

int main(int argc, char** argv) {
    pva::phases::SteeringOptions options;
    pva::CommonOptions common;
    pva::OptionSet set("pva_steer",
                       "Phase 3, steering: adds the decoder rows of the latents chosen by phase 2 to the residual stream while the model writes. The coefficient is chosen on the tuning part; on the "
                       "analysis part its effect is counted beside that of control vectors.",
                       {"mpirun -n 2 pva_steer --model data/demo/model --problems data/demo/problems.jsonl --sae data/demo/saes --test-seconds 2",
                        "mpirun -n 2 pva_steer --model data/demo/model --problems data/demo/problems.jsonl --sae data/demo/saes --arms against-wrong,gated-right,without-right --controls 5",
                        "mpirun -n 4 pva_steer --model google/gemma-2-2b --problems mbpp.jsonl --sae SAES --positions all --scale absolute --coefficients 10,20,30,50,100 --compat paper"});
    pva::phases::register_options(set, options);
    pva::register_options(set, common);
    return pva::phases::run_executable(argc, argv, set, common, &options.python,
                                       [&](pva::phases::Context& context) { return pva::phases::run_steering(context, options); });
}
