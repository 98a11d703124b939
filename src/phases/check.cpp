// A model under the magnifying glass. The layout of the dump: docs/formats/check.md.
#include "pva/phases/check.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>

#include "pva/capture/trace.h"
#include "pva/core/error.h"
#include "pva/core/join.h"
#include "pva/core/philox.h"
#include "pva/generate/engine.h"
#include "pva/io/h5.h"
#include "pva/mpi/agree.h"
#include "pva/phases/inputs.h"
#include "pva/phases/model_setup.h"
#include "pva/phases/check_sae.h"
#include "pva/phases/work.h"
#include "pva/mpi/share.h"

namespace pva::phases {

void register_options(OptionSet& set, CheckOptions& options) {
    set.add("model", options.model, "MODEL", "model folder in Hugging Face layout, or a name such as google/gemma-2-2b that is in the offline Hugging Face cache; needed but with --sae");
    set.add("tokens", options.tokens, "FILE", "sequences as JSON: a list of lists of token ids");
    set.add("text", options.text, "FILE", "text to tokenize and to measure the loss on: JSONL with a field text, or one plain text");
    set.add("records", options.records, "N", "only the first N sequences").at_least(1);
    set.add("max-tokens", options.max_tokens, "N", "a text is cut after so many tokens").at_least(1);
    set.add("sites", options.sites, "LIST", "sites to dump, separated by commas: embedding, resid_pre, resid_mid, resid_post, attn_out, mlp_out, z, final_norm, or as TransformerLens, Hugging Face, sparsify or dictionary_learning spell them").list();
    set.add("layers", options.layers, "LIST", "layers of the sites, for instance 0,5,12; all when not given").list();
    set.add("dump", options.dump, "FILE", "HDF5 file for logits, sites and generated tokens of every sequence");
    set.add("generate", options.generate, "N", "tokens to continue every sequence by, greedily and not stopped at EOS").at_least(0);
    set.add("batch-size", options.batch_size, "N", "rows of the measurement of rates").at_least(1);
    set.add("threads", options.threads, "N", "threads a rank (0: by the affinity mask)").at_least(0);
    register_options(set, options.placement);
    set.add_flag("rates-only", options.rates_only, "measure memory and rates on the sequences, without losses and dump");
    set.add_flag("compare-forward", options.compare_forward, "run the reference forward pass too (twice the memory) and print the largest differences");
    set.add_flag("fresh", options.fresh, "replace a dump that is there");
    register_options(set, options.sae, false);
    set.add("activations", options.activations, "FILE:DATASET", "with --sae: rows in an HDF5 file, float32 [..., d_in], to measure and dump instead of a model's");
    set.add("codes", options.codes, "PATH", "with --sae: sparse codes of all positions of the text; one file for all SAEs (NAME.h5) or a folder for one file each");
    set.add("values", options.values, "TYPE", "of the values in --codes").one_of({"float32", "bfloat16"});
    set.add("loss-records", options.loss_records, "N", "with --sae: sequences whose loss is measured with the reconstruction spliced in; 0: none").at_least(0);
    set.add("rows-memory", options.rows_memory_gb, "GB", "with --sae: rows of the residual stream that are in memory at once").at_least(0.001);
    set.add_flag("sae-any", options.sae_any, "go on with SAEs whose L0 is off by more than a factor of 2 or that name another model");
}

namespace {

using Sequences = std::vector<std::vector<std::int32_t>>;

Sequences read_token_lists(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw InputError(path + ": the token ids cannot be opened (" + std::strerror(errno) + "); check the path");
    nlohmann::json lists;
    try {
        lists = nlohmann::json::parse(file);
    } catch (const nlohmann::json::exception& error) {
        throw InputError(path + ": not valid JSON (" + error.what() + "); a list of lists of token ids is expected");
    }
    const std::string expected = "a list of lists of token ids is expected, for instance [[2, 651, 6037], [2]]";
    if (!lists.is_array() || lists.empty()) throw InputError(path + ": " + expected);
    Sequences sequences;
    for (std::size_t i = 0; i < lists.size(); ++i) {
        if (!lists[i].is_array()) throw InputError(path + ": entry " + std::to_string(i) + " is no list; " + expected);
        std::vector<std::int32_t> tokens;
        for (const nlohmann::json& id : lists[i]) {
            const bool fits = id.is_number_unsigned() && id.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max());
            if (!fits) throw InputError(path + ": sequence " + std::to_string(i) + " holds " + id.dump() + "; " + expected);
            tokens.push_back(id.get<std::int32_t>());
        }
        sequences.push_back(std::move(tokens));
    }
    return sequences;
}

/// Rows for the measurement of rates when no sequences are given: ids drawn evenly, the same in every run.
Sequences made_up_sequences(const model::ModelConfig& config, std::int64_t rows) {
    const std::int64_t length = std::min<std::int64_t>(128, std::max<std::int64_t>(1, config.max_position_embeddings / 2));
    Sequences sequences;
    for (std::int64_t row = 0; row < rows; ++row) {
        PhiloxStream random(0, static_cast<std::uint64_t>(row), 0);
        std::vector<std::int32_t> tokens;
        for (std::int64_t i = 0; i < length; ++i) tokens.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(config.vocab_size))));
        sequences.push_back(std::move(tokens));
    }
    return sequences;
}

