// Effects, choice and tests of a steered part.
#include "pva/phases/steering_results.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "pva/analysis/steering.h"
#include "pva/core/error.h"
#include "pva/exec/verdict.h"
#include "pva/stats/permutation.h"

namespace pva::phases {

namespace {

constexpr ConditionKind control_kinds[] = {ConditionKind::low_score, ConditionKind::random, ConditionKind::shuffled};
constexpr std::size_t own_tests = 4;        // McNemar, rank among all, Fisher, binomial
constexpr std::size_t tests_of_kind = 2;    // rank, strongest
constexpr std::size_t published_tests = 4;
constexpr std::uint32_t bootstrap_draws = 2000;

/// One value of each problem under a condition.
template <class T>
std::vector<T> of_condition(const std::vector<T>& rows, std::size_t condition, std::size_t conditions) {
    std::vector<T> values;
    for (std::size_t row = condition; row < rows.size(); row += conditions) values.push_back(rows[row]);
    return values;
}

double mean_where(const std::vector<double>& values, const std::vector<std::uint8_t>& labels, int wanted) {
    double sum = 0;
    std::size_t n = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (wanted >= 0 && labels[i] != wanted) continue;
        sum += values[i];
        ++n;
    }
    return n > 0 ? sum / static_cast<double>(n) : std::numeric_limits<double>::quiet_NaN();
}

nlohmann::ordered_json rate_json(const analysis::RateFigures& rate) {
    return {{"count", rate.share.successes}, {"of", rate.share.trials}, {"rate", rate.rate}, {"low", rate.wilson.lower}, {"high", rate.wilson.upper}};
}

std::string interval(const nlohmann::ordered_json& low, const nlohmann::ordered_json& high, int decimals = 3) {
    return "[" + fixed(low, decimals) + ", " + fixed(high, decimals) + "]";
}

std::string p_text(const nlohmann::ordered_json& p) { return p.is_null() ? "-" : p.get<double>() < 0.001 ? "< 0.001" : fixed(p, 3); }

}  // namespace

std::int64_t steering_test_count(tasks::SplitPart part, const std::vector<SteeringArm>& arms, bool published) {
    if (part != tasks::SplitPart::analysis) return 0;
    return static_cast<std::int64_t>(arms.size() * (own_tests + tests_of_kind * std::size(control_kinds) + (published ? published_tests : 0)));
}

