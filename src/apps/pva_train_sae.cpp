// pva_train_sae: trains sparse autoencoders on a model's rows, on many ranks.
#include "pva/phases/train_sae.h"

int main(int argc, char** argv) {
    pva::phases::TrainSaeOptions options;
    pva::CommonOptions common;
    pva::OptionSet set("pva_train_sae",
                       "Trains sparse autoencoders (TopK, BatchTopK, JumpReLU) on the rows of a model at any site, several layers and widths from one pass of the model over a text. Writes folders that "
                       "SAELens and pva load. A stopped run goes on by the same command.",
                       {"pva_train_sae --model data/demo/model --text data/demo/general_text.jsonl --layers 3 --latents 512 --l0 16 --tokens 40000 --out data/saes",
                        "mpirun -n 8 pva_train_sae --model google/gemma-2-2b --text corpus --layers 6,12,18 --latents 16384,65536 --l0 64 --tokens 200000000 --kind jumprelu --format gemma-scope --out saes"});
    pva::phases::register_options(set, options);
    pva::register_options(set, common);
    return pva::phases::run_executable(argc, argv, set, common, nullptr,
                                       [&](pva::phases::Context& context) { return pva::phases::run_train_sae(context, options); });
}
