// Positions in an answer, the pass over prompt and answer, and reading what it wrote.
#include "pva/phases/activations.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "pva/capture/capture.h"
#include "pva/core/comma_list.h"
#include "pva/core/error.h"
#include "pva/core/join.h"
#include "pva/io/float_values.h"
#include "pva/io/naming.h"
#include "pva/mpi/agree.h"
#include "pva/phases/model_setup.h"
#include "pva/phases/schemas.h"
#include "pva/phases/work.h"

namespace pva::phases {

namespace {

struct NamedKind {
    const char* name;
    PositionKind kind;
};
constexpr std::array<NamedKind, 5> kinds_by_name = {{{"last-prompt", PositionKind::last_prompt},
                                                     {"signature-end", PositionKind::signature_end},
                                                     {"tenths", PositionKind::tenth},
                                                     {"last-token", PositionKind::last_token},
                                                     {"all", PositionKind::all}}};

std::string kind_name(PositionKind kind) { return kinds_by_name[static_cast<std::size_t>(kind)].name; }

struct StoredType {
    const char* option;
    io::h5::Element element;
    const char* dtype;  ///< the name in io/float_values.h
};
constexpr std::array<StoredType, 3> stored_types = {{{"float32", io::h5::Element::f32, "F32"},
                                                     {"float16", io::h5::Element::f16, "F16"},
                                                     {"bfloat16", io::h5::Element::bf16, "BF16"}}};

const StoredType& stored_type(const std::string& option) {
    for (const StoredType& type : stored_types) {
        if (option == type.option) return type;
    }
    throw UsageError("--activations-dtype " + option + " is not known; take float32, float16 or bfloat16");
}

const StoredType& stored_type(io::h5::Element element, const std::string& where) {
    for (const StoredType& type : stored_types) {
        if (element == type.element) return type;
    }
    throw InputError(where + ": holds " + io::h5::element_name(element) + ", no floating-point type that pva writes");
}

/// Bytes of text up to the end of each token.
std::vector<std::size_t> token_ends(const text::Tokenizer& tokenizer, std::span<const std::int32_t> tokens) {
    std::vector<std::size_t> ends;
    std::string text;
    for (const std::int32_t token : tokens) {
        tokenizer.append(token, text);
        ends.push_back(text.size());
    }
    return ends;
}

/// The token that holds a byte.
std::size_t token_of(const std::vector<std::size_t>& ends, std::size_t byte) {
    return static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), byte) - ends.begin());
}

std::vector<std::int64_t> kind_numbers(std::span<const PositionKind> kinds) {
    std::vector<std::int64_t> numbers;
    for (const PositionKind kind : kinds) numbers.push_back(static_cast<std::int64_t>(kind));
    return numbers;
}

/// One answer of the dataset with its rows.
struct Program {
    std::vector<std::int32_t> sequence;  ///< prompt and answer, up to the last position wanted
    std::vector<TokenPosition> positions;
};

/// The answers of the dataset in its order. Every rank reads them all: a few bytes a token.
std::vector<Program> read_programs(const io::ResultReader& dataset, const text::Tokenizer& tokenizer, const GenerationPlan& plan,
                                   std::span<const std::int32_t> eos, std::span<const PositionKind> kinds) {
    const auto rows = static_cast<std::size_t>(plan.rows());
    const auto ids = dataset.read<std::int64_t>("task_id");
    const auto tokens = dataset.read<std::int32_t>("token_ids");
    const auto lengths = dataset.read<std::int32_t>("generated_tokens");
    const auto text_bytes = dataset.read<std::int64_t>("raw_output_bytes");
    if (ids.size() != rows || lengths.size() != rows) throw InternalError(dataset.path() + ": has " + std::to_string(ids.size()) + " programs, not " + std::to_string(rows));
    const std::size_t width = tokens.size() / rows;
    const tasks::ExtractionRule rule = tasks::extraction_rule_from_name(plan.writing.extraction);
    std::vector<Program> programs(rows);
    for (std::size_t row = 0; row < rows; ++row) {
        const PromptedProblem& problem = plan.problems[row / static_cast<std::size_t>(plan.samples)];
        if (problem.problem.task_id != ids[row]) throw InternalError(dataset.path() + ": row " + std::to_string(row) + " is of another problem");
        const auto answer = std::span(tokens).subspan(row * width, static_cast<std::size_t>(lengths[row]));
        const bool ended = !answer.empty() && std::binary_search(eos.begin(), eos.end(), answer.back());
        Program& program = programs[row];
        program.positions = token_positions(tokenizer, problem, answer, static_cast<std::size_t>(text_bytes[row]), ended ? 1 : 0, rule, kinds);
        program.sequence = problem.tokens;
        program.sequence.insert(program.sequence.end(), answer.begin(), answer.end());
        std::int64_t last = -1;
        for (const TokenPosition& position : program.positions) last = std::max(last, position.token);
        program.sequence.resize(static_cast<std::size_t>(last + 1));
    }
    return programs;
}