SteeringResults steering_results(const SteeredPrograms& programs, const std::vector<SteeringArm>& arms, const std::vector<SteeringCondition>& conditions,
                                 std::int64_t controls_wanted, bool published, std::uint64_t seed) {
    const std::size_t n = conditions.size();
    const std::vector<std::uint8_t> before = of_condition(programs.passed, 0, n);
    const std::vector<std::uint8_t> verdict_before = of_condition(programs.verdict, 0, n);
    const bool tuning = programs.part == tasks::SplitPart::tuning;
    SteeringResults results;
    std::map<std::string, std::vector<double>> figures;
    std::map<std::string, std::vector<std::uint64_t>> counts;
    std::vector<std::uint64_t> verdicts(n * verdict_kinds, 0);
    std::vector<std::uint64_t> changed(n * verdict_kinds * verdict_kinds, 0);
    std::vector<stats::PairedOutcomes> outcomes;
    std::vector<std::vector<std::uint8_t>> passed;
    nlohmann::ordered_json shown = nlohmann::ordered_json::array();
    const auto at_or_after = [](std::uint8_t verdict) { return std::min<std::size_t>(verdict, verdict_kinds - 1); };

    for (std::size_t c = 0; c < n; ++c) {
        const SteeringCondition& condition = conditions[c];
        passed.push_back(of_condition(programs.passed, c, n));
        stats::BootstrapDraws draws;
        draws.n = bootstrap_draws;
        draws.seed = seed;
        draws.stream = c;
        const analysis::SteeringFigures f = analysis::steering_figures(before, passed.back(), draws);
        outcomes.push_back(f.outcomes);
        counts["fixed"].push_back(f.outcomes.gained);
        counts["broken"].push_back(f.outcomes.lost);
        counts["stayed_right"].push_back(f.outcomes.stayed_yes);
        counts["stayed_wrong"].push_back(f.outcomes.stayed_no);
        const auto rate = [&](const std::string& name, const analysis::RateFigures& r) {
            figures[name].push_back(r.rate);
            figures[name + "_low"].push_back(r.wilson.lower);
            figures[name + "_high"].push_back(r.wilson.upper);
            figures[name + "_bootstrap_low"].push_back(r.bootstrap.lower);
            figures[name + "_bootstrap_high"].push_back(r.bootstrap.upper);
        };
        rate("correction", f.correction);
        rate("corruption", f.corruption);
        rate("preservation", f.preservation);
        figures["net"].push_back(f.net);
        figures["net_standard_error"].push_back(f.net_standard_error);
        figures["net_low"].push_back(f.net_newcombe.lower);
        figures["net_high"].push_back(f.net_newcombe.upper);
        figures["net_bootstrap_low"].push_back(f.net_bootstrap.lower);
        figures["net_bootstrap_high"].push_back(f.net_bootstrap.upper);
        figures["mcnemar_p"].push_back(f.mcnemar.p);
        const analysis::Direction aim = condition.arm >= 0 ? arms[static_cast<std::size_t>(condition.arm)].aim : analysis::Direction::right;
        figures["aimed"].push_back(analysis::aimed_effect(f.outcomes, aim));
        const std::vector<double> similarity = of_condition(programs.similarity, c, n);
        figures["similarity"].push_back(mean_where(similarity, before, -1));
        figures["similarity_right"].push_back(mean_where(similarity, before, 1));
        figures["similarity_wrong"].push_back(mean_where(similarity, before, 0));
        std::vector<double> open;
        for (const std::uint8_t gate : of_condition(programs.gate_open, c, n)) open.push_back(gate);
        figures["gate_open_right"].push_back(mean_where(open, before, 1));
        figures["gate_open_wrong"].push_back(mean_where(open, before, 0));
        nlohmann::ordered_json failures = nlohmann::ordered_json::object();
        const std::vector<std::uint8_t> verdict_after = of_condition(programs.verdict, c, n);
        for (std::size_t i = 0; i < verdict_after.size(); ++i) {
            ++verdicts[c * verdict_kinds + at_or_after(verdict_after[i])];
            ++changed[(c * verdict_kinds + at_or_after(verdict_before[i])) * verdict_kinds + at_or_after(verdict_after[i])];
        }
        for (std::size_t v = 0; v < verdict_kinds; ++v) {
            if (verdicts[c * verdict_kinds + v] > 0) failures[std::string(exec::to_string(static_cast<exec::Verdict>(v)))] = verdicts[c * verdict_kinds + v];
        }
        if (condition.kind != ConditionKind::none && condition.kind != ConditionKind::chosen) continue;
        nlohmann::ordered_json entry = {{"condition", condition.name},
                                        {"arm", condition.arm},
                                        {"relative", condition.relative},
                                        {"coefficient", condition.coefficient},
                                        {"fixed", f.outcomes.gained},
                                        {"broken", f.outcomes.lost},
                                        {"correction", rate_json(f.correction)},
                                        {"corruption", rate_json(f.corruption)},
                                        {"preservation", rate_json(f.preservation)},
                                        {"net", f.net},
                                        {"net_low", f.net_newcombe.lower},
                                        {"net_high", f.net_newcombe.upper},
                                        {"net_standard_error", f.net_standard_error},
                                        {"mcnemar_p", f.mcnemar.p},
                                        {"similarity", figures["similarity"].back()},
                                        {"verdicts", failures}};
        if (!std::isnan(condition.gate_percentile)) {
            entry["gate_percentile"] = condition.gate_percentile;
            entry["gate_open_right"] = figures["gate_open_right"].back();
            entry["gate_open_wrong"] = figures["gate_open_wrong"].back();
        }
        shown.push_back(std::move(entry));
    }

    nlohmann::ordered_json& summary = results.summary;
    summary["part"] = tasks::split_part_name(programs.part);
    summary["problems"] = programs.problems;
    summary["right"] = std::count(before.begin(), before.end(), 1);
    summary["wrong"] = std::count(before.begin(), before.end(), 0);
    summary["differ_from_phase1"] = programs.baseline_differs;
    summary["conditions"] = std::move(shown);

    std::vector<std::uint8_t> chosen(n, 0);
    summary["arms"] = nlohmann::ordered_json::array();
    std::vector<analysis::SteeringTest> tests;
    std::vector<std::int32_t> test_arms;
    for (std::size_t a = 0; a < arms.size(); ++a) {
        const SteeringArm& arm = arms[a];
        nlohmann::ordered_json entry = {{"name", arm.name},
                                        {"aim", analysis::name(arm.aim)},
                                        {"layer", arm.layer},
                                        {"latent", arm.latent},
                                        {"mean_norm", arm.mean_norm},
                                        {"cosine_difference_of_means", arm.cosine_difference_of_means},
                                        {"cosine_mass_mean", arm.cosine_mass_mean},
                                        {"cosine_logistic", arm.cosine_logistic},
                                        {"difference_of_means_is", analysis::cosine_word(arm.cosine_difference_of_means)}};
        std::vector<std::size_t> own;
        for (std::size_t c = 0; c < n; ++c) {
            if (conditions[c].arm == static_cast<std::int32_t>(a) && conditions[c].kind == ConditionKind::chosen) own.push_back(c);
        }
        if (tuning && !own.empty()) {
            std::vector<double> settings;
            std::vector<stats::PairedOutcomes> curve;
            for (const std::size_t c : own) {
                settings.push_back(conditions[c].coefficient);
                curve.push_back(outcomes[c]);
            }
            const analysis::CoefficientChoice choice = analysis::choose_coefficient(settings, curve, arm.aim);
            std::size_t picked = own[choice.choice.chosen];
            // Of the gates that are as good at that coefficient the one that opens least.
            for (const std::size_t c : own) {
                if (conditions[c].coefficient == conditions[picked].coefficient && figures["aimed"][c] >= choice.choice.bar && conditions[c].gate_percentile > conditions[picked].gate_percentile) picked = c;
            }
            chosen[picked] = 1;
            entry["chosen"] = conditions[picked].name;
            entry["chosen_condition"] = picked;
            entry["best_on_tuning"] = conditions[own[choice.choice.best]].name;
            entry["bar"] = choice.choice.bar;
            entry["none_is_as_good"] = choice.none_is_as_good;
        }
        if (!tuning) {
            std::vector<analysis::ControlOutcomes> controls;
            nlohmann::ordered_json kinds = nlohmann::ordered_json::array();
            std::vector<std::uint8_t> one_control;
            for (const ConditionKind kind : control_kinds) {
                analysis::ControlOutcomes of_kind{.kind = control_kind_name(kind)};
                stats::Share pooled;
                double sum = 0;
                double largest = -2;
                for (std::size_t c = 0; c < n; ++c) {
                    if (conditions[c].arm != static_cast<std::int32_t>(a) || conditions[c].kind != kind) continue;
                    if (one_control.empty()) one_control = passed[c];
                    of_kind.passed.push_back(passed[c]);
                    of_kind.latents.push_back(conditions[c].latent);
                    of_kind.draws.push_back(kind == ConditionKind::shuffled ? conditions[c].draws : 1);
                    const stats::Share share = analysis::aimed_share(outcomes[c], arm.aim);
                    pooled.successes += share.successes;
                    pooled.trials += share.trials;
                    sum += figures["aimed"][c];
                    largest = std::max(largest, figures["aimed"][c]);
                }
                if (kind == ConditionKind::shuffled) of_kind.own_draws = conditions[own.front()].draws;
                const auto draws = std::accumulate(of_kind.draws.begin(), of_kind.draws.end(), std::uint64_t{of_kind.own_draws});
                nlohmann::ordered_json k = {{"kind", of_kind.kind}, {"controls", of_kind.passed.size()}, {"wanted", controls_wanted}, {"smallest_p", stats::permutation_p(of_kind.own_draws, draws)}};
                if (kind == ConditionKind::shuffled) {
                    k["shuffles"] = draws;
                    k["chose_the_latent_itself"] = of_kind.own_draws;
                    k["times_chosen"] = of_kind.draws;
                }
                if (!of_kind.passed.empty()) {
                    k["pooled"] = {{"count", pooled.successes}, {"of", pooled.trials}};
                    k["mean_aimed"] = sum / static_cast<double>(of_kind.passed.size());
                    k["largest_aimed"] = largest;
                }
                kinds.push_back(std::move(k));
                controls.push_back(std::move(of_kind));
            }
            entry["controls"] = std::move(kinds);
            const std::vector<std::uint8_t>& after = passed[own.front()];
            entry["aimed"] = figures["aimed"][own.front()];
            for (analysis::SteeringTest& test : analysis::steering_tests(arm.name, arm.aim, before, after, controls)) {
                tests.push_back(std::move(test));
                test_arms.push_back(static_cast<std::int32_t>(a));
            }
            if (published) {
                for (analysis::SteeringTest& test : analysis::published_steering_tests(arm.name, before, after, one_control, arm.aim)) {
                    tests.push_back(std::move(test));
                    test_arms.push_back(static_cast<std::int32_t>(a));
                }
            }
        }
        summary["arms"].push_back(std::move(entry));
    }
    analysis::adjust_for_many_tests(tests);

    for (auto& [name, values] : figures) results.columns["effect/" + name] = io::to_bytes(values);
    for (auto& [name, values] : counts) results.columns["effect/" + name] = io::to_bytes(values);
    results.columns["effect/verdicts"] = io::to_bytes(verdicts);
    results.columns["effect/changed_verdicts"] = io::to_bytes(changed);
    results.columns["choice/chosen"] = io::to_bytes(chosen);
    std::vector<std::string> names;
    std::vector<std::string> notes;
    std::vector<std::uint8_t> is_published;
    std::vector<double> p, smallest, holm, q;
    summary["tests"] = nlohmann::ordered_json::array();
    for (const analysis::SteeringTest& test : tests) {
        names.push_back(test.name);
        notes.push_back(test.note);
        is_published.push_back(test.published ? 1 : 0);
        p.push_back(test.p);
        smallest.push_back(test.smallest_p);
        holm.push_back(test.holm);
        q.push_back(test.q);
        summary["tests"].push_back({{"intervention", test.intervention}, {"test", test.name}, {"p", test.p}, {"smallest_p", test.smallest_p}, {"holm", test.holm}, {"q", test.q}, {"published", test.published}, {"note", test.note}});
    }
    results.columns["test/name"] = io::pack_texts(names, steering_name_bytes);
    results.columns["test/arm"] = io::to_bytes(test_arms);
    results.columns["test/published"] = io::to_bytes(is_published);
    results.columns["test/p"] = io::to_bytes(p);
    results.columns["test/smallest_p"] = io::to_bytes(smallest);
    results.columns["test/holm"] = io::to_bytes(holm);
    results.columns["test/q"] = io::to_bytes(q);
    results.columns["test/note"] = io::pack_texts(notes, steering_note_bytes);
    return results;
}

