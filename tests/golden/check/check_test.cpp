// pva_check as a user runs it: the dump against Hugging Face's values, on one and more ranks, and what it says to bad
// input.
#define BOOST_TEST_MODULE golden_check
#include <boost/test/unit_test.hpp>

#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../../unit/scratch.h"
#include "../models/golden_case.h"
#include "pva/io/h5.h"

namespace fs = std::filesystem;
using namespace pva;

namespace {

struct Outcome {
    int code = -1;
    std::string output;
};

// Runs pva_check in a folder; ranks 0: without mpirun.
Outcome check(const Scratch& folder, int ranks, const std::string& arguments) {
    const std::string program = std::string(PVA_BINARY_DIR) + "/bin/pva_check";
    std::string command = "cd " + folder.path + " && ";
    if (ranks > 0) command += std::string(PVA_MPIEXEC) + " --oversubscribe --bind-to none -n " + std::to_string(ranks) + " ";
    command += program + " --threads 1 --log-level warning --data . " + arguments + " > out.txt 2>&1";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128, read_file(folder.file("out.txt"))};
}

std::string token_lists(const golden::Case& one) {
    nlohmann::json lists = nlohmann::json::array();
    for (const auto& sequence : one.sequences) lists.push_back(sequence.tokens);
    return lists.dump();
}

template <typename T>
std::vector<T> read(const io::h5::File& file, const std::string& name, std::vector<std::int64_t>& shape) {
    const io::h5::Dataset dataset = io::h5::open_dataset(file, name);
    shape = dataset.shape;
    std::vector<T> values(static_cast<std::size_t>(dataset.rows()) * dataset.row_bytes() / sizeof(T));
    io::h5::read_rows(dataset, 0, dataset.rows(), std::as_writable_bytes(std::span(values)));
    return values;
}

