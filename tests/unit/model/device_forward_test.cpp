// The forward pass for GPUs, run on the CPU: against the reference pass, in slots used again, with hooks, without reading its own values,
// and recorded.
#define BOOST_TEST_MODULE device_forward
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <c10/core/InferenceMode.h>

#include "model_copy.h"
#include "pva/core/error.h"
#include "pva/model/device_forward.h"
#include "pva/model/load.h"
#include "pva/model/memory.h"
#include "pva/model/out_of_memory.h"
#include "pva/model/threads.h"

namespace fs = std::filesystem;
using namespace pva;
using model::DeviceForward;
using model::Dtype;
using model::KvCache;
using model::Site;
using model::SiteContext;
using Rows = std::vector<std::vector<std::int32_t>>;

namespace {

struct OneThread {
    OneThread() { model::set_threads(1); }
};
BOOST_TEST_GLOBAL_FIXTURE(OneThread);

const std::vector<std::string> one_of_each = {"odd_heads",    "neox_serial",    "neox_pythia",   "llama_biases",
                                              "llama3_tied_v5", "mistral_window", "qwen2_windowed"};

std::vector<std::string> all_models() {
    std::vector<std::string> names;
    for (const char* folder : {"tests/golden/gemma2", "tests/golden/models"}) {
        for (const auto& entry : fs::directory_iterator(fs::path(PVA_SOURCE_DIR) / folder)) {
            if (entry.is_directory() && fs::exists(entry.path() / "config.json")) names.push_back(entry.path().filename());
        }
    }
    std::sort(names.begin(), names.end());
    return names;
}

model::Model load(const std::string& name, model::Engine engine, Dtype dtype = Dtype::float32) {
    return model::load_model(model_copy::golden_folder(name).string(), {dtype, model::Device::cpu, -1, engine});
}

std::vector<std::int32_t> made_up(std::int64_t length, std::uint32_t seed, const model::ModelConfig& config) {
    std::mt19937 random(seed);
    std::vector<std::int32_t> row;
    for (std::int64_t i = 0; i < length; ++i)
        row.push_back(static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(config.vocab_size)));
    return row;
}

Rows ragged(const std::vector<std::int64_t>& lengths, const model::ModelConfig& config) {
    Rows rows;
    for (const std::int64_t length : lengths)
        rows.push_back(made_up(std::min(length, config.max_position_embeddings), static_cast<std::uint32_t>(7 * length + 1), config));
    return rows;
}

/// The largest norm of a row's difference over the row's norm, rows being the last dimension.
double row_difference(const at::Tensor& values, const at::Tensor& expected) {
    BOOST_REQUIRE(values.sizes() == expected.sizes());
    const at::Tensor x = values.to(at::kDouble);
    const at::Tensor y = expected.to(at::kDouble);
    return ((x - y).norm(2, -1) / y.norm(2, -1).clamp_min(1e-30)).max().item<double>();
}

/// Norms of differences over norms of all that a site, a layer and a row of the batch shows.
using Shown = std::map<std::tuple<Site, int, std::int64_t, std::int64_t>, at::Tensor>;

model::SiteHook keep(Shown& shown) {
    return [&shown](const SiteContext& context, at::Tensor& values) {
        for (std::size_t slot = 0; slot < context.rows.size(); ++slot) {
            const at::Tensor rows = values.select(0, static_cast<std::int64_t>(slot)).narrow(0, 0, context.valid_tokens[slot]).clone();
            const bool first = shown.emplace(std::tuple(context.site, context.layer, context.rows[slot], context.first_position[slot]), rows).second;
            BOOST_TEST(first);
        }
    };
}

double worst_difference(const Shown& shown, const Shown& expected) {
    BOOST_REQUIRE(shown.size() == expected.size());
    double worst = 0;
    for (const auto& [place, values] : expected)
        worst = std::max(worst, row_difference(shown.at(place), values));
    return worst;
}

/// Bound of docs/gpu.md for float32.
double bound_of(Dtype dtype) {
    return dtype == Dtype::float64 ? 1e-12 : 5e-5;
}

/// Half precision against the reference pass in float32: at most twice as far as the reference pass in that type.
bool no_worse(double difference, double of_reference) {
    return difference <= 2 * of_reference;
}

}  // namespace

