// The report: what is escaped, what is missing, what is damaged, and numbers of its curves.
#define BOOST_TEST_MODULE report
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "../export/made_file.h"
#include "../scratch.h"
#include "pva/core/error.h"
#include "pva/core/log.h"
#include "pva/phases/report.h"
#include "pva/phases/report_sections.h"
#include "pva/phases/schemas.h"
#include "pva/stats/classification.h"
#include "pva/stats/ranks.h"

using namespace pva;
using test::bytes_of;

namespace {

const Scratch& scratch() {
    static const Scratch folder;
    return folder;
}

std::string text_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::size_t count(const std::string& text, const std::string& what) {
    std::size_t n = 0;
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++n;
    return n;
}

const std::string evil = "</title></pre><script>alert(1)</script><img src=x onerror='alert(2)'>\"`touch /tmp/pva_report_evil`$(id)\xff";

/// A dataset of four programs whose every text is hostile.
void write_dataset(const std::string& folder, test::MadeFile made = {}) {
    made.sizes = {{"unit", 4}, {"problem", 4}, {"row", 4}, {"layer", 1}, {"d_model", 2}, {"token", 3}, {"family_bytes", 128}, {"sha256_digits", 64}, {"output_bytes", 256}, {"detail_bytes", 256}};
    made.content.try_emplace("task_id", bytes_of(std::vector<std::int64_t>{1, 2, 3, 4}));
    made.content.try_emplace("passed", bytes_of(std::vector<std::uint8_t>{1, 0, 1, 0}));
    made.content.try_emplace("complexity", bytes_of(std::vector<std::int32_t>{1, 2, 5, -1}));
    const std::vector<std::string> texts(4, evil);
    made.content.try_emplace("program", bytes_of(texts, 256));
    made.content.try_emplace("raw_output", bytes_of(texts, 256));
    made.content.try_emplace("family", bytes_of(texts, 128));
    nlohmann::json identity = {{"phase", "1"}, {"model", evil.substr(0, evil.size() - 1)}, {"prompt", "<b>"}, {"temperature", 0.0}, {"problems", "p"}};
    made.identity = identity.dump();
    nlohmann::json summary = {{"verdicts", {{"<i>x</i>", 3}, {"passed", 1}}}};
    made.summary = summary.dump();
    test::write_made_file(folder + "/phase1_0/dataset_m_0-3_2026-01-01_00-00-00.h5", phases::dataset_schema(), made);
}

/// The page of a folder; requires that it is one with nothing in it that runs or loads.
std::string page_of(const std::string& folder, phases::ReportOptions options = {}) {
    Log log(0, LogLevel::error);
    options.folder = folder;
    options.output = scratch().file("page.html");
    phases::run_report(log, options);
    const std::string page = text_of(options.output);
    BOOST_TEST(page.starts_with("<!DOCTYPE html>"));
    BOOST_TEST(page.ends_with("</html>\n"));
    for (const std::string bad : {"<script", "<img", "<b>", "<i>x", "onerror='", " onload", "javascript:", "src=\"", "@import", "url("}) BOOST_TEST(page.find(bad) == std::string::npos, "the page holds " + bad);
    BOOST_TEST(count(page, "<div") == count(page, "</div>"));
    BOOST_TEST(count(page, "<svg") == count(page, "</svg>"));
    BOOST_TEST(count(page, "<figure") == count(page, "</figure>"));
    BOOST_TEST(!std::filesystem::exists("/tmp/pva_report_evil"));
    return page;
}

}  // namespace