std::string site_list(const golden::Case& one) {
    std::string list;
    for (const auto& [site, values] : one.sequences[0].sites) list += (list.empty() ? "" : ",") + std::string(model::site_name(site));
    return list;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_dump_holds_what_transformers_computes) {
    int losses_compared = 0;
    for (const std::string name : {"gemma2_attention_cap_sharded", "neox_pythia", "llama3_gqa_v4", "odd_heads"}) {
        const golden::Case one = golden::case_of(name);
        const Scratch folder;
        folder.write("ids.json", token_lists(one));
        const Outcome outcome = check(folder, 2, "--model " + one.folder.string() + " --tokens ids.json --sites " + site_list(one) + " --generate 12 --dump out.h5 --json out.json");
        BOOST_REQUIRE_MESSAGE(outcome.code == 0, outcome.output);
        const nlohmann::json summary = nlohmann::json::parse(read_file(folder.file("out.json")))["summary"];
        BOOST_TEST(summary["prefill_tokens_per_second"].get<double>() > 0);
        BOOST_TEST(summary["decode_tokens_per_second"].get<double>() > 0);
        BOOST_TEST(summary["parameters"].get<std::int64_t>() > 10000);

        const io::h5::File file = io::h5::open_readonly(folder.file("out.h5"));
        const model::ModelConfig config = model::load_config(model::find_model_files(one.folder.string()));
        std::vector<std::int64_t> shape;
        double loss = 0;
        std::int64_t predicted = 0;
        bool all_kept = true;
        for (std::size_t s = 0; s < one.sequences.size(); ++s) {
            const auto& sequence = one.sequences[s];
            const std::string group = "sequence/" + std::to_string(s) + "/";
            BOOST_TEST(read<std::int32_t>(file, group + "tokens", shape) == sequence.tokens, boost::test_tools::per_element());
            const auto length = static_cast<std::int64_t>(sequence.tokens.size());
            const auto logits = read<float>(file, group + "logits", shape);
            BOOST_TEST(shape == (std::vector<std::int64_t>{length, config.vocab_size}), boost::test_tools::per_element());
            const auto vocab = static_cast<std::size_t>(config.vocab_size);
            for (std::size_t p = 0; p < sequence.positions.size(); ++p) {
                const auto at = static_cast<std::size_t>(sequence.positions[p]) * vocab;
                BOOST_TEST(golden::largest_logit_difference(std::span(logits).subspan(at, vocab), std::span(sequence.logits).subspan(p * vocab, vocab)) < 5e-5);
            }
            for (const auto& [site, values] : sequence.sites) {
                const auto rows = read<float>(file, group + std::string(model::site_name(site)), shape);
                const std::int64_t layers = model::site_has_layers(site) ? config.num_hidden_layers : 1;
                const auto width = static_cast<std::size_t>(model::site_width(config, site));
                BOOST_TEST(shape == (std::vector<std::int64_t>{layers, length, static_cast<std::int64_t>(width)}), boost::test_tools::per_element());
                for (std::int64_t layer = 0; layer < layers; ++layer) {
                    for (std::size_t p = 0; p < sequence.positions.size(); ++p) {
                        const auto ours = (static_cast<std::size_t>(layer * length) + static_cast<std::size_t>(sequence.positions[p])) * width;
                        const auto theirs = (static_cast<std::size_t>(layer) * sequence.positions.size() + p) * width;
                        BOOST_TEST(golden::row_difference(std::span(rows).subspan(ours, width), std::span(values).subspan(theirs, width)) < 2e-5,
                                   name << " " << model::site_name(site) << " layer " << layer);
                    }
                }
            }
            const auto generated = read<std::int32_t>(file, group + "generated", shape);
            BOOST_REQUIRE_EQUAL(generated.size(), 12u);
            for (std::size_t step = 0; step < sequence.greedy_gap.size() && sequence.greedy_gap[step] > 1e-3; ++step) BOOST_TEST(generated[step] == sequence.greedy[step]);
            // The loss by its definition from transformers' logits, where all positions are kept.
            all_kept = all_kept && sequence.positions.size() == sequence.tokens.size();
            if (!all_kept) continue;
            for (std::size_t t = 0; t + 1 < sequence.tokens.size(); ++t) {
                double sum = 0;
                for (std::size_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(sequence.logits[t * vocab + v]));
                loss += std::log(sum) - sequence.logits[t * vocab + static_cast<std::size_t>(sequence.tokens[t + 1])];
                ++predicted;
            }
        }
        if (!all_kept) continue;
        ++losses_compared;
        BOOST_TEST(summary["predicted_tokens"].get<std::int64_t>() == predicted);
        BOOST_TEST(summary["mean_loss"].get<double>() == loss / static_cast<double>(predicted), boost::test_tools::tolerance(1e-6));
    }
    BOOST_TEST(losses_compared >= 1);
}

BOOST_AUTO_TEST_CASE(any_number_of_ranks_gives_the_same_dump) {
    const golden::Case one = golden::case_of("neox_serial");
    const Scratch folder;
    folder.write("ids.json", token_lists(one));
    const std::string arguments = "--model " + one.folder.string() + " --tokens ids.json --sites " + site_list(one) + " --generate 5 ";
    BOOST_REQUIRE_EQUAL(check(folder, 0, arguments + "--dump alone.h5").code, 0);
    const std::string compare = std::string(PVA_BINARY_DIR) + "/tests/compare_h5 ";
    for (const int ranks : {1, 3, 8}) {  // 8: more than there are sequences
        const std::string name = "ranks" + std::to_string(ranks) + ".h5";
        const Outcome outcome = check(folder, ranks, arguments + "--dump " + name);
        BOOST_REQUIRE_MESSAGE(outcome.code == 0, outcome.output);
        const std::string command = compare + folder.file("alone.h5") + " " + folder.file(name) + " > /dev/null";
        BOOST_TEST(std::system(command.c_str()) == 0, ranks << " ranks");
    }
}