BOOST_AUTO_TEST_CASE(rounded_shapes) {
    for (const auto& [length, rounded] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {1, 64}, {64, 64}, {65, 128}, {256, 256}, {257, 320}, {512, 512}, {513, 640}, {1000, 1024}, {1025, 1280}, {4097, 5120}}) {
        BOOST_TEST(DeviceForward::rounded_length(length) == rounded);
    }
    for (std::int64_t length = 1; length < 3000; ++length) {
        const std::int64_t rounded = DeviceForward::rounded_length(length);
        BOOST_REQUIRE(rounded >= length);
        BOOST_REQUIRE(length < 256 || 4 * rounded <= 5 * length);
        BOOST_REQUIRE(DeviceForward::rounded_length(rounded) == rounded);
        BOOST_REQUIRE(DeviceForward::room(length) > length);
        // A step never looks beyond the room of the cache, whatever that was made for.
        BOOST_REQUIRE(rounded <= DeviceForward::room(length));
    }
    BOOST_TEST(DeviceForward::rounded_rows(1, 1) == 1);
    BOOST_TEST(DeviceForward::rounded_rows(3, 16) == 4);
    BOOST_TEST(DeviceForward::rounded_rows(5, 6) == 6);
    BOOST_TEST(DeviceForward::rounded_rows(9, 64) == 16);
}

namespace {

/// Sites and logits of whole rows, one difference for all.
double difference_of_rows(const model::Model& model, const model::Model& expected, const Rows& rows) {
    Shown shown;
    Shown reference;
    const at::Tensor logits = model.forward(rows, keep(shown));
    const at::Tensor wanted = expected.forward(rows, keep(reference));
    double difference = worst_difference(shown, reference);
    for (std::size_t row = 0; row < rows.size(); ++row) {
        const auto at = static_cast<std::int64_t>(row);
        const auto length = static_cast<std::int64_t>(rows[row].size());
        difference = std::max(difference, row_difference(logits.select(0, at).narrow(0, 0, length), wanted.select(0, at).narrow(0, 0, length)));
    }
    return difference;
}

/// Rows come and go in the slots of a cache: read together or alone, copied, shortened, written over, in any order and not all at once. What
/// each pass gives.
struct SlotsRun {
    std::vector<at::Tensor> logits;
    std::vector<Shown> sites;
};

SlotsRun run_slots(const model::Model& model, std::int64_t slots) {
    const model::ModelConfig& config = model.config();
    const std::int64_t capacity = std::min<std::int64_t>(80, config.max_position_embeddings);
    KvCache cache = model.make_cache(slots, capacity);
    SlotsRun run;
    const auto read = [&](std::vector<std::int64_t> lengths, const std::vector<std::int64_t>& where) {
        for (std::int64_t& length : lengths) length = std::min(length, capacity - 8);
        run.sites.emplace_back();
        run.logits.push_back(model.prefill(ragged(lengths, config), where, cache, keep(run.sites.back())));
    };
    const auto write = [&](const std::vector<std::int64_t>& rows) {
        std::vector<std::int32_t> tokens;
        for (std::size_t i = 0; i < rows.size(); ++i)
            tokens.push_back(static_cast<std::int32_t>((13 * rows[i] + 5 + static_cast<std::int64_t>(i)) % config.vocab_size));
        run.sites.emplace_back();
        run.logits.push_back(model.decode_step(tokens, rows, cache, keep(run.sites.back())));
    };
    std::vector<std::int64_t> all(static_cast<std::size_t>(slots));
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
    std::vector<std::int64_t> lengths = {5, 62, 1, 30, 11, 3, 64};
    lengths.resize(static_cast<std::size_t>(slots));
    read(lengths, all);
    for (int step = 0; step < 3; ++step) write(all);  // row 1 passes position 64 where the model has so many
    const std::int64_t last = slots - 1;
    write({last});
    read({4}, {last});  // the slot used again, by a shorter row
    write({last});
    if (slots > 2) write({last, 0, 2});  // in this order
    model.copy_prefix(cache, last, 0, 3);
    model::Model::shorten(cache, last, 2);
    write(all);
    return run;
}

double difference_of_slots(const SlotsRun& run, const SlotsRun& expected) {
    BOOST_REQUIRE(run.logits.size() == expected.logits.size());
    double difference = 0;
    for (std::size_t pass = 0; pass < run.logits.size(); ++pass)
        difference = std::max({difference, row_difference(run.logits[pass], expected.logits[pass]), worst_difference(run.sites[pass], expected.sites[pass])});
    return difference;
}

}  // namespace