/// Runs the answers of one problem and fills the file's rows of them.
io::Columns unit_columns(Context& context, const model::Model& model, int& at_once, std::span<const Program> programs,
                         std::span<const model::CaptureRequest> requests, const StoredType& type, const std::string& problem) {
    struct Place {
        std::size_t row = 0;
        std::size_t program = 0;
    };
    std::vector<std::vector<std::int32_t>> sequences;
    std::vector<std::size_t> program_of;  // of each sequence
    std::vector<std::size_t> first_row(programs.size() + 1, 0);
    for (std::size_t p = 0; p < programs.size(); ++p) {
        first_row[p + 1] = first_row[p] + programs[p].positions.size();
        if (programs[p].positions.empty()) continue;
        sequences.push_back(programs[p].sequence);
        program_of.push_back(p);
    }
    io::Columns columns;
    std::map<model::Site, std::vector<float>> values;
    for (const model::CaptureRequest& request : requests) {
        const auto width = static_cast<std::size_t>(model::site_width(model.config(), request.site));
        values[request.site].resize(first_row.back() * request.layers.size() * width);
    }
    if (!sequences.empty()) {
        capture::CaptureSettings settings;
        settings.batch_rows = at_once;
        settings.on_smaller_batch = smaller_batches(context, at_once);
        settings.skip_bos = false;
        settings.positions = [&](std::size_t sequence, std::size_t) {
            std::set<std::int64_t> tokens;
            for (const TokenPosition& position : programs[program_of[sequence]].positions) tokens.insert(position.token);
            return std::vector<std::int64_t>(tokens.begin(), tokens.end());
        };
        capture::capture_rows(model, sequences, requests, settings, [&](const capture::CapturedRows& captured) {
            const std::size_t p = program_of[captured.sequence];
            const auto request = std::find_if(requests.begin(), requests.end(), [&](const model::CaptureRequest& one) { return one.site == captured.site; });
            const auto n_layers = request->layers.size();
            const auto layer = static_cast<std::size_t>(std::find(request->layers.begin(), request->layers.end(), captured.layer) - request->layers.begin());
            const std::size_t width = captured.rows.size() / captured.positions.size();
            std::vector<float>& all = values[captured.site];
            for (std::size_t i = 0; i < programs[p].positions.size(); ++i) {
                const auto at = std::lower_bound(captured.positions.begin(), captured.positions.end(), programs[p].positions[i].token) - captured.positions.begin();
                const auto row = captured.rows.subspan(static_cast<std::size_t>(at) * width, width);
                std::copy(row.begin(), row.end(), all.begin() + static_cast<std::ptrdiff_t>(((first_row[p] + i) * n_layers + layer) * width));
            }
        });
    }
    for (const auto& [site, floats] : values) {
        std::vector<std::byte> bytes(floats.size() * io::float_dtype_bytes(type.dtype));
        io::from_floats(type.dtype, floats, bytes);
        if (type.element == io::h5::Element::f16) {
            const auto large = std::find_if(floats.begin(), floats.end(), [](float value) { return std::abs(value) >= 65520.0F; });
            if (large != floats.end()) {
                throw InputError("problem " + problem + ", site " + std::string(model::site_name(site)) + ": the value " + std::to_string(*large) +
                                 " does not fit into float16; use --activations-dtype bfloat16 or float32");
            }
        }
        columns["activations/" + std::string(model::site_name(site))] = std::move(bytes);
    }
    return columns;
}