std::vector<std::string> steering_lines(const nlohmann::ordered_json& summary) {
    const bool tuning = summary.at("part") == "tuning";
    std::vector<std::vector<std::string>> table = {{"what", "coefficient", "fixed", "broken", "correction", "95 % interval", "corruption", "95 % interval", "net", "95 % interval", "McNemar p", "similarity"}};
    for (const auto& c : summary.at("conditions")) {
        const auto& correction = c.at("correction");
        const auto& corruption = c.at("corruption");
        table.push_back({c.at("condition"), fixed(c.at("coefficient"), 3), c.at("fixed").dump(), c.at("broken").dump(), fixed(correction.at("rate"), 3), interval(correction.at("low"), correction.at("high")),
                         fixed(corruption.at("rate"), 3), interval(corruption.at("low"), corruption.at("high")), fixed(c.at("net"), 3), interval(c.at("net_low"), c.at("net_high")), p_text(c.at("mcnemar_p")),
                         fixed(c.at("similarity"), 3)});
    }
    std::vector<std::string> lines = table_lines(table);
    lines.push_back(summary.at("part").get<std::string>() + ": " + summary.at("problems").dump() + " problems, " + summary.at("right").dump() + " solved without steering" +
                    (summary.at("differ_from_phase1") == 0 ? ", all as phase 1 wrote them" : "; " + summary.at("differ_from_phase1").dump() + " programs are not phase 1's"));
    if (tuning) {
        for (const auto& arm : summary.at("arms")) {
            if (!arm.contains("chosen")) continue;
            lines.push_back("chosen: " + arm.at("chosen").get<std::string>() + " (best: " + arm.at("best_on_tuning").get<std::string>() + ")" +
                            (arm.at("none_is_as_good").get<bool>() ? "; no steering at all is within one standard error of the best" : ""));
        }
        return lines;
    }
    for (const auto& arm : summary.at("arms")) {
        for (const auto& kind : arm.at("controls")) {
            if (kind.at("controls") == 0) {
                lines.push_back(arm.at("name").get<std::string>() + ": no controls of the kind " + kind.at("kind").get<std::string>());
                continue;
            }
            lines.push_back(arm.at("name").get<std::string>() + ": effect " + fixed(arm.at("aimed"), 3) + ", " + kind.at("controls").dump() + " " + kind.at("kind").get<std::string>() + ": mean " + fixed(kind.at("mean_aimed"), 3) + ", largest " +
                            fixed(kind.at("largest_aimed"), 3) + ", pooled " + kind.at("pooled").at("count").dump() + " of " + kind.at("pooled").at("of").dump() +
                            (kind.contains("shuffles") ? "; chosen by " + kind.at("shuffles").dump() + " shuffles, " + kind.at("chose_the_latent_itself").dump() + " of which chose the latent itself" : "") + "; smallest attainable p " +
                            fixed(kind.at("smallest_p"), 3));
        }
    }
    table = {{"intervention", "test", "p", "Holm", "q", "counts"}};
    std::vector<std::string> faults;
    for (const auto& test : summary.at("tests")) {
        const bool published = test.at("published").get<bool>();
        table.push_back({test.at("intervention"), test.at("test"), p_text(test.at("p")), published ? "-" : p_text(test.at("holm")), published ? "-" : p_text(test.at("q")), published ? "" : test.at("note").get<std::string>()});
        const std::string fault = test.at("test").get<std::string>() + ": " + test.at("note").get<std::string>();
        if (published && std::find(faults.begin(), faults.end(), fault) == faults.end()) faults.push_back(fault);
    }
    for (const std::string& line : table_lines(table)) lines.push_back(line);
    lines.insert(lines.end(), faults.begin(), faults.end());
    return lines;
}

}  // namespace pva::phases
