// Documents and prompts for the training of SAEs.
#include "pva/phases/training_text.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "pva/core/comma_list.h"
#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/share.h"
#include "pva/phases/inputs.h"
#include "pva/phases/schemas.h"
#include "pva/tasks/overlap.h"
#include "pva/tasks/prompt.h"
#include "pva/tasks/split.h"
#include "pva/train/contexts.h"

namespace pva::phases {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void register_options(OptionSet& set, TrainingTextOptions& options) {
    set.add("text", options.text, "FILES", "text to train on, separated by commas: JSONL files with a field text, plain files, folders").list().required().changes_results();
    set.add("text-endings", options.endings, "LIST", "endings of the files that are taken from folders").list().changes_results();
    set.add("context", options.context, "N", "tokens of a sequence, BOS included").at_least(2).changes_results();
    set.add("bos", options.bos, "WHEN", "BOS before each sequence; auto: if the tokenizer has one").one_of({"auto", "yes", "no"}).changes_results();
    set.add("separator", options.separator, "TOKEN", "token between documents of a sequence; auto: BOS, else EOS, else none").one_of({"auto", "bos", "eos", "none"}).changes_results();
    set.add("held-out-text", options.held_out_text, "FILES", "text to measure on; when not given a share of the documents of --text, by their hashes").list().changes_results();
    set.add("held-out-share", options.held_out_share, "SHARE", "share of the documents that are measured on and not trained on").at_least(0).changes_results();
    set.add("problems", options.problems, "FILE", "the study's problems: a text that holds one of tuning or analysis is refused").changes_results();
    set.add("splits", options.splits, "FILE", "result of pva_phase1_1 for --problems; without it all of its problems are held out").changes_results();
    set.add_flag("drop-held-out", options.drop_held_out, "leave out texts that hold a held-out problem instead of refusing them").changes_results();
    set.add("oversample-share", options.prompt_share, "SHARE", "share of the rows that are last prompt tokens of problems").at_least(0).changes_results();
    set.add("oversample-problems", options.prompt_problems, "FILE", "problems of these prompts; when not given the selection part of --problems").changes_results();
    set.add("prompt", options.prompt, "FORM", "form of these prompts (docs/prompts.md)").one_of(tasks::prompt_template_names()).changes_results();
}

namespace {

constexpr double measured_prompts = 0.05;  // share
constexpr std::size_t most_measured_prompts = 256;

struct Document {
    std::string source;
    std::size_t record = 0;
    std::string text;
};

/// The files of a list of files and folders; those of a folder in the order of their paths.
std::vector<std::string> files_of(const std::string& names, const std::string& endings) {
    std::vector<std::string> files;
    const std::vector<std::string> wanted = names_at_commas(endings);
    for (const std::string& name : names_at_commas(names)) {
        if (!fs::is_directory(name)) {
            files.push_back(name);
            continue;
        }
        std::vector<std::string> here;
        std::error_code error;
        for (auto entry = fs::recursive_directory_iterator(name, error); !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
            const std::string path = entry->path().string();
            const bool fits = std::any_of(wanted.begin(), wanted.end(), [&](const std::string& ending) { return path.ends_with(ending); });
            if (fits && entry->is_regular_file() && entry->file_size() > 0) here.push_back(path);
        }
        if (error) throw IoError(name + ": the folder cannot be read (" + error.message() + ")");
        if (here.empty()) throw InputError(name + ": the folder has no file that ends in one of " + endings + "; name others with --text-endings");
        std::sort(here.begin(), here.end());
        files.insert(files.end(), here.begin(), here.end());
    }
    if (files.empty()) throw UsageError("--text names no file");
    return files;
}

std::vector<Document> read_documents(const std::vector<std::string>& files) {
    std::vector<Document> documents;
    for (const std::string& file : files) {
        std::vector<std::string> texts = read_texts(file);
        for (std::size_t i = 0; i < texts.size(); ++i) documents.push_back({file, i, std::move(texts[i])});
    }
    return documents;
}

/// Values of every rank, in rank order, on every rank.
template <class T>
std::vector<T> all_values(const mpi::Communicator& comm, std::span<const T> own) {
    std::vector<std::size_t> offsets = {0};
    for (const std::string& count : comm.all_gather(std::to_string(own.size()))) offsets.push_back(offsets.back() + std::stoul(count) * sizeof(T));
    std::vector<T> all(offsets.back() / sizeof(T));
    std::copy(own.begin(), own.end(), all.begin() + static_cast<std::ptrdiff_t>(offsets[static_cast<std::size_t>(comm.rank())] / sizeof(T)));
    comm.share_blocks(std::as_writable_bytes(std::span(all)), offsets);
    return all;
}

/// What is told of a document.
struct Digest {
    std::string sha256;
    std::vector<std::int32_t> tokens;
    std::int64_t held_out_problem = -1;  ///< index of a problem that it holds
};

/// Collective. Digests of all documents, each made by one rank.
std::vector<Digest> digests_of(Context& context, const std::vector<Document>& documents, const text::Tokenizer& tokenizer, const tasks::TextFinder& finder) {
    const mpi::Block own = mpi::contiguous_block(static_cast<std::int64_t>(documents.size()), context.comm.size(), context.comm.rank());
    std::vector<std::int32_t> tokens;
    std::vector<std::int64_t> numbers;  // of each document: tokens, problem
    std::vector<char> hashes;
    mpi::agreed(context.comm, [&] {
        for (std::int64_t i = own.first; i < own.last; ++i) {
            const Document& document = documents[static_cast<std::size_t>(i)];
            const std::string hash = sha256_hex(document.text);
            hashes.insert(hashes.end(), hash.begin(), hash.end());
            std::vector<std::int32_t> ids;
            try {
                ids = tokenizer.encode(document.text, false);
            } catch (const InputError& error) {
                throw InputError(document.source + ", text " + std::to_string(document.record) + ": " + error.what());
            }
            tokens.insert(tokens.end(), ids.begin(), ids.end());
            const auto found = finder.first_in(document.text);
            numbers.push_back(static_cast<std::int64_t>(ids.size()));
            numbers.push_back(found ? static_cast<std::int64_t>(*found) : -1);
        }
    });
    const std::vector<std::int32_t> all_tokens = all_values<std::int32_t>(context.comm, tokens);
    const std::vector<std::int64_t> all_numbers = all_values<std::int64_t>(context.comm, numbers);
    const std::vector<char> all_hashes = all_values<char>(context.comm, hashes);
    std::vector<Digest> digests(documents.size());
    auto at = all_tokens.begin();
    for (std::size_t i = 0; i < digests.size(); ++i) {
        digests[i].sha256.assign(all_hashes.begin() + static_cast<std::ptrdiff_t>(64 * i), all_hashes.begin() + static_cast<std::ptrdiff_t>(64 * i + 64));
        digests[i].tokens.assign(at, at + all_numbers[2 * i]);
        digests[i].held_out_problem = all_numbers[2 * i + 1];
        at += all_numbers[2 * i];
    }
    return digests;
}

/// In [0, 1), by the first 52 bits.
double place_of_hash(const std::string& sha256) { return static_cast<double>(std::stoull(sha256.substr(0, 13), nullptr, 16)) / 4503599627370496.0; }

/// Problems of a study and which of them must not be seen.
struct StudyProblems {
    std::vector<tasks::Problem> held_out;
    std::vector<tasks::Problem> selection;
};

StudyProblems study_problems(Context& context, const TrainingTextOptions& options) {
    StudyProblems study;
    if (options.problems.empty()) {
        if (!options.splits.empty()) throw UsageError("--splits belongs to --problems, which is not given");
        return study;
    }
    const ProblemRange all = load_range(context, options.problems, {});
    if (options.splits.empty()) {
        study.held_out = all.set.problems;
        return study;
    }
    const io::ResultReader splits = open_input(context, "splits", options.splits, "phase1_1", "splits", splits_schema(), {{"problems", all.set.sha256}}, "pva_phase1_1");
    mpi::agreed(context.comm, [&] {
        const auto ids = splits.read<std::int64_t>("task_id");
        const auto parts = splits.read<std::uint8_t>("part");
        for (const tasks::Problem& problem : all.set.problems) {
            const auto found = std::lower_bound(ids.begin(), ids.end(), problem.task_id);
            const bool selected = found != ids.end() && *found == problem.task_id && parts[static_cast<std::size_t>(found - ids.begin())] == static_cast<std::uint8_t>(tasks::SplitPart::selection);
            (selected ? study.selection : study.held_out).push_back(problem);
        }
    });
    return study;
}

void add_prompts(Context& context, const TrainingTextOptions& options, const StudyProblems& study, const tasks::TextFinder& finder, const text::Tokenizer& tokenizer, TrainingText& result) {
    if (options.prompt_share <= 0) return;
    std::vector<tasks::Problem> problems = study.selection;
    if (!options.prompt_problems.empty()) problems = load_range(context, options.prompt_problems, {}).set.problems;
    mpi::agreed(context.comm, [&] {
        if (options.prompt_share >= 1) throw UsageError("--oversample-share must be below 1");
        if (problems.empty()) throw UsageError("--oversample-share needs --oversample-problems, or --problems with --splits");
        const tasks::PromptTemplate form = tasks::prompt_template_from_name(options.prompt);
        std::vector<std::pair<std::string, std::string>> kept;  // SHA-256, prompt
        std::set<std::string> seen;
        std::int64_t dropped = 0;
        for (const tasks::Problem& problem : problems) {
            const std::string prompt = tasks::build_prompt(problem, form);
            if (const auto found = finder.first_in(prompt)) {
                const std::string which = "problem " + problem.name + " of " + (options.prompt_problems.empty() ? options.problems : options.prompt_problems) + " has the text of problem " + study.held_out[*found].name + " of " + options.problems;
                if (!options.drop_held_out) throw InputError(which + ", which is held out: figures on it would mean nothing. Take it out, or say --drop-held-out");
                ++dropped;
                continue;
            }
            const std::string hash = sha256_hex(prompt);
            if (seen.insert(hash).second) kept.emplace_back(hash, prompt);
        }
        std::size_t measured = 0;
        for (const auto& [hash, prompt] : kept) {
            const bool held_out = kept.size() >= 20 && measured < most_measured_prompts && place_of_hash(hash) < measured_prompts;
            measured += held_out ? 1 : 0;
            (held_out ? result.held_out_prompts : result.prompts).push_back(tokenizer.encode(prompt));
            result.documents_table += "prompt\t" + std::to_string(result.prompts.size() + result.held_out_prompts.size() - 1) + "\t" + hash + "\t" +
                                      std::to_string((held_out ? result.held_out_prompts : result.prompts).back().size()) + "\t" + (held_out ? "measured" : "trained") + "\n";
        }
        if (result.prompts.empty()) throw InputError("no prompt is left to train on");
        result.about["prompts"] = {{"form", options.prompt}, {"trained", result.prompts.size()}, {"measured", result.held_out_prompts.size()}, {"dropped", dropped}};
    });
}

}  // namespace

TrainingText read_training_text(Context& context, const TrainingTextOptions& options, const text::Tokenizer& tokenizer, const model::ModelConfig& config) {
    TrainingText result;
    train::Packing packing;
    mpi::agreed(context.comm, [&] {
        if (options.held_out_share >= 1) throw UsageError("--held-out-share must be below 1");
        if (options.bos == "yes" && tokenizer.bos_id() < 0) throw UsageError("--bos yes: " + tokenizer.path() + " has no BOS token");
        if (options.bos != "no" && tokenizer.bos_id() >= 0) result.bos = tokenizer.bos_id();
        if (options.context > config.max_position_embeddings) throw UsageError("--context " + std::to_string(options.context) + " is longer than the model's " + std::to_string(config.max_position_embeddings) + " positions");
        packing = {options.context, result.bos, std::nullopt};
        if (options.separator == "bos" || (options.separator == "auto" && tokenizer.bos_id() >= 0)) packing.between = tokenizer.bos_id();
        else if (options.separator == "eos" || (options.separator == "auto" && tokenizer.eos_id() >= 0)) packing.between = tokenizer.eos_id();
        if (packing.between && *packing.between < 0) throw UsageError("--separator " + options.separator + ": " + tokenizer.path() + " has no such token");
    });
    const StudyProblems study = study_problems(context, options);
    std::vector<std::string> held_out_texts;
    for (const tasks::Problem& problem : study.held_out) held_out_texts.push_back(problem.text);
    const tasks::TextFinder finder(held_out_texts);

    std::vector<std::string> files;
    std::vector<Document> documents;
    std::size_t n_own = 0;  // documents of --text; after them those of --held-out-text
    mpi::agreed(context.comm, [&] {
        files = files_of(options.text, options.endings);
        documents = read_documents(files);
        n_own = documents.size();
        if (options.held_out_text.empty()) return;
        const std::vector<std::string> more = files_of(options.held_out_text, options.endings);
        files.insert(files.end(), more.begin(), more.end());
        for (Document& document : read_documents(more)) documents.push_back(std::move(document));
    });
    const std::vector<Digest> digests = digests_of(context, documents, tokenizer, finder);

    mpi::agreed(context.comm, [&] {
        std::vector<std::vector<std::int32_t>> train;
        std::vector<std::vector<std::int32_t>> held_out;
        std::set<std::string> seen;
        std::int64_t repeated = 0;
        std::int64_t dropped = 0;
        result.documents_table = "source\trecord\tsha256\ttokens\tpart\n";
        // The text to measure on first: what stands there too is not trained on.
        const auto take = [&](std::size_t i) {
            const Digest& digest = digests[i];
            std::string part = i >= n_own || (options.held_out_text.empty() && place_of_hash(digest.sha256) < options.held_out_share) ? "measured" : "trained";
            if (!seen.insert(digest.sha256).second) {
                part = "repeated";
                ++repeated;
            } else if (digest.held_out_problem >= 0 && i < n_own) {
                const std::string which = documents[i].source + ", text " + std::to_string(documents[i].record) + ": holds the text of problem " +
                                          study.held_out[static_cast<std::size_t>(digest.held_out_problem)].name + " of " + options.problems;
                if (!options.drop_held_out) throw InputError(which + ", which is held out: an SAE that has seen it spoils the figures on it. Take the text out, or say --drop-held-out");
                part = "dropped";
                ++dropped;
            } else {
                (part == "measured" ? held_out : train).push_back(digest.tokens);
            }
            result.documents_table += documents[i].source + "\t" + std::to_string(documents[i].record) + "\t" + digest.sha256 + "\t" + std::to_string(digest.tokens.size()) + "\t" + part + "\n";
        };
        for (std::size_t i = n_own; i < documents.size(); ++i) take(i);
        for (std::size_t i = 0; i < n_own; ++i) take(i);
        if (held_out.empty() && options.held_out_share > 0 && !train.empty()) {
            // Too few documents for a draw: the last one, or the end of the only one.
            held_out.emplace_back();
            std::vector<std::int32_t>& last = train.back();
            const auto kept = static_cast<std::ptrdiff_t>(train.size() > 1 ? 0.0 : (1 - options.held_out_share) * static_cast<double>(last.size()));
            held_out.back().assign(last.begin() + kept, last.end());
            last.erase(last.begin() + kept, last.end());
            if (last.empty()) train.pop_back();
        }
        result.sequences = train::pack(train, packing);
        result.held_out = train::pack(held_out, packing);
        if (result.sequences.empty()) throw InputError("--text " + options.text + " leaves no text to train on");
        std::int64_t tokens = 0;
        for (const Digest& digest : digests) tokens += static_cast<std::int64_t>(digest.tokens.size());
        result.about = {{"documents", documents.size()}, {"tokens", tokens}, {"trained_sequences", result.sequences.size()}, {"measured_sequences", result.held_out.size()},
                        {"repeated_documents", repeated}, {"dropped_documents", dropped}, {"held_out_problems", study.held_out.size()}, {"context", options.context}};
        result.about["bos"] = result.bos ? Json(*result.bos) : Json();
        result.about["separator"] = packing.between ? Json(*packing.between) : Json();
    });
    add_prompts(context, options, study, finder, tokenizer, result);
    result.sha256 = sha256_hex(result.documents_table);
    result.about["documents_sha256"] = result.sha256;
    if (files.size() <= 64) {
        const std::string hashes = mpi::on_first_rank(context.comm, [&] {
            Json json = Json::object();
            for (const std::string& file : files) json[file] = sha256_file_hex(file);
            return json.dump();
        });
        result.about["files"] = Json::parse(hashes);
        for (const auto& [file, hash] : result.about["files"].items()) context.provenance.inputs.push_back({"text", file, hash.get<std::string>()});
    } else {
        result.about["files"] = files.size();
    }
    return result;
}

}  // namespace pva::phases
