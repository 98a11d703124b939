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
            const std::vector<double>& temperatures, std::uint32_t samples, EngineUse* use = nullptr, std::size_t ahead = 100,
            const std::vector<std::shared_ptr<const StreamEdit>>& edits = {}) {
    Engine engine(model, nullptr, settings);
    Results results;
    std::size_t next = 0;
    while (true) {
        while (next < order.size() && (engine.waiting() < ahead || engine.free_slots() > 0)) {
            Job job = job_of(order[next++], temperatures, samples);
            for (Branch& branch : job.branches)
                branch.edits = edits;
            engine.submit(std::move(job));
        }
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

// Slots come free and are taken again at other times than with the reference pass's shapes; what is written is the same.
BOOST_AUTO_TEST_CASE(the_device_pass_writes_what_the_reference_pass_writes) {
    for (const std::string name : {"odd_heads", "neox_pythia", "llama_biases", "mistral_window"}) {
        const model::Model reference = load(name, model::Engine::reference);
        const model::Model device = load(name, model::Engine::device);
        for (const int slots : {1, 3, 6}) {
            EngineSettings settings = settings_of(slots, 12);
            settings.stop_at_eos = true;
            settings.stop_rule = {};
            const auto written = [&](const model::Model& model) { return run(model, settings, {0, 1, 2, 3, 4}, {0, 0.7}, 2, nullptr, 2); };
            const Results expected = written(reference);
            const Results once = written(device);
            const Results again = written(device);
            BOOST_REQUIRE_EQUAL(once.size(), expected.size());
            for (const auto& [branch, generation] : expected) {
                const Generation& own = once.at(branch);
                BOOST_TEST(equal(own, again.at(branch)));
                BOOST_TEST(own.tokens == generation.tokens, name << ", " << slots << " slots");
                for (std::size_t i = 0; i < generation.residual.size(); ++i) BOOST_TEST(std::abs(own.residual[i] - generation.residual[i]) < 1e-3);
                for (std::size_t i = 0; i < std::min(own.tokens.size(), generation.tokens.size()); ++i)
                    BOOST_TEST(std::abs(own.log_probabilities[i] - generation.log_probabilities[i]) < 1e-4);
            }
        }
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
    for (const model::Engine kind : {model::Engine::fast, model::Engine::reference, model::Engine::device}) {
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
            {EditPositions::last, [](std::int64_t position, std::int64_t length) { return position >= length - 1; }},
            {EditPositions::generated, [](std::int64_t position, std::int64_t length) { return position >= length; }}};
        for (const auto& [positions, rule] : rules) {
            const auto edit = std::make_shared<const StreamEdit>(StreamEdit{model::Site::resid_post, {1}, positions, vector, {}});
            const Results edited = run(model, settings_of(3, 6), {0, 2}, {0}, 1, nullptr, 100, {edit});
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

namespace {

using EditList = std::vector<std::shared_ptr<const StreamEdit>>;

std::shared_ptr<const StreamEdit> edit_along(std::size_t width, float length, EditPositions positions, std::size_t pattern = 5, std::optional<StreamGate> gate = {}) {
    StreamEdit edit{model::Site::resid_post, {1}, positions, std::vector<float>(width), std::move(gate)};
    for (std::size_t i = 0; i < width; ++i)
        edit.vector[i] = length * (static_cast<float>((i * pattern) % 7) - 3.0F);
    return std::make_shared<const StreamEdit>(std::move(edit));
}

// One job a prompt and list of edits; or one job a prompt whose branches have the lists.
Results run_lists(const model::Model& model, const EngineSettings& settings, const std::vector<EditList>& lists, bool share, EngineUse* use = nullptr) {
    Engine engine(model, nullptr, settings);
    std::vector<std::pair<std::size_t, std::size_t>> of_job;  // prompt, first list
    for (std::size_t prompt = 0; prompt < prompts.size(); ++prompt) {
        if (share) {
            Job job{prompts[prompt], {}};
            for (const EditList& list : lists)
                job.branches.push_back({{}, {}, list});
            engine.submit(std::move(job));
            of_job.emplace_back(prompt, 0);
            continue;
        }
        for (std::size_t i = 0; i < lists.size(); ++i) {
            engine.submit({prompts[prompt], {Branch{{}, {}, lists[i]}}});
            of_job.emplace_back(prompt, i);
        }
    }
    Results results;
    while (!engine.idle())
        engine.step([&](std::size_t job, std::size_t branch, Generation generation) { results[{of_job[job].first, of_job[job].second + branch}] = std::move(generation); });
    if (use != nullptr) *use = engine.use();
    return results;
}

void check_equal(const Results& a, const Results& b) {
    BOOST_REQUIRE_EQUAL(a.size(), b.size());
    for (const auto& [branch, generation] : a) {
        BOOST_TEST(generation.tokens == b.at(branch).tokens, boost::test_tools::per_element());
        BOOST_TEST(generation.log_probabilities == b.at(branch).log_probabilities, boost::test_tools::per_element());
    }
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_vector_of_zeros_changes_no_bit_and_a_long_one_the_text) {
    const model::Model model = load("odd_heads");
    const auto width = static_cast<std::size_t>(model.config().hidden_size);
    const Results plain = run_lists(model, settings_of(4, 8), {{}}, true);
    for (const EditPositions positions : {EditPositions::all, EditPositions::prompt, EditPositions::last_prompt, EditPositions::generated, EditPositions::last}) {
        check_equal(plain, run_lists(model, settings_of(4, 8), {{edit_along(width, 0, positions)}}, true));
        const Results pushed = run_lists(model, settings_of(4, 8), {{edit_along(width, 50, positions)}}, true);
        std::size_t other = 0;
        for (const auto& [branch, generation] : pushed)
            other += generation.tokens != plain.at(branch).tokens ? 1 : 0;
        BOOST_TEST(other > 0u);
    }
}

BOOST_AUTO_TEST_CASE(branches_with_different_edits_share_a_batch_and_nothing_else) {
    const model::Model model = load("odd_heads");
    const auto width = static_cast<std::size_t>(model.config().hidden_size);
    for (const EditPositions positions : {EditPositions::generated, EditPositions::last}) {
        const std::vector<EditList> lists = {{}, {edit_along(width, 0.3F, positions)}, {edit_along(width, 2, positions, 3)}, {edit_along(width, -1, positions), edit_along(width, 1, EditPositions::generated, 4)}};
        EngineUse shared_use;
        EngineUse apart_use;
        const Results shared = run_lists(model, settings_of(5, 8), lists, true, &shared_use);
        check_equal(shared, run_lists(model, settings_of(5, 8), lists, false, &apart_use));
        check_equal(shared, run_lists(model, settings_of(1, 8), lists, false));
        // The prompt of one token has nothing before its last one to share.
        BOOST_TEST(shared_use.prompts == static_cast<std::int64_t>(prompts.size() + (positions == EditPositions::last ? 3 : 0)));
        BOOST_TEST(apart_use.prompts == static_cast<std::int64_t>(prompts.size() * lists.size()));
        BOOST_TEST(shares_prompt(lists[1]));
        // Each of them as if it were alone.
        for (std::size_t i = 0; i < lists.size(); ++i) {
            for (const auto& [branch, generation] : run_lists(model, settings_of(3, 8), {lists[i]}, true))
                BOOST_TEST(generation.log_probabilities == shared.at({branch.first, i}).log_probabilities, boost::test_tools::per_element());
        }
    }
    const EditList whole = {edit_along(width, 1, EditPositions::all)};
    BOOST_TEST(!shares_prompt(whole));
    // Those that change more of the prompt share its reading only with their like.
    const std::vector<EditList> lists = {whole, {edit_along(width, 1, EditPositions::prompt)}, whole, {}};
    EngineUse use;
    const Results shared = run_lists(model, settings_of(5, 8), lists, true, &use);
    BOOST_TEST(use.prompts == static_cast<std::int64_t>(3 * prompts.size()));
    check_equal(shared, run_lists(model, settings_of(1, 8), lists, false));
}

BOOST_AUTO_TEST_CASE(gates_open_where_the_stream_says_so) {
    const model::Model model = load("odd_heads");
    const auto width = static_cast<std::size_t>(model.config().hidden_size);
    StreamGate gate;
    gate.layer = 0;
    gate.offset = 0.25;
    for (std::size_t i = 0; i < width; ++i)
        gate.direction.push_back(0.1F * static_cast<float>(i % 3) - 0.1F);
    const auto gated = [&](GateMoment moment, double threshold, EditPositions positions) {
        gate.moment = moment;
        gate.threshold = threshold;
        return EditList{edit_along(width, 5, positions, 5, gate)};
    };
    const double never = 1e30;
    const Results plain = run_lists(model, settings_of(4, 6), {{}}, true);
    for (const GateMoment moment : {GateMoment::each, GateMoment::last_prompt, GateMoment::first_generated}) {
        const Results closed = run_lists(model, settings_of(4, 6), {gated(moment, never, EditPositions::last)}, true);
        check_equal(plain, closed);
        for (const auto& [branch, generation] : closed)
            BOOST_TEST(generation.gates.at(0) == 0);
        const Results open = run_lists(model, settings_of(4, 6), {gated(moment, -never, EditPositions::last)}, true);
        for (const auto& [branch, generation] : open) {
            BOOST_TEST(generation.gates.at(0) == 1);
            // What the gate saw, and from which token on the edit counts.
            std::vector<std::int32_t> row = prompts[branch.first];
            if (moment == GateMoment::first_generated) row.push_back(generation.tokens[0]);
            std::vector<std::vector<float>> captured(1);
            const model::CaptureRequest request{model::Site::resid_post, {0}};
            model.run(std::vector<std::vector<std::int32_t>>{row}, model::depth_of(std::vector{request}), model::capture_last_token(request, captured));
            double value = gate.offset;
            for (std::size_t i = 0; i < width; ++i)
                value += static_cast<double>(gate.direction[i]) * static_cast<double>(captured[0][i]);
            if (moment != GateMoment::each) {
                BOOST_TEST(std::abs(value - generation.gate_values.at(0)) < 1e-6);
            }
            const std::size_t first = moment == GateMoment::each ? 0 : moment == GateMoment::last_prompt ? 1 : 2;
            for (std::size_t i = 0; i < first; ++i)
                BOOST_TEST(generation.log_probabilities[i] == plain.at(branch).log_probabilities[i]);
            BOOST_TEST((generation.log_probabilities[first] != plain.at(branch).log_probabilities[first] || generation.tokens[first] != plain.at(branch).tokens[first]));
        }
        if (moment == GateMoment::each) check_equal(open, run_lists(model, settings_of(4, 6), {{edit_along(width, 5, EditPositions::last)}}, true));
    }
    // At each position for itself, over the whole text: by one forward pass.
    const EditList list = gated(GateMoment::each, 0.2, EditPositions::all);
    std::size_t open_positions = 0;
    std::size_t all_positions = 0;
    for (const auto& [branch, generation] : run_lists(model, settings_of(4, 6), {list}, true)) {
        std::vector<std::int32_t> row = prompts[branch.first];
        row.insert(row.end(), generation.tokens.begin(), generation.tokens.end());
        std::vector<bool> open(row.size());
        const auto width_of_edit = static_cast<std::int64_t>(width);
        const at::Tensor logits = model.forward(std::vector<std::vector<std::int32_t>>{row}, [&](const model::SiteContext& context, at::Tensor& values) {
            if (context.site != model::Site::resid_post) return;
            if (context.layer == 0) {
                for (std::size_t t = 0; t < row.size(); ++t) {
                    double value = gate.offset;
                    for (std::int64_t i = 0; i < width_of_edit; ++i)
                        value += static_cast<double>(gate.direction[static_cast<std::size_t>(i)]) * values[0][static_cast<std::int64_t>(t)][i].item<double>();
                    open[t] = value > gate.threshold;
                    open_positions += open[t] ? 1 : 0;
                    ++all_positions;
                }
            }
            if (context.layer == 1) {
                at::Tensor changed = values.clone();
                for (std::size_t t = 0; t < row.size(); ++t) {
                    if (open[t]) changed[0][static_cast<std::int64_t>(t)].add_(at::tensor(at::ArrayRef<float>(list[0]->vector)));
                }
                values = changed;
            }
        })[0];
        const auto length = static_cast<std::int64_t>(prompts[branch.first].size());
        for (std::size_t i = 0; i < generation.tokens.size(); ++i) {
            const double expected = at::log_softmax(logits[length + static_cast<std::int64_t>(i) - 1].to(at::kDouble), 0)[generation.tokens[i]].item<double>();
            BOOST_TEST(std::abs(expected - generation.log_probabilities[i]) < 1e-4);
        }
    }
    BOOST_TEST(open_positions > 0u);
    BOOST_TEST(open_positions < all_positions);
    // A gate behind its edit cannot decide it.
    gate.layer = 1;
    gate.moment = GateMoment::each;
    StreamEdit early{model::Site::resid_post, {0}, EditPositions::all, std::vector<float>(width), gate};
    Engine engine(model, nullptr, settings_of(2, 4));
    BOOST_CHECK_THROW(engine.submit({prompts[0], {Branch{{}, {}, {std::make_shared<const StreamEdit>(early)}}}}), UsageError);
    early.gate->moment = GateMoment::last_prompt;
    engine.submit({prompts[0], {Branch{{}, {}, {std::make_shared<const StreamEdit>(early)}}}});
    StreamEdit narrow{model::Site::resid_post, {0}, EditPositions::all, {1.0F}, {}};
    BOOST_CHECK_THROW(engine.submit({prompts[0], {Branch{{}, {}, {std::make_shared<const StreamEdit>(narrow)}}}}), UsageError);
    StreamEdit elsewhere{model::Site::mlp_out, {0}, EditPositions::all, std::vector<float>(width), {}};
    BOOST_CHECK_THROW(engine.submit({prompts[0], {Branch{{}, {}, {std::make_shared<const StreamEdit>(elsewhere)}}}}), UsageError);
    StreamEdit deep{model::Site::resid_post, {99}, EditPositions::all, std::vector<float>(width), {}};
    BOOST_CHECK_THROW(engine.submit({prompts[0], {Branch{{}, {}, {std::make_shared<const StreamEdit>(deep)}}}}), UsageError);
    BOOST_CHECK_THROW(edit_positions_from_name("everywhere"), UsageError);
    BOOST_CHECK_THROW(gate_moment_from_name("never"), UsageError);
    for (const std::string& name : edit_positions_names())
        BOOST_TEST(edit_positions_name(edit_positions_from_name(name)) == name);
    for (const std::string& name : gate_moment_names())
        BOOST_TEST(gate_moment_name(gate_moment_from_name(name)) == name);
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