/// What the summary says of the rows by kind.
struct Counts {
    std::array<std::int64_t, kinds_by_name.size()> rows{};
    std::array<std::int64_t, kinds_by_name.size()> programs{};
};

Counts count_rows(const std::vector<Program>& programs) {
    Counts counts;
    for (const Program& program : programs) {
        std::set<PositionKind> seen;
        for (const TokenPosition& position : program.positions) {
            ++counts.rows[static_cast<std::size_t>(position.kind)];
            seen.insert(position.kind);
        }
        for (const PositionKind kind : seen) ++counts.programs[static_cast<std::size_t>(kind)];
    }
    return counts;
}

}  // namespace

Position position_from_name(const std::string& name) {
    if (name == "last-prompt") return {PositionKind::last_prompt, 0};
    if (name == "signature-end") return {PositionKind::signature_end, 0};
    if (name == "last-token") return {PositionKind::last_token, 0};
    for (int tenth = 1; tenth <= 10; ++tenth) {
        if (name == "tenth-" + std::to_string(tenth)) return {PositionKind::tenth, tenth};
    }
    throw UsageError("no position is called '" + name + "'; known: last-prompt, signature-end, tenth-1 to tenth-10, last-token");
}

std::string position_name(const Position& position) {
    return position.kind == PositionKind::tenth ? "tenth-" + std::to_string(position.tenth) : kind_name(position.kind);
}

void register_options(OptionSet& set, ActivationOptions& options) {
    set.add("sites", options.sites, "LIST", "places of the model to store, such as resid_post,mlp_out or resid_mid.5; what the dataset does not hold goes to a file of its own").list();
    set.add("positions", options.positions, "LIST", "tokens to store: last-prompt, signature-end, tenths (of the program), last-token (of prompt and program), all").list();
    set.add("activations-dtype", options.dtype, "TYPE", "how that file stores them").one_of({"float32", "float16", "bfloat16"});
}

bool wants_activations(const ActivationOptions& options) { return options.sites != "resid_post" || options.positions != "last-prompt"; }

std::vector<PositionKind> position_kinds(const std::string& list) {
    std::set<PositionKind> kinds;
    for (const std::string& name : split_at_commas(list)) {
        const auto known = std::find_if(kinds_by_name.begin(), kinds_by_name.end(), [&](const NamedKind& one) { return name == one.name; });
        if (known == kinds_by_name.end()) throw UsageError("--positions: '" + name + "' is not known; take some of last-prompt, signature-end, tenths, last-token, all");
        if (!kinds.insert(known->kind).second) throw UsageError("--positions: '" + name + "' is named twice");
    }
    return {kinds.begin(), kinds.end()};
}

std::vector<TokenPosition> token_positions(const text::Tokenizer& tokenizer, const PromptedProblem& problem, std::span<const std::int32_t> answer,
                                           std::size_t text_bytes, std::int32_t eos_tokens, tasks::ExtractionRule rule,
                                           std::span<const PositionKind> kinds) {
    const auto prompt_length = static_cast<std::int64_t>(problem.tokens.size());
    const auto spoken = answer.first(answer.size() - static_cast<std::size_t>(eos_tokens));
    const std::vector<std::size_t> ends = token_ends(tokenizer, spoken);
    std::string text = tokenizer.decode(spoken);
    text.resize(std::min(text.size(), text_bytes));
    const auto place = tasks::extract_program(rule, text, problem.prompt, problem.entry_point, problem.problem.opening).place;
    // The program's tokens in the answer; what a prompt has of it was not written by the model.
    std::int64_t first = 0;
    std::int64_t last = -1;
    if (place && place->end > 0) {
        first = static_cast<std::int64_t>(token_of(ends, static_cast<std::size_t>(std::max<std::int64_t>(0, place->begin))));
        last = static_cast<std::int64_t>(token_of(ends, static_cast<std::size_t>(place->end - 1)));
    }
    const std::int64_t written = last - first + 1;

    std::vector<TokenPosition> positions;
    for (const PositionKind kind : kinds) {
        switch (kind) {
            case PositionKind::last_prompt:
                positions.push_back({kind, 0, prompt_length - 1});
                break;
            case PositionKind::signature_end:
                if (!place || !place->signature_end) break;
                if (*place->signature_end > 0) {
                    positions.push_back({kind, 0, prompt_length + static_cast<std::int64_t>(token_of(ends, static_cast<std::size_t>(*place->signature_end - 1)))});
                } else if (!problem.continued.empty() && problem.prompt.ends_with(problem.continued)) {
                    // Counted back from the end of the prompt.
                    const std::vector<std::size_t> prompt_ends = token_ends(tokenizer, problem.tokens);
                    const auto byte = static_cast<std::int64_t>(prompt_ends.back()) + *place->signature_end - 1;
                    if (byte >= 0) positions.push_back({kind, 0, static_cast<std::int64_t>(token_of(prompt_ends, static_cast<std::size_t>(byte)))});
                }
                break;
            case PositionKind::tenth:
                for (int tenth = 1; written > 0 && tenth <= 10; ++tenth) positions.push_back({kind, tenth, prompt_length + first + (tenth * written + 9) / 10 - 1});
                break;
            case PositionKind::last_token:
                if (written > 0) positions.push_back({kind, 0, prompt_length + last});
                break;
            case PositionKind::all:
                for (std::int64_t token = 0; token < prompt_length + static_cast<std::int64_t>(answer.size()); ++token) positions.push_back({kind, 0, token});
                break;
        }
    }
    return positions;
}

