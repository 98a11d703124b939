// The section of the report on detection over the course of writing.
#include <algorithm>
#include <array>
#include <cmath>

#include "pva/phases/report_sections.h"
#include "pva/phases/report_values.h"

namespace pva::phases {

namespace {

constexpr std::array<const char*, 5> colours = {colour_right, colour_wrong, colour_fourth, colour_fifth, colour_other};

/// An axis with a name at every stage; of many only every second or third, so that they do not run into each other.
void name_stages(Plot& plot, const std::vector<std::string>& stages) {
    plot.x_range = {{-0.5, static_cast<double>(stages.size()) - 0.5}};
    const std::size_t step = stages.size() <= 5 ? 1 : (stages.size() + 3) / 4;
    for (std::size_t s = 0; s < stages.size(); s += step) plot.x_tics.emplace_back(static_cast<double>(s), stages[s]);
    plot.y_label = "AUROC, analysis part";
    plot.legend = "outside top center horizontal samplen 2 maxrows 3";
    PlotSeries chance{PlotSeries::Kind::dashes, "", colour_other, {-0.5, static_cast<double>(stages.size()) - 0.5}, {0.5, 0.5}, {}, {}};
    plot.series.push_back(chance);
}

}  // namespace

void section_writing(Page& page, const ReportStudy& study) {
    page.section("writing", "Detection over the course of writing");
    if (!study.stages) {
        return page.missing("Not there: there is no result of it. --positions last-prompt,signature-end,tenths,last-token, added to the command of pva_phase1, stores the rows that pva_phase3 then computes it from.");
    }
    const io::ResultReader& file = *study.stages;
    const auto stages = file.read_texts("stage");
    const auto detectors = file.read_texts("detector");
    const auto baselines = file.read_texts("baseline");
    const auto layers = file.read<std::int32_t>("layer");
    const auto passed = file.read<std::uint8_t>("passed");
    const std::size_t n = stages.size();
    const std::size_t n_detectors = detectors.size();
    const std::size_t n_baselines = baselines.size();
    const auto written = read_sized<double>(file, "tokens_written", n);
    const auto best = read_sized<std::int32_t>(file, "best_layer", n * n_detectors);
    std::array<std::vector<double>, 3> of_detector;
    std::array<std::vector<double>, 3> of_baseline;
    constexpr std::array<const char*, 3> figures = {"auroc", "auroc_low", "auroc_high"};
    for (std::size_t f = 0; f < figures.size(); ++f) {
        of_detector[f] = read_sized<double>(file, figures[f], n * layers.size() * n_detectors);
        of_baseline[f] = read_sized<double>(file, std::string("baseline_") + figures[f], n * n_baselines);
    }
    const auto difference = read_sized<double>(file, "against_words/difference", n * n_detectors);
    const auto low = read_sized<double>(file, "against_words/low", n * n_detectors);
    const auto high = read_sized<double>(file, "against_words/high", n * n_detectors);

    page.paragraph("The residual stream of " + value_text(file.identity(), "site") + " is read at " + std::to_string(n) + " stages of writing, from the last token of the prompt to the last token of the program. At every stage latents and "
                   "directions are chosen again on the selection part, the layer too; figures are of " + std::to_string(passed.size()) + " programs of the analysis part. Later stages see more of the program, and so do the words written so far.");
    Plot course;
    course.name = "AUROC by stage of writing: latents and directions";
    name_stages(course, stages);
    std::vector<std::vector<std::string>> rows(n);
    for (std::size_t s = 0; s < n; ++s) rows[s] = {stages[s], figure(written[s], 1)};
    for (std::size_t d = 0; d < n_detectors; ++d) {
        PlotSeries line{PlotSeries::Kind::line, detectors[d], colours[d % colours.size()], {}, {}, {}, {}};
        for (std::size_t s = 0; s < n; ++s) {
            const std::int32_t layer = best[s * n_detectors + d];
            if (layer >= 0 && static_cast<std::size_t>(layer) >= layers.size()) throw InputError(file.path() + " dataset best_layer: names a layer that the file does not have; it is damaged");
            if (layer < 0) {
                rows[s].push_back("-");
                continue;
            }
            const std::size_t at = (s * layers.size() + static_cast<std::size_t>(layer)) * n_detectors + d;
            line.x.push_back(static_cast<double>(s));
            line.y.push_back(of_detector[0][at]);
            rows[s].push_back(with_interval(of_detector[0][at], of_detector[1][at], of_detector[2][at]) + ", L" + std::to_string(layers[static_cast<std::size_t>(layer)]));
        }
        course.series.push_back(line);
    }
    Plot plain;
    plain.name = "AUROC by stage of writing: plain baselines";
    name_stages(plain, stages);
    for (std::size_t b = 0; b < n_baselines; ++b) {
        PlotSeries line{PlotSeries::Kind::line, baselines[b], colours[b % colours.size()], {}, {}, {}, {}};
        for (std::size_t s = 0; s < n; ++s) {
            line.x.push_back(static_cast<double>(s));
            line.y.push_back(of_baseline[0][s * n_baselines + b]);
        }
        plain.series.push_back(line);
    }
    // One scale for both, so that heights compare.
    double bottom = 0.45;
    double top = 0.6;
    for (const Plot* plot : {&course, &plain}) {
        for (const PlotSeries& series : plot->series) {
            for (const double value : series.y) {
                if (!std::isfinite(value)) continue;
                bottom = std::min(bottom, value - 0.02);
                top = std::max(top, value + 0.02);
            }
        }
    }
    course.y_range = plain.y_range = {{bottom, top}};
    page.begin_row();
    page.plot(course, "Latents and directions, each in the layer that is best on the selection part. Dashed: chance.");
    page.plot(plain, "What needs no look inside, on the same scale.");
    page.end_row();
    std::vector<std::string> head = {"stage", "tokens written"};
    head.insert(head.end(), detectors.begin(), detectors.end());
    page.table(head, rows, "AUROC on the analysis part with 95 % interval, and layer");

    std::vector<std::vector<std::string>> against(n);
    for (std::size_t s = 0; s < n; ++s) {
        against[s] = {stages[s]};
        for (std::size_t b = 0; b < n_baselines; ++b) against[s].push_back(with_interval(of_baseline[0][s * n_baselines + b], of_baseline[1][s * n_baselines + b], of_baseline[2][s * n_baselines + b]));
        for (std::size_t d = 0; d < n_detectors; ++d) against[s].push_back(with_interval(difference[s * n_detectors + d], low[s * n_detectors + d], high[s * n_detectors + d]));
    }
    head = {"stage"};
    head.insert(head.end(), baselines.begin(), baselines.end());
    for (const std::string& detector : detectors) head.push_back(detector + " less words");
    page.table(head, against, "Plain baselines, and what is left of each detector beside the words so far (paired difference of AUROC, 95 % interval)");
}

}  // namespace pva::phases