BOOST_AUTO_TEST_CASE(whole_rows_are_those_of_the_reference_pass) {
    std::map<std::string, double> worst;
    for (const std::string& name : all_models()) {
        const model::Model expected = load(name, model::Engine::reference);
        const Rows rows = ragged({9, 1, 40, 17}, expected.config());
        for (const Dtype dtype : {Dtype::float32, Dtype::float64}) {
            const model::Model reference = load(name, model::Engine::reference, dtype);
            const model::Model device = load(name, model::Engine::device, dtype);
            BOOST_TEST(device.parameters() == reference.parameters());
            BOOST_TEST(device.weight_bytes() == reference.weight_bytes());
            for (const Rows& some : {ragged({1}, expected.config()), rows}) {
                const double difference = difference_of_rows(device, reference, some);
                BOOST_TEST(difference < bound_of(dtype), name << " " << model::dtype_name(dtype) << ": " << difference);
                double& most = worst[std::string(model::dtype_name(dtype))];
                most = std::max(most, difference);
            }
        }
        for (const Dtype dtype : {Dtype::bfloat16, Dtype::float16}) {
            const double of_device = difference_of_rows(load(name, model::Engine::device, dtype), expected, rows);
            const double of_reference = difference_of_rows(load(name, model::Engine::reference, dtype), expected, rows);
            BOOST_TEST(no_worse(of_device, of_reference), name << " " << model::dtype_name(dtype) << ": " << of_device << ", reference " << of_reference);
            for (const auto& [what, value] : {std::pair{", device against float32", of_device}, {", reference against float32", of_reference}}) {
                double& most = worst[std::string(model::dtype_name(dtype)) + what];
                most = std::max(most, value);
            }
        }
    }
    for (const auto& [what, difference] : worst) std::cout << "whole rows, " << what << ": " << difference << "\n";
}

BOOST_AUTO_TEST_CASE(steps_in_slots_used_again) {
    std::map<std::string, double> worst;
    for (const std::string& name : one_of_each) {
        for (const std::int64_t slots : {1, 2, 5, 7}) {
            const auto run = [&](model::Engine engine, Dtype dtype) { return run_slots(load(name, engine, dtype), slots); };
            const SlotsRun expected = run(model::Engine::reference, Dtype::float32);
            const double difference = difference_of_slots(run(model::Engine::device, Dtype::float32), expected);
            BOOST_TEST(difference < bound_of(Dtype::float32), name << ", " << slots << " slots: " << difference);
            const double of_device = difference_of_slots(run(model::Engine::device, Dtype::bfloat16), expected);
            const double of_reference = difference_of_slots(run(model::Engine::reference, Dtype::bfloat16), expected);
            BOOST_TEST(no_worse(of_device, of_reference), name << ", " << slots << " slots, bfloat16: " << of_device << ", reference " << of_reference);
            for (const auto& [what, value] : {std::pair{"float32", difference}, {"bfloat16, device against float32", of_device}, {"bfloat16, reference against float32", of_reference}})
                worst[what] = std::max(worst[what], value);
        }
    }
    for (const auto& [what, difference] : worst) std::cout << "steps, " << what << ": " << difference << "\n";
}