Report write_activations(Context& context, const model::Model& model, const text::Tokenizer& tokenizer, const GenerationPlan& plan,
                         const std::string& dataset_path, const ActivationOptions& options, const std::string& layers, const ModelInput& model_input,
                         bool fresh) {
    const mpi::Communicator& comm = context.comm;
    const io::ResultReader dataset = mpi::agreed(comm, [&] { return io::ResultReader::open(dataset_path, dataset_schema()); });
    const StoredType type = mpi::agreed(comm, [&]() -> StoredType { return stored_type(options.dtype); });
    const std::vector<PositionKind> kinds = mpi::agreed(comm, [&] { return position_kinds(options.positions); });
    const std::vector<model::CaptureRequest> requests = mpi::agreed(comm, [&] { return model::parse_sites(options.sites, read_layers(layers), model.config()); });
    const std::vector<Program> programs = mpi::agreed(comm, [&] { return read_programs(dataset, tokenizer, plan, model.config().eos_token_ids, kinds); });
    const auto samples = static_cast<std::size_t>(plan.samples);

    std::vector<std::string> sites;
    io::Columns at_creation;
    io::RunPlan run;
    std::int64_t numbers_of_row = 0;
    for (const model::CaptureRequest& request : requests) {
        const std::string site(model::site_name(request.site));
        const std::int64_t width = model::site_width(model.config(), request.site);
        sites.push_back(site);
        run.sizes["layer_" + site] = static_cast<std::int64_t>(request.layers.size());
        run.sizes["width_" + site] = width;
        at_creation["layer/" + site] = io::to_bytes(std::vector<std::int32_t>(request.layers.begin(), request.layers.end()));
        numbers_of_row += static_cast<std::int64_t>(request.layers.size()) * width;
    }
    std::vector<std::int64_t> first_row = {0};
    std::vector<std::int64_t> program_of;
    std::vector<std::uint8_t> kind_of;
    std::vector<std::int32_t> tenth_of;
    std::vector<std::int32_t> position_of;
    std::vector<std::int32_t> token_of_row;
    for (std::size_t p = 0; p < programs.size(); ++p) {
        for (const TokenPosition& position : programs[p].positions) {
            program_of.push_back(static_cast<std::int64_t>(p));
            kind_of.push_back(static_cast<std::uint8_t>(position.kind));
            tenth_of.push_back(position.tenth);
            position_of.push_back(static_cast<std::int32_t>(position.token));
            token_of_row.push_back(programs[p].sequence[static_cast<std::size_t>(position.token)]);
        }
        first_row.push_back(static_cast<std::int64_t>(program_of.size()));
    }
    const std::int64_t n_rows = first_row.back();
    if (n_rows == 0) mpi::agreed(comm, [&] { throw InputError("no answer of " + dataset_path + " has any of the positions " + options.positions); });
    at_creation["task_id"] = dataset.read_bytes("task_id", 0, plan.rows());
    at_creation["sample"] = dataset.read_bytes("sample", 0, plan.rows());
    at_creation["passed"] = dataset.read_bytes("passed", 0, plan.rows());
    at_creation["first_row"] = io::to_bytes(first_row);
    at_creation["row/program"] = io::to_bytes(program_of);
    at_creation["row/kind"] = io::to_bytes(kind_of);
    at_creation["row/tenth"] = io::to_bytes(tenth_of);
    at_creation["row/position"] = io::to_bytes(position_of);
    at_creation["row/token_id"] = io::to_bytes(token_of_row);

    const io::FileSchema schema = activations_schema(sites, type.element);
    const auto n = static_cast<std::int64_t>(plan.problems.size());
    run.schema = &schema;
    run.folder = context.folder("phase1_0");
    run.prefix = "activations";
    run.model = model_input.files.name;
    run.range = io::parse_file_name(std::filesystem::path(dataset_path).filename().string()).value().range;
    run.sizes["program"] = plan.rows();
    run.sizes["program_plus_one"] = plan.rows() + 1;
    run.sizes["row"] = n_rows;
    run.n_units = n;
    for (std::int64_t unit = 0; unit <= n; ++unit) run.unit_rows["row"].push_back(first_row[static_cast<std::size_t>(unit) * samples]);
    run.fresh = fresh;
    run.provenance = context.provenance;
    run.provenance.inputs.push_back(dataset.as_input("dataset"));
    nlohmann::ordered_json stored_sites = nlohmann::ordered_json::object();
    for (const model::CaptureRequest& request : requests) stored_sites[std::string(model::site_name(request.site))] = request.layers;
    run.identity = {{"phase", "1, activations"},
                    {"format_version", schema.version},
                    {"pva_version", context.provenance.build.version},
                    {"model", model_input.files.name},
                    {"model_config", model_input.hashes.config},
                    {"model_weights", model_input.hashes.weights},
                    {"tokenizer", tokenizer.sha256()},
                    {"dataset", dataset.content_sha256()},
                    {"start", dataset.identity().value("start", std::int64_t{0})},
                    {"end", dataset.identity().value("end", std::int64_t{0})},
                    {"sites", stored_sites},
                    {"positions", kind_numbers(kinds)},
                    {"activations-dtype", options.dtype},
                    {"device", std::string(dataset.identity().value("device", ""))}};
    add_placement(run.identity, model.placement(), plan.threads);

    Report report;
    const Counts counts = count_rows(programs);
    const double megabytes = static_cast<double>(n_rows) * static_cast<double>(numbers_of_row) * static_cast<double>(io::float_dtype_bytes(type.dtype)) / 1e6;
    context.log.info("activations: " + std::to_string(n_rows) + " rows of " + std::to_string(programs.size()) + " programs at " + join(sites, ", ") + ", " + fixed(megabytes, 1) + " MB as " + options.dtype);
    io::OpenedResult opened = io::open_result_file(comm, context.log, run, at_creation);
    report.summary["rows"] = n_rows;
    report.summary["positions"] = nlohmann::ordered_json::object();
    for (const PositionKind kind : kinds) {
        const auto number = static_cast<std::size_t>(kind);
        report.summary["positions"][kind_name(kind)] = {{"programs", counts.programs[number]}, {"rows", counts.rows[number]}};
        if (counts.programs[number] < plan.rows()) {
            report.lines.push_back(std::to_string(plan.rows() - counts.programs[number]) + " of " + std::to_string(plan.rows()) + " programs have no position " + kind_name(kind));
        }
    }
    if (!opened.file) {
        report.result_path = opened.complete_path;
        return report;
    }
    io::ResultFile& file = *opened.file;
    std::vector<WorkBlock> blocks = cut_into_blocks(0, n, 1);
    for (std::int64_t unit = 0; unit < n; ++unit) {
        double tokens = 1;
        for (std::size_t sample = 0; sample < samples; ++sample) tokens += static_cast<double>(programs[static_cast<std::size_t>(unit) * samples + sample].sequence.size());
        blocks[static_cast<std::size_t>(unit)].cost = tokens;
    }
    int at_once = 4;
    work_through(context, file, "problems' activations", "", blocks, [&](const WorkBlock& block) -> std::int64_t {
        for (const std::int64_t unit : block.units) {
            if (file.is_done(unit)) continue;
            const auto own = std::span(programs).subspan(static_cast<std::size_t>(unit) * samples, samples);
            file.write_unit(unit, unit_columns(context, model, at_once, own, requests, type, plan.problems[static_cast<std::size_t>(unit)].problem.name));
        }
        return 0;
    });
    file.flush();
    report.result_path = file.publish({}, report.summary, measured_run(context));
    return report;
}

