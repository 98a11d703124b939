// Encoding of a dataset, and reading what it gave.
#include "pva/phases/sparse_codes.h"

#include <algorithm>
#include <cmath>

#include "pva/core/error.h"
#include "pva/io/result_file.h"
#include "pva/kernels/thread_pool.h"
#include "pva/mpi/agree.h"
#include "pva/phases/schemas.h"
#include "pva/phases/segment_record.h"
#include "pva/phases/work.h"

namespace pva::phases {

namespace {

constexpr std::int64_t rows_per_block = 256;

/// A unit: codes of some rows of a layer and how well they reconstruct.
struct CodeBlock {
    std::vector<std::uint64_t> offsets;
    std::vector<std::uint32_t> latents;
    std::vector<float> values;
    std::vector<double> squared_error;
    std::vector<double> cosine;
};

std::vector<std::byte> record_of(const CodeBlock& block) {
    RecordWriter record;
    record.add(block.offsets.size() - 1);
    record.add(block.latents.size());
    record.add(block.offsets);
    record.add(block.latents);
    record.add(block.values);
    record.add(block.squared_error);
    record.add(block.cosine);
    return std::move(record.bytes);
}

CodeBlock block_of(std::span<const std::byte> bytes) {
    RecordReader record{bytes};
    const std::uint64_t rows = record.number();
    const std::uint64_t entries = record.number();
    CodeBlock block;
    block.offsets = record.take<std::uint64_t>(rows + 1);
    block.latents = record.take<std::uint32_t>(entries);
    block.values = record.take<float>(entries);
    block.squared_error = record.take<double>(rows);
    block.cosine = record.take<double>(rows);
    return block;
}

CodeBlock encode_block(const sae_aten::Coder& coder, const std::vector<float>& rows, const kernels::ThreadPool& pool) {
    const sae::Sae& sae = coder.sae();
    const std::size_t n = rows.size() / sae.d_in;
    sae::CsrRows codes = coder.encode(rows, n, pool);
    std::vector<float> x_hat(rows.size());
    coder.decode(codes, pool, x_hat, rows);
    CodeBlock block;
    for (std::size_t i = 0; i < n; ++i) {
        double error = 0.0, norm = 0.0, norm_hat = 0.0, dot = 0.0;
        for (std::size_t k = i * sae.d_in; k < (i + 1) * sae.d_in; ++k) {
            const double a = rows[k], b = x_hat[k];
            error += (a - b) * (a - b);
            norm += a * a;
            norm_hat += b * b;
            dot += a * b;
        }
        const double product = std::sqrt(norm) * std::sqrt(norm_hat);
        block.squared_error.push_back(error);
        block.cosine.push_back(product > 0.0 ? dot / product : 0.0);
    }
    block.offsets = std::move(codes.row_offsets);
    block.latents = std::move(codes.latents);
    block.values = std::move(codes.values);
    return block;
}

}  // namespace

io::ResultReader sparse_codes(Context& context, const Study& study, const ProgramRows& rows, const SaeSet& saes, const SaeOptions& options,
                              const model::Placement& placement, int threads, bool fresh) {
    const mpi::Communicator& comm = context.comm;
    std::vector<std::int64_t> programs;
    std::vector<std::int64_t> ids;
    mpi::agreed(comm, [&] {
        const auto all_ids = study.dataset.read<std::int64_t>("task_id");
        for (std::int64_t program = 0; program < rows.n_programs(); ++program) {
            if (!rows.has(program)) continue;
            programs.push_back(program);
            ids.push_back(all_ids.at(static_cast<std::size_t>(program)));
        }
        if (programs.empty()) throw InputError(rows.path() + ": no program has a row at " + rows.position());
    });
    const auto n = static_cast<std::int64_t>(ids.size());
    const auto n_layers = static_cast<std::int64_t>(saes.layers.size());
    const std::int64_t row_blocks = (n + rows_per_block - 1) / rows_per_block;

    io::RunPlan plan;
    plan.schema = &sparse_schema();
    plan.folder = context.folder("phase2");
    plan.prefix = "sparse";
    plan.model = study.model.files.name;
    plan.range = study.dataset.identity().at("start").dump() + "-" + study.dataset.identity().at("end").dump();
    plan.n_units = n_layers * row_blocks;
    plan.segmented = true;
    plan.fresh = fresh;
    plan.provenance = context.provenance;
    plan.provenance.inputs = {study.dataset.as_input("dataset")};
    for (const InputFile& input : saes.inputs()) plan.provenance.inputs.push_back(input);
    plan.identity = study_identity(context, "2 codes", *plan.schema, study);
    plan.identity.erase("splits");
    plan.identity.update(rows.identity());
    plan.identity["saes"] = saes.hashes();
    plan.identity["sae-scale"] = options.scale;
    plan.identity["coded_on"] = model::device_name(placement.device);

    io::OpenedResult opened = io::open_result_file(comm, context.log, plan, {});
    if (!opened.file) return mpi::agreed(comm, [&] { return io::ResultReader::open(opened.complete_path, sparse_schema()); });

    const kernels::ThreadPool pool(threads);
    SaeShelf shelf(saes.paths, options, placement);
    std::vector<WorkBlock> blocks = cut_into_blocks(0, plan.n_units, 1);
    for (std::int64_t unit = 0; unit < plan.n_units; ++unit) {
        blocks[static_cast<std::size_t>(unit)].cost = static_cast<double>(std::min(rows_per_block, n - unit % row_blocks * rows_per_block));
    }
    work_through(context, *opened.file, "blocks of codes", "", blocks, [&](const WorkBlock& block) -> std::int64_t {
        const std::int64_t unit = block.units.front();
        const auto layer = static_cast<std::size_t>(unit / row_blocks);
        const auto first = static_cast<std::size_t>(unit % row_blocks * rows_per_block);
        const auto count = std::min(static_cast<std::size_t>(rows_per_block), programs.size() - first);
        const std::vector<float> residual = rows.read(saes.layers[layer], std::span(programs).subspan(first, count));
        opened.file->write_segment(unit, record_of(encode_block(shelf.coder(layer), residual, pool)));
        return 0;
    });
    opened.file->refresh_segments();

    // The sizes are known now: lay out.
    std::vector<std::uint64_t> offsets;
    std::vector<std::uint64_t> layer_start;
    std::vector<double> squared_error;
    std::vector<double> cosine;
    mpi::agreed(comm, [&] {
        std::uint64_t entries = 0;
        for (std::int64_t layer = 0; layer < n_layers; ++layer) {
            layer_start.push_back(entries);
            offsets.push_back(entries);
            for (std::int64_t b = 0; b < row_blocks; ++b) {
                const CodeBlock block = block_of(opened.file->read_segment_of(layer * row_blocks + b));
                for (std::size_t r = 1; r < block.offsets.size(); ++r) offsets.push_back(entries + block.offsets[r]);
                entries += block.latents.size();
                squared_error.insert(squared_error.end(), block.squared_error.begin(), block.squared_error.end());
                cosine.insert(cosine.end(), block.cosine.begin(), block.cosine.end());
            }
        }
        layer_start.push_back(entries);
    });
    const io::Sizes sizes = {{"row", n}, {"row_plus_one", n + 1}, {"layer", n_layers}, {"entry", static_cast<std::int64_t>(layer_start.back())}};
    const std::vector<std::uint32_t> d_sae(saes.layers.size(), saes.d_sae);
    const auto layout = opened.file->lay_out(sizes, {{"task_id", io::to_bytes(ids)}, {"layer", io::to_bytes(saes.layers)}, {"d_sae", io::to_bytes(d_sae)}});
    mpi::agreed(comm, [&] {
        for (std::int64_t layer = comm.rank(); layer < n_layers; layer += comm.size()) {
            auto at = static_cast<std::int64_t>(layer_start[static_cast<std::size_t>(layer)]);
            for (std::int64_t b = 0; b < row_blocks; ++b) {
                const CodeBlock block = block_of(opened.file->read_segment_of(layer * row_blocks + b));
                const auto count = static_cast<std::int64_t>(block.latents.size());
                layout->write_rows("codes/latent", at, count, std::as_bytes(std::span(block.latents)));
                layout->write_rows("codes/value", at, count, std::as_bytes(std::span(block.values)));
                at += count;
            }
        }
    });
    layout->flush();
    const nlohmann::ordered_json summary = {{"problems", n}, {"layers", n_layers}, {"latents", saes.d_sae}, {"entries", layer_start.back()}};
    const std::string path = layout->publish({{"codes/row_offset", io::to_bytes(offsets)}, {"quality/squared_error", io::to_bytes(squared_error)}, {"quality/cosine", io::to_bytes(cosine)}},
                                             summary, measured_run(context));
    return mpi::agreed(comm, [&] { return io::ResultReader::open(path, sparse_schema()); });
}

LayerCodes read_layer_codes(const io::ResultReader& file, std::int64_t layer, std::span<const std::int64_t> rows, std::uint32_t d_sae, double threshold) {
    const std::int64_t n = file.shape("task_id").at(0);
    const auto offsets = file.read_rows<std::uint64_t>("codes/row_offset", layer, 1);
    const auto errors = file.read_rows<double>("quality/squared_error", layer, 1);
    const auto cosines = file.read_rows<double>("quality/cosine", layer, 1);
    const auto first = static_cast<std::int64_t>(offsets.front());
    const auto count = static_cast<std::int64_t>(offsets.back()) - first;
    if (count < 0) throw InputError(file.path() + ": its row offsets of layer " + std::to_string(layer) + " run backwards; make the file again with --fresh");
    const auto latents = file.read_rows<std::uint32_t>("codes/latent", first, count);
    const auto values = file.read_rows<float>("codes/value", first, count);
    LayerCodes result;
    result.codes.n_latents = d_sae;
    for (const std::int64_t row : rows) {
        if (row < 0 || row >= n) throw InternalError(file.path() + ": no row " + std::to_string(row));
        const auto r = static_cast<std::size_t>(row);
        for (std::uint64_t entry = offsets[r]; entry < offsets[r + 1]; ++entry) {
            const auto at = static_cast<std::size_t>(entry) - static_cast<std::size_t>(first);
            if (threshold > 0 && !(static_cast<double>(values.at(at)) > threshold)) continue;
            result.codes.latents.push_back(latents.at(at));
            result.codes.values.push_back(values.at(at));
        }
        result.codes.row_offsets.push_back(result.codes.latents.size());
        result.squared_error.push_back(errors[r]);
        result.cosine.push_back(cosines[r]);
    }
    return result;
}

std::vector<double> latent_column(const sae::CsrRows& codes, std::uint32_t latent) {
    std::vector<double> values;
    for (std::size_t row = 0; row < codes.n_rows(); ++row) {
        const auto latents = codes.latents_of(row);
        const auto found = std::lower_bound(latents.begin(), latents.end(), latent);
        const bool fires = found != latents.end() && *found == latent;
        values.push_back(fires ? codes.values_of(row)[static_cast<std::size_t>(found - latents.begin())] : 0.0);
    }
    return values;
}

}  // namespace pva::phases
