// Options: where values come from, what is refused and with which words, what help and identity hold.
#include "pva/core/options.h"

#include <boost/test/unit_test.hpp>

#include "pva/core/error.h"
#include "pva/core/option_texts.h"
#include "../scratch.h"

using namespace pva;

namespace {

/// One option of each kind.
struct Sample {
    std::string model;
    std::string compat = "none";
    std::string folder;
    std::int64_t seed = 7;
    double share = 0.02;
    std::optional<std::int64_t> end;
    bool fresh = false;
    CommonOptions common;
    OptionSet set{"pva_sample", "Does this and that.", {"pva_sample --model M", "pva_sample --model M --end 3"}};

    Sample() {
        set.add("model", model, "DIR", "folder of the model").required().changes_results();
        set.add("compat", compat, "NAME", "which way").one_of({"none", "paper"}).changes_results();
        set.add("seed", seed, "N", "seed of the split").at_least(0).changes_results();
        set.add("filter-rate", share, "R", "rate above which latents are dropped").at_least(0.5e-3);
        set.add("end", end, "N", "last index").at_least(1);
        set.add_flag("fresh", fresh, "start over");
        set.add_positional("folder", folder, "DIR", "where");
        register_options(set, common);
    }

    ParsedAs parse(std::vector<const char*> words) {
        words.insert(words.begin(), "pva_sample");
        return set.parse(static_cast<int>(words.size()), words.data());
    }
};

/// Parses and expects a UsageError that holds all of the words.
void check_refused(const std::vector<const char*>& words, const std::vector<std::string>& expected) {
    Sample sample;
    try {
        sample.parse(words);
        BOOST_ERROR("not refused; wanted: " << expected.front());
    } catch (const UsageError& error) {
        BOOST_TEST((error.exit_code() == ExitCode::usage));
        for (const std::string& part : expected) BOOST_TEST(std::string(error.what()).find(part) != std::string::npos, part << " in: " << error.what());
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(options)

BOOST_AUTO_TEST_CASE(defaults_and_command_line) {
    Sample sample;
    BOOST_TEST((sample.parse({"--model", "m"}) == ParsedAs::run));
    BOOST_TEST(sample.model == "m");
    BOOST_TEST(sample.compat == "none");
    BOOST_TEST(sample.seed == 7);
    BOOST_TEST(!sample.end.has_value());
    BOOST_TEST(!sample.fresh);
    BOOST_TEST(sample.common.data == "data");

    Sample other;
    BOOST_TEST((other.parse({"--model=m", "--seed=0", "--filter-rate", "1e-3", "--end", "12", "--fresh", "place", "--compat", "paper"}) == ParsedAs::run));
    BOOST_TEST(other.seed == 0);
    BOOST_TEST(other.share == 1e-3);
    BOOST_TEST((other.end == 12));
    BOOST_TEST(other.fresh);
    BOOST_TEST(other.folder == "place");
    BOOST_TEST(other.compat == "paper");

    Sample named;
    named.parse({"--folder", "place", "--model", "m"});
    BOOST_TEST(named.folder == "place");
}

BOOST_AUTO_TEST_CASE(command_line_over_file_over_default) {
    const Scratch scratch;
    const std::string file = scratch.write("run.conf", "# a comment\nmodel = from file\nseed = 11\nfresh = true\n\nfilter-rate=0.5\n");
    Sample sample;
    sample.parse({"--config", file.c_str(), "--seed", "5"});
    BOOST_TEST(sample.model == "from file");
    BOOST_TEST(sample.seed == 5);
    BOOST_TEST(sample.share == 0.5);
    BOOST_TEST(sample.fresh);
    BOOST_TEST(sample.compat == "none");

    const std::string off = scratch.write("off.conf", "model = m\nfresh = false\n");
    Sample not_fresh;
    not_fresh.parse({"--config", off.c_str()});
    BOOST_TEST(!not_fresh.fresh);
    Sample fresh_again;
    fresh_again.parse({"--config", off.c_str(), "--fresh"});
    BOOST_TEST(fresh_again.fresh);
}

BOOST_AUTO_TEST_CASE(help_and_version_win_over_what_is_missing) {
    BOOST_TEST((Sample().parse({"--help"}) == ParsedAs::help));
    BOOST_TEST((Sample().parse({"-h"}) == ParsedAs::help));
    BOOST_TEST((Sample().parse({"--version"}) == ParsedAs::version));
}

BOOST_AUTO_TEST_CASE(unknown_options_suggest_the_nearest) {
    check_refused({"--model", "m", "--sede", "3"}, {"unknown option 'sede'", "did you mean --seed?", "pva_sample --help"});
    check_refused({"--modle", "m"}, {"'modle'", "did you mean --model?"});
    check_refused({"--model", "m", "--filterrate", "3"}, {"did you mean --filter-rate?"});
    check_refused({"--model", "m", "--hepl"}, {"did you mean --help?"});
    // A beginning is not enough: --fre must not become --fresh silently.
    check_refused({"--model", "m", "--fre"}, {"unknown option 'fre'"});
    Sample sample;
    try {
        sample.parse({"--model", "m", "--quite-another-thing", "3"});
        BOOST_ERROR("an unknown option passed");
    } catch (const UsageError& error) {
        BOOST_TEST(std::string(error.what()).find("did you mean") == std::string::npos, error.what());
    }
}

BOOST_AUTO_TEST_CASE(repeated_options_are_refused) {
    check_refused({"--model", "m", "--seed", "1", "--seed", "2"}, {"--seed", "more than once"});
    check_refused({"--model", "m", "--seed", "1", "--seed", "1"}, {"--seed", "more than once"});
    check_refused({"--model", "m", "--fresh", "--fresh"}, {"--fresh", "more than once"});
    check_refused({"--model", "m", "a", "b"}, {"without an option name"});
    check_refused({"--model", "m", "a", "--folder", "b"}, {"folder", "more than once"});
    const Scratch scratch;
    const std::string file = scratch.write("twice.conf", "model = m\nseed = 1\nseed = 2\n");
    check_refused({"--config", file.c_str()}, {file, "seed", "more than once"});
}

BOOST_AUTO_TEST_CASE(bad_values) {
    check_refused({"--model", "m", "--seed", "three"}, {"--seed", "whole number", "'three'"});
    check_refused({"--model", "m", "--seed", "3.5"}, {"--seed", "whole number", "'3.5'"});
    check_refused({"--model", "m", "--seed", "3x"}, {"--seed", "'3x'"});
    check_refused({"--model", "m", "--seed", " 3"}, {"--seed", "' 3'"});
    check_refused({"--model", "m", "--seed", "99999999999999999999"}, {"--seed", "99999999999999999999"});
    check_refused({"--model", "m", "--filter-rate", "nan"}, {"--filter-rate", "takes a number"});
    check_refused({"--model", "m", "--filter-rate", "inf"}, {"--filter-rate", "takes a number"});
    check_refused({"--model", "m", "--filter-rate", "1,5"}, {"--filter-rate", "'1,5'"});
    check_refused({"--model", "m", "--seed", "-1"}, {"--seed", "at least 0", "-1"});
    check_refused({"--model", "m", "--seed=-1"}, {"--seed", "at least 0", "-1"});
    check_refused({"--model", "m", "--end", "0"}, {"--end", "at least 1"});
    check_refused({"--model", "m", "--filter-rate", "0.0001"}, {"--filter-rate", "at least 0.0005"});
    check_refused({"--model", "m", "--compat", "papers"}, {"--compat is one of none, paper", "'papers'"});
    check_refused({"--model", "m", "--fresh=maybe"}, {"fresh"});
    check_refused({"--model"}, {"model"});
    check_refused({"--seed", "1"}, {"--model DIR is needed", "folder of the model"});
    check_refused({"--model", "m", "--max-minutes", "-1"}, {"--max-minutes", "at least 0"});
    check_refused({"--model", "m", "--log-level", "loud"}, {"error, warning, info, debug"});
    // At the edges.
    Sample sample;
    sample.parse({"--model", "m", "--end", "1", "--filter-rate", "0.0005", "--seed", "9223372036854775807"});
    BOOST_TEST((sample.end == 1));
    BOOST_TEST(sample.seed == 9223372036854775807);
}

BOOST_AUTO_TEST_CASE(bad_configuration_files) {
    const Scratch scratch;
    check_refused({"--config", "/nowhere/at/all.conf"}, {"/nowhere/at/all.conf", "cannot be opened"});
    const std::string unknown = scratch.write("unknown.conf", "model = m\nsede = 3\n");
    check_refused({"--config", unknown.c_str()}, {unknown, "'sede'", "did you mean --seed?"});
    const std::string flag = scratch.write("flag.conf", "model = m\nfresh = yes\n");
    check_refused({"--config", flag.c_str()}, {"--fresh", "'yes'"});
    const std::string word = scratch.write("word.conf", "model = m\nseed\n");
    check_refused({"--config", word.c_str()}, {word});
    const std::string value = scratch.write("value.conf", "model = m\nseed = many\n");
    check_refused({"--config", value.c_str()}, {"--seed", "'many'"});
}

BOOST_AUTO_TEST_CASE(a_name_is_registered_once) {
    OptionSet set("p", "s", {});
    std::string target;
    set.add("name", target, "X", "help");
    BOOST_CHECK_THROW(set.add("name", target, "X", "help"), InternalError);
}

BOOST_AUTO_TEST_CASE(help_names_everything) {
    const Sample sample;
    const std::string help = sample.set.help();
    for (const char* part : {"Does this and that.", "Usage: pva_sample DIR [options]", "--model DIR", "[needed]", "--compat NAME", "(none, paper) [none]", "--seed N", "[7]",
                             "--filter-rate R", "[0.02]", "--end N", "--fresh", "start over", "--folder DIR", "--data DIR", "[data]", "--json FILE",
                             "--log-level LEVEL", "(error, warning, info, debug) [info]", "--max-minutes M", "--config FILE", "--help", "--version", "--man", "--completion SHELL",
                             "pva_sample --model M --end 3", "75 stopped on request"}) {
        BOOST_TEST(help.find(part) != std::string::npos, part << " in:\n" << help);
    }
    for (std::size_t at = 0; at < help.size();) {
        const std::size_t end = help.find('\n', at);
        BOOST_TEST(end - at <= 120u);
        at = end + 1;
    }
}

BOOST_AUTO_TEST_CASE(requests_for_texts) {
    BOOST_TEST((Sample().parse({"--man"}) == ParsedAs::man));
    BOOST_TEST((Sample().parse({"--completion", "bash"}) == ParsedAs::completion));
    BOOST_TEST((Sample().parse({"--version"}) == ParsedAs::version));
    check_refused({"--completion", "tcsh"}, {"bash only", "'tcsh'"});
    check_refused({"--completion"}, {"completion"});
    check_refused({"--model", "m", "--completoin", "bash"}, {"--completion"});
}

BOOST_AUTO_TEST_CASE(descriptions) {
    const Sample sample;
    const std::vector<OptionDescription> options = sample.set.describe();
    BOOST_REQUIRE(options.size() == 16u + 5u);
    BOOST_TEST(options[0].name == "model");
    BOOST_TEST(options[0].is_required);
    BOOST_TEST(options[1].words == (std::vector<std::string>{"none", "paper"}), boost::test_tools::per_element());
    BOOST_TEST(options[1].default_text == "none");
    BOOST_TEST(options[2].default_text == "7");
    BOOST_TEST(options[4].default_text.empty());
    BOOST_TEST(options[5].value_name.empty());
    BOOST_TEST(options[6].is_positional);
    BOOST_TEST(!options[5].is_positional);
    BOOST_TEST(options.back().name == "completion");
}

BOOST_AUTO_TEST_CASE(manual_page_names_everything) {
    const Sample sample;
    const std::string page = man_page(sample.set, "pva 9.8");
    for (const char* part : {".TH PVA_SAMPLE 1 \"\" \"pva 9.8\"", ".SH NAME\npva_sample \\- Does this and that\n", ".SH OPTIONS", "\\fB\\-\\-filter\\-rate\\fR \\fIR\\fR\nrate above which latents are dropped.\nDefault: 0.02.",
                             "One of: none, paper.\nDefault: none.", "\\fB\\-\\-model\\fR \\fIDIR\\fR\nfolder of the model.\nNeeded.", "\\fB\\-\\-fresh\\fR\nstart over.\n", ".SH EXIT STATUS",
                             ".EX\npva_sample \\-\\-model M \\-\\-end 3\n.EE", "\\-\\-version", ".I DIR\n"}) {
        BOOST_TEST(page.find(part) != std::string::npos, part << " in:\n" << page);
    }
    // Text that roff would take for its own.
    std::string target;
    OptionSet odd("pva_odd", ".A request? 'No' \\n", {"'quoted' --x"});
    odd.add("x", target, "X", ".so it's a `back\\slash` ^~");
    const std::string odd_page = man_page(odd, "v");
    BOOST_TEST(odd_page.find("\n.so") == std::string::npos);
    BOOST_TEST(odd_page.find("\\&.so it\\(aqs a \\(gaback\\eslash\\(ga \\(ha\\(ti") != std::string::npos, odd_page);
    BOOST_TEST(odd_page.find("\n\\&.A request? \\(aqNo\\(aq \\en") != std::string::npos, odd_page);
}

BOOST_AUTO_TEST_CASE(completion_names_everything) {
    const Sample sample;
    const std::string code = bash_completion(sample.set);
    for (const char* part : {"complete -F _pva_sample pva_sample", "--compat) _pva_sample_offer words 'none paper'", "--config) _pva_sample_offer files", "--data) _pva_sample_offer folders",
                             "--model) _pva_sample_offer folders", "--seed) _pva_sample_offer none", "--log-level) _pva_sample_offer words 'error warning info debug'", "--fresh"}) {
        BOOST_TEST(code.find(part) != std::string::npos, part << " in:\n" << code);
    }
    BOOST_TEST(code.find("--fresh)") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(values_and_identity) {
    Sample sample;
    sample.parse({"--model", "m", "--seed", "3", "--data", "elsewhere"});
    const auto values = sample.set.values();
    BOOST_TEST(values["model"] == "m");
    BOOST_TEST(values["seed"] == 3);
    BOOST_TEST(values["filter-rate"] == 0.02);
    BOOST_TEST(values["end"].is_null());
    BOOST_TEST(values["fresh"] == false);
    BOOST_TEST(values["data"] == "elsewhere");
    BOOST_TEST(values["max-minutes"] == 0);
    BOOST_TEST(values.size() == 16u);
    const auto identity = sample.set.identity_values();
    BOOST_TEST(identity.dump() == R"({"model":"m","compat":"none","seed":3})");
    BOOST_TEST(sample.set.given_values().dump() == R"({"model":"m","seed":3,"data":"elsewhere"})");
}

BOOST_AUTO_TEST_CASE(switches_that_stand_instead_of_a_run) {
    // The model is needed, but not for these.
    check_refused({"--seed", "3"}, {"--model"});
    for (const char* name : {"--list-checkpoints", "--cleanup"}) {
        Sample sample;
        BOOST_TEST((sample.parse({name, "--data", "elsewhere"}) == ParsedAs::run));
        BOOST_TEST(sample.set.values()["data"] == "elsewhere");
        BOOST_TEST(sample.set.values()[std::string(name).substr(2)] == true);
    }
    check_refused({"--list-checkpoints", "--sede", "3"}, {"--seed"});
    check_refused({"--verbose"}, {"--model"});
}

BOOST_AUTO_TEST_CASE(lists_mean_the_same_however_they_are_spelled) {
    for (const char* spelling : {"0,5,10-12", "0, 5 ,10-12", " 0,5,10-12 "}) {
        std::string layers;
        OptionSet set("pva_test", "A test.", {});
        set.add("layers", layers, "LIST", "layers").list().changes_results();
        const char* arguments[] = {"pva_test", "--layers", spelling};
        set.parse(3, arguments);
        BOOST_TEST(layers == "0,5,10-12");
        BOOST_TEST(set.identity_values().dump() == R"({"layers":"0,5,10-12"})");
    }
}

BOOST_AUTO_TEST_CASE(distances) {
    BOOST_TEST(edit_distance("", "") == 0u);
    BOOST_TEST(edit_distance("", "abc") == 3u);
    BOOST_TEST(edit_distance("abc", "") == 3u);
    BOOST_TEST(edit_distance("seed", "seed") == 0u);
    BOOST_TEST(edit_distance("sede", "seed") == 1u);    // swap of neighbours
    BOOST_TEST(edit_distance("kitten", "sitting") == 3u);
    BOOST_TEST(edit_distance("ca", "abc") == 3u);       // optimal string alignment, not the unrestricted distance (2)
    BOOST_TEST(edit_distance("problems", "problem") == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