BOOST_AUTO_TEST_CASE(sites_in_other_spellings_and_chosen_layers) {
    const golden::Case one = golden::case_of("llama_biases");
    const Scratch folder;
    folder.write("ids.json", "[[1, 5, 9, 12]]");
    const std::string arguments = "--model " + one.folder.string() + " --tokens ids.json ";
    BOOST_REQUIRE_EQUAL(check(folder, 0, arguments + "--sites resid_post,z --layers 1 --dump a.h5").code, 0);
    BOOST_REQUIRE_EQUAL(check(folder, 0, arguments + "--sites model.layers.1,blocks.1.attn.hook_z --dump b.h5").code, 0);
    const std::string command = std::string(PVA_BINARY_DIR) + "/tests/compare_h5 " + folder.file("a.h5") + " " + folder.file("b.h5") + " > /dev/null";
    BOOST_TEST(std::system(command.c_str()) == 0);
    std::vector<std::int64_t> shape;
    read<float>(io::h5::open_readonly(folder.file("a.h5")), "sequence/0/z", shape);
    BOOST_TEST(shape[0] == 1);
}

BOOST_AUTO_TEST_CASE(both_forward_passes_and_their_difference) {
    const golden::Case one = golden::case_of("gemma2_gqa_v5");
    const Scratch folder;
    folder.write("ids.json", token_lists(one));
    const std::string arguments = "--model " + one.folder.string() + " --tokens ids.json ";
    Outcome outcome = check(folder, 2, arguments + "--compare-forward --json fast.json");
    BOOST_REQUIRE_MESSAGE(outcome.code == 0, outcome.output);
    nlohmann::json summary = nlohmann::json::parse(read_file(folder.file("fast.json")))["summary"];
    BOOST_TEST(summary["forward"] == "fast");
    BOOST_TEST(summary["reference_logit_difference"].get<double>() > 0);  // two programs, two roundings
    BOOST_TEST(summary["reference_logit_difference"].get<double>() < 5e-5);
    BOOST_TEST(summary["reference_row_difference"].get<double>() < 2e-5);
    outcome = check(folder, 0, arguments + "--forward reference --compare-forward --json reference.json");
    BOOST_REQUIRE_MESSAGE(outcome.code == 0, outcome.output);
    summary = nlohmann::json::parse(read_file(folder.file("reference.json")))["summary"];
    BOOST_TEST(summary["forward"] == "reference");
    BOOST_TEST(summary["reference_logit_difference"] == 0.0);
    BOOST_REQUIRE_EQUAL(check(folder, 0, arguments + "--rates-only --generate 3 --json rates.json").code, 0);
    summary = nlohmann::json::parse(read_file(folder.file("rates.json")))["summary"];
    BOOST_TEST(!summary.contains("mean_loss"));
    BOOST_TEST(summary["rate_rows"] == one.sequences.size());
    BOOST_TEST(summary["rate_decode_steps"] == 3);
}

BOOST_AUTO_TEST_CASE(a_model_alone_and_a_text) {
    const fs::path demo = fs::path(PVA_SOURCE_DIR) / "data/demo";
    const Scratch folder;
    folder.write("ids.json", "[]");
    Outcome outcome = check(folder, 0, "--model " + golden::case_of("neox_tied_sharded").folder.string() + " --json a.json");
    BOOST_REQUIRE_MESSAGE(outcome.code == 0, outcome.output);
    nlohmann::json summary = nlohmann::json::parse(read_file(folder.file("a.json")))["summary"];
    BOOST_TEST(!summary.contains("mean_loss"));
    BOOST_TEST(summary["sequences"] == 0);
    BOOST_TEST(summary["decode_tokens_per_second"].get<double>() > 0);
    if (!fs::exists(demo / "model/model.safetensors")) return;
    double losses[2];
    for (const int ranks : {1, 3}) {
        outcome = check(folder, ranks, "--model " + (demo / "model").string() + " --text " + (demo / "general_text.jsonl").string() + " --records 7 --max-tokens 40 --json b.json");
        BOOST_REQUIRE_MESSAGE(outcome.code == 0, outcome.output);
        summary = nlohmann::json::parse(read_file(folder.file("b.json")))["summary"];
        BOOST_TEST(summary["sequences"] == 7);
        losses[ranks == 1 ? 0 : 1] = summary["mean_loss"].get<double>();
    }
    BOOST_TEST(losses[0] == losses[1]);
    BOOST_TEST(losses[0] > 0.1);
    BOOST_TEST(losses[0] < 5);
}