std::string dataset_name(std::size_t sequence, std::string_view what) { return "sequence/" + std::to_string(sequence) + "/" + std::string(what); }

/// What a dump holds of every sequence.
struct DumpPlan {
    const Sequences& sequences;
    const std::vector<model::CaptureRequest>& requests;
    const model::ModelConfig& config;
    std::int64_t generated;

    struct Entry {
        std::string name;
        io::h5::Element element;
        std::vector<std::int64_t> shape;
    };
    std::vector<Entry> entries() const {
        std::vector<Entry> all;
        for (std::size_t i = 0; i < sequences.size(); ++i) {
            const auto tokens = static_cast<std::int64_t>(sequences[i].size());
            all.push_back({dataset_name(i, "tokens"), io::h5::Element::i32, {tokens}});
            all.push_back({dataset_name(i, "logits"), io::h5::Element::f32, {tokens, config.vocab_size}});
            for (const model::CaptureRequest& request : requests) {
                all.push_back({dataset_name(i, model::site_name(request.site)), io::h5::Element::f32,
                               {static_cast<std::int64_t>(request.layers.size()), tokens, model::site_width(config, request.site)}});
            }
            if (generated > 0) {
                all.push_back({dataset_name(i, "generated"), io::h5::Element::i32, {generated}});
                all.push_back({dataset_name(i, "generated_log_probability"), io::h5::Element::f32, {generated}});
            }
        }
        return all;
    }
    double bytes() const {
        double total = 0;
        for (const Entry& entry : entries()) {
            double size = 4;
            for (const std::int64_t extent : entry.shape) size *= static_cast<double>(extent);
            total += size;
        }
        return total;
    }
};

/// Rank 0 makes the file with all its datasets; its name gets its ending ".part" off when all is written.
void create_dump(const Context& context, const std::string& path, const DumpPlan& plan, const nlohmann::ordered_json& about) {
    const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
    std::error_code error;
    const std::filesystem::space_info space = std::filesystem::space(folder, error);
    if (error) throw IoError("--dump " + path + ": the folder " + folder.string() + " cannot be used (" + error.message() + "); choose another");
    if (plan.bytes() * 1.02 > static_cast<double>(space.available)) {
        throw IoError("--dump " + path + ": needs " + fixed(plan.bytes() / 1e9, 2) + " GB, " + folder.string() + " has " +
                      fixed(static_cast<double>(space.available) / 1e9, 2) + " GB left; give fewer sequences (--records), sites or layers");
    }
    const io::h5::File file = io::h5::create(path + ".part");
    for (const DumpPlan::Entry& entry : plan.entries()) io::h5::create_dataset(file, entry.name, entry.element, 0, entry.shape, false);
    io::h5::write_attribute(file, "/", "filetype", "check");
    io::h5::write_attribute(file, "/", "version", 1);
    io::h5::write_attribute(file, "/", "about", about.dump());
    io::h5::write_attribute(file, "/", "provenance", to_json(context.provenance).dump());
}