BOOST_AUTO_TEST_CASE(escaping) {
    BOOST_TEST(phases::html_escape("a<b>&\"'c") == "a&lt;b&gt;&amp;&quot;&#39;c");
    BOOST_TEST(phases::html_escape(std::string("x\0y\x1b\x7f\r\t\n\xff", 9)) == "x\xEF\xBF\xBDy\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\t\n\xEF\xBF\xBD");
    BOOST_TEST(phases::html_escape("\xC3\xA4") == "\xC3\xA4");
    phases::Plot plot;
    plot.x_label = "a'b\nset output 'x' `id` $(id) \"$d\" \\ | ! {";
    plot.series.push_back({phases::PlotSeries::Kind::line, "it's `touch x`", "#000000", {1, 2, 3}, {1, std::nan(""), 3}, {}, {}});
    const std::string script = phases::plot_script(plot);
    BOOST_TEST(script.find("set xlabel 'a?b?set output ?x? ?id? ?(id) ??d? ? ? ? ?'\n") != std::string::npos, script);
    BOOST_TEST(script.find("title 'it?s ?touch x?'") != std::string::npos, script);
    BOOST_TEST(script.find("\n1.0 1.0\n3.0 3.0\nEND\n") != std::string::npos, script);
    BOOST_TEST(script.find('`') == std::string::npos);
}

BOOST_AUTO_TEST_CASE(links_and_names) {
    const std::string scope = "/x/models--google--gemma-scope-2b-pt-res/snapshots/a/layer_12/width_16k/average_l0_82/params.npz";
    BOOST_TEST(phases::neuronpedia_link(scope, 12, 345) == "https://www.neuronpedia.org/gemma-2-2b/12-gemmascope-res-16k/345");
    BOOST_TEST(phases::neuronpedia_link("gemma-scope-9b-pt-res/layer_41/width_16k/average_l0_113", 41, 0) == "https://www.neuronpedia.org/gemma-2-9b/41-gemmascope-res-16k/0");
    BOOST_TEST(phases::neuronpedia_link(scope, 11, 345).empty());                                                              // another layer
    BOOST_TEST(phases::neuronpedia_link("gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_176/params.npz", 12, 1).empty());  // not the canonical one
    BOOST_TEST(phases::neuronpedia_link("gemma-scope-2b-pt-res/layer_12/width_65k/average_l0_82/params.npz", 12, 1).empty());
    BOOST_TEST(phases::neuronpedia_link("gemma-scope-9b-it-res/layer_12/width_16k/average_l0_130/params.npz", 12, 1).empty());
    BOOST_TEST(phases::neuronpedia_link("mine/layer_12/width_16k/average_l0_82/params.npz", 12, 1).empty());

    phases::LatentGrid grid;
    grid.layers = {2, 10};
    grid.n_latents = 4;
    grid.score = {0, 0, 0, 0, 0, 0, 0, -1};
    const auto chosen = phases::named_latent(grid, "10/3");
    BOOST_TEST((chosen.layer == 10 && chosen.latent == 3 && chosen.layer_index == 1 && !chosen.speaks_for_right));
    BOOST_TEST(phases::named_latent(grid, "L2-0").speaks_for_right);
    for (const std::string bad : {"", "10", "10/", "/3", "10/4", "3/1", "10/-1", "10/3x", "L10", "a/b", "10/99999999999"}) BOOST_CHECK_THROW(phases::named_latent(grid, bad), UsageError);
}

