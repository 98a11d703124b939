// Reading golden files, comparing with them, and changing copies of their models.
#include "golden_case.h"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <limits>

#include <nlohmann/json.hpp>

#include "pva/core/sha256.h"

namespace fs = std::filesystem;
using namespace pva;

namespace golden {

namespace {

const fs::path root = fs::path(PVA_SOURCE_DIR) / "tests/golden";
const fs::path demo_model = fs::path(PVA_SOURCE_DIR) / "data/demo/model";

template <typename T>
std::vector<T> read(const io::SafetensorsFile& file, const std::string& name) {
    if (!file.contains(name)) return {};
    const auto bytes = file.bytes(name);
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
}

Case read_case(const std::string& name, const fs::path& folder, const fs::path& golden) {
    const io::SafetensorsFile file(golden.string());
    if (fs::exists(folder / "model.safetensors")) {
        BOOST_REQUIRE_MESSAGE(
            sha256_file_hex((folder / "model.safetensors").string()) == file.metadata().at("weights_sha256"),
            golden << " was made from other weights; run the script in tests/reference/model for " << name);
    }
    Case one{name, file.metadata().contains("family") ? file.metadata().at("family") : "gemma2", folder, {}};
    for (int s = 0; file.contains("tokens." + std::to_string(s)); ++s) {
        const std::string number = "." + std::to_string(s);
        Sequence sequence;
        sequence.tokens = read<std::int32_t>(file, "tokens" + number);
        sequence.positions = read<std::int32_t>(file, "positions" + number);
        sequence.greedy = read<std::int32_t>(file, "greedy" + number);
        sequence.greedy_gap = read<float>(file, "greedy_gap" + number);
        sequence.logits = read<float>(file, "logits" + number);
        sequence.bf16_logits = read<float>(file, "bf16_logits" + number);
        sequence.bf16_resid_post = read<float>(file, "bf16_resid_post" + number);
        for (const model::Site site : model::all_sites()) {
            const std::string key = std::string(model::site_name(site)) + number;
            if (file.contains(key)) sequence.sites[site] = read<float>(file, key);
        }
        one.sequences.push_back(std::move(sequence));
    }
    BOOST_REQUIRE_GT(one.sequences.size(), 2u);
    return one;
}

nlohmann::json read_json(const fs::path& path) {
    std::ifstream file(path);
    return nlohmann::json::parse(file);
}

}  // namespace

std::vector<std::vector<std::int32_t>> Case::rows() const {
    std::vector<std::vector<std::int32_t>> all;
    for (const Sequence& sequence : sequences)
        all.push_back(sequence.tokens);
    return all;
}

std::vector<Case> all_cases() {
    std::vector<Case> cases;
    for (const char* group : {"gemma2", "models"}) {
        std::vector<fs::path> folders;
        for (const auto& entry : fs::directory_iterator(root / group)) {
            if (fs::exists(entry.path() / "golden.safetensors")) folders.push_back(entry.path());
        }
        std::sort(folders.begin(), folders.end());
        for (const fs::path& folder : folders)
            cases.push_back(read_case(folder.filename().string(), folder, folder / "golden.safetensors"));
    }
    if (fs::exists(demo_model / "model.safetensors")) {
        cases.push_back(read_case("demo", demo_model, root / "gemma2/demo.safetensors"));
    } else {
        std::cout << "demo model skipped: " << demo_model << " is not there\n";
    }
    return cases;
}

Case case_of(const std::string& name) {
    const fs::path folder = fs::exists(root / "models" / name) ? root / "models" / name : root / "gemma2" / name;
    return read_case(name, folder, folder / "golden.safetensors");
}

double largest_logit_difference(std::span<const float> ours, std::span<const float> golden) {
    BOOST_REQUIRE_EQUAL(ours.size(), golden.size());
    double largest = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) {
        const double scale = std::max(1.0, std::abs(static_cast<double>(golden[i])) / 10);
        const double difference = std::abs(static_cast<double>(ours[i]) - golden[i]) / scale;
        largest = std::max(largest, std::isfinite(difference) ? difference : std::numeric_limits<double>::infinity());
    }
    return largest;
}