// A row that has nothing to do in a step keeps all that it holds, and rows beyond the last busy one are not computed.
BOOST_AUTO_TEST_CASE(rows_at_rest_are_left_alone) {
    const c10::InferenceMode no_gradients;
    const model::Model device = load("odd_heads", model::Engine::device);
    KvCache cache = device.make_cache(6, 20);
    const std::vector<std::int64_t> where = {0, 1, 2, 3, 4, 5};
    device.prefill(ragged({4, 20, 7, 3, 9, 2}, device.config()), where, cache);
    const at::Tensor before = cache.slots.narrow(4, 0, 20).clone();
    const std::vector<std::int64_t> busy = {2, 0};
    for (int step = 0; step < 2; ++step) device.decode_step(std::vector<std::int32_t>{3, 4}, busy, cache);
    const at::Tensor after = cache.slots.narrow(4, 0, 20);
    for (const std::int64_t row : where) {
        const at::Tensor old = before.select(2, row);
        const bool rests = row != 2 && row != 0;
        BOOST_TEST(at::equal(old, after.select(2, row)) == rests);
        BOOST_TEST(at::equal(old.narrow(3, 0, 4), after.select(2, row).narrow(3, 0, 4)));
    }
    BOOST_TEST((cache.lengths == std::vector<std::int64_t>{6, 20, 9, 3, 9, 2}));
    // Row 1 is full, and the others go on beside it.
    BOOST_CHECK_THROW(device.decode_step(std::vector<std::int32_t>{3}, std::vector<std::int64_t>{1}, cache), InternalError);
    BOOST_CHECK_NO_THROW(device.decode_step(std::vector<std::int32_t>{3}, std::vector<std::int64_t>{5}, cache));
}

BOOST_AUTO_TEST_CASE(interventions_are_those_of_the_reference_pass) {
    for (const std::string& name : one_of_each) {
        const model::Model expected = load(name, model::Engine::reference);
        const model::Model device = load(name, model::Engine::device);
        const model::ModelConfig& config = expected.config();
        for (const Site site : {Site::resid_pre, Site::resid_mid, Site::resid_post}) {
            if (site == Site::resid_mid && !config.has_resid_mid) continue;
            const auto hook = [&, site] {
                model::Intervention change;
                change.site = site;
                change.layers = {0, 1};
                change.positions = [](std::int64_t row, std::int64_t position) { return row == 1 ? position >= 2 : position == 5; };
                change.change = [](const SiteContext&, const at::Tensor& rows) { return rows * 2.0 + 1.0; };
                return model::intervene(std::move(change), config);
            }();
            const Rows rows = ragged({5, 2, 8}, config);
            const std::vector<std::int64_t> slots = {2, 1, 0};
            at::Tensor logits[2][3];
            for (int which = 0; which < 2; ++which) {
                const model::Model& model = which == 0 ? expected : device;
                KvCache cache = model.make_cache(4, 20);
                logits[which][0] = model.prefill(rows, slots, cache, hook);
                logits[which][1] = model.decode_step(std::vector<std::int32_t>{3, 4, 5}, slots, cache, hook);
                logits[which][2] = model.decode_step(std::vector<std::int32_t>{3, 4}, std::vector<std::int64_t>{2, 1}, cache, hook);
            }
            for (int pass = 0; pass < 3; ++pass)
                BOOST_TEST(row_difference(logits[1][pass], logits[0][pass]) < 5e-5, name << " " << model::site_name(site) << " pass " << pass);
            KvCache cache = device.make_cache(4, 20);
            device.prefill(rows, slots, cache);
            const at::Tensor unchanged = device.decode_step(std::vector<std::int32_t>{3, 4, 5}, slots, cache);
            BOOST_TEST(row_difference(unchanged, logits[1][1]) > 1e-3);
        }
        // Elsewhere nothing can be replaced, and not by another shape.
        const Rows rows = ragged({3}, config);
        for (const Site site : {Site::z, Site::attn_out, Site::mlp_out, Site::embedding, Site::final_norm, Site::resid_post}) {
            const model::SiteHook replace = [&](const SiteContext& context, at::Tensor& values) {
                if (context.site == site) values = site == Site::resid_post ? values.narrow(-1, 0, 1) : values + 1.0;
            };
            KvCache cache = device.make_cache(1, 8);
            BOOST_CHECK_THROW(device.prefill(rows, cache, replace), InternalError);
            device.prefill(rows, std::vector<std::int64_t>{0}, cache);
            BOOST_CHECK_THROW(device.decode_step(std::vector<std::int32_t>{1}, std::vector<std::int64_t>{0}, cache, replace), InternalError);
        }
    }
}