BOOST_AUTO_TEST_CASE(curves) {
    const std::vector<double> scores = {3, 1, 2, 2, 0, 3, -1};
    const std::vector<std::uint8_t> labels = {1, 0, 1, 0, 0, 1, 1};
    const phases::ScoreCurve curve = phases::score_curve(scores, labels);
    // The area under the curve is the AUROC, the steps of precision the average precision.
    double area = 0;
    double precision = 0;
    for (std::size_t i = 1; i < curve.recall.size(); ++i) {
        area += (curve.false_positive_rate[i] - curve.false_positive_rate[i - 1]) * (curve.recall[i] + curve.recall[i - 1]) / 2;
        precision += (curve.recall[i] - curve.recall[i - 1]) * curve.precision[i];
    }
    const auto groups = stats::split_by_label(scores, labels);
    BOOST_TEST(area == stats::auroc(groups.positives, groups.negatives), boost::test_tools::tolerance(1e-12));
    BOOST_TEST(precision == stats::average_precision(scores, labels), boost::test_tools::tolerance(1e-12));
    BOOST_TEST(curve.called.size() == 6u);  // (0, 0) and five distinct scores
    BOOST_TEST(curve.f1[1] == 2.0 * 2 / (2 + 4));
    BOOST_TEST((curve.recall.back() == 1 && curve.false_positive_rate.back() == 1 && curve.called.back() == 1));
    BOOST_TEST(phases::score_curve(std::vector<double>{1, 2}, std::vector<std::uint8_t>{1, 1}).called.empty());
    BOOST_TEST(phases::score_curve({}, {}).called.empty());
    BOOST_CHECK_THROW(phases::score_curve(std::vector<double>{std::nan("")}, std::vector<std::uint8_t>{1}), InputError);
}

BOOST_AUTO_TEST_CASE(contexts) {
    phases::ShownContext context{evil, {{"a<b", 0.0}, {"\n", 0.1}, {"<script>", 2.0}, {"", 0.5}}, 2, 2.0};
    const std::string html = phases::contexts_html({context});
    BOOST_TEST(html.find("<script") == std::string::npos);
    BOOST_TEST(html.find("a&lt;b<i class=\"t1\" title=\"0.100\">\n</i><i class=\"t5 tm\" title=\"2.000\">&lt;script&gt;</i><i class=\"t2\"") != std::string::npos, html);
}

BOOST_AUTO_TEST_CASE(hostile_texts_and_missing_phases) {
    const std::string folder = scratch().file("evil");
    write_dataset(folder);
    const std::string page = page_of(folder);
    BOOST_TEST(page.find("&lt;script&gt;alert(1)&lt;/script&gt;") != std::string::npos);
    BOOST_TEST(page.find("2 of 4 programs pass") != std::string::npos);
    for (const std::string section : {"brief", "study", "solved", "latents", "chosen", "detection", "writing", "steering", "caveats"}) BOOST_TEST(count(page, "<h2 id=\"" + section + "\"") == 1u, section);
    for (const std::string phase : {"pva_phase1_2", "pva_phase2", "pva_phase3"}) BOOST_TEST(page.find(phase + " does it") != std::string::npos, phase);
    BOOST_TEST(page == page_of(folder));  // the same results, the same page
}