namespace {

/// Why a file does not hold what is wanted; empty when it does.
std::string what_lacks(const io::ResultReader& reader, const std::string& site, const Position& position) {
    const nlohmann::ordered_json& identity = reader.identity();
    if (!identity.contains("sites") || !identity["sites"].contains(site)) return "has no site " + site;
    const auto kinds = identity.value("positions", std::vector<std::int64_t>());
    if (std::find(kinds.begin(), kinds.end(), static_cast<std::int64_t>(position.kind)) == kinds.end()) return "has no position " + position_name(position);
    return "";
}

}  // namespace

io::ResultReader open_activations(Context& context, const std::string& named, const io::ResultReader& dataset, const std::string& site,
                                  const Position& position) {
    const io::FileSchema schema = activations_schema({"resid_post"}, io::h5::Element::f32);
    const std::string wanted_by = "activations at site " + site + ", position " + position_name(position);
    const std::string advice = "Run the pva_phase1 command of the dataset again with --sites " + site + " --positions " +
                               (position.kind == PositionKind::tenth ? "tenths" : position_name(position)) + "; it adds them without generating anything";
    const std::string path = named.empty() ? mpi::on_first_rank(context.comm, [&] {
        return io::find_newest(context.folder("phase1_0"), "activations", schema, {{"dataset", dataset.content_sha256()}}, "pva_phase1 with --sites and --positions",
                               [](const std::string&) {}, [&](const io::ResultReader& reader) { return what_lacks(reader, site, position); })
            .path;
    }) : named;
    return mpi::agreed(context.comm, [&] {
        io::ResultReader reader = io::ResultReader::open(path, schema);
        if (reader.identity().value("dataset", "") != dataset.content_sha256()) throw InputError(path + ": was not made of " + dataset.path() + ". " + advice);
        if (const std::string lack = what_lacks(reader, site, position); !lack.empty()) throw InputError(path + ": " + lack + ". " + advice);
        context.log.info(wanted_by + ": " + path);
        return reader;
    });
}

