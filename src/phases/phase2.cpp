// Phase 2: codes, statistics, general-language filter, selection. File: docs/formats/latents.md.
#include "pva/phases/phase2.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "pva/analysis/selection.h"
#include "pva/capture/capture.h"
#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/io/result_file.h"
#include "pva/kernels/thread_pool.h"
#include "pva/model/threads.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/share.h"
#include "pva/phases/schemas.h"
#include "pva/phases/work.h"
#include "pva/sae/encode.h"
#include "pva/sae/load.h"
#include "pva/sae/quality.h"
#include "pva/tasks/split.h"
#include "pva/text/tokenizer.h"

namespace pva::phases {

void register_options(OptionSet& set, Phase2Options& options) {
    register_model_option(set, options.model);
    set.add("problems", options.problems, "FILE", "problems of phase 1").required();
    register_options(set, options.sae, true);
    set.add("general-text", options.general_text, "FILE", "general text, JSONL with a field text: latents that fire there too often are dropped").required();
    set.add("dataset", options.dataset, "FILE", "result of pva_phase1; the newest one that fits when not given");
    set.add("splits", options.splits, "FILE", "result of pva_phase1_1; the newest one that fits when not given");
    set.add("split", options.split, "PART", "part of the split; anything but selection is descriptive and phase 3 refuses it")
        .one_of({"selection", "tuning", "analysis", "sae", "hyperparams", "validation"})
        .changes_results();
    set.add("general-threshold", options.general_threshold, "SHARE", "latents firing on a larger share of general text are dropped").at_least(0).changes_results();
    set.add("general-tokens", options.general_tokens, "N", "longest piece of a general text, in tokens, BOS included").at_least(2).changes_results();
    set.add("top-k", options.top_k, "N", "length of the ranked lists").at_least(1).changes_results();
    set.add("min-rows", options.min_rows, "N", "latents firing on fewer rows of the part are dropped").at_least(0).changes_results();
    set.add("threads", options.threads, "N", "threads a rank (0: by the affinity mask); with --forward reference it belongs to the identity of a run").at_least(0);
    register_device_option(set, options.placement);
    set.add_flag("fresh", options.fresh, "start over even if there is a finished or unfinished file");
    set.add_flag("dry-run", options.dry_run, "check all inputs, say what would be done, write no result");
}

namespace {

constexpr std::int64_t rows_per_block = 256;
constexpr std::int64_t documents_per_block = 8;

/// A growing record of plain numbers, and the reader of one.
struct RecordWriter {
    std::vector<std::byte> bytes;
    template <class T>
    void add(std::span<const T> values) {
        const auto raw = std::as_bytes(values);
        bytes.insert(bytes.end(), raw.begin(), raw.end());
    }
    void add(std::uint64_t value) { add(std::span<const std::uint64_t>(&value, 1)); }
};
struct RecordReader {
    std::span<const std::byte> bytes;
    std::size_t at = 0;
    template <class T>
    std::vector<T> take(std::size_t count) {
        if (count * sizeof(T) > bytes.size() - at) throw InternalError("a segment record is shorter than its content says");
        std::vector<T> values(count);
        if (count > 0) std::memcpy(values.data(), bytes.data() + at, count * sizeof(T));
        at += count * sizeof(T);
        return values;
    }
    std::uint64_t number() { return take<std::uint64_t>(1)[0]; }
};

std::vector<std::byte> code_record(const sae::CsrRows& codes) {
    RecordWriter record;
    record.add(codes.n_rows());
    record.add(codes.latents.size());
    record.add(std::span<const std::uint64_t>(codes.row_offsets));
    record.add(std::span<const std::uint32_t>(codes.latents));
    record.add(std::span<const float>(codes.values));
    return std::move(record.bytes);
}

sae::CsrRows read_code_record(std::span<const std::byte> bytes, std::uint32_t n_latents) {
    RecordReader reader{bytes};
    sae::CsrRows codes;
    const std::uint64_t rows = reader.number();
    const std::uint64_t entries = reader.number();
    codes.row_offsets = reader.take<std::uint64_t>(rows + 1);
    codes.latents = reader.take<std::uint32_t>(entries);
    codes.values = reader.take<float>(entries);
    codes.n_latents = n_latents;
    return codes;
}

/// A figure of the summary for the table; JSON has no NaN, it stands there as null.
std::string figure(const nlohmann::ordered_json& value, int decimals) { return value.is_null() ? "undefined" : fixed(value.get<double>(), decimals); }

}  // namespace

Report run_phase2(Context& context, const Phase2Options& options) {
    const mpi::Communicator& comm = context.comm;
    const tasks::SplitPart part = tasks::split_part_from_name(options.split);
    const Study study = open_study(context, options.problems, options.model, options.dataset, options.splits);
    const ProblemRange& all = study.all;
    const ModelInput& model_input = study.model;
    const io::ResultReader& dataset = study.dataset;
    const io::ResultReader& splits = study.splits;

    // Rows of the part, in the order of their ids.
    const auto dataset_layers = dataset.read<std::int32_t>("layer");
    const std::int64_t d_model = dataset.shape("residual/resid_post").at(2);
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> rows;
    std::vector<std::uint8_t> passed;
    mpi::agreed(comm, [&] {
        const StudyRows all_rows = study_rows(study);
        ids = all_rows.of_part(all_rows.ids, part);
        rows = all_rows.of_part(all_rows.dataset_rows, part);
        passed = all_rows.of_part(all_rows.passed, part);
        // A dataset of part of the problems is used as far as it goes, and that is said.
        const auto split_parts = splits.read<std::uint8_t>("part");
        const auto wanted = static_cast<std::size_t>(std::count(split_parts.begin(), split_parts.end(), static_cast<std::uint8_t>(part)));
        if (ids.size() < wanted && context.first_rank()) {
            context.log.warning("the dataset holds " + std::to_string(ids.size()) + " of the " + std::to_string(wanted) + " problems of the part " + tasks::split_part_name(part));
        }
        require_two_classes(study, all_rows, part);
    });
    const auto n = static_cast<std::int64_t>(ids.size());

    // SAEs: their files' hashes belong to the identity.
    const std::vector<LayerSae> saes = mpi::agreed(comm, [&] { return find_layer_saes(options.sae); });
    const auto n_layers = static_cast<std::int64_t>(saes.size());
    std::vector<std::int32_t> layers;
    std::vector<std::int64_t> residual_layer;  // where each SAE's layer stands in the dataset
    nlohmann::ordered_json sae_hashes = nlohmann::ordered_json::object();
    std::uint32_t d_sae = 0;
    std::vector<std::string> sae_paths;
    mpi::agreed(comm, [&] {
        for (const LayerSae& file : saes) {
            const auto found = std::find(dataset_layers.begin(), dataset_layers.end(), file.layer);
            if (found == dataset_layers.end()) {
                throw InputError(file.path + ": an SAE of layer " + std::to_string(file.layer) + ", but " + dataset.path() + " has no residuals of that layer; leave it out of --sae");
            }
            const sae::SaeInfo info = sae::read_info(sae::identify(file.path), load_options(options.sae));
            sae::check_width(info, static_cast<std::size_t>(d_model), static_cast<std::uint32_t>(file.layer));
            if (info.site != dataset.identity().value("site", std::string()) || info.transcoder) {
                throw InputError(file.path + ": made for " + (info.site.empty() ? info.hook : "the site " + info.site) + ", the dataset holds " + dataset.identity().value("site", std::string()));
            }
            if (d_sae != 0 && info.d_sae != d_sae) {
                throw InputError(file.path + ": " + std::to_string(info.d_sae) + " latents, but " + saes.front().path + " has " + std::to_string(d_sae) +
                                 "; SAEs of one run must be of one size (run them one size at a time)");
            }
            d_sae = static_cast<std::uint32_t>(info.d_sae);
            layers.push_back(file.layer);
            residual_layer.push_back(found - dataset_layers.begin());
            sae_paths.push_back(file.path);
        }
    });
    // Rank 0 reads the files for the hashes, the others are told. Weights are loaded when there is work for them.
    const std::string hash_lines = mpi::on_first_rank(comm, [&] {
        nlohmann::ordered_json hashes = nlohmann::ordered_json::object();
        for (const LayerSae& file : saes) hashes[std::to_string(file.layer)] = sae::source_sha256(sae::identify(file.path));
        return hashes.dump();
    });
    sae_hashes = nlohmann::ordered_json::parse(hash_lines);
    SaeShelf shelf(sae_paths, options.sae);

    // General text, cut into pieces of at most general_tokens.
    const int threads = thread_count(context, options.threads);
    const text::Tokenizer tokenizer = load_tokenizer(context, model_input);
    // The general text goes through the model in the data type of the residual stream it is compared with.
    PlacementOptions placement_options = options.placement;
    placement_options.dtype = dataset.identity().value("dtype", placement_options.dtype);
    const model::Placement placement = place_model(context, placement_options);
    std::string general_hash;
    const std::vector<std::vector<std::int32_t>> documents = mpi::agreed(comm, [&] {
        general_hash = sha256_file_hex(options.general_text);
        std::vector<std::vector<std::int32_t>> pieces;
        for (const std::string& text : read_texts(options.general_text)) {
            std::vector<std::int32_t> tokens = tokenizer.encode(text);
            if (static_cast<std::int64_t>(tokens.size()) > options.general_tokens) tokens.resize(static_cast<std::size_t>(options.general_tokens));
            pieces.push_back(std::move(tokens));
        }
        return pieces;
    });

    context.provenance.inputs = {{"problems", all.set.path, all.set.sha256}, dataset.as_input("dataset"), splits.as_input("splits"), {"general text", options.general_text, general_hash},
                                 {"model weights", model_input.files.weights, model_input.hashes.weights}};
    for (std::size_t i = 0; i < saes.size(); ++i) context.provenance.inputs.push_back({"sae of layer " + std::to_string(saes[i].layer), saes[i].path, sae_hashes.at(std::to_string(saes[i].layer)).get<std::string>()});

    // Units: blocks of rows for each layer, then blocks of documents.
    const std::int64_t row_blocks = (n + rows_per_block - 1) / rows_per_block;
    const std::int64_t code_units = n_layers * row_blocks;
    const auto n_documents = static_cast<std::int64_t>(documents.size());
    const std::int64_t text_units = (n_documents + documents_per_block - 1) / documents_per_block;

    io::RunPlan plan;
    plan.schema = &latents_schema();
    plan.folder = context.folder("phase2");
    plan.prefix = "latents";
    plan.model = model_input.files.name;
    plan.range = dataset.identity().at("start").dump() + "-" + dataset.identity().at("end").dump();
    plan.suffix = tasks::split_part_name(part);
    plan.n_units = code_units + text_units;
    plan.segmented = true;
    plan.fresh = options.fresh;
    plan.provenance = context.provenance;
    plan.identity = study_identity(context, "2", *plan.schema, study);
    plan.identity.update({{"split", tasks::split_part_name(part)},
                          {"site", dataset.identity().value("site", std::string())},
                          {"position", dataset.identity().value("position", std::string())},
                          {"saes", sae_hashes},
                          {"general_text", general_hash},
                          {"dtype", model::dtype_name(placement.dtype)}});
    add_result_options(context, plan.identity);
    add_placement(plan.identity, placement, threads);
    if (options.dry_run) return dry_run_report(context, plan, "blocks");

    const auto ranked_row = [](const analysis::RankedLatent& r, std::size_t rank) {
        const analysis::LatentStatistics& s = r.statistics;
        return std::vector<std::string>{std::to_string(rank + 1), analysis::name(r.direction), std::to_string(r.layer), std::to_string(r.latent), fixed(0.5 + r.score, 3),
                                        fixed(s.cohens_d, 2), fixed(s.firing_share_right, 3), fixed(s.firing_share_wrong, 3), fixed(r.q_value, 4), fixed(r.general_text_rate, 4)};
    };
    const std::vector<std::string> ranked_head = {"rank", "speaks for", "layer", "latent", "AUROC", "d", "fires right", "fires wrong", "q", "general text"};
    const auto report_from = [&](const io::ResultReader& reader) {
        Report report;
        report.summary = reader.summary();
        report.result_path = reader.path();
        std::vector<std::vector<std::string>> table = {{"layer", "L0", "explained variance", "cosine"}};
        for (const auto& quality : report.summary["layers"]) {
            table.push_back({quality["layer"].dump(), figure(quality["l0"], 1), figure(quality["explained_variance"], 3), figure(quality["cosine"], 3)});
        }
        report.lines = table_lines(table);
        table = {ranked_head};
        for (const char* direction : {"right", "wrong"}) {
            for (const auto& row : report.summary["ranked"][direction]) table.push_back(row["cells"].get<std::vector<std::string>>());
        }
        for (const std::string& line : table_lines(table)) report.lines.push_back(line);
        report.lines.push_back(report.summary["note"].get<std::string>());
        return report;
    };

    const io::Columns at_creation = {{"task_id", io::to_bytes(ids)}, {"passed", io::to_bytes(passed)}, {"layer", io::to_bytes(layers)}};
    io::OpenedResult opened = io::open_result_file(comm, context.log, plan, {});
    if (!opened.file) {
        return report_from(mpi::agreed(comm, [&] { return io::ResultReader::open(opened.complete_path, latents_schema()); }));
    }

    // A block of residual rows of one layer, in the order of the ids.
    const auto residual_rows = [&](std::int64_t layer_index, std::int64_t first, std::int64_t count) {
        return dataset.read_row_parts("residual/resid_post", std::span(rows).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)),
                                      residual_layer[static_cast<std::size_t>(layer_index)]);
    };

    std::vector<WorkBlock> blocks = cut_into_blocks(0, plan.n_units, 1);
    for (std::int64_t unit = 0; unit < plan.n_units; ++unit) {
        double cost = 0;
        if (unit < code_units) {
            cost = static_cast<double>(std::min(rows_per_block, n - (unit % row_blocks) * rows_per_block));
        } else {
            const std::int64_t first = (unit - code_units) * documents_per_block;
            for (std::int64_t i = first; i < std::min(n_documents, first + documents_per_block); ++i) {
                cost += static_cast<double>(documents[static_cast<std::size_t>(i)].size()) * static_cast<double>(n_layers + 1);
            }
        }
        blocks[static_cast<std::size_t>(unit)].cost = cost;
    }

    model::set_threads(threads);
    const kernels::ThreadPool pool(threads);
    std::optional<model::Model> model;
    work_through(context, *opened.file, "blocks", "", blocks, [&](const WorkBlock& block) -> std::int64_t {
        const std::int64_t unit = block.units.front();
        if (unit < code_units) {
            const std::int64_t layer_index = unit / row_blocks;
            const std::int64_t first = unit % row_blocks * rows_per_block;
            const std::int64_t count = std::min(rows_per_block, n - first);
            const std::vector<float> residual = residual_rows(layer_index, first, count);
            opened.file->write_segment(unit, code_record(sae::encode(shelf.at(static_cast<std::size_t>(layer_index)), residual, static_cast<std::size_t>(count), pool)));
            return 0;
        }
        if (!model) model = model::load_model(model_input.files, placement);
        const std::int64_t first = (unit - code_units) * documents_per_block;
        const std::int64_t count = std::min(documents_per_block, n_documents - first);
        model::CaptureRequest request;
        request.layers.assign(layers.begin(), layers.end());
        std::vector<std::vector<std::uint64_t>> fired(static_cast<std::size_t>(n_layers), std::vector<std::uint64_t>(d_sae, 0));
        std::uint64_t tokens = 0;
        // All layers' rows first, then one SAE after the other, so that only one has to be in memory.
        std::vector<std::vector<float>> rows_of_layer(static_cast<std::size_t>(n_layers));
        capture::capture_rows(*model, std::span(documents).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)), std::span(&request, 1),
                              {static_cast<int>(documents_per_block), true, {}}, [&](const capture::CapturedRows& captured) {
                                  const auto layer_index = static_cast<std::size_t>(std::find(layers.begin(), layers.end(), captured.layer) - layers.begin());
                                  rows_of_layer[layer_index].insert(rows_of_layer[layer_index].end(), captured.rows.begin(), captured.rows.end());
                              });
        tokens = rows_of_layer.front().size() / static_cast<std::size_t>(d_model);
        for (std::size_t l = 0; l < rows_of_layer.size(); ++l) {
            const sae::CsrRows codes = sae::encode(shelf.at(l), rows_of_layer[l], tokens, pool);
            for (const std::uint32_t latent : codes.latents) ++fired[l][latent];
        }
        RecordWriter record;
        record.add(tokens);
        for (const auto& counts : fired) record.add(std::span<const std::uint64_t>(counts));
        opened.file->write_segment(unit, record.bytes);
        return 0;
    });
    model.reset();
    opened.file->refresh_segments();

    // The sizes are known now: lay out.
    const auto code_unit = [&](std::int64_t layer_index, std::int64_t block) { return layer_index * row_blocks + block; };
    std::vector<std::uint64_t> offsets(static_cast<std::size_t>(n_layers * (n + 1)));
    std::vector<std::uint64_t> layer_start(static_cast<std::size_t>(n_layers) + 1, 0);
    mpi::agreed(comm, [&] {
        std::uint64_t entries = 0;
        for (std::int64_t l = 0; l < n_layers; ++l) {
            layer_start[static_cast<std::size_t>(l)] = entries;
            std::size_t at = static_cast<std::size_t>(l * (n + 1));
            offsets[at] = entries;
            for (std::int64_t b = 0; b < row_blocks; ++b) {
                const sae::CsrRows codes = read_code_record(opened.file->read_segment_of(code_unit(l, b)), d_sae);
                for (std::size_t r = 0; r < codes.n_rows(); ++r) offsets[++at] = entries + codes.row_offsets[r + 1];
                entries += codes.latents.size();
            }
        }
        layer_start.back() = entries;
    });
    io::Sizes sizes = {{"row", n}, {"row_plus_one", n + 1}, {"layer", n_layers}, {"latent", d_sae}, {"entry", static_cast<std::int64_t>(layer_start.back())}, {"rank", options.top_k}};
    const auto layout = opened.file->lay_out(sizes, at_creation);
    mpi::agreed(comm, [&] {
        for (std::int64_t l = comm.rank(); l < n_layers; l += comm.size()) {
            auto at = static_cast<std::int64_t>(layer_start[static_cast<std::size_t>(l)]);
            for (std::int64_t b = 0; b < row_blocks; ++b) {
                const sae::CsrRows codes = read_code_record(opened.file->read_segment_of(code_unit(l, b)), d_sae);
                const auto count = static_cast<std::int64_t>(codes.latents.size());
                layout->write_rows("codes/latent", at, count, std::as_bytes(std::span(codes.latents)));
                layout->write_rows("codes/value", at, count, std::as_bytes(std::span(codes.values)));
                at += count;
            }
        }
    });
    layout->flush();

    // Statistics: latents are dealt to ranks, each reads all rows in order; rank 0 gathers. Nothing is summed over ranks.
    std::vector<std::vector<analysis::LatentStatistics>> statistics(static_cast<std::size_t>(n_layers));
    std::vector<std::vector<std::uint64_t>> fired(static_cast<std::size_t>(n_layers), std::vector<std::uint64_t>(d_sae, 0));
    std::vector<sae::Quality> qualities(static_cast<std::size_t>(n_layers));
    std::uint64_t general_positions = 0;
    const mpi::Block mine = mpi::contiguous_block(d_sae, comm.size(), comm.rank());
    for (std::int64_t l = 0; l < n_layers; ++l) {
        const auto index = static_cast<std::size_t>(l);
        std::vector<analysis::LatentStatistics> part_of_layer;
        sae::Quality quality;
        mpi::agreed(comm, [&] {
            sae::CsrRows codes;
            codes.n_latents = d_sae;
            codes.row_offsets.clear();
            for (std::int64_t r = 0; r <= n; ++r) codes.row_offsets.push_back(offsets[static_cast<std::size_t>(l * (n + 1) + r)] - layer_start[index]);
            const auto count = layer_start[index + 1] - layer_start[index];
            codes.latents.resize(count);
            codes.values.resize(count);
            layout->read_rows("codes/latent", static_cast<std::int64_t>(layer_start[index]), static_cast<std::int64_t>(count), std::as_writable_bytes(std::span(codes.latents)));
            layout->read_rows("codes/value", static_cast<std::int64_t>(layer_start[index]), static_cast<std::int64_t>(count), std::as_writable_bytes(std::span(codes.values)));
            part_of_layer = analysis::latent_statistics(codes.view(), passed, static_cast<std::uint32_t>(mine.first), static_cast<std::uint32_t>(mine.last));
            if (l % comm.size() == comm.rank()) {
                sae::QualitySums sums;
                for (std::int64_t first = 0; first < n; first += rows_per_block) {
                    const std::int64_t block_rows = std::min(rows_per_block, n - first);
                    sae::CsrRows some = read_code_record(opened.file->read_segment_of(code_unit(l, first / rows_per_block)), d_sae);
                    sae::add_rows(sums, shelf.at(index), residual_rows(l, first, block_rows), some, pool);
                }
                quality = sae::quality(sums);
            }
        });
        const auto pieces = comm.gather(std::as_bytes(std::span(part_of_layer)));
        const auto quality_pieces = comm.gather(std::as_bytes(std::span(&quality, 1)));
        if (context.first_rank()) {
            for (const auto& piece : pieces) {
                const std::size_t count = piece.size() / sizeof(analysis::LatentStatistics);
                const std::size_t before = statistics[index].size();
                statistics[index].resize(before + count);
                if (count > 0) std::memcpy(statistics[index].data() + before, piece.data(), piece.size());
            }
            std::memcpy(&qualities[index], quality_pieces[static_cast<std::size_t>(l % comm.size())].data(), sizeof(sae::Quality));
        }
    }

    io::Columns at_end;
    nlohmann::ordered_json summary;
    mpi::on_first_rank(comm, [&] {
        for (std::int64_t unit = code_units; unit < plan.n_units; ++unit) {
            const std::vector<std::byte> bytes = opened.file->read_segment_of(unit);
            RecordReader record{bytes};
            general_positions += record.number();
            for (auto& counts : fired) {
                const auto more = record.take<std::uint64_t>(d_sae);
                for (std::size_t j = 0; j < counts.size(); ++j) counts[j] += more[j];
            }
        }
        if (general_positions == 0) throw InputError(options.general_text + ": no positions besides BOS; give longer texts");
        std::vector<std::vector<double>> rates(fired.size());
        std::vector<analysis::LayerStatistics> for_ranking;
        for (std::size_t l = 0; l < fired.size(); ++l) {
            for (const std::uint64_t count : fired[l]) rates[l].push_back(static_cast<double>(count) / static_cast<double>(general_positions));
        }
        for (std::size_t l = 0; l < fired.size(); ++l) for_ranking.push_back({static_cast<std::uint32_t>(layers[l]), statistics[l], rates[l], {}});
        analysis::SelectionRule rule;
        rule.max_general_text_rate = options.general_threshold;
        rule.min_rows = static_cast<std::uint64_t>(options.min_rows);
        rule.top_k = static_cast<std::uint32_t>(options.top_k);
        const analysis::Selection selection = analysis::rank_latents(for_ranking, static_cast<std::uint64_t>(std::count(passed.begin(), passed.end(), std::uint8_t{1})),
                                                                     static_cast<std::uint64_t>(std::count(passed.begin(), passed.end(), std::uint8_t{0})), rule);

        const auto doubles = [&](const std::string& name, auto&& field) {
            std::vector<double> values;
            for (const auto& layer : statistics) {
                for (const analysis::LatentStatistics& s : layer) values.push_back(field(s));
            }
            at_end[name] = io::to_bytes(values);
        };
        doubles("statistics/firing_share_right", [](const auto& s) { return s.firing_share_right; });
        doubles("statistics/firing_share_wrong", [](const auto& s) { return s.firing_share_wrong; });
        doubles("statistics/mean_right", [](const auto& s) { return s.mean_right; });
        doubles("statistics/mean_wrong", [](const auto& s) { return s.mean_wrong; });
        doubles("statistics/variance_right", [](const auto& s) { return s.variance_right; });
        doubles("statistics/variance_wrong", [](const auto& s) { return s.variance_wrong; });
        doubles("statistics/cohens_d", [](const auto& s) { return s.cohens_d; });
        doubles("statistics/welch_t", [](const auto& s) { return s.welch_t; });
        doubles("statistics/welch_df", [](const auto& s) { return s.welch_df; });
        doubles("statistics/welch_p", [](const auto& s) { return s.welch_p; });
        doubles("statistics/auroc", [](const auto& s) { return s.auroc; });
        doubles("statistics/auroc_standard_error", [](const auto& s) { return s.auroc_standard_error; });
        std::vector<std::uint64_t> fired_rows;
        std::vector<std::uint64_t> fired_text;
        std::vector<double> all_rates;
        std::vector<std::uint8_t> kept;
        for (std::size_t l = 0; l < statistics.size(); ++l) {
            for (std::size_t j = 0; j < statistics[l].size(); ++j) {
                fired_rows.push_back(statistics[l][j].fired_rows);
                fired_text.push_back(fired[l][j]);
                all_rates.push_back(rates[l][j]);
                kept.push_back(statistics[l][j].fired_rows < rule.min_rows ? 0 : rates[l][j] > rule.max_general_text_rate ? 2 : 1);
            }
        }
        at_end["statistics/fired_rows"] = io::to_bytes(fired_rows);
        at_end["general_text/fired"] = io::to_bytes(fired_text);
        at_end["general_text/rate"] = io::to_bytes(all_rates);
        at_end["general_text/tokens"] = io::to_bytes(std::vector<std::uint64_t>{general_positions});
        at_end["kept"] = io::to_bytes(kept);
        at_end["codes/row_offset"] = io::to_bytes(offsets);
        std::vector<double> l0;
        std::vector<double> explained;
        std::vector<double> cosine;
        summary["problems"] = n;
        summary["right"] = std::count(passed.begin(), passed.end(), std::uint8_t{1});
        summary["wrong"] = std::count(passed.begin(), passed.end(), std::uint8_t{0});
        summary["part"] = tasks::split_part_name(part);
        summary["latents"] = selection.n_latents;
        summary["dropped_rare"] = selection.n_dropped_rare;
        summary["dropped_general_text"] = selection.n_dropped_general_text;
        summary["kept"] = selection.n_kept;
        summary["general_text_positions"] = general_positions;
        summary["layers"] = nlohmann::ordered_json::array();
        for (std::size_t l = 0; l < qualities.size(); ++l) {
            l0.push_back(qualities[l].l0);
            explained.push_back(qualities[l].explained_variance);
            cosine.push_back(qualities[l].cosine);
            summary["layers"].push_back({{"layer", layers[l]}, {"l0", l0.back()}, {"explained_variance", explained.back()}, {"cosine", cosine.back()}});
        }
        at_end["quality/l0"] = io::to_bytes(l0);
        at_end["quality/explained_variance"] = io::to_bytes(explained);
        at_end["quality/cosine"] = io::to_bytes(cosine);
        for (const bool right : {true, false}) {
            const std::string name = right ? "right" : "wrong";
            const auto& list = right ? selection.right : selection.wrong;
            std::vector<std::int32_t> ranked_layer(static_cast<std::size_t>(options.top_k), -1);
            std::vector<std::int32_t> ranked_latent(ranked_layer.size(), -1);
            std::vector<double> score(ranked_layer.size(), 0);
            std::vector<double> q(ranked_layer.size(), 1);
            summary["ranked"][name] = nlohmann::ordered_json::array();
            for (std::size_t i = 0; i < list.size(); ++i) {
                ranked_layer[i] = static_cast<std::int32_t>(list[i].layer);
                ranked_latent[i] = static_cast<std::int32_t>(list[i].latent);
                score[i] = list[i].score;
                q[i] = list[i].q_value;
                if (i < 10) {
                    summary["ranked"][name].push_back({{"layer", list[i].layer}, {"latent", list[i].latent}, {"auroc", list[i].statistics.auroc},
                                                       {"q_value", list[i].q_value}, {"cells", ranked_row(list[i], i)}});
                }
            }
            at_end["ranked_" + name + "/layer"] = io::to_bytes(ranked_layer);
            at_end["ranked_" + name + "/latent"] = io::to_bytes(ranked_latent);
            at_end["ranked_" + name + "/score"] = io::to_bytes(score);
            at_end["ranked_" + name + "/q_value"] = io::to_bytes(q);
        }
        summary["note"] = std::to_string(selection.n_latents) + " latents: " + std::to_string(selection.n_dropped_rare) + " fire on fewer than " + std::to_string(options.min_rows) +
                          " rows, " + std::to_string(selection.n_dropped_general_text) + " too often on general text, " + std::to_string(selection.n_kept) +
                          " kept. These AUROCs are of the problems the latents were chosen on: the best of many is lucky. pva_phase3 measures them on others";
        return std::string();
    });
    const std::string path = layout->publish(at_end, summary, measured_run(context));
    return report_from(mpi::agreed(comm, [&] { return io::ResultReader::open(path, latents_schema()); }));
}

}  // namespace pva::phases
