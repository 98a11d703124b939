// Finding, checking and hashing what a phase reads.
#include "pva/phases/inputs.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <tuple>

#include "pva/core/comma_list.h"
#include "pva/core/error.h"
#include "pva/mpi/agree.h"
#include "pva/phases/schemas.h"

namespace pva::phases {

void register_options(OptionSet& set, RangeOptions& options) {
    set.add("start", options.start, "I", "index of the first problem, from 0").at_least(0);
    set.add("end", options.end, "I", "index of the last problem, inclusive; the last of the file when not given").at_least(0);
    set.add("piece", options.piece, "I/N", "only piece I (from 0) of N nearly equal pieces of the range, as in a job array; pva_merge joins them");
}

std::pair<std::int64_t, std::int64_t> piece_of(std::int64_t start, std::int64_t end, const std::string& piece) {
    const std::size_t slash = piece.find('/');
    const auto is_number = [](const std::string& text) { return !text.empty() && text.size() <= 9 && text.find_first_not_of("0123456789") == std::string::npos; };
    if (slash == std::string::npos || !is_number(piece.substr(0, slash)) || !is_number(piece.substr(slash + 1)) || std::stoll(piece.substr(slash + 1)) == 0) {
        throw UsageError("--piece takes I/N, such as 0/4 for the first of four pieces, not '" + piece + "'");
    }
    const std::int64_t index = std::stoll(piece.substr(0, slash));
    const std::int64_t pieces = std::stoll(piece.substr(slash + 1));
    const std::int64_t length = end - start + 1;
    if (index >= pieces) throw UsageError("--piece " + piece + ": pieces are counted from 0, so the last one is " + std::to_string(pieces - 1));
    if (pieces > length) throw UsageError("--piece " + piece + ": " + std::to_string(length) + " problems make no " + std::to_string(pieces) + " pieces");
    const auto begin_of = [&](std::int64_t i) { return start + i * (length / pieces) + std::min(i, length % pieces); };
    return {begin_of(index), begin_of(index + 1) - 1};
}

std::string ProblemRange::name() const {
    std::filesystem::path file = std::filesystem::path(set.path).filename();
    if (file.extension() == ".gz") file = file.stem();
    return file.stem().string();
}

ProblemRange load_range(Context& context, const std::string& path, const RangeOptions& options) {
    return mpi::agreed(context.comm, [&] {
        ProblemRange range;
        range.set = tasks::load_problems(path);
        const auto n = static_cast<std::int64_t>(range.set.problems.size());
        range.start = options.start;
        range.end = options.end.value_or(n - 1);
        if (range.end < range.start) {
            throw UsageError("--end " + std::to_string(range.end) + " is before --start " + std::to_string(range.start) + "; both are inclusive indices from 0");
        }
        if (range.end >= n) {
            throw UsageError((options.end ? "--end " + std::to_string(range.end) : "--start " + std::to_string(range.start)) + " is beyond the last problem: " +
                             path + " holds " + std::to_string(n) + ", indices 0 to " + std::to_string(n - 1));
        }
        if (!options.piece.empty()) std::tie(range.start, range.end) = piece_of(range.start, range.end, options.piece);
        return range;
    });
}

void register_model_option(OptionSet& set, std::string& model) {
    set.add("model", model, "MODEL", "model folder in Hugging Face layout, or a name such as google/gemma-2-2b that is in the offline Hugging Face cache").required();
}

std::vector<int> read_layers(const std::string& list) {
    std::vector<int> layers;
    const auto number = [&](const std::string& text) {
        if (text.empty() || text.size() > 6 || text.find_first_not_of("0123456789") != std::string::npos)
            throw UsageError("--layers " + list + ": '" + text + "' is no layer; numbers and ranges separated by commas are expected, such as 0,5,10-12");
        return std::stoi(text);
    };
    if (list.empty()) return layers;
    for (const std::string& item : split_at_commas(list)) {
        const std::size_t dash = item.find('-');
        const int first = number(item.substr(0, dash));
        const int last = dash == std::string::npos ? first : number(item.substr(dash + 1));
        if (last < first) throw UsageError("--layers " + list + ": the range " + item + " runs backwards");
        for (int layer = first; layer <= last; ++layer) layers.push_back(layer);
    }
    return layers;
}

void require_one_sample(const io::ResultReader& dataset) {
    const std::int64_t rows = dataset.shape("task_id").at(0);
    const std::int64_t problems = dataset.shape("residual/resid_post").at(0);
    if (rows != problems) {
        throw InputError(dataset.path() + ": holds " + std::to_string(rows / std::max<std::int64_t>(1, problems)) +
                         " programs for each problem, but one each is needed here; make it with pva_phase1 --samples 1");
    }
}

void register_device_option(OptionSet& set, PlacementOptions& options) {
    set.add("device", options.device, "KIND", "where the model runs; auto: a GPU if this rank has one").one_of({"auto", "cpu", "cuda"});
    set.add("forward", options.forward, "KIND", "which forward pass; auto: fast where it can run (CPU, float32 and bfloat16), else reference; device: made for GPUs").one_of({"auto", "fast", "reference", "device"});
    set.add("cuda-graphs", options.cuda_graphs, "KIND", "with --forward device on a GPU: on replays decoding steps as CUDA graphs").one_of({"off", "on"});
    set.add("share-weights", options.share_weights, "KIND", "whether the ranks of a node share one copy of the weights; auto: unless one each takes less than an eighth of the free memory")
        .one_of({"auto", "yes", "no"});
    set.add("memory-gb", options.memory_gb, "GB", "memory of a node, or of a rank's GPU, that the model's run is planned for (0: what is free)").at_least(0);
}

void register_options(OptionSet& set, PlacementOptions& options) {
    register_device_option(set, options);
    set.add("dtype", options.dtype, "TYPE", "data type of the model's weights and arithmetic").one_of(model::dtype_names()).changes_results();
}

model::Placement place_model(Context& context, const PlacementOptions& options) {
    const model::Placement placement = mpi::agreed(context.comm, [&] {
        model::Placement chosen = model::choose_placement(options.device, model::dtype_from_name(options.dtype), context.binding.gpu);
        model::choose_engine(chosen, options.forward, options.cuda_graphs == "on");
        return chosen;
    });
    const std::vector<std::string> devices = context.comm.all_gather(std::string(model::device_name(placement.device)));
    mpi::agreed(context.comm, [&] {
        const auto other = std::find_if(devices.begin(), devices.end(), [&](const std::string& device) { return device != devices.front(); });
        if (other != devices.end()) {
            throw InputError("rank 0 would run on " + devices.front() + ", rank " + std::to_string(other - devices.begin()) + " on " + *other +
                             "; give every rank a GPU, or say --device cpu");
        }
    });
    return placement;
}

std::vector<std::string> read_texts(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw InputError(path + ": the text cannot be opened (" + std::strerror(errno) + "); check the path");
    std::vector<std::string> texts;
    if (!path.ends_with(".jsonl")) {
        texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    } else {
        std::string line;
        for (std::int64_t number = 1; std::getline(file, line); ++number) {
            if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
            try {
                texts.push_back(nlohmann::json::parse(line).at("text").get<std::string>());
            } catch (const nlohmann::json::exception&) {
                throw InputError(path + " line " + std::to_string(number) + ": not a JSON object with a text field `text`; mend or remove the line");
            }
        }
    }
    std::erase(texts, "");
    if (texts.empty()) throw InputError(path + ": holds no text");
    return texts;
}

text::Tokenizer load_tokenizer(Context& context, const ModelInput& model) {
    return mpi::agreed(context.comm, [&] {
        model::require_tokenizer(model.files);
        return text::Tokenizer::load(model.files.tokenizer);
    });
}

ModelInput find_model(Context& context, const std::string& model) {
    ModelInput input;
    input.files = mpi::agreed(context.comm, [&] { return model::find_model_files(model); });
    for (const std::string& note : input.files.notes) {
        if (context.first_rank()) context.log.warning(note);
    }
    if (!input.files.revision.empty()) context.log.info("model: " + input.files.folder);
    const std::string hashes = mpi::on_first_rank(context.comm, [&] {
        const model::ModelHashes found = model::hash_model_files(input.files);
        return found.config + " " + found.weights;
    });
    input.hashes.config = hashes.substr(0, hashes.find(' '));
    input.hashes.weights = hashes.substr(hashes.find(' ') + 1);
    return input;
}

io::ResultReader open_input(Context& context, const std::string& role, const std::string& named, const std::string& folder, const std::string& prefix,
                            const io::FileSchema& schema, const nlohmann::ordered_json& wanted, const std::string& written_by) {
    const std::string path = named.empty() ? mpi::on_first_rank(context.comm,
                                                                [&] {
                                                                    return io::find_newest(context.folder(folder), prefix, schema, wanted, written_by,
                                                                                           [&](const std::string& text) { context.log.warning(role + ": " + text); })
                                                                        .path;
                                                                })
                                           : named;
    return mpi::agreed(context.comm, [&] {
        io::ResultReader reader = io::ResultReader::open(path, schema);
        for (const auto& [key, value] : wanted.items()) {
            const nlohmann::ordered_json there = reader.identity().contains(key) ? reader.identity()[key] : nlohmann::ordered_json();
            if (there != value) {
                throw InputError(path + ": its " + key + " is " + there.dump() + ", but this run has " + value.dump() + ". Name the " + role +
                                 " that belongs to this model and these problems, or run " + written_by + " for them");
            }
        }
        context.log.info(role + ": " + path);
        return reader;
    });
}

void check_tokenizer(const text::Tokenizer& tokenizer, std::int64_t vocabulary, const ModelInput& model) {
    if (static_cast<std::int64_t>(tokenizer.vocab_size()) <= vocabulary) return;
    throw InputError(model.files.tokenizer + ": has " + std::to_string(tokenizer.vocab_size()) + " pieces, but " + model.files.config + " says vocab_size " +
                     std::to_string(vocabulary) + "; put the tokenizer of this model into its folder");
}

Study open_study(Context& context, const std::string& problems, const std::string& model, const std::string& dataset, const std::string& splits) {
    ProblemRange all = load_range(context, problems, {});
    ModelInput model_input = find_model(context, model);
    const nlohmann::ordered_json same_model = {
        {"model_weights", model_input.hashes.weights}, {"model_config", model_input.hashes.config}, {"problems", all.set.sha256}};
    io::ResultReader dataset_reader = open_input(context, "dataset", dataset, "phase1_0", "dataset", dataset_schema(), same_model, "pva_phase1");
    mpi::agreed(context.comm, [&] { require_one_sample(dataset_reader); });
    io::ResultReader splits_reader =
        open_input(context, "splits", splits, "phase1_1", "splits", splits_schema(), {{"problems", all.set.sha256}}, "pva_phase1_1");
    return {std::move(all), std::move(model_input), std::move(dataset_reader), std::move(splits_reader), same_model};
}

StudyRows study_rows(const Study& study) {
    const auto dataset_ids = study.dataset.read<std::int64_t>("task_id");
    const auto dataset_passed = study.dataset.read<std::uint8_t>("passed");
    const auto split_ids = study.splits.read<std::int64_t>("task_id");
    const auto split_parts = study.splits.read<std::uint8_t>("part");
    const auto split_complexity = study.splits.read<std::int32_t>("complexity");
    StudyRows rows;
    for (std::size_t i = 0; i < split_ids.size(); ++i) {
        const auto found = std::lower_bound(dataset_ids.begin(), dataset_ids.end(), split_ids[i]);
        if (found == dataset_ids.end() || *found != split_ids[i]) continue;
        rows.ids.push_back(split_ids[i]);
        rows.dataset_rows.push_back(found - dataset_ids.begin());
        rows.passed.push_back(dataset_passed[static_cast<std::size_t>(rows.dataset_rows.back())]);
        rows.part.push_back(split_parts[i]);
        rows.complexity.push_back(split_complexity[i]);
    }
    return rows;
}

void require_two_classes(const Study& study, const StudyRows& rows, tasks::SplitPart part) {
    const std::vector<std::uint8_t> labels = rows.of_part(rows.passed, part);
    const auto right = std::count(labels.begin(), labels.end(), std::uint8_t{1});
    const auto wrong = static_cast<std::int64_t>(labels.size()) - right;
    if (right >= 2 && wrong >= 2) return;
    throw InputError("the part " + tasks::split_part_name(part) + " of " + study.dataset.path() + " has " + std::to_string(right) + " right and " + std::to_string(wrong) +
                     " wrong programs; at least two of each are needed to compare them. Take more or other problems, or another model");
}

nlohmann::ordered_json study_identity(const Context& context, const std::string& phase, const io::FileSchema& schema, const Study& study) {
    return {{"phase", phase},
            {"format_version", schema.version},
            {"pva_version", context.provenance.build.version},
            {"model", study.model.files.name},
            {"model_config", study.model.hashes.config},
            {"model_weights", study.model.hashes.weights},
            {"problems", study.all.set.sha256},
            {"start", study.dataset.identity().at("start")},
            {"end", study.dataset.identity().at("end")},
            {"dataset", study.dataset.content_sha256()},
            {"splits", study.splits.content_sha256()}};
}

int thread_count(const Context& context, std::int64_t option) { return option > 0 ? static_cast<int>(option) : context.binding.threads; }

nlohmann::ordered_json measured_run(const Context& context) {
    nlohmann::ordered_json json;
    json["finished"] = timestamp_now();
    json["host"] = host_name();
    json["ranks"] = context.comm.size();
    json["threads_per_rank"] = context.binding.threads;
    json["seconds"] = context.seconds();
    json["provenance"] = to_json(context.provenance);
    if (context.python != nullptr) {
        json["python"] = context.python->interpreter_version();
        json["isolation"] = context.python->isolation_description();
    }
    return json;
}

void add_result_options(const Context& context, nlohmann::ordered_json& identity) {
    for (const auto& [name, value] : context.result_options.items()) {
        if (!identity.contains(name)) identity[name] = value;
    }
}

void add_placement(nlohmann::ordered_json& identity, const model::Placement& placement, int threads) {
    identity["device"] = model::device_name(placement.device);
    identity["forward"] = model::engine_name(placement.engine);
    if (placement.engine == model::Engine::fast) {
        identity.erase("batch-size");
    } else {
        identity["threads"] = threads;
    }
    if (placement.cuda_graphs) identity["cuda_graphs"] = true;
}

Report dry_run_report(Context& context, const io::RunPlan& plan, const std::string& unit_name) {
    Report report;
    report.summary = {{"dry_run", true}, {"units", plan.n_units}, {"identity_hash", io::identity_hash(plan.identity)}, {"identity", plan.identity}};
    report.lines = {"dry run: all inputs are usable; " + std::to_string(plan.n_units) + " " + unit_name + " would be worked through by " +
                    std::to_string(context.comm.size()) + (context.comm.size() == 1 ? " rank" : " ranks") + " into " + plan.folder + "/" + plan.prefix + "_" +
                    plan.model + "_" + plan.range + "_*.h5. No result was written"};
    return report;
}

std::vector<std::int64_t> positions_of(const std::vector<std::int64_t>& ids, const std::vector<std::int64_t>& wanted, const std::string& where) {
    std::vector<std::int64_t> positions;
    for (const std::int64_t id : wanted) {
        const auto found = std::lower_bound(ids.begin(), ids.end(), id);
        if (found == ids.end() || *found != id) {
            throw InputError(where + ": has no problem with task_id " + std::to_string(id) + "; it was made for another range of problems");
        }
        positions.push_back(found - ids.begin());
    }
    return positions;
}

}  // namespace pva::phases