namespace {

/// A model whose decoding steps are recorded.
model::Model recording_model(const std::string& name, model::RecorderFactory recorders) {
    const model::Placement placement{Dtype::float32, model::Device::cpu, -1, model::Engine::device};
    const model::ModelFiles files = model::find_model_files(model_copy::golden_folder(name).string());
    const model::ParsedArchitecture parsed = model::load_architecture(files.config);
    const io::SafetensorsSet tensors(files.weights);
    model::WeightReader weights(tensors, placement);
    auto pass = std::make_unique<DeviceForward>(parsed.config, parsed.decoder, weights, std::move(recorders));
    return model::Model(parsed.config, placement, std::move(pass), weights.parameters(), weights.bytes());
}

/// The tensor operations of one thread, with the shapes of their tensors.
struct Watch {
    static inline thread_local std::vector<std::string>* seen = nullptr;

    static std::unique_ptr<at::ObserverContext> take(const at::RecordFunction& function) {
        std::string line = function.name();
        for (const c10::IValue& input : function.inputs()) {
            if (!input.isTensor() || !input.toTensor().defined()) continue;
            line += " [";
            for (const std::int64_t size : input.toTensor().sizes()) line += std::to_string(size) + " ";
            line += "]";
        }
        seen->push_back(std::move(line));
        return nullptr;
    }