/// Figures of one sequence, sent to rank 0 and summed there in the order of the sequences.
struct SequenceLoss {
    std::int64_t sequence;
    std::int64_t predicted;
    double loss;
};

double mean_loss(const Context& context, const std::vector<SequenceLoss>& own, std::int64_t& predicted) {
    const auto all = context.comm.gather(std::as_bytes(std::span(own)));
    std::vector<SequenceLoss> losses;
    for (const auto& bytes : all) {
        const std::size_t count = bytes.size() / sizeof(SequenceLoss);
        const std::size_t before = losses.size();
        losses.resize(before + count);
        if (count > 0) std::memcpy(losses.data() + before, bytes.data(), bytes.size());
    }
    std::sort(losses.begin(), losses.end(), [](const SequenceLoss& a, const SequenceLoss& b) { return a.sequence < b.sequence; });
    double sum = 0;
    predicted = 0;
    for (const SequenceLoss& one : losses) {
        sum += one.loss;
        predicted += one.predicted;
    }
    return predicted > 0 ? sum / static_cast<double>(predicted) : 0;
}

/// Largest differences from the reference forward pass, over all sites.
struct ForwardDifference {
    double logits = 0;  ///< absolute; divided by |logit| / 10 where that is above 1
    double rows = 0;    ///< norm of a row's difference over the norm of the reference's row
    std::size_t sequences = 0;
};

ForwardDifference compare_with_reference(const model::Model& model, const model::Model& reference, const Sequences& sequences) {
    std::vector<model::CaptureRequest> requests;
    for (const model::Site site : model::all_sites()) {
        if (site == model::Site::resid_mid && !model.config().has_resid_mid) continue;
        model::CaptureRequest request{site, {0}};
        for (int layer = 1; model::site_has_layers(site) && layer < model.config().num_hidden_layers; ++layer) request.layers.push_back(layer);
        requests.push_back(std::move(request));
    }
    ForwardDifference difference;
    difference.sequences = std::min<std::size_t>(8, sequences.size());
    for (std::size_t i = 0; i < difference.sequences; ++i) {
        const capture::Trace ours = capture::trace_sequence(model, sequences[i], requests);
        const capture::Trace theirs = capture::trace_sequence(reference, sequences[i], requests);
        for (std::size_t at = 0; at < ours.logits.size(); ++at) {
            const double scale = std::max(1.0, std::abs(static_cast<double>(theirs.logits[at])) / 10);
            difference.logits = std::max(difference.logits, std::abs(static_cast<double>(ours.logits[at]) - theirs.logits[at]) / scale);
        }
        for (std::size_t r = 0; r < requests.size(); ++r) {
            const auto width = static_cast<std::size_t>(model::site_width(model.config(), requests[r].site));
            for (std::size_t row = 0; row < ours.sites[r].size(); row += width) {
                double squares = 0;
                double norm = 0;
                for (std::size_t at = row; at < row + width; ++at) {
                    squares += std::pow(static_cast<double>(ours.sites[r][at]) - theirs.sites[r][at], 2);
                    norm += std::pow(static_cast<double>(theirs.sites[r][at]), 2);
                }
                if (norm > 0) difference.rows = std::max(difference.rows, std::sqrt(squares / norm));
            }
        }
    }
    return difference;
}

std::string scientific(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2e", value);
    return text;
}

std::string gigabytes(double bytes) { return fixed(bytes / 1e9, 3) + " GB"; }

model::PassSize pass_size(const Sequences& sequences, const CheckOptions& options) {
    std::size_t longest = 128;  // of made-up sequences
    for (const auto& sequence : sequences) longest = std::max(longest, sequence.size());
    const auto tokens = static_cast<std::int64_t>(longest);
    return {options.batch_size, options.batch_size * tokens, tokens + options.generate};
}