double row_difference(std::span<const float> ours, std::span<const float> golden) {
    BOOST_REQUIRE_EQUAL(ours.size(), golden.size());
    double difference = 0;
    double norm = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) {
        difference += std::pow(static_cast<double>(ours[i]) - golden[i], 2);
        norm += std::pow(static_cast<double>(golden[i]), 2);
    }
    const double relative = std::sqrt(difference / norm);
    return std::isfinite(relative) ? relative : std::numeric_limits<double>::infinity();
}

std::vector<float> row_of(const at::Tensor& values, std::size_t slot, std::int64_t position) {
    const at::Tensor row = values.select(0, static_cast<std::int64_t>(slot))
                               .select(0, position)
                               .to(at::TensorOptions().dtype(at::kFloat).device(at::kCPU))
                               .contiguous();
    return {row.const_data_ptr<float>(), row.const_data_ptr<float>() + row.numel()};
}

double logit_difference(const Case& one, const at::Tensor& logits) {
    const auto vocab = static_cast<std::size_t>(logits.size(2));
    double largest = 0;
    for (std::size_t s = 0; s < one.sequences.size(); ++s) {
        const Sequence& sequence = one.sequences[s];
        for (std::size_t p = 0; p < sequence.positions.size(); ++p) {
            largest = std::max(largest,
                               largest_logit_difference(row_of(logits, s, sequence.positions[p]),
                                                        std::span(sequence.logits).subspan(p * vocab, vocab)));
        }
    }
    return largest;
}

Altered::Altered(const Case& original) {
    for (const auto& entry : fs::directory_iterator(original.folder)) {
        if (entry.path().filename() != "golden.safetensors") fs::copy(entry.path(), folder_ / entry.path().filename().string());
    }
}

void Altered::set_config(const std::string& field, const std::string& json) {
    nlohmann::json object = read_json(folder_ / "config.json");
    if (json.empty()) {
        object.erase(field);
    } else {
        object[field] = nlohmann::json::parse(json);
    }
    std::ofstream(folder_ / "config.json") << object.dump();
}

std::string Altered::config_field(const std::string& field) const {
    const nlohmann::json object = read_json(folder_ / "config.json");
    return object.contains(field) ? object[field].dump() : "";
}

void Altered::change_tensor(
    const std::string& name,
    const std::function<void(std::span<float> values, const std::vector<std::int64_t>& shape)>& change) {
    const io::SafetensorsSet files(model::find_model_files(folder_.path).weights);
    const io::TensorEntry entry = files.entry(name);
    BOOST_REQUIRE_EQUAL(entry.dtype, "F32");
    std::vector<float> values(entry.bytes / sizeof(float));
    std::memcpy(values.data(), files.bytes(name).data(), entry.bytes);
    change(values, entry.shape);
    std::fstream file(files.file_of(name), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(entry.offset));
    file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(entry.bytes));
    BOOST_REQUIRE(file.good());
}

std::vector<std::string> Altered::tensor_names() const {
    return io::SafetensorsSet(model::find_model_files(folder_.path).weights).names();
}

void Altered::swap_tensors(const std::string& a, const std::string& b) {
    std::vector<float> first;
    std::vector<float> second;
    change_tensor(a, [&](std::span<float> values, const auto&) { first.assign(values.begin(), values.end()); });
    change_tensor(b, [&](std::span<float> values, const auto&) {
        second.assign(values.begin(), values.end());
        BOOST_REQUIRE_EQUAL(values.size(), first.size());
        std::copy(first.begin(), first.end(), values.begin());
    });
    change_tensor(a, [&](std::span<float> values, const auto&) { std::copy(second.begin(), second.end(), values.begin()); });
}

}  // namespace golden
