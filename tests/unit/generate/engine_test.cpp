// The engine: rows are replaced at once, a prompt is read once, and nothing but a branch's own name decides its text.
#include <boost/test/unit_test.hpp>

#include <map>
#include <new>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "../model/model_copy.h"
#include "pva/core/error.h"
#include "pva/generate/engine.h"
#include "pva/model/kv_cache.h"
#include "pva/model/load.h"
#include "pva/model/out_of_memory.h"

using namespace pva;
using namespace pva::generate;

namespace {

const std::vector<std::vector<std::int32_t>> prompts = {{2, 7, 11, 30, 5, 6}, {2}, {2, 9, 9, 14}, {2, 40, 3, 3, 3, 3, 3, 8, 21}, {2, 7, 11, 30, 5, 7}};

model::Model load(const std::string& name, model::Engine engine = model::Engine::fast, model::Dtype dtype = model::Dtype::float32) {
    return model::load_model(model_copy::golden_folder(name).string(), {dtype, model::Device::cpu, -1, engine});
}

EngineSettings settings_of(int slots, int max_new_tokens) {
    EngineSettings settings;
    settings.slots = slots;
    settings.longest_prompt = 9;
    settings.max_new_tokens = max_new_tokens;
    settings.stop_at_eos = false;
    settings.capture = {model::Site::resid_post, {0, 1}};
    settings.entropies = true;
    return settings;
}

Job job_of(std::size_t prompt, const std::vector<double>& temperatures, std::uint32_t samples) {
    Job job{prompts[prompt], {}};
    for (const double temperature : temperatures) {
        for (std::uint32_t sample = 0; sample < (temperature > 0 ? samples : 1); ++sample)
            job.branches.push_back({{temperature, 0, 1, 0}, {5, prompt, temperature, sample}});
    }
    return job;
}

using Results = std::map<std::pair<std::size_t, std::size_t>, Generation>;  // by prompt and branch

// Jobs in the order of `order`; at most `ahead` are queued before rows of the earlier ones have ended.
Results run(const model::Model& model, const EngineSettings& settings, const std::vector<std::size_t>& order,
            const std::vector<double>& temperatures, std::uint32_t samples, EngineUse* use = nullptr, std::size_t ahead = 100) {
    Engine engine(model, nullptr, settings);
    Results results;
    std::size_t next = 0;
    while (true) {
        while (next < order.size() && (engine.waiting() < ahead || engine.free_slots() > 0))
            engine.submit(job_of(order[next++], temperatures, samples));
        if (engine.idle()) break;
        engine.step([&](std::size_t job, std::size_t branch, Generation generation) {
            const bool first = results.emplace(std::pair(order[job], branch), std::move(generation)).second;
            BOOST_TEST(first);
        });
    }
    if (use != nullptr) *use = engine.use();
    return results;
}

bool equal(const Generation& a, const Generation& b) {
    return a.tokens == b.tokens && a.reason == b.reason && a.residual == b.residual && a.log_probabilities == b.log_probabilities &&
           a.first_entropy == b.first_entropy && a.entropies == b.entropies && a.text == b.text;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(engine)

BOOST_AUTO_TEST_CASE(a_branch_is_the_same_whatever_is_written_beside_it) {
    for (const std::string name : {"odd_heads", "neox_serial", "llama_biases", "mistral_window"}) {
        const model::Model model = load(name);
        // Rows end at different times: a stop rule by the job, without text.
        EngineSettings settings = settings_of(1, 12);
        const std::vector<double> temperatures = {0, 0.7, 1.5};
        const Results alone = run(model, settings, {0, 1, 2, 3, 4}, temperatures, 3);
        BOOST_TEST(alone.size() == 35u);
        for (const int slots : {2, 3, 7, 32, 50}) {
            for (const auto& order : {std::vector<std::size_t>{0, 1, 2, 3, 4}, std::vector<std::size_t>{4, 2, 0, 3, 1}}) {
                for (const std::size_t ahead : {1U, 100U}) {
                    settings.slots = slots;
                    settings.prefill_tokens = slots == 3 ? 4 : 1024;
                    settings.threads = slots == 7 ? 3 : 1;
                    const Results together = run(model, settings, order, temperatures, 3, nullptr, ahead);
                    BOOST_REQUIRE_EQUAL(together.size(), alone.size());
                    for (const auto& [branch, generation] : alone)
                        BOOST_TEST(equal(generation, together.at(branch)), name << ", " << slots << " slots, job " << branch.first << ", branch " << branch.second);
                }
            }
        }
        // The samples differ, so that equal texts above mean something.
        BOOST_TEST((alone.at({0, 4}).tokens != alone.at({0, 5}).tokens));
    }
}

BOOST_AUTO_TEST_CASE(a_prompt_is_read_once_for_all_its_samples) {
    const model::Model model = load("odd_heads");
    for (const int slots : {1, 4, 32}) {
        EngineUse use;
        run(model, settings_of(slots, 6), {0, 1, 2, 3, 4}, {0, 0.5}, 4, &use);
        BOOST_TEST(use.prompts == 5);
        BOOST_TEST(use.prefill_tokens == 26);
        BOOST_TEST(use.generated_tokens == 5 * 5 * 6);
        BOOST_TEST(use.decode_tokens == 5 * 5 * 5);  // the last token of each need not be read
    }
}

BOOST_AUTO_TEST_CASE(want_of_memory_is_told_from_other_failures) {
    const model::Model model = load("odd_heads");
    EngineSettings settings = settings_of(2, 8);
    settings.stop_rule = [](std::size_t, std::string_view) -> bool { throw std::bad_alloc(); };
    Engine engine(model, nullptr, settings);
    engine.submit(job_of(0, {0}, 1));
    BOOST_CHECK_THROW(engine.step({}), pva::model::OutOfMemory);
}

BOOST_AUTO_TEST_CASE(a_row_that_ends_is_replaced_at_once) {
    const model::Model model = load("odd_heads");
    EngineSettings settings = settings_of(2, 8);
    settings.stop_rule = [](std::size_t job, std::string_view) { return job % 2 == 0; };  // after one token
    Engine engine(model, nullptr, settings);
    for (std::size_t job = 0; job < 5; ++job)
        engine.submit(job_of(job, {0}, 1));
    BOOST_TEST(engine.waiting() == 5u);
    BOOST_TEST(engine.free_slots() == 0u);
    std::vector<std::size_t> ended;
    engine.step([&](std::size_t job, std::size_t, const Generation&) { ended.push_back(job); });
    // 0 and 2 ended with their first token; 1 and 3 go on side by side.
    BOOST_TEST((ended == std::vector<std::size_t>{0, 2}));
    int steps = 1;
    while (!engine.idle()) {
        engine.step([&](std::size_t job, std::size_t, const Generation& generation) {
            ended.push_back(job);
            BOOST_TEST(generation.tokens.size() == (job % 2 == 0 ? 1u : 8u));
        });
        ++steps;
    }
    BOOST_TEST(ended.size() == 5u);
    BOOST_TEST(steps <= 9);
    BOOST_TEST(engine.free_slots() == 2u);
}

BOOST_AUTO_TEST_CASE(greedy_equals_a_whole_forward_pass) {
    for (const std::string name : {"odd_heads", "neox_serial", "qwen2_windowed"}) {
        const model::Model model = load(name);
        const Results results = run(model, settings_of(3, 10), {0, 1, 2, 3, 4}, {0}, 1);
        for (const auto& [branch, generation] : results) {
            std::vector<std::vector<std::int32_t>> whole = {prompts[branch.first]};
            whole[0].insert(whole[0].end(), generation.tokens.begin(), generation.tokens.end());
            const at::Tensor logits = model.forward(whole)[0];
            for (std::size_t i = 0; i < generation.tokens.size(); ++i) {
                const at::Tensor at_position = logits[static_cast<std::int64_t>(prompts[branch.first].size() + i) - 1];
                BOOST_TEST(at_position.argmax().item<std::int64_t>() == generation.tokens[i]);
                const double expected = at::log_softmax(at_position.to(at::kDouble), 0)[generation.tokens[i]].item<double>();
                BOOST_TEST(std::abs(expected - generation.log_probabilities[i]) < 1e-5);
                const at::Tensor p = at::softmax(at_position.to(at::kDouble), 0);
                const double entropy = -(p * p.log()).sum().item<double>();
                BOOST_TEST(std::abs(entropy - generation.entropies[i]) < 1e-5);
            }
            BOOST_TEST(generation.first_entropy == generation.entropies[0]);
        }
    }
}

BOOST_AUTO_TEST_CASE(stop_strings_cut_the_text) {
    const auto files = model::find_model_files(model_copy::golden_folder("odd_heads").string());
    const model::Model model = model::load_model(files, {model::Dtype::float32, model::Device::cpu, -1, model::Engine::fast});
    const text::Tokenizer tokenizer = text::Tokenizer::load(files.tokenizer);
    EngineSettings settings = settings_of(2, 30);
    const auto text_of = [&](const std::vector<std::string>& stops) {
        settings.stop_strings = stops;
        Engine engine(model, &tokenizer, settings);
        engine.submit(job_of(0, {1.5}, 1));
        Generation result;
        while (!engine.idle())
            engine.step([&](std::size_t, std::size_t, Generation generation) { result = std::move(generation); });
        return result;
    };
    const Generation whole = text_of({});
    BOOST_TEST((whole.reason == StopReason::limit));
    BOOST_REQUIRE(whole.text.size() > 12u);
    // Two strings: the one that comes first counts, and it may lie across tokens.
    const std::string stop = whole.text.substr(5, 4);
    const std::size_t first = whole.text.find(stop);
    const Generation cut = text_of({"not in any text", stop});
    BOOST_TEST((cut.reason == StopReason::stop_string));
    BOOST_TEST(cut.text == whole.text.substr(0, first));
    BOOST_TEST(cut.tokens.size() < whole.tokens.size());
    BOOST_TEST(stop_reason_name(cut.reason) == "stop_string");
}

BOOST_AUTO_TEST_CASE(edits_reach_the_positions_they_name) {
    for (const model::Engine kind : {model::Engine::fast, model::Engine::reference}) {
        const model::Model model = load("odd_heads", kind);
        const auto width = static_cast<std::size_t>(model.config().hidden_size);
        std::vector<float> vector(width);
        for (std::size_t i = 0; i < width; ++i)
            vector[i] = 0.5F * static_cast<float>(i % 5) - 1.0F;
        const Results plain = run(model, settings_of(3, 6), {0, 2}, {0}, 1);
        const std::map<EditPositions, std::function<bool(std::int64_t, std::int64_t)>> rules = {
            {EditPositions::all, [](std::int64_t, std::int64_t) { return true; }},
            {EditPositions::prompt, [](std::int64_t position, std::int64_t length) { return position < length; }},
            {EditPositions::last_prompt, [](std::int64_t position, std::int64_t length) { return position == length - 1; }},
            {EditPositions::generated, [](std::int64_t position, std::int64_t length) { return position >= length; }}};
        for (const auto& [positions, rule] : rules) {
            EngineSettings settings = settings_of(3, 6);
            settings.edits = {{model::Site::resid_post, {1}, positions, vector}};
            const Results edited = run(model, settings, {0, 2}, {0}, 1);
            for (const auto& [branch, generation] : edited) {
                // The same by one forward pass over prompt and text.
                const auto length = static_cast<std::int64_t>(prompts[branch.first].size());
                model::Intervention change;
                change.layers = {1};
                change.positions = [&, rule = rule](std::int64_t, std::int64_t position) { return rule(position, length); };
                change.change = [&](const model::SiteContext&, const at::Tensor& rows) { return rows + at::tensor(at::ArrayRef<float>(vector)); };
                std::vector<std::vector<std::int32_t>> whole = {prompts[branch.first]};
                whole[0].insert(whole[0].end(), generation.tokens.begin(), generation.tokens.end());
                const at::Tensor logits = model.forward(whole, model::intervene(std::move(change), model.config()))[0];
                for (std::size_t i = 0; i < generation.tokens.size(); ++i) {
                    const double expected = at::log_softmax(logits[length + static_cast<std::int64_t>(i) - 1].to(at::kDouble), 0)[generation.tokens[i]].item<double>();
                    BOOST_TEST(std::abs(expected - generation.log_probabilities[i]) < 1e-4);
                }
                // Changed at all: by rules that reach the prompt at once, by the other from the second token on.
                const bool first_changed = generation.log_probabilities[0] != plain.at(branch).log_probabilities[0];
                BOOST_TEST(first_changed == (positions != EditPositions::generated));
                BOOST_TEST((generation.log_probabilities != plain.at(branch).log_probabilities));
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(the_reference_engine_works_too) {
    const model::Model model = load("llama_biases", model::Engine::reference);
    const Results one = run(model, settings_of(1, 6), {0, 1, 2}, {0, 1}, 2);
    const Results many = run(model, settings_of(9, 6), {0, 1, 2}, {0, 1}, 2);
    BOOST_REQUIRE_EQUAL(one.size(), 9u);
    for (const auto& [branch, generation] : one) {
        // Equal to rounding, where a tie to rounding does not choose another token.
        if (many.at(branch).tokens != generation.tokens) continue;
        for (std::size_t i = 0; i < generation.tokens.size(); ++i)
            BOOST_TEST(std::abs(many.at(branch).log_probabilities[i] - generation.log_probabilities[i]) < 1e-4);
    }
}

BOOST_AUTO_TEST_CASE(what_cannot_be_is_refused) {
    const model::Model model = load("odd_heads");
    BOOST_CHECK_THROW(Engine(model, nullptr, settings_of(0, 5)), UsageError);
    BOOST_CHECK_THROW(Engine(model, nullptr, settings_of(2, -1)), UsageError);
    EngineSettings empty_stop = settings_of(2, 5);
    empty_stop.stop_strings = {""};
    BOOST_CHECK_THROW(Engine(model, nullptr, empty_stop), UsageError);
    EngineSettings short_vector = settings_of(2, 5);
    short_vector.edits = {{model::Site::resid_post, {1}, EditPositions::all, {1.0F}}};
    BOOST_CHECK_THROW(Engine(model, nullptr, short_vector), UsageError);
    Engine engine(model, nullptr, settings_of(2, 5));
    BOOST_CHECK_THROW(engine.submit({{}, {Branch{}}}), InputError);
    BOOST_CHECK_THROW(engine.submit({{2, 100000}, {Branch{}}}), InputError);
    BOOST_CHECK_THROW(engine.submit({{2}, {}}), UsageError);
    BOOST_CHECK_THROW(engine.submit({{2}, {Branch{{-1, 0, 1, 0}, {}}}}), UsageError);
    BOOST_CHECK_THROW(engine.submit({std::vector<std::int32_t>(10, 3), {Branch{}}}), InternalError);
    BOOST_TEST(engine.idle());
    engine.step({});  // nothing to do
}

BOOST_AUTO_TEST_SUITE_END()
