// pva_export: a table of a result file as CSV, JSON Lines or npz.
#include <iostream>

#include "pva/phases/export.h"
#include "pva/phases/tool.h"

int main(int argc, char** argv) {
    pva::phases::ExportOptions options;
    pva::OptionSet set("pva_export", "Writes a table of a result file as CSV, JSON Lines or npz. Needs no model and one process.",
                       {"pva_export data/phase3/validation_model_0-339_T.h5 --list", "pva_export data/phase2/latents_model_0-339_selection_T.h5 --table layer/latent --output latents.csv",
                        "pva_export data/phase1_0/dataset_model_0-339_T.h5 --table row --format jsonl --columns task_id,passed,program",
                        "pva_export data/phase1_0/dataset_model_0-339_T.h5 --table problem --format npz --output residual.npz"});
    pva::phases::register_options(set, options);
    return pva::phases::run_tool(argc, argv, set, [&](pva::Log&) { pva::phases::run_export(options, std::cout); });
}