std::int64_t peak_memory_bytes() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace

Sequences read_check_sequences(const CheckOptions& options, const model::ModelFiles& files, const model::ModelConfig& config) {
    const std::string source = options.tokens.empty() ? options.text : options.tokens;
    Sequences all;
    if (!options.tokens.empty()) {
        all = read_token_lists(options.tokens);
    } else if (!options.text.empty()) {
        model::require_tokenizer(files);
        const text::Tokenizer tokenizer = text::Tokenizer::load(files.tokenizer);
        for (const std::string& text : read_texts(options.text)) {
            all.push_back(tokenizer.encode(text));
            if (static_cast<std::int64_t>(all.back().size()) > options.max_tokens) all.back().resize(static_cast<std::size_t>(options.max_tokens));
            if (options.records && static_cast<std::int64_t>(all.size()) == *options.records) break;
        }
    }
    if (options.records && static_cast<std::int64_t>(all.size()) > *options.records) all.resize(static_cast<std::size_t>(*options.records));
    for (std::size_t i = 0; i < all.size(); ++i) model::check_tokens(all[i], config, source + ": sequence " + std::to_string(i), options.generate);
    return all;
}

Report run_check(Context& context, const CheckOptions& options) {
    const mpi::Communicator& comm = context.comm;
    if (!options.sae.names.empty() || !options.sae.list.empty()) return run_check_sae(context, options);
    if (!options.activations.empty() || !options.codes.empty()) throw UsageError("--activations and --codes are for SAEs; give --sae too");
    if (options.model.empty()) throw UsageError("--model is missing; it may be left away with --sae only");
    if (!options.tokens.empty() && !options.text.empty()) throw UsageError("--tokens and --text are both given; give one of them");
    if (options.rates_only && !options.dump.empty()) throw UsageError("--rates-only writes no dump; leave --dump away");
    if (!options.sites.empty() && options.dump.empty()) throw UsageError("--sites says what to dump; give --dump FILE too");
    if (!options.dump.empty() && options.tokens.empty() && options.text.empty()) throw UsageError("--dump needs sequences: give --tokens or --text");
    mpi::agreed(comm, [&] {
        if (!options.dump.empty() && !options.fresh && std::filesystem::exists(options.dump))
            throw UsageError("--dump " + options.dump + " exists; name another file, or say --fresh to replace it");
    });
    const model::ModelFiles files = mpi::agreed(comm, [&] { return model::find_model_files(options.model); });
    const model::ModelConfig config = mpi::agreed(comm, [&] { return model::load_config(files); });
    const auto requests = mpi::agreed(comm, [&] {
        if (options.sites.empty()) return std::vector<model::CaptureRequest>();
        return model::parse_sites(options.sites, read_layers(options.layers), config);
    });
    for (const std::string& note : files.notes) {
        if (context.first_rank()) context.log.warning(note);
    }

    const Sequences sequences = mpi::agreed(comm, [&] { return read_check_sequences(options, files, config); });

    const int threads = thread_count(context, options.threads);
    const model::Placement placement = place_model(context, options.placement);
    const auto load_clock = std::chrono::steady_clock::now();
    const model::Model model = load_model(context, files, placement, options.placement, pass_size(sequences, options), threads);
    const double load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - load_clock).count();

    Report report;
    nlohmann::ordered_json& summary = report.summary;
    summary["model"] = files.name;
    summary["folder"] = files.folder;
    summary["revision"] = files.revision;
    summary["model_type"] = config.model_type;
    summary["layers"] = config.num_hidden_layers;
    summary["d_model"] = config.hidden_size;
    summary["parameters"] = model.parameters();
    summary["dtype"] = model::dtype_name(placement.dtype);
    summary["device"] = model::device_name(placement.device);
    summary["forward"] = model::engine_name(placement.engine);
    summary["threads"] = threads;
    summary["weight_bytes"] = model.weight_bytes();
    // The fast pass keeps float32 keys and values.
    summary["cache_bytes_per_token"] =
        model::cache_bytes_per_token(config, model::dtype_bytes(placement.engine == model::Engine::fast ? model::Dtype::float32 : placement.dtype));
    summary["load_seconds"] = load_seconds;
    summary["sequences"] = sequences.size();

    // Logits, sites, loss, continuation: each sequence by one rank, alone.
    const std::string part = options.dump + ".part";
    if (!options.dump.empty()) {
        mpi::on_first_rank(comm, [&] {
            const model::ModelHashes hashes = model::hash_model_files(files);
            context.provenance.inputs.push_back({"model config", files.config, hashes.config});
            context.provenance.inputs.push_back({"model weights", files.weights, hashes.weights});
            nlohmann::ordered_json about = summary;
            about.erase("load_seconds");
            about.erase("threads");
            about["sites"] = nlohmann::ordered_json::object();
            for (const model::CaptureRequest& request : requests) about["sites"][std::string(model::site_name(request.site))] = request.layers;
            create_dump(context, options.dump, {sequences, requests, config, options.generate}, about);
            return std::string();
        });
    }
    std::vector<SequenceLoss> losses;
    if (!sequences.empty() && !options.rates_only) {
        std::optional<io::h5::File> file;
        if (!options.dump.empty()) file = io::h5::open_parallel(part, comm);
        std::vector<double> costs;
        for (const auto& tokens : sequences) costs.push_back(static_cast<double>(tokens.size()) + static_cast<double>(options.generate));
        const auto shares = mpi::share_by_cost(costs, comm.size());
        const LoopOutcome outcome = process_own_items(context, "sequences", "", static_cast<std::int64_t>(sequences.size()), {}, shares[static_cast<std::size_t>(comm.rank())],
                                                      [&](std::int64_t index) -> Processed {
            const auto i = static_cast<std::size_t>(index);
            const capture::Trace trace = capture::trace_sequence(model, sequences[i], requests);
            losses.push_back({index, static_cast<std::int64_t>(sequences[i].size()) - 1, capture::summed_loss(trace.logits, sequences[i])});
            generate::Generation continuation;
            if (options.generate > 0) {
                generate::GenerationSettings settings;
                settings.max_new_tokens = static_cast<int>(options.generate);
                settings.stop_at_eos = false;
                const std::vector<generate::Prompt> prompt = {{sequences[i]}};
                continuation = generate::generate_batch(model, nullptr, prompt, settings).front();
            }
            if (file) {
                const auto write = [&](std::string_view what, std::span<const std::byte> bytes) {
                    const io::h5::Dataset dataset = io::h5::open_dataset(*file, dataset_name(i, what));
                    io::h5::write_rows(dataset, 0, dataset.rows(), bytes);
                };
                write("tokens", std::as_bytes(std::span(sequences[i])));
                write("logits", std::as_bytes(std::span(trace.logits)));
                for (std::size_t r = 0; r < requests.size(); ++r) write(model::site_name(requests[r].site), std::as_bytes(std::span(trace.sites[r])));
                if (!continuation.tokens.empty()) {
                    write("generated", std::as_bytes(std::span(continuation.tokens)));
                    write("generated_log_probability", std::as_bytes(std::span(continuation.log_probabilities)));
                }
            }
            return {1, 0};
        });
        if (outcome.stopped && outcome.done_now < static_cast<std::int64_t>(sequences.size()))
            mpi::agree(comm, mpi::Failure{ExitCode::stopped, "stopped on request before all sequences were run; nothing was kept"});
        if (file) {
            io::h5::flush(*file);
            file->handle.close(part);
            mpi::on_first_rank(comm, [&] {
                std::error_code error;
                std::filesystem::rename(part, options.dump, error);
                if (error) throw IoError("--dump " + options.dump + ": cannot be given its name (" + error.message() + "); it stands complete at " + part);
                return std::string();
            });
            report.result_path = options.dump;
        }
        std::int64_t predicted = 0;
        const double loss = mean_loss(context, losses, predicted);
        summary["predicted_tokens"] = predicted;
        summary["mean_loss"] = predicted > 0 ? nlohmann::ordered_json(loss) : nlohmann::ordered_json();
    }

    if (options.compare_forward) {
        const ForwardDifference difference = mpi::agreed(comm, [&] {
            model::Placement reference = placement;
            reference.engine = model::Engine::reference;
            const Sequences& compared = sequences.empty() ? made_up_sequences(config, 2) : sequences;
            return compare_with_reference(model, model::load_model(files, reference, threads), compared);
        });
        summary["reference_logit_difference"] = difference.logits;
        summary["reference_row_difference"] = difference.rows;
        report.lines.push_back("against the reference forward pass, first " + std::to_string(difference.sequences) + " sequences: largest logit difference " +
                               scientific(difference.logits) + ", largest norm of a row's difference over its norm " + scientific(difference.rows));
    }

    // Rates, on every rank at once as in a real run; those of rank 0 are reported.
    const std::vector<std::vector<std::int32_t>> rows = [&] {
        Sequences chosen;
        const std::int64_t room = config.max_position_embeddings - 1;  // at least one step has to fit
        for (const auto& tokens : sequences) {
            if (static_cast<std::int64_t>(chosen.size()) == options.batch_size) break;
            if (static_cast<std::int64_t>(tokens.size()) <= room) chosen.push_back(tokens);
        }
        return chosen.empty() ? made_up_sequences(config, options.batch_size) : chosen;
    }();
    std::size_t longest = 0;
    for (const auto& tokens : rows) longest = std::max(longest, tokens.size());
    const std::int64_t steps = std::min<std::int64_t>(options.generate > 0 ? options.generate : 16, config.max_position_embeddings - static_cast<std::int64_t>(longest));
    const generate::Rates rates = mpi::agreed(comm, [&] { return generate::measure_rates(model, rows, static_cast<int>(steps)); });
    summary["rate_rows"] = rows.size();
    summary["rate_prefill_tokens"] = rates.prefill_tokens;
    summary["rate_decode_steps"] = steps;
    summary["prefill_tokens_per_second"] = rates.prefill_tokens_per_second();
    summary["decode_tokens_per_second"] = rates.decode_tokens_per_second();
    summary["peak_memory_bytes"] = peak_memory_bytes();

    std::vector<std::string> lines = {files.name + ": " + config.model_type + ", " + std::to_string(config.num_hidden_layers) + " layers, d_model " + std::to_string(config.hidden_size) + ", " +
                        std::to_string(model.parameters()) + " parameters, " + std::string(model::dtype_name(placement.dtype)) + " on " + std::string(model::device_name(placement.device)) + ", " +
                        std::string(model::engine_name(placement.engine)) + " forward pass",
                    "memory: weights " + gigabytes(static_cast<double>(model.weight_bytes())) + ", cache " + std::to_string(summary["cache_bytes_per_token"].get<std::int64_t>()) +
                        " bytes a token, peak of rank 0 " + gigabytes(static_cast<double>(peak_memory_bytes())),
                    "rates of a rank with " + std::to_string(threads) + (threads == 1 ? " thread, " : " threads, ") + std::to_string(rows.size()) + " rows: prefill " +
                        fixed(rates.prefill_tokens_per_second(), 1) + " tokens/s, decode " + fixed(rates.decode_tokens_per_second(), 1) + " tokens/s"};
    report.lines.insert(report.lines.begin(), lines.begin(), lines.end());
    if (summary.contains("mean_loss") && !summary["mean_loss"].is_null()) {
        report.lines.push_back("mean loss " + fixed(summary["mean_loss"].get<double>(), 6) + " over " + std::to_string(summary["predicted_tokens"].get<std::int64_t>()) +
                               " predicted tokens of " + std::to_string(sequences.size()) + (sequences.size() == 1 ? " sequence" : " sequences"));
    }
    return report;
}

}  // namespace pva::phases
