// From a folder of results to a page.
#include "pva/phases/report.h"

#include <functional>
#include <nlohmann/json.hpp>

#include "pva/core/error.h"
#include "pva/io/whole_file.h"
#include "pva/phases/report_sections.h"

namespace pva::phases {

void register_options(OptionSet& set, ReportOptions& options) {
    set.add_positional("folder", options.folder, "DIR", "folder with the results of the phases, as given to them by --data");
    set.add("output", options.output, "FILE", "the page; report.html in the folder when not given");
    set.add("model", options.model, "NAME", "only results of the model of this name");
    set.add("latent", options.latent, "L/J", "the page of latent J of layer L alone");
    set.add("latents", options.latents, "N", "latents of each direction that are shown one by one").at_least(0);
    set.add("contexts", options.contexts, "N", "strongest contexts of each, in programs and in each text").at_least(0);
    set.add("codes", options.codes, "LIST", "codes of texts (pva_check --codes FILE.h5), separated by commas; those in DIR/codes when not given");
    set.add("tokenizer", options.tokenizer, "FILE", "tokenizer of the model; the one phase 1 read when not given");
}

void run_report(Log& log, const ReportOptions& options) {
    if (options.folder.empty()) throw UsageError("which results? pva_report DIR, where DIR is what the phases got as --data");
    const ReportStudy study = open_report_study(options.folder, options.model);
    Page page;
    // A damaged file spoils its section, not the page.
    const auto guarded = [&](const std::function<void()>& section) {
        try {
            section();
        } catch (const InputError& error) {
            log.warning(error.what());
            page.missing(std::string("The rest of this section is missing: ") + error.what());
        } catch (const nlohmann::json::exception& error) {
            log.warning(std::string("a stored summary or setting is damaged: ") + error.what());
            page.missing("The rest of this section is missing: a stored summary or setting is damaged.");
        }
    };
    std::optional<LatentGrid> grid;
    std::vector<ChosenLatent> chosen;
    if (study.latents) {
        guarded([&] {
            grid = read_latent_grid(*study.latents);
            if (options.latent.empty()) chosen = first_latents(*study.latents, *grid, options.latents);
        });
    }
    if (!options.latent.empty()) {
        if (!grid) throw InputError(options.folder + ": holds no result of phase 2, so there is no latent to show");
        chosen = {named_latent(*grid, options.latent)};
    }
    const auto show_latents = [&] {
        page.section("chosen", options.latent.empty() ? "Chosen latents one by one" : "Activations and contexts");
        if (chosen.empty()) {
            page.missing(study.latents ? "No latent was chosen." : "No latents were compared yet: pva_phase2 does it.");
            return;
        }
        ContextFinder contexts(study, options);
        contexts.prepare(chosen);
        for (const std::string& note : contexts.notes()) page.missing(note);
        if (contexts.has_programs() || contexts.has_texts()) {
            page.paragraph("In the contexts the token with the largest activation is framed, and shades are shares of the largest activation shown. The first token of a sequence is never counted: in many models it is an outlier.");
        }
        for (const ChosenLatent& latent : chosen) guarded([&] { part_latent(page, study, *grid, contexts, latent); });
    };
    std::string title = "Does " + (study.model.empty() ? std::string("the model") : study.model) + " know which of its programs are right?";
    if (options.latent.empty()) {
        guarded([&] { section_brief(page, study); });
        guarded([&] { section_study(page, study); });
        guarded([&] { section_solved(page, study); });
        guarded([&] { section_latents(page, study); });
        guarded(show_latents);
        guarded([&] { section_detection(page, study); });
        guarded([&] { section_writing(page, study); });
        guarded([&] { section_steering(page, study); });
    } else {
        title = "Latent " + chosen.front().name() + " of " + study.model;
        guarded(show_latents);
    }
    guarded([&] { section_caveats(page, study); });

    std::string failure;
    const auto drawings = draw_plots(page.plots(), failure);
    if (!failure.empty()) log.warning("no figures: " + failure);
    const std::string output = !options.output.empty() ? options.output : options.folder + "/" + (options.latent.empty() ? "report" : "latent_" + chosen.front().name()) + ".html";
    io::write_whole_file(output, page.document(title, drawings, failure));
    log.info("wrote " + output + "; open it in a browser");
}

}  // namespace pva::phases
