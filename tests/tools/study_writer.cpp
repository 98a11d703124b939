// Writes a made-up dataset and split for a model and a problem file, without running either: for tests of size. Residual
// rows are Gaussian; the first dimension of every layer knows a little about the label.
//
//   study_writer DATA MODEL PROBLEMS LAYERS D_MODEL
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numbers>

#include "pva/core/philox.h"
#include "pva/io/result_file.h"
#include "pva/model/load.h"
#include "pva/mpi/environment.h"
#include "pva/phases/schemas.h"
#include "pva/tasks/problems.h"

namespace {

using namespace pva;

/// Zero bytes for the rows of one unit of every per-unit dataset.
io::Columns empty_unit(const io::FileSchema& schema, const io::Sizes& sizes) {
    io::Columns columns;
    for (const io::DatasetSpec& spec : schema.datasets) {
        if (spec.filled != io::Filled::per_unit) continue;
        std::size_t bytes = io::h5::element_bytes(spec.element, io::text_width_of(spec, sizes));
        const auto shape = io::shape_of(spec, sizes);
        for (std::size_t d = 1; d < shape.size(); ++d) bytes *= static_cast<std::size_t>(shape[d]);
        columns[spec.name].resize(bytes);
    }
    return columns;
}

void write(const mpi::Communicator& comm, Log& log, const std::string& data, const std::string& model, const std::string& problems, std::int64_t n_layers, std::int64_t d_model) {
    const model::ModelFiles files = model::find_model_files(model);
    const model::ModelHashes hashes = model::hash_model_files(files);
    const tasks::ProblemSet set = tasks::load_problems(problems);
    const auto n = static_cast<std::int64_t>(set.problems.size());
    std::vector<std::int64_t> ids;
    for (const tasks::Problem& problem : set.problems) ids.push_back(problem.task_id);
    const auto of = [&](auto value) { return io::to_bytes(std::vector(static_cast<std::size_t>(n), value)); };
    std::vector<std::int32_t> layers;
    for (std::int64_t layer = 0; layer < n_layers; ++layer) layers.push_back(static_cast<std::int32_t>(layer));
    const auto texts = [&](std::size_t width) { return io::pack_texts(std::vector<std::string>(static_cast<std::size_t>(n)), width); };

    io::RunPlan plan;
    plan.schema = &phases::dataset_schema();
    plan.folder = data + "/phase1_0";
    plan.prefix = "dataset";
    plan.model = files.name;
    plan.range = "0-" + std::to_string(n - 1);
    plan.sizes = {{"row", n}, {"problem", n}, {"layer", n_layers}, {"d_model", d_model}, {"token", 1}, {"family_bytes", 8}, {"sha256_digits", 64}, {"output_bytes", 8}, {"detail_bytes", 8}};
    plan.n_units = n;
    plan.identity = {{"phase", "1"}, {"made_up", true}, {"model", files.name}, {"model_config", hashes.config}, {"model_weights", hashes.weights}, {"problems", set.sha256},
                     {"start", 0}, {"end", n - 1}, {"site", "resid_post"}, {"position", "last-prompt"}, {"dtype", "float32"}};
    auto opened = io::open_result_file(comm, log, plan,
                                       {{"task_id", io::to_bytes(ids)}, {"sample", of(std::int32_t{0})}, {"temperature", of(0.0)}, {"family", texts(8)}, {"complexity", of(std::int32_t{1})},
                                        {"prompt_sha256", texts(64)}, {"prompt_tokens", of(std::int32_t{9})}, {"layer", io::to_bytes(layers)}});
    if (!opened.file) return;
    io::Columns unit = empty_unit(*plan.schema, plan.sizes);
    std::vector<float> row(static_cast<std::size_t>(n_layers * d_model));
    for (std::int64_t i = 0; i < n; ++i) {
        PhiloxStream random(1, 2, static_cast<std::uint32_t>(i));
        const auto passed = static_cast<std::uint8_t>(random.uniform() < 0.4);
        for (std::size_t k = 0; k < row.size(); ++k) {
            const double normal = std::sqrt(-2 * std::log(1 - random.uniform())) * std::cos(2 * std::numbers::pi * random.uniform());
            row[k] = static_cast<float>(normal + (k % static_cast<std::size_t>(d_model) == 0 ? 0.3 * passed : 0.0));
        }
        unit["residual/resid_post"] = io::to_bytes(row);
        unit["passed"] = io::to_bytes(std::vector<std::uint8_t>{passed});
        unit["entropy"] = io::to_bytes(std::vector<float>{static_cast<float>(random.uniform())});
        opened.file->write_unit(i, unit);
    }
    opened.file->publish({}, {{"made_up", true}}, {});

    io::RunPlan split;
    split.schema = &phases::splits_schema();
    split.folder = data + "/phase1_1";
    split.prefix = "splits";
    split.model = "problems";
    split.range = plan.range;
    split.sizes = {{"problem", n}, {"part", 3}, {"role_bytes", 16}};
    split.n_units = n;
    split.identity = {{"phase", "1.1"}, {"made_up", true}, {"problems", set.sha256}};
    std::vector<std::int32_t> complexity;
    for (std::int64_t i = 0; i < n; ++i) complexity.push_back(static_cast<std::int32_t>(1 + i % 5));
    auto splits = io::open_result_file(comm, log, split, {{"task_id", io::to_bytes(ids)}, {"complexity", io::to_bytes(complexity)}, {"role", io::pack_texts({"selection", "tuning", "analysis"}, 16)}});
    if (!splits.file) return;
    for (std::int64_t i = 0; i < n; ++i) splits.file->write_unit(i, {{"part", io::to_bytes(std::vector<std::uint8_t>{static_cast<std::uint8_t>(i % 10 < 5 ? 0 : i % 10 == 5 ? 1 : 2)})}});
    splits.file->publish({}, {{"made_up", true}}, {});
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) {
        std::fprintf(stderr, "study_writer DATA MODEL PROBLEMS LAYERS D_MODEL\n");
        return 64;
    }
    return mpi::run("study_writer", [&](const mpi::Communicator& comm) {
        Log log(0, LogLevel::warning);
        write(comm, log, argv[1], argv[2], argv[3], std::atoll(argv[4]), std::atoll(argv[5]));
    });
}
