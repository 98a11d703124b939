// pva_report: one HTML page on a folder of results.
#include "pva/phases/report.h"
#include "pva/phases/tool.h"

int main(int argc, char** argv) {
    pva::phases::ReportOptions options;
    pva::OptionSet set("pva_report", "Writes one self-contained HTML page on what the phases found: tables, figures, contexts of latents, caveats. Figures are drawn by gnuplot.",
                       {"pva_report data", "pva_report data --latent 12/3456", "pva_report data --codes data/codes/general_text.h5 --output study.html"});
    pva::phases::register_options(set, options);
    return pva::phases::run_tool(argc, argv, set, [&](pva::Log& log) { pva::phases::run_report(log, options); });
}
