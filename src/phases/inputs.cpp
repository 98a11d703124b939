// Finding, checking and hashing what a phase reads.
#include "pva/phases/inputs.h"

#include <algorithm>
#include <filesystem>

#include "pva/core/error.h"
#include "pva/mpi/agree.h"
#include "pva/phases/schemas.h"

namespace pva::phases {

void register_options(OptionSet& set, RangeOptions& options) {
    set.add("start", options.start, "I", "index of the first problem, from 0").at_least(0);
    set.add("end", options.end, "I", "index of the last problem, inclusive; the last of the file when not given").at_least(0);
}

std::string ProblemRange::name() const { return std::filesystem::path(set.path).stem().string(); }

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
        return range;
    });
}

ModelInput find_model(Context& context, const std::string& folder) {
    ModelInput input;
    input.files = mpi::agreed(context.comm, [&] { return model::find_model_files(folder); });
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
    io::ResultReader splits_reader =
        open_input(context, "splits", splits, "phase1_1", "splits", splits_schema(), {{"problems", all.set.sha256}}, "pva_phase1_1");
    return {std::move(all), std::move(model_input), std::move(dataset_reader), std::move(splits_reader), same_model};
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

nlohmann::ordered_json measured_run(const Context& context, double seconds) {
    nlohmann::ordered_json json;
    json["finished"] = timestamp_now();
    json["host"] = host_name();
    json["ranks"] = context.comm.size();
    json["threads_per_rank"] = context.binding.threads;
    json["seconds"] = seconds;
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

Report dry_run_report(Context& context, const io::RunPlan& plan, const std::string& unit_name) {
    Report report;
    report.summary = {{"dry_run", true}, {"units", plan.n_units}, {"identity_hash", io::identity_hash(plan.identity)}, {"identity", plan.identity}};
    report.lines = {"dry run: all inputs are usable; " + std::to_string(plan.n_units) + " " + unit_name + " would be worked through by " +
                    std::to_string(context.comm.size()) + (context.comm.size() == 1 ? " rank" : " ranks") + " into " + plan.folder + "/" + plan.prefix + "_" +
                    plan.model + "_" + plan.range + "_*.h5. Nothing was written"};
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
