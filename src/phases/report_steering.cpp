// The section of the report on steering: coefficients, correction and corruption beside controls.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "pva/core/join.h"
#include "pva/phases/report_sections.h"
#include "pva/phases/report_values.h"
#include "pva/stats/multiple.h"

namespace pva::phases {

using json = nlohmann::ordered_json;

namespace {

constexpr std::size_t most_curves = 6;

/// What was done in each condition of a steering file (docs/formats/steering.md), and what came of it.
struct Conditions {
    std::vector<std::string> name;
    std::vector<std::string> arm_name;
    std::vector<std::uint8_t> aim;
    std::vector<std::uint8_t> method;
    std::vector<std::int32_t> arm;
    std::vector<std::uint8_t> kind;
    std::vector<double> relative;
    std::vector<double> gate_percentile;
    std::vector<std::uint64_t> fixed, broken;
    std::map<std::string, std::vector<double>> effect;

    const std::vector<double>& of(const std::string& figure) const { return effect.at(figure); }
    std::string share(const std::string& figure, std::size_t c) const { return with_interval(of(figure)[c], of(figure + "_low")[c], of(figure + "_high")[c]); }
};

Conditions read_conditions(const io::ResultReader& file) {
    Conditions all;
    all.name = file.read_texts("condition/name");
    all.arm_name = file.read_texts("arm/name");
    const std::size_t n = all.name.size();
    all.aim = read_sized<std::uint8_t>(file, "arm/aim", all.arm_name.size());
    all.method = read_sized<std::uint8_t>(file, "arm/method", all.arm_name.size());
    all.arm = read_sized<std::int32_t>(file, "condition/arm", n);
    all.kind = read_sized<std::uint8_t>(file, "condition/kind", n);
    all.relative = read_sized<double>(file, "condition/relative", n);
    all.gate_percentile = read_sized<double>(file, "condition/gate_percentile", n);
    all.fixed = read_sized<std::uint64_t>(file, "effect/fixed", n);
    all.broken = read_sized<std::uint64_t>(file, "effect/broken", n);
    for (const std::string name : {"correction", "corruption", "preservation", "net"}) {
        for (const std::string end : {"", "_low", "_high"}) all.effect[name + end] = read_sized<double>(file, "effect/" + name + end, n);
    }
    for (const std::string name : {"mcnemar_p", "aimed", "similarity"}) all.effect[name] = read_sized<double>(file, "effect/" + name, n);
    for (const std::int32_t arm : all.arm) {
        if (arm >= static_cast<std::int32_t>(all.arm_name.size())) throw InputError(file.path() + " dataset condition/arm: names an arm that the file does not have; it is damaged");
    }
    return all;
}

std::string p_text(double p) { return p < 0.001 ? "< 0.001" : figure(p); }

std::vector<std::vector<std::string>> effects(const Conditions& all, const std::vector<std::uint8_t>& chosen) {
    std::vector<std::vector<std::string>> rows;
    for (std::size_t c = 0; c < all.name.size(); ++c) {
        if (all.kind[c] != 1) continue;
        const std::string mark = c < chosen.size() && chosen[c] == 1 ? " (chosen)" : "";
        rows.push_back({all.name[c] + mark, std::to_string(all.fixed[c]), std::to_string(all.broken[c]), all.share("correction", c), all.share("corruption", c), all.share("preservation", c), all.share("net", c),
                        p_text(all.of("mcnemar_p")[c]), figure(all.of("similarity")[c])});
    }
    return rows;
}

const std::vector<std::string> effect_head = {"intervention", "fixed", "broken", "correction", "corruption", "preservation", "net change", "McNemar p, not adjusted", "similarity"};

void coefficient_curves(Page& page, const io::ResultReader& file) {
    const Conditions all = read_conditions(file);
    const auto chosen = read_sized<std::uint8_t>(file, "choice/chosen", all.name.size());
    const json summary = file.summary();
    page.paragraph("Coefficients were chosen on " + value_text(summary, "problems") + " problems of the tuning part, " + value_text(summary, "right") + " of them solved without steering. Figures give coefficients in mean norms of the stream. Of the coefficients within one standard error of the best the weakest is chosen.");
    page.begin_row();
    std::size_t shown = 0;
    for (std::size_t a = 0; a < all.arm_name.size() && shown < most_curves; ++a) {
        if (all.method[a] == 2) continue;  // taken out of the weights: there is no coefficient
        // A gated arm has a curve for each threshold; the first one that something was chosen of stands for it.
        double gate = std::numeric_limits<double>::quiet_NaN();
        bool found = false;
        for (const bool wanted : {true, false}) {
            for (std::size_t c = 0; c < all.name.size() && !found; ++c) {
                if (all.arm[c] != static_cast<std::int32_t>(a) || all.kind[c] != 1 || (wanted && chosen[c] != 1)) continue;
                gate = all.gate_percentile[c];
                found = true;
            }
        }
        std::vector<std::size_t> own;
        for (std::size_t c = 0; c < all.name.size(); ++c) {
            const bool same_gate = std::isnan(gate) ? std::isnan(all.gate_percentile[c]) : all.gate_percentile[c] == gate;
            if (all.arm[c] == static_cast<std::int32_t>(a) && all.kind[c] == 1 && same_gate) own.push_back(c);
        }
        if (own.size() < 2) continue;
        std::stable_sort(own.begin(), own.end(), [&](std::size_t x, std::size_t y) { return all.relative[x] < all.relative[y]; });
        Plot plot;
        plot.name = "Correction and corruption by coefficient: " + all.arm_name[a];
        plot.x_label = "coefficient, in mean norms of the stream";
        plot.y_label = "share";
        plot.legend = "outside top center horizontal samplen 2";
        plot.y_range = {{0, 1.02}};
        for (const auto& [name, colour] : {std::pair{"correction", colour_right}, std::pair{"corruption", colour_wrong}}) {
            PlotSeries line{PlotSeries::Kind::line, name, colour, {}, {}, {}, {}};
            PlotSeries bars{PlotSeries::Kind::error_bars, "", colour, {}, {}, {}, {}};
            for (const std::size_t c : own) {
                if (!std::isfinite(all.of(name)[c])) continue;
                for (PlotSeries* series : {&line, &bars}) {
                    series->x.push_back(all.relative[c]);
                    series->y.push_back(all.of(name)[c]);
                }
                bars.low.push_back(all.of(std::string(name) + "_low")[c]);
                bars.high.push_back(all.of(std::string(name) + "_high")[c]);
            }
            plot.series.push_back(line);
            plot.series.push_back(bars);
        }
        PlotSeries alike{PlotSeries::Kind::dashes, "similarity", colour_other, {}, {}, {}, {}};
        std::string picked;
        for (const std::size_t c : own) {
            alike.x.push_back(all.relative[c]);
            alike.y.push_back(all.of("similarity")[c]);
            if (chosen[c] == 1) picked = "; chosen: " + fixed(all.relative[c], 3);
        }
        plot.series.push_back(alike);
        page.plot(plot, all.arm_name[a] + " (towards " + (all.aim[a] == 0 ? "right" : "wrong") + " programs" + (std::isnan(gate) ? "" : ", gate at percentile " + fixed(gate, 0)) + "): share of wrong programs that were corrected and of right ones that were "
                            "corrupted, with 95 % intervals, and how alike programs stayed" + picked + ".");
        ++shown;
    }
    page.end_row();
    page.table(effect_head, effects(all, chosen), "Every coefficient on the tuning part");
    for (const json& arm : summary.value("arms", json::array())) {
        if (arm.is_object() && arm.contains("none_is_as_good") && arm.at("none_is_as_good").is_boolean() && arm.at("none_is_as_good").get<bool>()) {
            page.paragraph("For " + value_text(arm, "name") + " no steering at all lies within one standard error of the best coefficient: the tuning part gives no reason to steer.");
        }
    }
}

/// ", beside 20 random vectors and 20 low-score latents, pushed as hard" where there were any.
std::string controls_text(const json& summary) {
    std::map<std::string, double> numbers;
    for (const json& arm : summary.value("arms", json::array())) {
        for (const json& kind : arm.is_object() ? arm.value("controls", json::array()) : json::array()) numbers[value_text(kind, "kind")] += value_number(kind, "controls");
    }
    std::vector<std::string> parts;
    for (const auto& [kind, n] : numbers) {
        if (n > 0) parts.push_back(figure(n, 0) + " " + kind);
    }
    return parts.empty() ? "" : ", beside controls that are pushed as hard: " + join(parts, ", ");
}

/// "right, gated-right; positions last": what was asked for.
std::string arms_text(const io::ResultReader& file) {
    const json& identity = file.identity();
    return value_text(identity, "arms") + "; positions " + value_text(identity, "positions");
}

/// runs: how many runs of steering the tests are adjusted over.
void against_controls(Page& page, const io::ResultReader& file, const json& summary, std::size_t runs) {
    const Conditions all = read_conditions(file);
    page.paragraph("The chosen interventions were tried on " + value_text(summary, "problems") + " problems of the analysis part (" + value_text(summary, "right") + " solved and " + value_text(summary, "wrong") +
                   " not solved without steering)" + controls_text(summary) + ".");
    page.table(effect_head, effects(all, {}), "Correction, corruption and preservation with 95 % intervals; net change: (fixed - broken) / problems");

    Plot plot;
    plot.name = "Net change towards the aim: chosen latents beside controls";
    plot.y_label = "net change towards the aim";
    plot.legend = "outside top center horizontal samplen 2 maxrows 2";
    plot.x_range = {{-0.6, static_cast<double>(all.arm_name.size()) - 0.4}};
    constexpr std::array<const char*, 3> control = {"low score", "random", "shuffled labels"};
    constexpr std::array<const char*, 3> colours = {colour_fourth, colour_other, colour_fifth};
    PlotSeries chosen{PlotSeries::Kind::error_bars, "chosen latent, 95 %", colour_right, {}, {}, {}, {}};
    std::array<PlotSeries, 3> controls;
    for (std::size_t k = 0; k < 3; ++k) controls[k] = {PlotSeries::Kind::points, control[k], colours[k], {}, {}, {}, {}};
    std::vector<std::vector<std::string>> names;
    for (std::size_t a = 0; a < all.arm_name.size(); ++a) {
        plot.x_tics.emplace_back(static_cast<double>(a), std::to_string(a + 1));
        names.push_back({std::to_string(a + 1), all.arm_name[a], all.aim[a] == 0 ? "right" : "wrong"});
    }
    std::vector<std::array<std::size_t, 3>> in_kind(all.arm_name.size()), place_in_kind(all.arm_name.size());
    for (std::size_t c = 0; c < all.name.size(); ++c) {
        if (all.arm[c] >= 0 && std::isfinite(all.of("aimed")[c]) && all.kind[c] >= 2 && all.kind[c] <= 4) ++in_kind[static_cast<std::size_t>(all.arm[c])][all.kind[c] - 2U];
    }
    for (std::size_t c = 0; c < all.name.size(); ++c) {
        if (all.arm[c] < 0 || !std::isfinite(all.of("aimed")[c])) continue;
        const auto a = static_cast<std::size_t>(all.arm[c]);
        const double place = static_cast<double>(a);
        if (all.kind[c] == 1) {
            const bool towards_right = all.aim[a] == 0;
            chosen.x.push_back(place - 0.3);
            chosen.y.push_back(all.of("aimed")[c]);
            chosen.low.push_back(towards_right ? all.of("net_low")[c] : -all.of("net_high")[c]);
            chosen.high.push_back(towards_right ? all.of("net_high")[c] : -all.of("net_low")[c]);
        } else if (all.kind[c] >= 2 && all.kind[c] <= 4) {
            // Side by side, so that controls with the same net change can be counted.
            const std::size_t kind = all.kind[c] - 2U;
            const std::size_t i = place_in_kind[a][kind]++;
            const auto of_kind = static_cast<double>(std::max<std::size_t>(in_kind[a][kind], 2) - 1);
            controls[kind].x.push_back(place - 0.1 + 0.2 * static_cast<double>(kind) + 0.16 * (static_cast<double>(i) / of_kind - 0.5));
            controls[kind].y.push_back(all.of("aimed")[c]);
        }
    }
    plot.series = {chosen, controls[0], controls[1], controls[2]};
    plot.series.push_back({PlotSeries::Kind::dashes, "", colour_other, {-0.6, static_cast<double>(all.arm_name.size()) - 0.4}, {0, 0}, {}, {}});
    page.plot(plot, "Net share of problems that moved towards the aim: for an intervention that aims at wrong programs the net change with its sign turned. Each point is one control. Whether the chosen latent stands high enough among them, the tests below say.");
    page.table({"number", "intervention", "aim"}, names, "Numbers in the figure");

    std::vector<std::vector<std::string>> tests;
    for (const json& test : summary.value("tests", json::array())) {
        const bool published = test.is_object() && test.contains("published") && test.at("published").is_boolean() && test.at("published").get<bool>();
        tests.push_back({value_text(test, "intervention"), value_text(test, "test") + (published ? " (published study's)" : ""), p_text(value_number(test, "p")), p_text(value_number(test, "smallest_p")), p_text(value_number(test, "holm")),
                         p_text(value_number(test, "q")), value_text(test, "note")});
    }
    if (tests.empty()) return;
    page.table({"intervention", "test", "p", "smallest possible", "Holm", "q", ""}, tests, "Tests on the analysis part; Holm's p and q are adjusted over all but published ones" +
                                                                                                                  (runs > 1 ? " of all " + std::to_string(runs) + " runs on this page, so they differ from those in the files" : std::string()));
    page.paragraph("Rank 1 moved more towards the aim than every control; ties count against the latent. The smallest p that a test could have had is meant before adjustment: few controls cannot survive Holm's. McNemar's test against no steering "
                   "looks both ways, the counts say which; all others look towards the aim alone. Fisher's and the binomial test count the programs that went over, not those that were lost for it, and take controls on the same problems for independent.");
}

}  // namespace

SteeringTally steering_tally(const json& summary, const std::string& intervention) {
    SteeringTally tally;
    for (const json& test : summary.value("tests", json::array())) {
        if (!test.is_object() || (!intervention.empty() && value_text(test, "intervention") != intervention)) continue;
        if (value_text(test, "published") == "true" || !std::isfinite(value_number(test, "p"))) continue;
        ++tally.tests;
        if (value_number(test, "holm") < 0.05) tally.survivors.push_back(value_text(test, "test"));
        if (value_text(test, "test") == "rank among all controls") tally.rank = value_text(test, "note");
    }
    return tally;
}

std::vector<json> steering_summaries(const ReportStudy& study) {
    std::vector<json> summaries;
    for (const SteeringRun& run : study.steering) {
        if (run.analysis) summaries.push_back(run.analysis->summary());
    }
    if (summaries.size() < 2) return summaries;
    std::vector<json*> adjusted;
    std::vector<double> p;
    for (json& summary : summaries) {
        if (!summary.contains("tests") || !summary.at("tests").is_array()) continue;
        for (json& test : summary.at("tests")) {
            if (!test.is_object() || value_text(test, "published") == "true" || !std::isfinite(value_number(test, "p"))) continue;
            adjusted.push_back(&test);
            p.push_back(value_number(test, "p"));
        }
    }
    const std::vector<double> family = stats::holm(p);
    const std::vector<double> rate = stats::benjamini_hochberg(p);
    for (std::size_t i = 0; i < adjusted.size(); ++i) {
        (*adjusted[i])["holm"] = family[i];
        (*adjusted[i])["q"] = rate[i];
    }
    return summaries;
}

std::string steering_in_brief(const json& summary, const json& condition) {
    const auto part = [&](const std::string& name) { return condition.contains(name) ? value_text(condition.at(name), "count") + " of " + value_text(condition.at(name), "of") : std::string("-"); };
    std::string text = "Steering, held out (" + value_text(condition, "condition") + "): " + part("correction") + " wrong programs became right and " + part("corruption") + " right ones wrong; net change " +
                       with_interval(value_number(condition, "net"), value_number(condition, "net_low"), value_number(condition, "net_high")) + ".";
    const json arms = summary.value("arms", json::array());
    const double arm = value_number(condition, "arm");
    if (!(arm >= 0) || arm >= static_cast<double>(arms.size())) return text;
    const SteeringTally tally = steering_tally(summary, value_text(arms.at(static_cast<std::size_t>(arm)), "name"));
    if (!tally.rank.empty()) text += " Among all controls: " + tally.rank + ".";
    if (tally.tests == 0) return text;
    const std::string of = " of " + std::to_string(tally.tests) + " tests of it ";
    if (tally.survivors.empty()) return text + " None" + of + "has an adjusted p (Holm) below 0.05.";
    return text + " " + std::to_string(tally.survivors.size()) + of + "have an adjusted p (Holm) below 0.05: " + join(tally.survivors, "; ") + ".";
}

void section_steering(Page& page, const ReportStudy& study) {
    page.section("steering", "Steering: coefficients, correction and corruption");
    if (study.steering.empty()) {
        return page.missing("Not there: nothing was steered, so there is no coefficient curve, no correction and no corruption, and nothing here says that a latent causes anything. pva_steer does it.");
    }
    const std::vector<json> summaries = steering_summaries(study);
    if (study.steering.size() > 1)
        page.paragraph("Steering was run " + std::to_string(study.steering.size()) + " times with different settings; the runs follow one another. Whoever tries more finds more by chance, so p-values are adjusted over all of them.");
    std::size_t summary = 0;
    for (std::size_t i = 0; i < study.steering.size(); ++i) {
        const SteeringRun& run = study.steering[i];
        if (study.steering.size() > 1) page.subsection("steering-" + std::to_string(i + 1), "Run " + std::to_string(i + 1) + ": " + arms_text(run.analysis ? *run.analysis : *run.tuning));
        if (run.tuning) {
            coefficient_curves(page, *run.tuning);
        } else if (!run.analysis->identity().contains("tuning")) {
            page.paragraph("Nothing had to be chosen on the tuning part: what is taken out of the weights has no coefficient.");
        } else {
            page.missing("The result of the tuning part, where coefficients were chosen, is missing.");
        }
        if (run.analysis) {
            against_controls(page, *run.analysis, summaries[summary++], summaries.size());
        } else {
            page.missing("The chosen coefficients were not tried on the analysis part yet, beside controls: the same command of pva_steer goes on with it, without --tuning-only.");
        }
    }
}

}  // namespace pva::phases
