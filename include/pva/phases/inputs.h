// Finding, checking and hashing what a phase reads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pva/io/reader.h"
#include "pva/io/result_file.h"
#include "pva/model/load.h"
#include "pva/phases/context.h"
#include "pva/tasks/problems.h"
#include "pva/tasks/split.h"
#include "pva/text/tokenizer.h"

namespace pva::phases {

/// Index range of problems, inclusive, as --start and --end give it, or a piece of it.
struct RangeOptions {
    std::int64_t start = 0;
    std::optional<std::int64_t> end;  ///< the last problem when not given
    std::string piece;                ///< "I/N": only piece I, from 0, of N pieces of nearly equal length; empty: all
};
void register_options(OptionSet& set, RangeOptions& options);

/// First and last index of a piece "I/N" of an inclusive range; the first pieces are longer by one where N does not divide the length.
/// Errors: UsageError for another form, I >= N, and more pieces than problems.
std::pair<std::int64_t, std::int64_t> piece_of(std::int64_t start, std::int64_t end, const std::string& piece);

struct ProblemRange {
    tasks::ProblemSet set;        ///< all problems
    std::int64_t start = 0;
    std::int64_t end = 0;         ///< inclusive
    std::span<const tasks::Problem> problems() const {
        return std::span(set.problems).subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(end - start + 1));
    }
    std::string text() const { return std::to_string(start) + "-" + std::to_string(end); }
    /// The file name without folder and extension, for names of results that belong to no model.
    std::string name() const;
};

/// Collective. Errors (AgreedError): UsageError for --end before --start or beyond the last problem; what load_problems throws.
ProblemRange load_range(Context& context, const std::string& path, const RangeOptions& options);

/// Collective. Files and hashes of a model; rank 0 reads the weights for the hash, the others are told.
struct ModelInput {
    model::ModelFiles files;
    model::ModelHashes hashes;
};
ModelInput find_model(Context& context, const std::string& model);

/// Adds --model, the same for all executables.
void register_model_option(OptionSet& set, std::string& model);

/// Layers of a list such as "0,5,10-12"; empty for an empty one. Errors: UsageError.
std::vector<int> read_layers(const std::string& list);

/// Errors: InputError when a dataset holds several programs for a problem: what comes after reads one each.
void require_one_sample(const io::ResultReader& dataset);

/// Where and in what precision a model runs.
struct PlacementOptions {
    std::string device = "auto";
    std::string dtype = "float32";
    std::string forward = "auto";
    std::string cuda_graphs = "off";
    std::string share_weights = "auto";
    double memory_gb = 0;  ///< that the run may take of a node, or of a rank's GPU; 0: what is free
};
/// --device, --forward, --cuda-graphs, --share-weights and --memory-gb, and with register_options also --dtype.
void register_device_option(OptionSet& set, PlacementOptions& options);
void register_options(OptionSet& set, PlacementOptions& options);

/// Collective. The same kind of device on all ranks, or AgreedError naming two ranks that differ.
model::Placement place_model(Context& context, const PlacementOptions& options);

/// Collective. The model's tokenizer. Errors (AgreedError): InputError when there is none or it cannot be read.
text::Tokenizer load_tokenizer(Context& context, const ModelInput& model);

/// Collective. The file named on the command line, or the newest complete one in <data>/<folder> whose identity agrees with
/// `wanted`; says which one it took. A named file that does not agree is refused with the key that differs.
io::ResultReader open_input(Context& context, const std::string& role, const std::string& named, const std::string& folder, const std::string& prefix,
                            const io::FileSchema& schema, const nlohmann::ordered_json& wanted, const std::string& written_by);

/// Errors: InputError when the tokenizer has more pieces than the model has embeddings: they do not belong together.
void check_tokenizer(const text::Tokenizer& tokenizer, std::int64_t vocabulary, const ModelInput& model);

/// What phases after the generation read: problems, model, and the results of phases 1 and 1.1 that belong to both.
struct Study {
    ProblemRange all;
    ModelInput model;
    io::ResultReader dataset;
    io::ResultReader splits;
    nlohmann::ordered_json same_model;  ///< identity keys that results of the same model and problems share
};
/// Collective. dataset, splits: files named on the command line, or empty for the newest that fit.
Study open_study(Context& context, const std::string& problems, const std::string& model, const std::string& dataset, const std::string& splits);

/// Problems that both the dataset and the splits of a study hold, in ascending id.
struct StudyRows {
    std::vector<std::int64_t> ids;
    std::vector<std::int64_t> dataset_rows;  ///< where each stands in the dataset
    std::vector<std::uint8_t> passed;
    std::vector<std::uint8_t> part;  ///< a tasks::SplitPart each
    std::vector<std::int32_t> complexity;

    /// Of one value a row, those of the rows of a part.
    template <class T>
    std::vector<T> of_part(const std::vector<T>& values, tasks::SplitPart wanted) const {
        std::vector<T> chosen;
        for (std::size_t i = 0; i < values.size(); ++i) {
            if (part[i] == static_cast<std::uint8_t>(wanted)) chosen.push_back(values[i]);
        }
        return chosen;
    }
};
/// Errors: InputError for damaged files.
StudyRows study_rows(const Study& study);

/// Errors: InputError with the counts when the part has fewer than two right or two wrong programs: nothing can be compared.
void require_two_classes(const Study& study, const StudyRows& rows, tasks::SplitPart part);

/// Identity of a phase that works on a study: phase, versions, model, problems, range, inputs.
nlohmann::ordered_json study_identity(const Context& context, const std::string& phase, const io::FileSchema& schema, const Study& study);

/// The texts of a file: of each line of a JSONL file (`*.jsonl`) its field `text`, empty ones left out; any other file is
/// one text. Errors: InputError naming file and line, and when there is no text at all.
std::vector<std::string> read_texts(const std::string& path);

/// Number of threads: the option, or what the affinity mask gives when it is 0.
int thread_count(const Context& context, std::int64_t option);

/// What every run measures: host, ranks, threads, all options, paths of inputs.
nlohmann::ordered_json measured_run(const Context& context);

/// Where and how a model ran, for an identity: device, forward pass, and the number of threads unless rows do not depend on it.
/// Takes batch-size out of the identity in that case.
void add_placement(nlohmann::ordered_json& identity, const model::Placement& placement, int threads);

/// Adds the options that change results to an identity; keys that are there already stay as they are.
void add_result_options(const Context& context, nlohmann::ordered_json& identity);

/// What a dry run reports: the inputs are fine, and what would be written.
Report dry_run_report(Context& context, const io::RunPlan& plan, const std::string& unit_name);

/// Position of each id of `wanted` in the ascending `ids`. Errors: InputError naming `where` and the first id that is missing.
std::vector<std::int64_t> positions_of(const std::vector<std::int64_t>& ids, const std::vector<std::int64_t>& wanted, const std::string& where);

}  // namespace pva::phases
