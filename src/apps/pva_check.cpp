// pva_check: what a model computes here, for comparison with a reference.
#include "pva/phases/check.h"

int main(int argc, char** argv) {
    pva::phases::CheckOptions options;
    pva::CommonOptions common;
    pva::OptionSet set("pva_check",
                       "Loads a model and shows what it computes: parameters, memory, tokens a second, loss on a text; with --dump logits, rows at "
                       "sites and greedy tokens as HDF5, to be compared with a reference.",
                       {"pva_check --model data/demo/model --text data/demo/general_text.jsonl --records 40",
                        "pva_check --model google/gemma-2-2b --dtype bfloat16",
                        "pva_check --model data/demo/model --tokens ids.json --sites resid_post,attn_out,blocks.3.hook_z --generate 20 --dump out.h5"});
    pva::phases::register_options(set, options);
    pva::register_options(set, common);
    return pva::phases::run_executable(argc, argv, set, common, nullptr,
                                       [&](pva::phases::Context& context) { return pva::phases::run_check(context, options); });
}