std::vector<std::int64_t> rows_at(const io::ResultReader& activations, const Position& position) {
    const auto programs = activations.read<std::int64_t>("row/program");
    const auto kinds = activations.read<std::uint8_t>("row/kind");
    const auto tenths = activations.read<std::int32_t>("row/tenth");
    std::vector<std::int64_t> rows(static_cast<std::size_t>(activations.shape("task_id").at(0)), -1);
    for (std::size_t row = 0; row < programs.size(); ++row) {
        if (kinds[row] == static_cast<std::uint8_t>(position.kind) && tenths[row] == position.tenth) rows.at(static_cast<std::size_t>(programs[row])) = static_cast<std::int64_t>(row);
    }
    return rows;
}

std::vector<std::int32_t> stored_layers(const io::ResultReader& activations, const std::string& site) { return activations.read<std::int32_t>("layer/" + site); }

std::vector<float> read_activations(const io::ResultReader& activations, const std::string& site, std::int32_t layer, std::span<const std::int64_t> rows) {
    const std::vector<std::int32_t> layers = stored_layers(activations, site);
    const auto found = std::find(layers.begin(), layers.end(), layer);
    if (found == layers.end()) throw InputError(activations.path() + ": layer " + std::to_string(layer) + " of " + site + " is not stored");
    const std::string name = "activations/" + site;
    const StoredType& type = stored_type(activations.element(name), activations.path() + " dataset " + name);
    const std::vector<std::byte> bytes = activations.read_row_part_bytes(name, rows, found - layers.begin());
    std::vector<float> values(bytes.size() / io::float_dtype_bytes(type.dtype));
    io::to_floats(type.dtype, bytes.data(), values);
    return values;
}

}  // namespace pva::phases
