// Sections of the report.
#include "pva/phases/report_sections.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "pva/core/error.h"
#include "pva/phases/report_values.h"
#include "pva/stats/intervals.h"

namespace pva::phases {

using json = nlohmann::ordered_json;

namespace {

json run_of(const io::ResultReader& reader) {
    const auto texts = reader.read_texts("measured/run");
    return texts.empty() ? json() : json::parse(texts.front(), nullptr, false);
}

std::string short_hash(const std::string& hash) { return hash.size() > 12 ? hash.substr(0, 12) : hash; }

constexpr std::array<const char*, 4> difficulty_names = {"easy (complexity 1)", "medium (2, 3)", "hard (4 and more)", "unknown"};

std::size_t difficulty_of(std::int32_t complexity) { return complexity < 0 ? 3 : complexity <= 1 ? 0 : complexity <= 3 ? 1 : 2; }

struct Share {
    std::uint64_t passed = 0;
    std::uint64_t n = 0;
    double share() const { return n == 0 ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(passed) / static_cast<double>(n); }
    stats::Interval interval() const { return stats::wilson(passed, n); }
};

/// Whether a detector of a summary has read the program itself, which latents at the prompt have not (mean log-probability of what was written).
bool has_read_program(const json& detector) { return value_number(detector, "kind") == 8; }

/// Equal bins over the values of all groups; the histogram of each.
struct Histogram {
    std::vector<double> centres;
    std::vector<std::vector<double>> counts;
};
Histogram histogram(const std::vector<std::vector<double>>& groups, std::size_t bins) {
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    for (const auto& group : groups) {
        for (const double value : group) {
            if (!std::isfinite(value)) continue;
            low = std::min(low, value);
            high = std::max(high, value);
        }
    }
    Histogram h;
    h.counts.assign(groups.size(), std::vector<double>(bins, 0.0));
    if (!(low <= high)) return {};
    const double width = high > low ? (high - low) / static_cast<double>(bins) : 1.0;
    for (std::size_t b = 0; b < bins; ++b) h.centres.push_back(low + (static_cast<double>(b) + 0.5) * width);
    for (std::size_t g = 0; g < groups.size(); ++g) {
        for (const double value : groups[g]) {
            if (std::isfinite(value)) ++h.counts[g][std::min(bins - 1, static_cast<std::size_t>((value - low) / width))];
        }
    }
    return h;
}

}  // namespace

void section_brief(Page& page, const ReportStudy& study) {
    page.section("brief", "In brief");
    std::vector<std::string> found;
    if (study.dataset) {
        const auto passed = study.dataset->read<std::uint8_t>("passed");
        const auto right = static_cast<std::size_t>(std::count(passed.begin(), passed.end(), std::uint8_t{1}));
        if (!passed.empty()) found.push_back("The model wrote " + std::to_string(passed.size()) + " programs; " + std::to_string(right) + " are right (" + percent(static_cast<double>(right) / static_cast<double>(passed.size())) + ").");
    }
    if (study.latents) {
        const json summary = study.latents->summary();
        found.push_back(value_text(summary, "kept") + " of " + value_text(summary, "latents") + " latents could be compared. " + value_text(summary, "q_below_0.05") + " of them have a q-value below 0.05 where they were chosen.");
    }
    if (study.validation) {
        // The first latent of each ranking was fixed before the held-out problems were looked at; the best baseline was not.
        const json summary = study.validation->summary();
        for (const std::string wanted : {"right", "wrong"}) {
            json latent;
            json baseline;
            for (const json& d : summary.value("detectors", json::array())) {
                if (value_text(d, "positive_class") != wanted || !std::isfinite(value_number(d, "auroc"))) continue;
                if (value_number(d, "layer") >= 0) {
                    if (latent.is_null()) latent = d;
                } else if (has_read_program(d)) {
                    continue;
                } else if (baseline.is_null() || value_number(d, "auroc") > value_number(baseline, "auroc")) {
                    baseline = d;
                }
            }
            if (latent.is_null()) continue;
            const auto text = [](const json& d) { return value_text(d, "detector") + " has AUROC " + with_interval(value_number(d, "auroc"), value_number(d, "auroc_low"), value_number(d, "auroc_high")); };
            found.push_back("Held out, for " + wanted + " programs: the latent that ranked first, " + text(latent) + (baseline.is_null() ? "." : "; of the plain baselines, " + text(baseline) + "."));
        }
    }
    for (const json& summary : steering_summaries(study)) {
        for (const json& condition : summary.value("conditions", json::array())) {
            if (!condition.is_object() || value_text(condition, "arm") == "-1" || value_text(condition, "condition") == "no steering") continue;
            if (found.size() < 9) found.push_back(steering_in_brief(summary, condition));
        }
    }
    if (found.empty()) return page.missing("There are no programs yet: pva_phase1 writes them.");
    page.list(found);
    page.html("<p>What these figures are worth: <a href=\"#caveats\">what to keep in mind</a>.</p>\n");
}

void section_study(Page& page, const ReportStudy& study) {
    page.section("study", "What was run");
    std::vector<std::vector<std::string>> facts;
    const auto& any = study.dataset ? study.dataset : study.latents ? study.latents : study.validation;
    if (any) {
        const json& identity = any->identity();
        facts.push_back({"model", value_text(identity, "model") + " (weights " + short_hash(value_text(identity, "model_weights")) + ")"});
        facts.push_back({"problems", "index " + value_text(identity, "start") + " to " + value_text(identity, "end") + " of the file with SHA-256 " + short_hash(value_text(identity, "problems"))});
    }
    if (study.dataset) {
        const json& identity = study.dataset->identity();
        const double temperature = value_number(identity, "temperature");
        facts.push_back({"programs", value_text(identity, "samples") + " for each problem, " + (temperature == 0 ? "greedy" : "temperature " + value_text(identity, "temperature")) + ", at most " +
                                         value_text(identity, "max-new-tokens") + " tokens"});
        facts.push_back({"prompt, extraction", value_text(identity, "prompt") + ", " + value_text(identity, "extraction")});
        facts.push_back({"forward pass", value_text(identity, "forward") + ", " + value_text(identity, "dtype") + ", " + value_text(identity, "device")});
        facts.push_back({"programs were tested in", value_text(identity, "isolation") + ", at most " + value_text(identity, "test-seconds") + " s and " + value_text(identity, "test-memory-mb") + " MiB"});
    }
    if (study.latents) {
        const json& identity = study.latents->identity();
        const json summary = study.latents->summary();
        facts.push_back({"SAEs", std::to_string(study.latents->shape("layer").at(0)) + " of site " + value_text(identity, "site") + " at " + value_text(identity, "position") + ", " + value_text(summary, "latents") + " latents together"});
        facts.push_back({"general text", value_text(summary, "general_text_positions") + " positions"});
        facts.push_back({"latents are ranked by", value_text(summary, "score") + " on " + value_text(summary, "problems") + " problems of the " + value_text(summary, "part") + " part"});
    }
    if (study.splits) {
        const json summary = study.splits->summary();
        std::string parts;
        for (const std::string part : {"selection", "tuning", "analysis"}) {
            if (summary.contains(part)) parts += (parts.empty() ? "" : ", ") + part + " " + value_text(summary.at(part), "problems");
        }
        facts.push_back({"split", parts + (study.splits->identity().value("compat", std::string("none")) == "paper" ? "; the published one (--compat paper)" : "")});
    }
    page.table({"", ""}, facts);
    if (!any) page.missing("There are no programs yet: pva_phase1 writes them.");

    std::vector<std::vector<std::string>> runs;
    const auto add = [&](const char* phase, const std::optional<io::ResultReader>& reader) {
        if (!reader) {
            runs.push_back({phase, "no result", "", "", ""});
            return;
        }
        const json run = run_of(*reader);
        const json provenance = run.is_object() && run.contains("provenance") ? run.at("provenance") : json();
        runs.push_back({phase, std::filesystem::path(reader->path()).filename().string(), value_text(run, "ranks"), figure(value_number(run, "seconds"), 1), value_text(provenance, "version") + " (" + value_text(provenance, "git_sha") + ")"});
    };
    add("0, difficulty", study.difficulty);
    add("1, programs", study.dataset);
    add("1.1, split", study.splits);
    add("1.2, temperatures", study.temperatures);
    add("2, latents", study.latents);
    add("3, detection", study.validation);
    if (study.stages) add("3, course of writing", study.stages);
    for (const SteeringRun& run : study.steering) {
        if (run.tuning) add("steering, tuning", run.tuning);
        if (run.analysis) add("steering, analysis", run.analysis);
    }
    page.table({"phase", "file", "ranks", "seconds", "pva"}, runs, "Results on this page. Seconds are those of the run that finished the file.");
    if (study.others > 0) page.paragraph(std::to_string(study.others) + " other complete results in the same folders are not on this page: they belong to other settings, models or problems, or are older.");
    for (const std::string& reason : study.unusable) page.missing("Not used: " + reason);
}

void section_solved(Page& page, const ReportStudy& study) {
    page.section("solved", "What the model solves");
    if (!study.dataset) return page.missing("There are no programs yet: pva_phase1 writes them.");
    const io::ResultReader& dataset = *study.dataset;
    const auto passed = dataset.read<std::uint8_t>("passed");
    const auto complexity = dataset.read<std::int32_t>("complexity");
    require_size(complexity, passed.size(), dataset, "complexity");
    Share all;
    std::array<Share, 4> by_difficulty;
    for (std::size_t i = 0; i < passed.size(); ++i) {
        for (Share* share : {&all, &by_difficulty[difficulty_of(complexity[i])]}) {
            ++share->n;
            share->passed += passed[i];
        }
    }
    page.paragraph(std::to_string(all.passed) + " of " + std::to_string(all.n) + " programs pass all their tests (" + percent(all.share()) + ").");

    std::vector<std::vector<std::string>> rows;
    Plot plot;
    plot.name = "Share of solved problems by difficulty";
    plot.y_label = "share solved";
    plot.y_range = {{0, 1}};
    plot.x_range = {{-0.6, 2.6}};
    plot.x_tics = {{0, "easy"}, {1, "medium"}, {2, "hard"}};
    plot.legend = "bottom left";
    PlotSeries greedy{PlotSeries::Kind::error_bars, "", colour_right, {}, {}, {}, {}};
    for (std::size_t d = 0; d < by_difficulty.size(); ++d) {
        const Share& share = by_difficulty[d];
        if (share.n == 0) continue;
        rows.push_back({difficulty_names[d], std::to_string(share.n), std::to_string(share.passed), percent(share.share()), percent(share.interval().lower) + " to " + percent(share.interval().upper)});
        if (d == 3) continue;
        greedy.x.push_back(static_cast<double>(d));
        greedy.y.push_back(share.share());
        greedy.low.push_back(share.interval().lower);
        greedy.high.push_back(share.interval().upper);
    }
    plot.series.push_back(greedy);
    page.table({"difficulty", "programs", "right", "share", "95 % interval (Wilson)"}, rows, "By difficulty of the reference solution");
    if (by_difficulty[3].n == all.n) page.missing("The dataset was made without difficulties: run pva_phase0 before pva_phase1.");

    const json verdicts = dataset.summary().value("verdicts", json::object());
    std::vector<std::vector<std::string>> kinds;
    for (const auto& [name, count] : verdicts.items()) kinds.push_back({name, count.dump(-1, ' ', false, json::error_handler_t::replace)});
    page.table({"verdict", "programs"}, kinds, "How the tests ended");

    page.begin_row();
    if (study.temperatures) {
        const io::ResultReader& sampled = *study.temperatures;
        const auto right = sampled.read<std::uint8_t>("passed");
        const auto degrees = sampled.read<double>("temperature");
        const auto hard = sampled.read<std::int32_t>("complexity");
        require_size(degrees, right.size(), sampled, "temperature");
        require_size(hard, right.size(), sampled, "complexity");
        std::map<double, std::array<Share, 4>> shares;
        for (std::size_t i = 0; i < right.size(); ++i) {
            Share& share = shares[degrees[i]][difficulty_of(hard[i])];
            ++share.n;
            share.passed += right[i];
        }
        constexpr std::array<const char*, 3> colours = {colour_right, colour_fourth, colour_wrong};
        Plot by_temperature;
        by_temperature.name = "Share of right programs by temperature and difficulty";
        by_temperature.x_label = "temperature";
        by_temperature.y_label = "share of right programs";
        by_temperature.y_range = {{0, 1}};
        by_temperature.legend = "outside top center horizontal samplen 2";
        for (std::size_t d = 0; d < 3; ++d) {
            PlotSeries line{PlotSeries::Kind::line, std::array<const char*, 3>{"easy", "medium", "hard"}[d], colours[d], {}, {}, {}, {}};
            for (const auto& [degree, of] : shares) {
                if (of[d].n == 0) continue;
                line.x.push_back(degree);
                line.y.push_back(of[d].share());
            }
            by_temperature.series.push_back(line);
        }
        page.plot(plot, "Programs of phase 1, with 95 % intervals.");
        page.plot(by_temperature, "Sampled programs of phase 1.2, part " + value_text(sampled.identity(), "part") + ".");
        page.end_row();
        std::vector<std::vector<std::string>> table;
        const json summary = sampled.summary();
        for (const json& entry : summary.value("temperatures", json::array())) {
            std::string pass;
            const json pass_at_k = entry.value("pass_at_k", json::object());
            for (const auto& [k, value] : pass_at_k.items()) {
                pass += (pass.empty() ? "" : "; ") + std::string("k = ") + k + ": " + with_interval(value_number(value, "mean"), value_number(value, "lower"), value_number(value, "upper"));
            }
            table.push_back({value_text(entry, "temperature"), value_text(entry, "right"), value_text(entry, "problems_solved"), pass});
        }
        page.table({"temperature", "right programs", "problems solved by any", "pass@k with 95 % interval over problems"}, table, "By temperature (0: the program of phase 1)");
    } else {
        page.plot(plot, "Programs of phase 1, with 95 % intervals.");
        page.end_row();
        page.missing("Nothing was sampled at temperatures above 0: pva_phase1_2 does it.");
    }
}

void section_latents(Page& page, const ReportStudy& study) {
    page.section("latents", "Which latents tell right from wrong");
    if (!study.latents) return page.missing("No latents were compared yet: pva_phase2 does it.");
    const io::ResultReader& latents = *study.latents;
    const LatentGrid grid = read_latent_grid(latents);
    const json summary = latents.summary();
    page.paragraph("Of " + value_text(summary, "latents") + " latents " + value_text(summary, "set_aside_rare") + " were set aside because they fire on too few problems, " + value_text(summary, "dropped_general_text") +
                   " were dropped because they fire too often on general text, and " + value_text(summary, "kept") + " were kept and ranked by " + value_text(summary, "score") + ". " + value_text(summary, "q_below_0.05") +
                   " of them have a q-value below 0.05.");
    const auto threshold = latents.read<double>("permutation/threshold");

    std::vector<double> kept;
    for (std::size_t i = 0; i < grid.score.size(); ++i) {
        if (grid.kept[i] == 1) kept.push_back(grid.score[i]);
    }
    page.begin_row();
    for (const bool log : {false, true}) {
        Plot plot;
        plot.name = std::string("Histogram of separation scores of the kept latents, ") + (log ? "logarithmic" : "linear") + " counts";
        plot.x_label = "separation score (above 0: right, below 0: wrong)";
        plot.y_label = log ? "latents, logarithmic" : "latents";
        plot.log_y = log;
        plot.legend = "outside top center horizontal samplen 2";
        const Histogram h = histogram({kept}, 41);
        double most = 1;
        if (!h.centres.empty()) {
            plot.series.push_back({PlotSeries::Kind::bars, "", colour_right, h.centres, h.counts[0], {}, {}});
            most = *std::max_element(h.counts[0].begin(), h.counts[0].end());
        }
        plot.y_range = {{log ? 0.5 : 0.0, log ? most * 2 : most * 1.1}};
        if (!threshold.empty() && std::isfinite(threshold[0])) {
            for (const double side : {-1.0, 1.0}) {
                plot.series.push_back({PlotSeries::Kind::dashes, side > 0 ? "family-wise 0.05" : "", colour_wrong, {side * threshold[0], side * threshold[0]}, {plot.y_range->first, plot.y_range->second}, {}, {}});
            }
        }
        page.plot(plot, log ? "The same with logarithmic counts: the tails." : "Separation scores of all kept latents. Beyond the dashed lines a score has a family-wise p of at most 0.05 by permutation of labels.");
    }
    page.end_row();

    const auto auroc = latents.read<double>("statistics/auroc");
    require_size(auroc, grid.score.size(), latents, "statistics/auroc");
    for (const bool right : {true, false}) {
        const std::string group = right ? "ranked_right/" : "ranked_wrong/";
        const auto layer = latents.read<std::int32_t>(group + "layer");
        const auto latent = latents.read<std::int32_t>(group + "latent");
        std::map<std::string, std::vector<double>> columns;
        for (const std::string name : {"score", "q_value", "family_wise_p", "tuning_auroc", "tuning_auroc_low", "tuning_auroc_high"}) {
            columns[name] = latents.read<double>(group + name);
            require_size(columns[name], layer.size(), latents, group + name);
        }
        require_size(latent, layer.size(), latents, group + "latent");
        std::vector<std::vector<std::string>> rows;
        for (std::size_t i = 0; i < layer.size() && i < 10; ++i) {
            if (layer[i] < 0) break;
            const auto place = std::find(grid.layers.begin(), grid.layers.end(), layer[i]);
            if (place == grid.layers.end() || latent[i] < 0 || latent[i] >= grid.n_latents) throw InputError(latents.path() + " dataset " + group + "latent: names a latent that the file does not have");
            const std::size_t at = grid.at(static_cast<std::size_t>(place - grid.layers.begin()), latent[i]);
            rows.push_back({std::to_string(i + 1), "L" + std::to_string(layer[i]) + "-" + std::to_string(latent[i]), figure(columns["score"][i]), figure(right ? auroc[at] : 1 - auroc[at]), figure(columns["q_value"][i]),
                            figure(columns["family_wise_p"][i]), with_interval(columns["tuning_auroc"][i], columns["tuning_auroc_low"][i], columns["tuning_auroc_high"][i]), figure(100 * grid.rate[at], 3)});
        }
        if (rows.empty()) {
            page.missing(std::string("No kept latent speaks for ") + (right ? "right" : "wrong") + " programs.");
            continue;
        }
        page.table({"rank", "latent", "score", "AUROC where chosen", "q", "family-wise p", "AUROC on tuning", "fires on general text, %"}, rows, std::string("Latents that speak for ") + (right ? "right" : "wrong") + " programs");
    }

    // Layers: the best of each direction beside what directions drawn at random reach.
    const std::size_t n_layers = grid.layers.size();
    std::vector<double> best_right(n_layers, 0);
    std::vector<double> best_wrong(n_layers, 0);
    std::vector<double> where;
    for (std::size_t l = 0; l < n_layers; ++l) {
        where.push_back(grid.layers[l]);
        for (std::int64_t j = 0; j < grid.n_latents; ++j) {
            const std::size_t at = grid.at(l, j);
            if (grid.kept[at] != 1 || !std::isfinite(grid.score[at])) continue;
            best_right[l] = std::max(best_right[l], grid.score[at]);
            best_wrong[l] = std::max(best_wrong[l], -grid.score[at]);
        }
    }
    Plot layers;
    layers.name = "Largest separation score by layer";
    layers.x_label = "layer";
    layers.y_label = "largest score";
    layers.legend = "outside top center horizontal samplen 2";
    layers.series.push_back({PlotSeries::Kind::line, "right", colour_right, where, best_right, {}, {}});
    layers.series.push_back({PlotSeries::Kind::line, "wrong", colour_wrong, where, best_wrong, {}, {}});
    const auto random = latents.read<double>("random_directions/largest");
    require_size(random, n_layers, latents, "random_directions/largest");
    if (summary.value("score", std::string()) == "auroc") layers.series.push_back({PlotSeries::Kind::dashes, "random directions", colour_other, where, random, {}, {}});
    const double low = where.empty() ? 0 : where.front();
    const double high = where.empty() ? 1 : where.back();
    layers.x_range = {{low - 0.5, high + 0.5}};
    double top = 0.05;
    for (const auto& series : layers.series) {
        for (const double value : series.y) {
            if (std::isfinite(value)) top = std::max(top, value);
        }
    }
    layers.y_range = {{0, top * 1.15}};
    if (n_layers <= 14) {
        for (const double layer : where) layers.x_tics.emplace_back(layer, fixed(layer, 0));
    }

    Plot rates;
    rates.name = "Separation score of each latent against its rate on general text";
    rates.x_label = "share of positions of general text, logarithmic";
    rates.y_label = "separation score";
    rates.log_x = true;
    rates.legend = "outside top center horizontal samplen 2";
    const auto tokens = latents.read<std::uint64_t>("general_text/tokens");
    const double floor = tokens.empty() || tokens[0] == 0 ? 1e-6 : 0.5 / static_cast<double>(tokens[0]);
    PlotSeries kept_points{PlotSeries::Kind::points, "kept", colour_right, {}, {}, {}, {}};
    PlotSeries dropped{PlotSeries::Kind::points, "dropped", colour_wrong, {}, {}, {}, {}};
    // A picture of half a million points says no more than one of the kept ones.
    for (std::size_t i = 0; i < grid.score.size(); ++i) {
        if (grid.kept[i] == 0) continue;
        PlotSeries& to = grid.kept[i] == 1 ? kept_points : dropped;
        if (to.x.size() >= 20000) continue;
        to.x.push_back(std::max(grid.rate[i], floor));
        to.y.push_back(grid.score[i]);
    }
    rates.x_range = {{floor / 2, 1}};
    rates.series = {kept_points, dropped};
    page.begin_row();
    page.plot(layers, "Layer profile: the best latent of each direction in every layer" + std::string(layers.series.size() > 2 ? ", and the best of random directions of the residual stream." : "."));
    page.plot(rates, "Score against general text. Latents that never fire there stand at the left edge.");
    page.end_row();

    const auto l0 = latents.read<double>("quality/l0");
    const auto variance = latents.read<double>("quality/explained_variance");
    const auto cosine = latents.read<double>("quality/cosine");
    std::vector<std::vector<std::string>> quality;
    for (std::size_t l = 0; l < n_layers; ++l) {
        quality.push_back({std::to_string(grid.layers[l]), figure(l0.at(l), 1), figure(variance.at(l)), figure(cosine.at(l)), figure(best_right[l]), figure(best_wrong[l])});
    }
    page.table({"layer", "L0", "explained variance", "cosine", "best score, right", "best score, wrong"}, quality, "SAEs on these rows");

    const json comparison = summary.value("comparison", json::array());
    if (comparison.is_array() && comparison.size() > 1) {
        std::vector<std::vector<std::string>> table;
        for (const json& row : comparison) {
            table.emplace_back();
            for (const json& cell : row) table.back().push_back(cell.is_string() ? cell.get<std::string>() : cell.dump(-1, ' ', false, json::error_handler_t::replace));
        }
        const std::vector<std::string> head = table.front();
        table.erase(table.begin());
        page.table(head, table, "The best latents beside plain baselines, for right programs");
    }
}

void part_latent(Page& page, const ReportStudy& study, const LatentGrid& grid, const ContextFinder& contexts, const ChosenLatent& latent) {
    const io::ResultReader& latents = *study.latents;
    page.subsection(latent.name(), "Latent " + latent.name() + ": speaks for " + (latent.speaks_for_right ? "right" : "wrong") + " programs");
    const std::size_t at = grid.at(latent.layer_index, latent.latent);
    const auto one = [&](const std::string& name) {
        const auto row = latents.read_rows<double>(name, static_cast<std::int64_t>(latent.layer_index), 1);
        return row.at(static_cast<std::size_t>(latent.latent));
    };
    std::vector<std::vector<std::string>> facts = {
        {"AUROC for right programs", with_interval(one("statistics/auroc"), one("statistics/auroc_low"), one("statistics/auroc_high"))},
        {"q-value, family-wise p", figure(one("statistics/q_value")) + ", " + figure(one("statistics/family_wise_p"))},
        {"fires on right, wrong programs", percent(one("statistics/firing_share_right")) + ", " + percent(one("statistics/firing_share_wrong"))},
        {"mean activation on right, wrong", figure(one("statistics/mean_right")) + ", " + figure(one("statistics/mean_wrong"))},
        {"Cohen's d, Welch's t", figure(one("statistics/cohens_d")) + ", " + figure(one("statistics/welch_t"), 2)},
        {"fires on general text", figure(100 * grid.rate[at], 4) + " % of positions"},
        {"state", grid.kept[at] == 1 ? "kept" : grid.kept[at] == 0 ? "set aside: fires on too few problems" : "dropped: fires too often on general text"},
    };
    page.table({"where it was chosen", ""}, facts);
    const std::string sae = input_path(latents, "sae of layer " + std::to_string(latent.layer));
    const std::string link = neuronpedia_link(sae, latent.layer, latent.latent);
    if (!link.empty()) page.html("<p><a href=\"" + html_escape(link) + "\" rel=\"noreferrer\">This latent on Neuronpedia</a> (what it does on other texts)</p>\n");

    if (!study.codes || !study.dataset) {
        page.missing("Its activations are not shown: the file of codes that phase 2 wrote (sparse_*.h5) is missing.");
    } else {
        const auto values = activations(*study.codes, latent.layer, latent.latent);
        const auto code_ids = study.codes->read<std::int64_t>("task_id");
        require_size(code_ids, values.size(), *study.codes, "task_id");
        const auto ids = study.dataset->read<std::int64_t>("task_id");
        const auto passed = study.dataset->read<std::uint8_t>("passed");
        std::map<std::int64_t, std::uint8_t> label;
        for (std::size_t i = 0; i < ids.size() && i < passed.size(); ++i) label.try_emplace(ids[i], passed[i]);
        std::map<std::int64_t, std::uint8_t> part;
        if (study.splits) {
            const auto split_ids = study.splits->read<std::int64_t>("task_id");
            const auto parts = study.splits->read<std::uint8_t>("part");
            for (std::size_t i = 0; i < split_ids.size() && i < parts.size(); ++i) part[split_ids[i]] = parts[i];
        }
        // Right and wrong, where the latent was chosen and held out.
        std::array<std::vector<double>, 4> groups;
        for (std::size_t i = 0; i < values.size(); ++i) {
            const auto known = label.find(code_ids[i]);
            if (known == label.end()) continue;
            const auto in = part.find(code_ids[i]);
            const bool held_out = in != part.end() && in->second == 2;
            if (in != part.end() && in->second == 1) continue;
            groups[(held_out ? 2U : 0U) + (known->second == 1 ? 0U : 1U)].push_back(values[i]);
        }
        const bool has_held_out = !groups[2].empty() || !groups[3].empty();
        Plot boxes;
        boxes.name = "Activation of the latent on right and wrong programs";
        boxes.y_label = "activation at the position";
        boxes.legend = "off";
        boxes.x_range = {{0.4, has_held_out ? 4.6 : 2.6}};
        if (has_held_out) boxes.x_label = "left: where it was chosen; right: held out";
        for (std::size_t g = 0; g < (has_held_out ? 4U : 2U); ++g) {
            boxes.series.push_back({PlotSeries::Kind::boxes, "", g % 2 == 0 ? colour_right : colour_wrong, {static_cast<double>(g + 1)}, groups[g], {}, {}});
            boxes.x_tics.emplace_back(static_cast<double>(g + 1), g % 2 == 0 ? "right" : "wrong");
        }
        std::vector<std::vector<double>> firing(2);
        std::array<std::size_t, 2> n = {0, 0};
        for (std::size_t g = 0; g < 4; ++g) {
            n[g % 2] += groups[g].size();
            for (const double value : groups[g]) {
                if (value > 0) firing[g % 2].push_back(value);
            }
        }
        const Histogram h = histogram(firing, 25);
        Plot bars;
        bars.name = "Histogram of the latent's activations above 0 by class";
        bars.x_label = "activation, where above 0";
        bars.y_label = "share of the class";
        for (std::size_t g = 0; g < 2 && !h.centres.empty(); ++g) {
            std::vector<double> shares = h.counts[g];
            for (double& share : shares) share /= static_cast<double>(std::max<std::size_t>(1, n[g]));
            bars.series.push_back({PlotSeries::Kind::bars, g == 0 ? "right" : "wrong", g == 0 ? colour_right : colour_wrong, h.centres, shares, {}, {}});
        }
        page.begin_row();
        page.plot(boxes, "Quartiles, whiskers to 1.5 times their distance, and what lies beyond. Problems of the selection part (where it was chosen) and of the analysis part (held out).");
        page.plot(bars, "Activations above 0, selection and analysis parts together. It is silent on " + std::to_string(n[0] - firing[0].size()) + " of " + std::to_string(n[0]) + " right and " +
                            std::to_string(n[1] - firing[1].size()) + " of " + std::to_string(n[1]) + " wrong ones.");
        page.end_row();

        if (!contexts.has_programs() || contexts.in_programs(latent).empty()) {
            // What there is: the problems it is strongest on, with the programs that followed.
            std::vector<std::size_t> order(values.size());
            std::iota(order.begin(), order.end(), std::size_t{0});
            std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
            std::string html;
            std::size_t shown = 0;
            for (const std::size_t i : order) {
                if (values[i] <= 0 || shown == 3) break;
                const auto row = std::find(ids.begin(), ids.end(), code_ids[i]);
                if (row == ids.end()) continue;
                const auto bytes = study.dataset->read_bytes("program", row - ids.begin(), 1);
                std::string program(reinterpret_cast<const char*>(bytes.data()), bytes.size());
                program.resize(program.find_last_not_of('\0') + 1);
                html += "<p class=\"lead\">" + html_escape("problem " + std::to_string(code_ids[i]) + ", " + (label[code_ids[i]] == 1 ? "right" : "wrong") + ", activation " + figure(values[i])) + "</p><pre>" +
                        html_escape(program) + "</pre>\n";
                ++shown;
            }
            if (shown > 0) {
                page.html("<h4>Problems it is strongest on</h4>\n");
                page.paragraph("The activation is that at " + value_text(latents.identity(), "position") + ", before the program was written; the program below is what the model wrote after it.");
                page.html(html);
            }
        }
    }
    const auto programs = contexts.in_programs(latent);
    if (!programs.empty()) {
        page.html("<h4>Strongest in programs</h4>\n");
        page.html(contexts_html(programs));
    } else if (contexts.has_programs()) {
        page.paragraph("It fires at no token of the programs that were looked at.");
    }
    for (const auto& [name, found] : contexts.in_texts(latent)) {
        page.html("<h4>" + html_escape("Strongest in " + name) + "</h4>\n");
        if (found.empty()) page.paragraph("It fires at no token there.");
        else page.html(contexts_html(found));
    }
}

ScoreCurve score_curve(std::span<const double> scores, std::span<const std::uint8_t> positive) {
    if (scores.size() != positive.size()) throw InputError("score_curve: scores and labels have different lengths");
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (const double score : scores) {
        if (std::isnan(score)) throw InputError("score_curve: a score is NaN");
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
    const auto positives = static_cast<double>(std::count(positive.begin(), positive.end(), std::uint8_t{1}));
    const double negatives = static_cast<double>(scores.size()) - positives;
    if (positives == 0 || negatives == 0) return {};
    ScoreCurve curve{{0}, {0}, {0}, {1}, {0}};
    double hits = 0;
    double called = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
        hits += positive[order[i]] == 1 ? 1 : 0;
        ++called;
        if (i + 1 < order.size() && scores[order[i + 1]] == scores[order[i]]) continue;
        curve.called.push_back(called / static_cast<double>(scores.size()));
        curve.recall.push_back(hits / positives);
        curve.false_positive_rate.push_back((called - hits) / negatives);
        curve.precision.push_back(hits / called);
        curve.f1.push_back(2 * hits / (called + positives));
    }
    curve.precision.front() = curve.precision.at(1);  // where nothing is called positive it is undefined
    return curve;
}

namespace {

/// 1 for detectors that are a single latent. Since version 2 of docs/formats/validation.md a column says so; before, all but the baselines had a layer.
std::vector<std::uint8_t> is_single_latent(const io::ResultReader& file, const std::vector<std::int32_t>& layer) {
    std::vector<std::uint8_t> single;
    if (file.identity().value("format_version", 1) >= 2) {
        for (const std::uint8_t kind : read_sized<std::uint8_t>(file, "kind", layer.size())) single.push_back(kind == 0 ? 1 : 0);
    } else {
        for (const std::int32_t l : layer) single.push_back(l >= 0 ? 1 : 0);
    }
    return single;
}

/// By temperature and by group, where the file has them: the first latent of each class beside the words.
void detection_elsewhere(Page& page, const io::ResultReader& file, const std::vector<std::string>& names, const std::vector<std::uint8_t>& positive_class) {
    const std::size_t n = names.size();
    const auto kind = read_sized<std::uint8_t>(file, "kind", n);
    const auto temperatures = file.read<double>("temperature/value");
    const auto groups = file.read_texts("group/name");
    std::vector<std::size_t> shown;
    for (const std::uint8_t wanted : {std::uint8_t{0}, std::uint8_t{1}}) {
        for (const std::uint8_t what : {std::uint8_t{0}, std::uint8_t{1}}) {  // a latent, the words
            for (std::size_t d = 0; d < n; ++d) {
                if (positive_class[d] != wanted || kind[d] != what) continue;
                shown.push_back(d);
                break;
            }
        }
    }
    const auto table = [&](const std::string& folder, const std::vector<std::string>& strata, const std::string& head, const std::string& caption) {
        const std::size_t size = n * strata.size();
        const auto auroc = read_sized<double>(file, folder + "/auroc", size);
        const auto low = read_sized<double>(file, folder + "/auroc_low", size);
        const auto high = read_sized<double>(file, folder + "/auroc_high", size);
        std::vector<std::string> heads = {head};
        for (const std::size_t d : shown) heads.push_back((positive_class[d] == 0 ? "right by " : "wrong by ") + names[d]);
        std::vector<std::vector<std::string>> rows;
        for (std::size_t k = 0; k < strata.size(); ++k) {
            rows.push_back({strata[k]});
            for (const std::size_t d : shown) rows.back().push_back(with_interval(auroc[d * strata.size() + k], low[d * strata.size() + k], high[d * strata.size() + k]));
        }
        page.table(heads, rows, caption);
        return auroc;
    };
    if (temperatures.size() > 1) {
        std::vector<std::string> strata;
        for (const double t : temperatures) strata.push_back(fixed(t, 2));
        const auto auroc = table("by_temperature", strata, "temperature", "AUROC by temperature of the programs (0: greedy), with 95 % interval");
        Plot plot;
        plot.name = "AUROC by temperature";
        plot.x_label = "temperature of the programs";
        plot.y_label = "AUROC, analysis part";
        plot.legend = "outside top center horizontal samplen 2 maxrows 2";
        constexpr std::array<const char*, 4> colours = {colour_right, colour_fourth, colour_wrong, colour_fifth};
        for (std::size_t i = 0; i < shown.size(); ++i) {
            PlotSeries line{PlotSeries::Kind::line, (positive_class[shown[i]] == 0 ? "right, " : "wrong, ") + names[shown[i]], colours[i % colours.size()], temperatures, {}, {}, {}};
            for (std::size_t t = 0; t < temperatures.size(); ++t) line.y.push_back(auroc[shown[i] * temperatures.size() + t]);
            plot.series.push_back(line);
        }
        page.begin_row();
        page.plot(plot, "Detection of programs sampled at each temperature, by the first latent of each class and by the words.");
        page.end_row();
    }
    if (!groups.empty()) table("by_group", groups, "group", "AUROC within groups of problems, with 95 % interval");
}

}  // namespace

void section_detection(Page& page, const ReportStudy& study) {
    page.section("detection", "Detection on held-out problems");
    if (!study.validation) return page.missing("No detector was tried yet: pva_phase3 does it.");
    const io::ResultReader& file = *study.validation;
    const json summary = file.summary();
    page.paragraph("Thresholds come from " + value_text(summary, "tuning_problems") + " problems of the tuning part; all other figures are of " + value_text(summary, "analysis_problems") + " problems of the analysis part, of which " +
                   value_text(summary, "analysis_right") + " were solved. No latent was chosen on either.");
    const auto names = file.read_texts("detector");
    const auto positive_class = file.read<std::uint8_t>("positive_class");
    const auto layer = file.read<std::int32_t>("layer");
    std::map<std::string, std::vector<double>> f;
    for (const std::string name : {"selection_auroc", "auroc", "auroc_low", "auroc_high", "average_precision", "base_rate", "f1", "always_positive_f1", "balanced_accuracy", "mcc"}) {
        f[name] = file.read<double>(name);
        require_size(f[name], names.size(), file, name);
    }
    require_size(positive_class, names.size(), file, "positive_class");
    require_size(layer, names.size(), file, "layer");
    const auto single = is_single_latent(file, layer);
    const bool has_more = file.identity().value("format_version", 1) >= 2;
    std::vector<double> less_words, less_words_low, less_words_high;
    if (has_more) {
        less_words = read_sized<double>(file, "against_text/difference", names.size());
        less_words_low = read_sized<double>(file, "against_text/low", names.size());
        less_words_high = read_sized<double>(file, "against_text/high", names.size());
    }
    std::vector<std::vector<std::string>> rows;
    for (std::size_t d = 0; d < names.size(); ++d) {
        rows.push_back({positive_class[d] == 0 ? "right" : "wrong", names[d], figure(f["selection_auroc"][d]), with_interval(f["auroc"][d], f["auroc_low"][d], f["auroc_high"][d]), figure(f["average_precision"][d]), figure(f["base_rate"][d]),
                        figure(f["f1"][d]), figure(f["always_positive_f1"][d]), figure(f["balanced_accuracy"][d]), figure(f["mcc"][d])});
        if (has_more) rows.back().push_back(with_interval(less_words[d], less_words_low[d], less_words_high[d]));
    }
    std::vector<std::string> head = {"predicts", "by", "AUROC where chosen", "AUROC held out, 95 %", "average precision", "base rate", "F1", "F1 of always yes", "balanced accuracy", "MCC"};
    if (has_more) head.push_back("AUROC less that of the words");
    page.table(head, rows, "Detectors: latents and plain baselines");

    const auto part = file.read<std::uint8_t>("part");
    const auto passed = file.read<std::uint8_t>("passed");
    const auto sign = file.read<std::int32_t>("sign");
    require_size(passed, part.size(), file, "passed");
    require_size(sign, names.size(), file, "sign");
    constexpr std::array<const char*, 5> colours = {colour_right, colour_wrong, colour_fourth, colour_fifth, colour_other};
    for (const std::uint8_t wanted : {std::uint8_t{0}, std::uint8_t{1}}) {
        Plot roc;
        Plot precision;
        Plot f1;
        const std::string what = wanted == 0 ? "right" : "wrong";
        roc.name = "ROC curves for " + what + " programs";
        roc.x_label = "false positive rate";
        roc.y_label = "true positive rate";
        roc.legend = "bottom right";
        precision.name = "Precision and recall for " + what + " programs";
        precision.x_label = "recall";
        precision.y_label = "precision";
        precision.legend = "off";
        f1.name = "F1 by share of programs called positive, for " + what + " programs";
        f1.x_label = "share called positive, by threshold";
        f1.y_label = "F1";
        f1.legend = "off";
        for (Plot* plot : {&roc, &precision, &f1}) {
            plot->x_range = {{0, 1}};
            plot->y_range = {{0, 1.02}};
        }
        roc.series.push_back({PlotSeries::Kind::dashes, "", colour_other, {0, 1}, {0, 1}, {}, {}});
        std::size_t shown = 0;
        std::size_t shown_latents = 0;
        for (std::size_t d = 0; d < names.size(); ++d) {
            if (positive_class[d] != wanted || shown == colours.size() || (single[d] == 1 && shown_latents == 2)) continue;
            const auto raw = file.read_rows<double>("score", static_cast<std::int64_t>(d), 1);
            require_size(raw, part.size(), file, "score");
            std::vector<double> scores;
            std::vector<std::uint8_t> positive;
            for (std::size_t i = 0; i < part.size(); ++i) {
                if (part[i] != 2) continue;
                scores.push_back(sign[d] * raw[i]);
                positive.push_back((passed[i] == 1) == (wanted == 0) ? 1 : 0);
            }
            const ScoreCurve curve = score_curve(scores, positive);
            if (curve.called.empty()) continue;
            if (shown == 0) {
                const double base = f["base_rate"][d];
                precision.series.push_back({PlotSeries::Kind::dashes, "", colour_other, {0, 1}, {base, base}, {}, {}});
                f1.series.push_back({PlotSeries::Kind::dashes, "", colour_other, {0, 1}, {f["always_positive_f1"][d], f["always_positive_f1"][d]}, {}, {}});
            }
            roc.series.push_back({PlotSeries::Kind::line, names[d], colours[shown], curve.false_positive_rate, curve.recall, {}, {}});
            precision.series.push_back({PlotSeries::Kind::line, names[d], colours[shown], curve.recall, curve.precision, {}, {}});
            f1.series.push_back({PlotSeries::Kind::line, names[d], colours[shown], curve.called, curve.f1, {}, {}});
            ++shown;
            shown_latents += single[d];
        }
        if (shown == 0) {
            page.missing("No curves for " + what + " programs: there is no detector, or one class is missing from the analysis part.");
            continue;
        }
        page.begin_row();
        page.plot(roc, "ROC for " + what + " programs, analysis part. Dashed: chance.");
        page.plot(precision, "Precision and recall, colours as before. Dashed: base rate.");
        page.plot(f1, "F1 at every threshold, by the share of programs that it calls " + what + ". Dashed: calling all of them " + what + ".");
        page.end_row();
    }
    if (has_more) detection_elsewhere(page, file, names, positive_class);
}

std::vector<std::string> caveats(const ReportStudy& study) {
    std::vector<std::string> found;
    std::size_t steering_tests = 0;
    bool steering_survives = false;
    for (const json& summary : steering_summaries(study)) {
        const SteeringTally tally = steering_tally(summary, "");
        steering_tests += tally.tests;
        steering_survives = steering_survives || !tally.survivors.empty();
    }
    if (steering_tests > 0 && !steering_survives) {
        found.push_back("None of " + std::to_string(steering_tests) + " tests of steering has an adjusted p (Holm) below 0.05: nothing shows that pushing these latents does more than doing nothing or pushing something else. "
                        "Where few programs change, that is no proof of the opposite.");
    }
    if (study.validation) {
        const json summary = study.validation->summary();
        double best_latent = 0;
        double best_latent_low = 0;
        double best_baseline = 0;
        std::string latent;
        std::string baseline;
        for (const json& d : summary.value("detectors", json::array())) {
            const double auroc = value_number(d, "auroc");
            // Words and latent together hold the latent itself; the log-probability of the answer has seen the answer.
            const double kind = value_number(d, "kind");
            if (!std::isfinite(auroc) || kind == 2 || kind == 8) continue;
            const bool is_latent = value_number(d, "layer") >= 0;
            if (is_latent && auroc > best_latent) {
                best_latent = auroc;
                best_latent_low = value_number(d, "auroc_low");
                latent = value_text(d, "detector");
            }
            if (!is_latent && !has_read_program(d) && auroc > best_baseline) {
                best_baseline = auroc;
                baseline = value_text(d, "detector");
            }
        }
        if (!latent.empty() && !baseline.empty() && best_latent_low <= best_baseline) {
            found.push_back("No latent is clearly better than a plain baseline: " + latent + " has AUROC " + figure(best_latent) + " held out with a lower bound of " + figure(best_latent_low) + ", " + baseline + " has " + figure(best_baseline) +
                            ". A latent that does not beat the words or the length of a problem detects a kind of problem, not knowledge of the own answer.");
        }
        const double n = value_number(summary, "analysis_problems");
        if (n < 200) found.push_back("The analysis part has " + figure(n, 0) + " problems. Intervals are wide, and several detectors were tried on them.");
        found.push_back("The best of several detectors on the analysis part is itself chosen there: its figure is a little too good. The first of the ranking is not.");
    }
    if (study.latents) {
        const json summary = study.latents->summary();
        if (value_number(summary, "q_below_0.05") == 0) found.push_back("No latent has a q-value below 0.05 where latents were chosen: what stands on top of the lists may be luck.");
        if (value_text(study.latents->identity(), "split") != "selection") found.push_back("The latents are described on the " + value_text(study.latents->identity(), "split") + " part, not on the one where latents are chosen.");
        found.push_back("Figures of latents on the selection part flatter: the best of many is lucky there. Figures on tuning and analysis do not.");
        if (value_text(study.latents->identity(), "position") == "last-prompt") found.push_back("The residual stream is that at the last token of the prompt. It knows the problem, not the program.");
        const auto variance = study.latents->read<double>("quality/explained_variance");
        if (std::any_of(variance.begin(), variance.end(), [](double v) { return v < 0.5; })) found.push_back("An SAE explains less than half of the variance of these rows. Is it of this model, layer and site? (pva_check --sae)");
        if (value_number(summary, "general_text_positions") < 100000) found.push_back("Rates on general text rest on " + value_text(summary, "general_text_positions") + " positions; rates below " + figure(300 / std::max(1.0, value_number(summary, "general_text_positions")), 3) + " % cannot be told from 0.");
        if (value_text(study.latents->identity(), "compat") != "none") found.push_back("Latents were chosen by the rules of --compat " + value_text(study.latents->identity(), "compat") + ", whose known faults docs/methods.md names.");
    }
    if (study.splits && value_text(study.splits->identity(), "compat") == "paper") found.push_back("The split is the published one; on MBPP its tuning part is harder than the others.");
    if (study.dataset) {
        const json summary = study.dataset->summary();
        const double cut = value_number(summary, "stopped_at_token_limit");
        if (cut > 0) found.push_back(figure(cut, 0) + " answers were cut at the token limit and count as they are.");
        const auto suspicious = study.dataset->read<std::uint8_t>("suspicious");
        const auto meddled = std::count(suspicious.begin(), suspicious.end(), std::uint8_t{1});
        if (meddled > 0) found.push_back(std::to_string(meddled) + " programs meddled with their tester.");
        if (value_number(study.dataset->identity(), "temperature") == 0) found.push_back("Each problem has one greedy program: whether a problem is solved is one draw, not how often the model would solve it.");
        if (value_text(study.dataset->identity(), "isolation") == "rlimits") found.push_back("Programs were tested with resource limits only, not apart from each other and the machine.");
        found.push_back("A program is right when it passes the tests of its problem. Tests are few and miss faults.");
    }
    const auto modified = [](const std::optional<io::ResultReader>& reader) {
        if (!reader) return false;
        const json run = run_of(*reader);
        return run.is_object() && run.contains("provenance") && value_text(run.at("provenance"), "git_sha").ends_with("-modified");
    };
    if (modified(study.dataset) || modified(study.latents) || modified(study.validation)) found.push_back("Some results were made by a build whose source had changes that are in no commit.");
    return found;
}

void section_caveats(Page& page, const ReportStudy& study) {
    page.section("caveats", "What to keep in mind");
    const auto found = caveats(study);
    if (found.empty()) return page.paragraph("There is too little here to say anything about.");
    page.list(found);
}

}  // namespace pva::phases
