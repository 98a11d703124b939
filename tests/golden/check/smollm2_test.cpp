// A real pretrained model, SmolLM2-135M-Instruct as jobs/local/get_smollm2.sh fetches it, against transformers: token
// ids, logits, greedy tokens, and the loss that pva_check prints. Skipped where the model is not there.
#define BOOST_TEST_MODULE golden_smollm2
#include <boost/test/unit_test.hpp>

#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../../unit/scratch.h"
#include "pva/capture/trace.h"
#include "pva/core/sha256.h"
#include "pva/generate/engine.h"
#include "pva/model/load.h"
#include "pva/model/threads.h"
#include "pva/text/tokenizer.h"

namespace fs = std::filesystem;
using namespace pva;

namespace {

fs::path model_folder() {
    const char* cache = std::getenv("XDG_CACHE_HOME");
    const char* home = std::getenv("HOME");
    const fs::path root = cache != nullptr && *cache != '\0' ? fs::path(cache) : fs::path(home != nullptr ? home : "/") / ".cache";
    return root / "pva/smollm2-135m-instruct";
}

nlohmann::json golden() {
    std::ifstream file(fs::path(PVA_SOURCE_DIR) / "tests/golden/models/smollm2.json");
    return nlohmann::json::parse(file);
}

struct NeedsTheModel {
    NeedsTheModel() {
        const fs::path weights = model_folder() / "model.safetensors";
        if (!fs::exists(weights)) {
            std::cout << "skipped: " << weights << " is not there; jobs/local/get_smollm2.sh fetches it\n";
            std::exit(77);
        }
        if (sha256_file_hex(weights.string()) != golden()["weights_sha256"]) {
            std::cout << "skipped: " << weights << " holds other weights than the golden file was made from\n";
            std::exit(77);
        }
        model::set_threads(2);
    }
};
BOOST_TEST_GLOBAL_FIXTURE(NeedsTheModel);

}  // namespace

BOOST_AUTO_TEST_CASE(prompts_logits_and_greedy_tokens) {
    const auto files = model::find_model_files(model_folder().string());
    const auto tokenizer = text::Tokenizer::load(files.tokenizer);
    const model::Model model = model::load_model(files);
    for (const auto& prompt : golden()["prompts"]) {
        const auto ids = prompt["ids"].get<std::vector<std::int32_t>>();
        BOOST_TEST(tokenizer.encode(prompt["text"].get<std::string>()) == ids, boost::test_tools::per_element());
        const capture::Trace trace = capture::trace_sequence(model, ids, {});
        const std::size_t vocab = trace.logits.size() / ids.size();
        const float* last = trace.logits.data() + (ids.size() - 1) * vocab;
        for (std::size_t i = 0; i < 5; ++i) {
            const double expected = prompt["top5_logits"][i].get<double>();
            const double ours = last[prompt["top5_ids"][i].get<std::size_t>()];
            BOOST_TEST(std::abs(ours - expected) / (std::abs(expected) / 10) < 5e-5, ours << " against " << expected);
        }
        generate::GenerationSettings settings;
        settings.max_new_tokens = 20;
        settings.stop_at_eos = false;
        const std::vector<generate::Prompt> prompts = {{ids}};
        const auto greedy = generate::generate_batch(model, &tokenizer, prompts, settings).front().tokens;
        for (std::size_t step = 0; step < 20 && prompt["greedy_gap"][step].get<double>() > 1e-3; ++step)
            BOOST_TEST(greedy[step] == prompt["greedy"][step].get<std::int32_t>(), "step " << step);
    }
}

BOOST_AUTO_TEST_CASE(loss_that_pva_check_prints) {
    const nlohmann::json loss = golden()["loss"];
    const fs::path text = fs::path(PVA_SOURCE_DIR) / "../shared/data" / loss["text"].get<std::string>();
    if (!fs::exists(text)) {
        std::cout << "skipped: " << text << " is not there\n";
        return;
    }
    const Scratch folder;
    const std::string command = std::string(PVA_BINARY_DIR) + "/bin/pva_check --threads 2 --data " + folder.path + " --json " + folder.file("out.json") + " --model " +
                                model_folder().string() + " --text " + text.string() + " --records " + loss["records"].dump() + " --max-tokens " +
                                loss["max_tokens"].dump();
    const int status = std::system(command.c_str());
    BOOST_REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    const nlohmann::json summary = nlohmann::json::parse(read_file(folder.file("out.json")))["summary"];
    BOOST_TEST(summary["predicted_tokens"] == loss["predicted_tokens"]);
    BOOST_TEST(std::abs(summary["mean_loss"].get<double>() - loss["mean"].get<double>()) < 2e-6);
}