    static std::vector<std::string> operations(const std::function<void()>& work) {
        std::vector<std::string> lines;
        seen = &lines;
        const auto handle = at::addThreadLocalCallback(at::RecordFunctionCallback(take).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
        work();
        at::removeCallback(handle);
        return lines;
    }

    /// Operations whose result on the host, or in its shape, depends on values.
    static bool reads_back(const std::string& line) {
        for (const char* name : {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::masked_select",
                                 "aten::unique", "aten::_unique", "aten::repeat_interleave", "aten::bincount", "aten::allclose"}) {
            if (line.rfind(name, 0) == 0) return true;
        }
        return false;
    }
};

/// Does recorded work again, and counts.
struct Again : model::Recording {
    std::function<void()> work;
    int& replays;
    Again(std::function<void()> the_work, int& the_replays) : work(std::move(the_work)), replays(the_replays) {}
    void replay() override {
        ++replays;
        work();
    }
};

}  // namespace

// What may be recorded: the same operations on the same shapes wherever the rows stand, and none that reads a value.
BOOST_AUTO_TEST_CASE(a_step_is_the_same_operations_and_reads_nothing_back) {
    const auto plain = Watch::operations([] { at::zeros({1}).item<float>(); });
    BOOST_TEST((std::any_of(plain.begin(), plain.end(), Watch::reads_back)));
    for (const std::string& name : all_models()) {
        const model::Model device = load(name, model::Engine::device);
        const model::Model reference = load(name, model::Engine::reference);
        const std::vector<std::int64_t> all = {0, 1, 2, 3};
        const auto step = [&](const model::Model& model, const std::vector<std::int64_t>& lengths) {
            KvCache cache = model.make_cache(4, 60);
            model.prefill(ragged(lengths, model.config()), all, cache);
            return Watch::operations([&] { model.decode_step(std::vector<std::int32_t>{1, 2, 3, 4}, all, cache); });
        };
        const std::vector<std::string> once = step(device, {5, 1, 20, 3});
        BOOST_TEST(once.size() > 20u * static_cast<std::size_t>(device.config().num_hidden_layers));
        BOOST_TEST((once == step(device, {2, 50, 2, 2})));
        BOOST_TEST((std::none_of(once.begin(), once.end(), Watch::reads_back)), name);
        BOOST_TEST((step(reference, {5, 1, 20, 3}) != step(reference, {2, 50, 2, 2})));  // so the comparison above can fail
    }
}

BOOST_AUTO_TEST_CASE(recorded_steps) {
    for (const std::string& name : one_of_each) {
        int recorded = 0;
        int replays = 0;
        const model::RecorderFactory recorders = [&] {
            return model::Recorder([&](const std::function<void()>& work) -> std::unique_ptr<model::Recording> {
                ++recorded;
                work();
                work();
                return std::make_unique<Again>(work, replays);
            });
        };
        const model::Model with = recording_model(name, recorders);
        const model::Model without = load(name, model::Engine::device);
        const std::int64_t longest = std::min<std::int64_t>(60, with.config().max_position_embeddings - 7);
        const Rows rows = ragged({5, longest, 2}, with.config());
        const std::vector<std::int64_t> slots = {0, 1, 2};
        std::vector<at::Tensor> logits[2];
        for (int which = 0; which < 2; ++which) {
            const model::Model& model = which == 0 ? without : with;
            KvCache cache = model.make_cache(5, 80);
            model.prefill(rows, slots, cache);
            for (int step = 0; step < 6; ++step)
                logits[which].push_back(model.decode_step(std::vector<std::int32_t>{3, 4, 5}, slots, cache));
            logits[which].push_back(model.decode_step(std::vector<std::int32_t>{6, 7}, std::vector<std::int64_t>{2, 0}, cache));
            logits[which].push_back(model.decode_step(std::vector<std::int32_t>{8}, std::vector<std::int64_t>{0}, cache));
            // With a hook the step itself is run.
            const int before = replays;
            int seen = 0;
            logits[which].push_back(model.decode_step(std::vector<std::int32_t>{8}, std::vector<std::int64_t>{0}, cache, [&](const SiteContext&, at::Tensor&) { ++seen; }));
            BOOST_TEST(seen > 0);
            BOOST_TEST(replays == before);
        }
        // Four rows and 64 or 128 positions, one row and 64: once each, and a replay a step.
        BOOST_TEST(recorded == (longest + 6 > 64 ? 3 : 2));
        BOOST_TEST(replays == 8);
        // Compared at the end: a later replay has not written over what an earlier one gave.
        for (std::size_t i = 0; i < logits[0].size(); ++i)
            BOOST_TEST(at::equal(logits[0][i], logits[1][i]), name << " step " << i);
    }
}

BOOST_AUTO_TEST_CASE(a_step_that_cannot_be_recorded) {
    const auto refused = [](const std::function<void()>& fail) {
        const model::Model device = recording_model("odd_heads", [fail] {
            return model::Recorder([fail](const std::function<void()>&) -> std::unique_ptr<model::Recording> {
                fail();
                return nullptr;
            });
        });
        KvCache cache = device.make_cache(1, 8);
        device.prefill(Rows{{2, 7}}, cache);
        device.decode_step(std::vector<std::int32_t>{3}, std::vector<std::int64_t>{0}, cache);
    };
    BOOST_CHECK_EXCEPTION(refused([] { throw std::runtime_error("operation not permitted\nwhere"); }), InternalError, [](const InternalError& error) {
        const std::string message = error.what();
        return message.find("operation not permitted. Run with --cuda-graphs off") != std::string::npos;
    });
    BOOST_CHECK_THROW(refused([] { throw std::bad_alloc(); }), model::OutOfMemory);
}

BOOST_AUTO_TEST_CASE(the_cache_is_what_the_estimate_says) {
    for (const std::string& name : one_of_each) {
        const auto files = model::find_model_files(model_copy::golden_folder(name).string());
        const model::Placement placement{Dtype::bfloat16, model::Device::cpu, -1, model::Engine::device};
        const model::MemoryNeed need = model::estimate_memory(files, placement, {3, 30, 70});
        const model::Model device = model::load_model(files, placement);
        BOOST_TEST(need.weights == device.weight_bytes());
        BOOST_TEST(need.cache == static_cast<std::int64_t>(device.make_cache(3, 70).slots.nbytes()));
        BOOST_TEST(device.make_cache(3, 70).slots.size(4) == 128);
    }
}

BOOST_AUTO_TEST_CASE(how_it_is_chosen) {
    model::Placement placement;
    for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16, Dtype::float16, Dtype::float64}) {
        placement.dtype = dtype;
        model::choose_engine(placement, "device");
        BOOST_TEST((placement.engine == model::Engine::device));
    }
    BOOST_TEST(model::engine_name(placement.engine) == "device");
    placement.dtype = Dtype::float32;
    BOOST_CHECK_THROW(model::choose_engine(placement, "device", true), UsageError);  // graphs on a CPU
    placement.device = model::Device::cuda;
    for (const char* other : {"auto", "reference"}) {
        BOOST_CHECK_THROW(model::choose_engine(placement, other, true), UsageError);
        model::choose_engine(placement, other);
        BOOST_TEST((placement.engine == model::Engine::reference));
    }
    model::choose_engine(placement, "device", true);
    BOOST_TEST(placement.cuda_graphs);
    BOOST_CHECK_EXCEPTION(model::cuda_graph_recorders(0), InputError,
                          [](const InputError& error) { return std::string(error.what()).find("--cuda-graphs off") != std::string::npos; });
}