// What the section reads of docs/formats/stages.md and steering.md.
BOOST_AUTO_TEST_CASE(course_of_writing_and_steering) {
    using io::Filled;
    using io::h5::Element;
    const std::string folder = scratch().file("later");
    write_dataset(folder);
    const auto values = [](std::initializer_list<double> list) { return bytes_of(std::vector<double>(list)); };

    io::FileSchema stages{"pva stages", 1, "stages.md", "unit", {}};
    const auto has = [](io::FileSchema& schema, const std::string& name, Element element, const std::vector<std::string>& dims) {
        schema.datasets.push_back({name, element, dims, Filled::at_end, "1", "", element == Element::text ? "name_bytes" : ""});
    };
    for (const std::string name : {"stage", "detector", "baseline"}) has(stages, name, Element::text, {name});
    has(stages, "layer", Element::i32, {"layer"});
    has(stages, "passed", Element::u8, {"row"});
    has(stages, "tokens_written", Element::f64, {"stage"});
    has(stages, "best_layer", Element::i32, {"stage", "detector"});
    for (const std::string name : {"auroc", "auroc_low", "auroc_high"}) {
        has(stages, name, Element::f64, {"stage", "layer", "detector"});
        has(stages, "baseline_" + name, Element::f64, {"stage", "baseline"});
    }
    for (const std::string name : {"difference", "low", "high"}) has(stages, "against_words/" + name, Element::f64, {"stage", "detector"});
    test::MadeFile course;
    course.sizes = {{"unit", 1}, {"stage", 2}, {"detector", 1}, {"baseline", 1}, {"layer", 2}, {"row", 3}, {"name_bytes", 64}};
    course.identity = R"({"model":"m","site":"resid_post"})";
    course.content["stage"] = bytes_of(std::vector<std::string>{"last-prompt", "<b>tenth"}, 64);
    course.content["detector"] = bytes_of(std::vector<std::string>{"latent for right"}, 64);
    course.content["baseline"] = bytes_of(std::vector<std::string>{"words so far"}, 64);
    course.content["layer"] = bytes_of(std::vector<std::int32_t>{3, 9});
    course.content["best_layer"] = bytes_of(std::vector<std::int32_t>{-1, 1});
    course.content["auroc"] = values({0.5, 0.5, 0.6, 0.8125});
    course.content["auroc_low"] = values({0.4, 0.4, 0.5, 0.75});
    course.content["auroc_high"] = values({0.6, 0.6, 0.7, 0.875});
    course.content["baseline_auroc"] = values({0.5, std::nan("")});
    const std::string stages_file = folder + "/phase3/stages_m_0-3_2026-01-01_00-00-00.h5";
    test::write_made_file(stages_file, stages, course);

    io::FileSchema steering{"pva steering", 1, "steering.md", "unit", {}};
    has(steering, "condition/name", Element::text, {"condition"});
    has(steering, "arm/name", Element::text, {"arm"});
    for (const std::string name : {"arm/aim", "arm/method"}) has(steering, name, Element::u8, {"arm"});
    has(steering, "condition/arm", Element::i32, {"condition"});
    for (const std::string name : {"condition/kind", "choice/chosen"}) has(steering, name, Element::u8, {"condition"});
    for (const std::string name : {"effect/fixed", "effect/broken"}) has(steering, name, Element::u64, {"condition"});
    for (const std::string name : {"condition/relative", "condition/gate_percentile", "effect/mcnemar_p", "effect/aimed", "effect/similarity"}) has(steering, name, Element::f64, {"condition"});
    for (const std::string name : {"correction", "corruption", "preservation", "net"}) {
        for (const std::string end : {"", "_low", "_high"}) has(steering, "effect/" + name + end, Element::f64, {"condition"});
    }
    const double none = std::nan("");
    test::MadeFile tuned;
    tuned.sizes = {{"unit", 1}, {"condition", 3}, {"arm", 1}, {"name_bytes", 64}};
    tuned.content["condition/name"] = bytes_of(std::vector<std::string>{"no steering", "weak", "strong"}, 64);
    tuned.content["arm/name"] = bytes_of(std::vector<std::string>{"add <L3-70>"}, 64);
    tuned.content["condition/arm"] = bytes_of(std::vector<std::int32_t>{-1, 0, 0});
    tuned.content["condition/kind"] = bytes_of(std::vector<std::uint8_t>{0, 1, 1});
    tuned.content["choice/chosen"] = bytes_of(std::vector<std::uint8_t>{0, 1, 0});
    tuned.content["condition/relative"] = values({0, 0.1, 0.8});
    tuned.content["condition/gate_percentile"] = values({none, none, none});
    tuned.content["effect/fixed"] = bytes_of(std::vector<std::uint64_t>{0, 7, 3});
    tuned.content["effect/correction"] = values({0, 0.4375, 0.1});
    tuned.content["effect/correction_high"] = values({0, 0.5, 0.2});
    tuned.content["effect/similarity"] = values({1, 0.9, 0.2});
    tuned.identity = R"({"model":"m","part":"tuning"})";
    tuned.summary = R"({"problems":20,"right":4,"arms":[{"name":"add <L3-70>","none_is_as_good":true}]})";
    const std::string tuned_file = folder + "/phase3/steering_m_0-3_tuning_2026-01-01_00-00-00.h5";
    test::write_made_file(tuned_file, steering, tuned);
    test::MadeFile tried = tuned;
    tried.identity = R"({"model":"m","part":"analysis","tuning":")" + io::ResultReader::open(tuned_file, steering).content_sha256() + "\"}";
    tried.content["condition/kind"] = bytes_of(std::vector<std::uint8_t>{0, 1, 3});
    tried.content["effect/aimed"] = values({0, 0.25, -0.5});
    tried.summary = R"({"problems":30,"right":5,"wrong":25,"arms":[{"name":"add <L3-70>","controls":[{"kind":"random vectors","controls":20},{"kind":"low-score latents","controls":0}]}],
        "conditions":[{"condition":"no steering","arm":-1},{"condition":"weak","arm":0,"correction":{"count":4,"of":25},"corruption":{"count":1,"of":5},"net":0.1,"net_low":-0.01,"net_high":0.21}],
        "tests":[{"intervention":"add <L3-70>","test":"against random","p":0.0004,"smallest_p":0.01,"holm":0.08,"q":0.05,"published":false,"note":"7 of 16"},
                 {"intervention":"add <L3-70>","test":"rank among all controls","p":0.295,"smallest_p":0.016,"holm":0.3,"q":0.3,"published":false,"note":"rank 18 of 61"},
                 {"intervention":"add <L3-70>","test":"rank among low-score latents","p":null,"smallest_p":null,"holm":null,"q":null,"published":false,"note":"no controls"},
                 {"intervention":"add <L3-70>","test":"published: one","p":0.0,"smallest_p":null,"holm":null,"q":null,"published":true,"note":"a fault"}]})";
    test::write_made_file(folder + "/phase3/steering_m_0-3_analysis_2026-01-01_00-00-01.h5", steering, tried);

    const std::string page = page_of(folder);
    for (const std::string part : {"&lt;b&gt;tenth", "0.812 [0.750, 0.875], L9", "of 3 programs of the analysis part", "course of writing", "add &lt;L3-70&gt;", "weak (chosen)", "0.438 [0.000, 0.500]", "chosen: 0.100",
                                   "lies within one standard error of the best coefficient", "4 of 25 wrong programs became right and 1 of 5 right ones wrong; net change 0.100 [-0.010, 0.210]",
                                   "Among all controls: rank 18 of 61. None of 2 tests of it has", "None of 2 tests of steering has", "beside controls that are pushed as hard: 20 random vectors", "&lt; 0.001", "30 problems of the analysis part", "against random", "0.080", "7 of 16"}) {
        BOOST_TEST(page.find(part) != std::string::npos, part);
    }
    BOOST_TEST(page.find("Not there") == std::string::npos);

    // A second run: arms tried one by one are adjusted together. An older file of equal settings and a tuning part with nothing behind it.
    const auto runs_on = [](const std::string& text) { return count(text, "<h3 id=\"steering-"); };
    BOOST_TEST(runs_on(page) == 0u);
    const std::string first_identity = tried.identity, first_summary = tried.summary;
    tried.identity = R"({"model":"m","part":"analysis","arms":"wrong","positions":"last"})";
    tried.summary = R"({"problems":30,"right":5,"wrong":25,"arms":[{"name":"push <L3-71>"}],"tests":[{"intervention":"push <L3-71>","test":"against random","p":0.02,"smallest_p":0.01,"holm":0.02,"q":0.02,"published":false,"note":"3 of 16"}]})";
    const std::string second = folder + "/phase3/steering_m_0-3_analysis_2026-01-02_00-00-00.h5", older = folder + "/phase3/steering_m_0-3_analysis_2026-01-01_12-00-00.h5";
    test::write_made_file(second, steering, tried);
    test::write_made_file(older, steering, tried);
    const std::string two = page_of(folder);
    for (const std::string part : {"Steering was run 2 times", "Run 2: wrong; positions last", "1 of 2 tests of it have an adjusted p (Holm) below 0.05: against random.", "of all 2 runs on this page", "3 of 16", "7 of 16", "<td class=\"n\">0.040</td>"}) BOOST_TEST(two.find(part) != std::string::npos, part);
    BOOST_TEST(two.find("tests of steering has") == std::string::npos);
    BOOST_TEST(runs_on(two) == 2u);
    test::MadeFile alone = tuned;
    alone.identity = R"({"model":"m","part":"tuning","arms":"gated-right","positions":"all"})";
    const std::string alone_file = folder + "/phase3/steering_m_0-3_tuning_2026-01-03_00-00-00.h5";
    test::write_made_file(alone_file, steering, alone);
    const std::string three = page_of(folder);
    BOOST_TEST(runs_on(three) == 3u);
    BOOST_TEST(three.find("Run 3: gated-right; positions all") < three.find("were not tried on the analysis part yet"));
    for (const std::string& path : {second, older, alone_file}) std::filesystem::remove(path);
    tried.identity = first_identity;
    tried.summary = first_summary;

    // Only part of it, and a damaged one.
    std::filesystem::remove(tuned_file);
    course.other_shape["best_layer"] = {1};
    test::write_made_file(stages_file, stages, course);
    const std::string less = page_of(folder);
    BOOST_TEST(less.find("dataset best_layer: has 1 values, expected 2") != std::string::npos);
    BOOST_TEST(less.find("where coefficients were chosen, is missing") != std::string::npos);
    BOOST_TEST(less.find("7 of 16") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(damaged_files_spoil_their_part_only) {
    const std::string folder = scratch().file("damaged");
    test::MadeFile made;
    made.other_shape["complexity"] = {3};
    write_dataset(folder, made);
    test::MadeFile difficulty;
    difficulty.sizes = {{"unit", 2}, {"problem", 2}, {"name_bytes", 4}};
    difficulty.complete = 0;
    test::write_made_file(folder + "/phase0/difficulty_p_0-1_2026-01-01_00-00-00.h5", phases::difficulty_schema(), difficulty);
    scratch().write("damaged/phase2/latents_m_0-3_selection_2026-01-01_00-00-00.h5", "this is no HDF5");
    std::filesystem::create_directories(folder + "/phase3/validation_m_0-3_2026-01-01_00-00-00.h5");
    const std::string page = page_of(folder);
    BOOST_TEST(page.find("dataset complexity: has 3 values, expected 4") != std::string::npos);
    BOOST_TEST(page.find("not complete") != std::string::npos);
    BOOST_TEST(page.find("not an HDF5 file") != std::string::npos);
    BOOST_TEST(page.find("What to keep in mind") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(without_gnuplot) {
    const std::string folder = scratch().file("plain");
    write_dataset(folder);
    const std::string path = std::getenv("PATH");
    ::setenv("PATH", scratch().file("empty").c_str(), 1);
    const std::string page = page_of(folder);
    ::setenv("PATH", path.c_str(), 1);
    BOOST_TEST(page.find("<svg") == std::string::npos);
    BOOST_TEST(page.find("gnuplot is not installed") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(bad_input) {
    Log log(0, LogLevel::error);
    phases::ReportOptions options;
    BOOST_CHECK_THROW(phases::run_report(log, options), UsageError);
    options.folder = scratch().file("nowhere");
    BOOST_CHECK_THROW(phases::run_report(log, options), InputError);
    std::filesystem::create_directories(options.folder);
    BOOST_CHECK_THROW(phases::run_report(log, options), InputError);
    options.folder = scratch().file("some");
    write_dataset(options.folder);
    options.latent = "3/4";
    BOOST_CHECK_THROW(phases::run_report(log, options), InputError);  // no latents there
    options.latent = "";
    options.output = "/proc/nothing/report.html";
    BOOST_CHECK_THROW(phases::run_report(log, options), IoError);
    options.output = scratch().file("other.html");
    options.model = "another";
    BOOST_CHECK_THROW(phases::run_report(log, options), InputError);
}