BOOST_AUTO_TEST_CASE(bad_input) {
    const golden::Case one = golden::case_of("gemma2_gqa_v5");
    const std::string with_model = "--model " + one.folder.string() + " ";
    const Scratch folder;
    folder.write("ids.json", "[[2, 3]]");
    folder.write("not_json.json", "[[2, 3]");
    folder.write("flat.json", "[2, 3]");
    folder.write("negative.json", "[[2, -3]]");
    folder.write("fraction.json", "[[2, 3.5]]");
    folder.write("none.json", "[]");
    folder.write("empty.json", "[[2], []]");
    folder.write("unknown.json", "[[2], [2, 100000]]");
    folder.write("there.h5", "something of the user's");
    struct Bad {
        std::string arguments;
        int code;
        std::string says;
    };
    const std::vector<Bad> cases = {
        {"--model nowhere/else --tokens ids.json", 65, "hf download nowhere/else"},
        {"--model /nowhere/at/all --tokens ids.json", 65, "/nowhere/at/all"},
        {with_model + "--tokens missing.json", 65, "missing.json"},
        {with_model + "--tokens not_json.json", 65, "not valid JSON"},
        {with_model + "--tokens flat.json", 65, "entry 0"},
        {with_model + "--tokens negative.json", 65, "-3"},
        {with_model + "--tokens fraction.json", 65, "3.5"},
        {with_model + "--tokens none.json", 65, "list of lists"},
        {with_model + "--tokens empty.json", 65, "sequence 1 has no tokens"},
        {with_model + "--tokens unknown.json", 65, "sequence 1 holds the token id 100000"},
        {with_model + "--tokens ids.json --generate 100000", 65, "at most"},
        {with_model + "--tokens ids.json --dump there.h5", 64, "--fresh"},
        {with_model + "--tokens ids.json --dump no/such/folder/x.h5", 74, "no/such/folder"},
        {with_model + "--tokens ids.json --sites resid_post", 64, "--dump"},
        {with_model + "--dump x.h5", 64, "--tokens"},
        {with_model + "--tokens ids.json --text ids.json", 64, "give one of them"},
        {with_model + "--tokens ids.json --dump x.h5 --sites model.layers.1.mlp", 64, "post_feedforward_layernorm"},
        {with_model + "--tokens ids.json --dump x.h5 --sites nonsense", 64, "unknown site"},
        {with_model + "--tokens ids.json --dump x.h5 --sites resid_post --layers 99", 64, "99"},
        {with_model + "--tokens ids.json --dump x.h5 --sites resid_post --layers 1,x", 64, "'x'"},
        {with_model + "--tokens ids.json --device cuda", 65, "--device cpu"},
        {with_model + "--tokens ids.json --dtype int8", 64, "float32"},
        {with_model + "--text ids.json", 65, "tokenizer"},
        {with_model + "--tokens ids.json --forward fast --dtype float16", 64, "--forward reference"},
        {with_model + "--tokens ids.json --dump x.h5 --rates-only", 64, "--rates-only"},
        {with_model + "--tokens ids.json --dump x.h5 --max-minutes 0.0000001", 75, "stopped on request"},
    };
    for (const Bad& bad : cases) {
        if (bad.arguments.find("--device cuda") != std::string::npos && fs::exists("/dev/nvidiactl")) continue;
        for (const int ranks : {0, 2}) {
            if (ranks == 2 && bad.code == 64 && bad.says != "--fresh") continue;
            const Outcome outcome = check(folder, ranks, bad.arguments);
            BOOST_TEST(outcome.code == bad.code, bad.arguments << ": " << outcome.code << "\n" << outcome.output);
            BOOST_TEST(outcome.output.find(bad.says) != std::string::npos, bad.arguments << ":\n" << outcome.output);
        }
    }
    BOOST_TEST(read_file(folder.file("there.h5")) == "something of the user's");
    BOOST_TEST(!fs::exists(folder / "x.h5"));
    BOOST_TEST(check(folder, 0, with_model + "--tokens ids.json --dump there.h5 --fresh").code == 0);
    BOOST_TEST(io::h5::exists(io::h5::open_readonly(folder.file("there.h5")), "sequence/0/logits"));
}
