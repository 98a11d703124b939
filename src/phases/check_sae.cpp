// SAEs under the magnifying glass. What is printed and what it means: docs/saes.md; the files: docs/formats/check.md, codes.md.
#include "pva/phases/check_sae.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>

#include "pva/capture/capture.h"
#include "pva/capture/splice.h"
#include "pva/capture/trace.h"
#include "pva/core/error.h"
#include "pva/core/join.h"
#include "pva/io/h5.h"
#include "pva/kernels/thread_pool.h"
#include "pva/mpi/agree.h"
#include "pva/phases/code_store.h"
#include "pva/phases/work.h"
#include "pva/sae/encode.h"
#include "pva/sae/load.h"
#include "pva/sae/quality.h"

namespace pva::phases {

namespace {

using Json = nlohmann::ordered_json;
using Sequences = std::vector<std::vector<std::int32_t>>;
namespace fs = std::filesystem;

constexpr std::int64_t first_positions = 8;  // after BOS: attention has little to look at there
constexpr std::size_t rows_of_call = 1536;   // encoded and decoded together
constexpr std::size_t enough_rows = 200;     // for a comparison with an advertised L0

/// JSON has no NaN.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

std::string shown(const Json& value, int decimals) { return value.is_null() ? "-" : fixed(value.get<double>(), decimals); }

Json quality_json(const sae::QualitySums& sums) {
    const sae::Quality quality = sae::quality(sums);
    return {{"rows", quality.n_rows}, {"l0", number(quality.l0)}, {"explained_variance", number(quality.explained_variance)}, {"cosine", number(quality.cosine)},
            {"norm_ratio", number(quality.norm_ratio)}};
}

/// Where in its sequence a row stands.
enum class PositionClass : std::uint8_t { bos, first, rest };

std::vector<PositionClass> position_classes(const std::vector<std::int32_t>& tokens, const model::ModelConfig& config) {
    const bool bos = config.bos_token_id && tokens.front() == *config.bos_token_id;
    std::vector<PositionClass> classes;
    for (std::int64_t position = 0; position < static_cast<std::int64_t>(tokens.size()); ++position) {
        if (bos && position == 0) classes.push_back(PositionClass::bos);
        else classes.push_back(position < first_positions + (bos ? 1 : 0) ? PositionClass::first : PositionClass::rest);
    }
    return classes;
}

/// Sums over all rows but BOS, and over the rows of each class.
struct ClassSums {
    sae::QualitySums without_bos;
    std::array<sae::QualitySums, 3> of_class;
};

Json class_json(const ClassSums& sums) {
    Json json = quality_json(sums.without_bos);
    json["bos"] = quality_json(sums.of_class[0]);
    json["first"] = quality_json(sums.of_class[1]);
    json["rest"] = quality_json(sums.of_class[2]);
    return json;
}

/// Adds what an SAE makes of rows [n, d]; hands the codes on when wanted. `classes` may be empty: then all rows count as rest.
void measure(const sae_aten::Coder& coder, std::span<const float> rows, std::span<const PositionClass> classes, const kernels::ThreadPool& pool, ClassSums& sums, CodeSpool* spool) {
    const sae::Sae& sae = coder.sae();
    const std::size_t n = rows.size() / sae.d_in;
    std::vector<float> x_hat;
    for (std::size_t first = 0; first < n; first += rows_of_call) {
        const std::size_t count = std::min(rows_of_call, n - first);
        const auto part = rows.subspan(first * sae.d_in, count * sae.d_in);
        const sae::CsrRows codes = coder.encode(part, count, pool);
        if (spool != nullptr) spool->append(codes);
        if (sae.transcoder) continue;  // what it reconstructs is not what it reads
        x_hat.resize(part.size());
        coder.decode(codes, pool, x_hat);
        for (std::size_t i = 0; i < count; ++i) {
            const PositionClass where = classes.empty() ? PositionClass::rest : classes[first + i];
            const auto x = part.subspan(i * sae.d_in, sae.d_in);
            const auto y = std::span<const float>(x_hat).subspan(i * sae.d_in, sae.d_in);
            const std::uint64_t active = codes.row_offsets[i + 1] - codes.row_offsets[i];
            if (where != PositionClass::bos) sae::add_row(sums.without_bos, x, y, active);
            sae::add_row(sums.of_class[static_cast<std::size_t>(where)], x, y, active);
        }
    }
}

Json structure_json(const sae::Sae& sae, const std::string& path, const std::string& hash) {
    const sae::WeightSummary weights = sae::summarize_weights(sae);
    Json json = {{"path", path},
                 {"sha256", hash},
                 {"format", sae.format},
                 {"class", sae.kind},
                 {"architecture", sae::architecture_name(sae.architecture)},
                 {"normalization", sae::normalization_name(sae.normalization)},
                 {"d_in", sae.d_in},
                 {"d_sae", sae.d_sae},
                 {"d_out", sae.d_out},
                 {"site", sae.site},
                 {"hook", sae.hook}};
    json["layer"] = sae.layer ? Json(*sae.layer) : Json();
    json["model"] = sae.model;
    json["k"] = sae.k > 0 ? Json(sae.k) : Json();
    json["advertised_l0"] = sae.advertised_l0 ? Json(*sae.advertised_l0) : Json();
    json["advertised_by"] = sae.advertised_by;
    json["subtracts_from_input"] = !sae.b_in.empty();
    json["decoder_norm"] = {{"min", weights.decoder_norm_min}, {"mean", weights.decoder_norm_mean}, {"max", weights.decoder_norm_max}};
    json["unit_norm_share"] = weights.unit_norm_share;
    json["unit_norm_promised"] = sae.unit_decoder;
    json["encoder_decoder_cosine_mean"] = number(weights.encoder_decoder_cosine_mean);
    json["encoder_decoder_cosine_positive_share"] = number(weights.encoder_decoder_cosine_positive_share);
    json["folds"] = Json::array();
    for (const sae::Fold& fold : sae.folds) json["folds"].push_back({{"what", fold.what}, {"factor", fold.factor}});
    json["warnings"] = Json::array();
    if (sae.unit_decoder && weights.unit_norm_share < 0.99) json["warnings"].push_back("its format promises decoder rows of norm 1, but " + fixed(100 * (1 - weights.unit_norm_share), 1) + "% are not");
    const bool tied = sae.architecture == sae::Architecture::matching_pursuit;
    if (!tied && !sae.transcoder && weights.encoder_decoder_cosine_mean < 0.05)
        json["warnings"].push_back("encoder columns and decoder rows do not point the same way (mean cosine " + fixed(weights.encoder_decoder_cosine_mean, 3) + "); is the decoder permuted?");
    return json;
}

/// Compares measured and advertised L0. Returns false when they are so far apart that something must be wrong.
bool judge_l0(Json& json, bool enough) {
    if (json["advertised_l0"].is_null() || !json.contains("quality") || json["quality"]["l0"].is_null()) return true;
    const double advertised = json["advertised_l0"].get<double>();
    const double ratio = json["quality"]["l0"].get<double>() / advertised;
    json["l0_ratio"] = ratio;
    // ReLU before the choice leaves fewer than k; more cannot be.
    const bool at_most = json["architecture"] == "topk" || json["architecture"] == "groupmax";
    if (!enough) {
        json["warnings"].push_back("fewer than " + std::to_string(enough_rows) + " rows: too few to compare L0 with the advertised one");
        return true;
    }
    if (ratio > 2 || (ratio < 0.5 && !at_most)) return false;
    if (ratio > 1.3 || ratio < 0.7) {
        json["warnings"].push_back("measured L0 " + fixed(json["quality"]["l0"].get<double>(), 1) + " against " + fixed(advertised, 1) + " by " + json["advertised_by"].get<std::string>() +
                                   ": off by more than 30%; another text, data type, site or scale?");
    }
    return true;
}

std::vector<std::vector<std::string>> structure_table(const Json& saes) {
    std::vector<std::vector<std::string>> table = {{"SAE", "format", "architecture", "layer", "d_in", "d_sae", "decoder norm min", "mean", "max", "unit", "enc.dec"}};
    for (std::size_t i = 0; i < saes.size(); ++i) {
        const Json& s = saes[i];
        table.push_back({std::to_string(i), s["format"].get<std::string>(), s["architecture"].get<std::string>(), s["layer"].is_null() ? "-" : s["layer"].dump(), s["d_in"].dump(), s["d_sae"].dump(),
                         shown(s["decoder_norm"]["min"], 4), shown(s["decoder_norm"]["mean"], 4), shown(s["decoder_norm"]["max"], 4), fixed(100 * s["unit_norm_share"].get<double>(), 1) + "%",
                         shown(s["encoder_decoder_cosine_mean"], 3)});
    }
    return table;
}

void add_lines(std::vector<std::string>& lines, const std::vector<std::vector<std::string>>& table) {
    for (std::string& line : table_lines(table)) lines.push_back(std::move(line));
}

/// Every rank's results, in the order of the SAEs.
Json gather_results(const mpi::Communicator& comm, const std::map<std::size_t, Json>& own, std::size_t n) {
    Json mine = Json::object();
    for (const auto& [index, json] : own) mine[std::to_string(index)] = json;
    Json all = Json::array();
    const std::vector<std::string> texts = comm.all_gather(mine.dump());
    std::vector<Json> ordered(n);
    for (const std::string& text : texts) {
        const Json of_rank = Json::parse(text);
        for (const auto& [index, json] : of_rank.items()) ordered[std::stoul(index)] = json;
    }
    for (Json& json : ordered) all.push_back(std::move(json));
    return all;
}

// --- rows of a file ---------------------------------------------------------------------------------------------------

/// Measures the one SAE on stored rows and dumps what it makes of them.
Json check_activations(const CheckOptions& options, const sae_aten::Coder& coder, const kernels::ThreadPool& pool, const Context& context) {
    const sae::Sae& sae = coder.sae();
    const std::size_t colon = options.activations.rfind(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == options.activations.size())
        throw UsageError("--activations " + options.activations + ": FILE.h5:DATASET is expected, for instance out.h5:sequence/0/resid_post");
    const io::h5::File file = io::h5::open_readonly(options.activations.substr(0, colon));
    const io::h5::Dataset rows = io::h5::open_dataset(file, options.activations.substr(colon + 1));
    if (rows.element != io::h5::Element::f32 || rows.shape.size() < 2) throw InputError("--activations " + options.activations + ": it is no float32 array of at least two dimensions [..., d_in]");
    sae::check_width(sae, static_cast<std::size_t>(rows.shape.back()), sae.layer.value_or(0));
    std::int64_t n = 1;
    for (std::size_t d = 0; d + 1 < rows.shape.size(); ++d) n *= rows.shape[d];
    if (n == 0) throw InputError("--activations " + options.activations + ": it holds no rows");
    const std::int64_t rows_of_first = n / rows.rows();

    std::optional<io::h5::File> dump;
    const std::string part = options.dump + ".part";
    if (!options.dump.empty()) {
        const double bytes = 4.0 * static_cast<double>(n) * static_cast<double>(sae.d_sae + sae.d_out);
        const fs::path folder = fs::absolute(options.dump).parent_path();
        std::error_code error;
        const fs::space_info space = fs::space(folder, error);
        if (error || bytes > static_cast<double>(space.available))
            throw IoError("--dump " + options.dump + ": needs " + fixed(bytes / 1e9, 2) + " GB in " + folder.string() + ", which has less or cannot be used; codes are dense there, give fewer rows");
        dump = io::h5::create(part);
        io::h5::create_dataset(*dump, "codes", io::h5::Element::f32, 0, {n, static_cast<std::int64_t>(sae.d_sae)}, false);
        io::h5::create_dataset(*dump, "reconstruction", io::h5::Element::f32, 0, {n, static_cast<std::int64_t>(sae.d_out)}, false);
        io::h5::write_attribute(*dump, "/", "filetype", "sae_check");
        io::h5::write_attribute(*dump, "/", "version", 1);
        io::h5::write_attribute(*dump, "/", "provenance", to_json(context.provenance).dump());
    }
    ClassSums sums;
    std::uint64_t entries = 0;
    const std::int64_t piece = std::max<std::int64_t>(1, 256 / rows_of_first);
    std::vector<float> x;
    std::vector<float> dense;
    for (std::int64_t first = 0; first < rows.rows(); first += piece) {
        const std::int64_t count = std::min(piece, rows.rows() - first);
        const auto here = static_cast<std::size_t>(count * rows_of_first);
        x.resize(here * sae.d_in);
        io::h5::read_rows(rows, first, count, std::as_writable_bytes(std::span(x)));
        const sae::CsrRows codes = coder.encode(x, here, pool);
        entries += codes.latents.size();
        std::vector<float> x_hat(here * sae.d_out);
        coder.decode(codes, pool, x_hat, x);
        for (std::size_t i = 0; i < here && !sae.transcoder; ++i) {
            sae::add_row(sums.without_bos, std::span<const float>(x).subspan(i * sae.d_in, sae.d_in), std::span<const float>(x_hat).subspan(i * sae.d_out, sae.d_out),
                         codes.row_offsets[i + 1] - codes.row_offsets[i]);
        }
        if (dump) {
            dense.assign(here * sae.d_sae, 0.0F);
            for (std::size_t i = 0; i < here; ++i) {
                for (std::size_t e = 0; e < codes.latents_of(i).size(); ++e) dense[i * sae.d_sae + codes.latents_of(i)[e]] = codes.values_of(i)[e];
            }
            io::h5::write_rows(io::h5::open_dataset(*dump, "codes"), first * rows_of_first, static_cast<std::int64_t>(here), std::as_bytes(std::span(dense)));
            io::h5::write_rows(io::h5::open_dataset(*dump, "reconstruction"), first * rows_of_first, static_cast<std::int64_t>(here), std::as_bytes(std::span(x_hat)));
        }
    }
    if (dump) {
        io::h5::flush(*dump);
        dump->handle.close(part);
        std::error_code error;
        fs::rename(part, options.dump, error);
        if (error) throw IoError("--dump " + options.dump + ": cannot be given its name (" + error.message() + "); it stands complete at " + part);
    }
    Json json = quality_json(sums.without_bos);
    json["rows"] = n;
    json["l0"] = static_cast<double>(entries) / static_cast<double>(n);
    return json;
}

// --- rows of a model --------------------------------------------------------------------------------------------------

/// The place of an SAE's rows in this model. Errors: InputError when the model has none.
model::SitePoint place_of(const sae::SaeInfo& info, const std::string& path, const model::ModelConfig& config) {
    if (info.site.empty()) throw InputError(path + ": it reads " + (info.hook.empty() ? "rows of a place its files do not name" : info.hook) + ", which is no site of a model in pva; leave --model away");
    // The file's own spelling first: the same words mean different places in different models.
    const bool own_spelling = !info.hook.empty();
    try {
        model::SitePoint point = model::parse_site(own_spelling ? info.hook : info.site, config);
        if (!point.layer && info.layer) point = model::parse_site(std::string(model::site_name(point.site)) + "." + std::to_string(*info.layer), config);
        if (!point.layer && model::site_has_layers(point.site)) throw InputError(path + ": neither its files nor its path name its layer");
        if (!point.layer) point.layer = 0;
        return point;
    } catch (const UsageError& error) {
        throw InputError(path + ": " + error.what() + ". The SAE is of another model");
    }
}

std::string plain_name(const std::string& name) {
    std::string plain = name.substr(name.rfind('/') == std::string::npos ? 0 : name.rfind('/') + 1);
    std::transform(plain.begin(), plain.end(), plain.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return plain;
}

/// Losses of some sequences with reconstructions of one layer's rows put in.
struct SpliceResult {
    double loss = 0;
    sae::QualitySums sums;
};

SpliceResult spliced(const model::Model& model, const Sequences& sequences, const sae_aten::Coder& coder, model::Site site, int layer, const kernels::ThreadPool& pool) {
    const std::size_t width = coder.sae().d_in;
    SpliceResult result;
    for (const auto& tokens : sequences) {
        const std::vector<PositionClass> classes = position_classes(tokens, model.config());
        const std::vector<float> logits = capture::logits_with_change(model, tokens, site, layer, [&](std::span<float> rows) {
            const sae::CsrRows codes = coder.encode(rows, tokens.size(), pool);
            std::vector<float> x_hat(rows.size());
            coder.decode(codes, pool, x_hat);
            for (std::size_t t = 0; t < tokens.size(); ++t) {
                if (classes[t] == PositionClass::bos) continue;
                const auto x = rows.subspan(t * width, width);
                const auto y = std::span<const float>(x_hat).subspan(t * width, width);
                sae::add_row(result.sums, x, y, codes.row_offsets[t + 1] - codes.row_offsets[t]);
                std::copy(y.begin(), y.end(), x.begin());
            }
        });
        result.loss += capture::summed_loss(logits, tokens);
    }
    return result;
}

double ablated_loss(const model::Model& model, const Sequences& sequences, model::Site site, int layer) {
    double loss = 0;
    for (const auto& tokens : sequences) {
        const std::vector<PositionClass> classes = position_classes(tokens, model.config());
        const std::vector<float> logits = capture::logits_with_change(model, tokens, site, layer, [&](std::span<float> rows) {
            const std::size_t width = rows.size() / tokens.size();
            for (std::size_t t = 0; t < tokens.size(); ++t) {
                if (classes[t] != PositionClass::bos) std::fill_n(rows.begin() + static_cast<std::ptrdiff_t>(t * width), width, 0.0F);
            }
        });
        loss += capture::summed_loss(logits, tokens);
    }
    return loss;
}

/// The site, one layer before and one after, with the reconstruction put in.
Json splice_json(const model::Model& model, const Sequences& sequences, double clean, std::int64_t predicted, const sae_aten::Coder& coder, const model::SitePoint& point, const kernels::ThreadPool& pool) {
    const auto per_token = [&](double loss) { return loss / static_cast<double>(predicted); };
    Json json = {{"sequences", sequences.size()}, {"predicted_tokens", predicted}, {"clean_loss", per_token(clean)}};
    json["layers"] = Json::array();
    for (int layer = *point.layer - 1; layer <= *point.layer + 1; ++layer) {
        if (layer < 0 || layer >= model.config().num_hidden_layers) continue;
        const SpliceResult result = spliced(model, sequences, coder, point.site, layer, pool);
        const double ablated = ablated_loss(model, sequences, point.site, layer);
        Json entry = {{"layer", layer}, {"own", layer == *point.layer}};
        entry.update(quality_json(result.sums));
        entry["loss"] = per_token(result.loss);
        entry["ablated_loss"] = per_token(ablated);
        entry["loss_recovered"] = number((ablated - result.loss) / (ablated - clean));
        json["layers"].push_back(std::move(entry));
    }
    return json;
}

void judge_neighbours(Json& json) {
    const Json* own = nullptr;
    for (const Json& entry : json["splice"]["layers"]) {
        if (entry["own"].get<bool>()) own = &entry;
    }
    for (const Json& entry : json["splice"]["layers"]) {
        if (entry["own"].get<bool>() || entry["loss"].get<double>() >= (*own)["loss"].get<double>()) continue;
        json["warnings"].push_back("its reconstruction costs less loss at layer " + entry["layer"].dump() + " than at its own layer " + (*own)["layer"].dump() + ": is it a layer off?");
    }
}

std::int64_t peak_memory_bytes() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace

Report run_check_sae(Context& context, const CheckOptions& options) {
    const mpi::Communicator& comm = context.comm;
    const bool with_model = !options.model.empty();
    const bool with_text = !options.text.empty() || !options.tokens.empty();
    if (!options.text.empty() && !options.tokens.empty()) throw UsageError("--tokens and --text are both given; give one of them");
    if (with_model != with_text) throw UsageError("--sae with --model needs --text or --tokens, and the other way round");
    if (with_model && !options.activations.empty()) throw UsageError("--activations stand in for a model's rows; give them or --model, not both");
    if (!options.dump.empty() && options.activations.empty()) throw UsageError("--sae with --dump needs --activations; sparse codes of a text are written with --codes");
    if (!options.codes.empty() && !with_model) throw UsageError("--codes needs --model and --text");
    if (!options.sites.empty() || !options.layers.empty() || options.generate > 0 || options.rates_only || options.compare_forward)
        throw UsageError("--sites, --layers, --generate, --rates-only and --compare-forward do not go with --sae");
    const std::vector<std::string> paths = mpi::agreed(comm, [&] {
        for (const std::string& out : {options.dump, options.codes}) {
            if (!out.empty() && !options.fresh && fs::exists(out)) throw UsageError(out + " exists; name another place, or say --fresh to replace it");
        }
        return find_sae_paths(options.sae);
    });
    if (!options.activations.empty() && paths.size() != 1) throw UsageError("--activations are for one SAE; --sae names " + std::to_string(paths.size()));
    std::vector<std::size_t> own;
    for (std::size_t i = static_cast<std::size_t>(comm.rank()); i < paths.size(); i += static_cast<std::size_t>(comm.size())) own.push_back(i);
    const int threads = thread_count(context, options.threads);
    const kernels::ThreadPool pool(threads);
    std::vector<std::string> own_paths;
    for (const std::size_t i : own) own_paths.push_back(paths[i]);
    const model::Placement placement = place_model(context, options.placement);
    SaeShelf shelf(own_paths, options.sae, placement);

    Report report;
    Json& summary = report.summary;
    summary["threads"] = threads;
    std::map<std::size_t, Json> results;
    std::vector<std::string> refused;

    // The model first: a text or model that cannot be used is told before the weights of many SAEs are read.
    std::optional<model::Model> model;
    model::ModelFiles files;
    Sequences sequences;
    std::map<std::size_t, model::SitePoint> places;
    if (with_model) {
        files = mpi::agreed(comm, [&] { return model::find_model_files(options.model); });
        const model::ModelConfig config = mpi::agreed(comm, [&] { return model::load_config(files); });
        sequences = mpi::agreed(comm, [&] { return read_check_sequences(options, files, config); });
        mpi::agreed(comm, [&] {
            for (const std::size_t i : own) {
                const sae::SaeInfo info = sae::read_info(sae::identify(paths[i]), load_options(options.sae));
                places[i] = place_of(info, paths[i], config);
                const auto width = static_cast<std::size_t>(model::site_width(config, places[i].site));
                sae::check_width(info, width, static_cast<std::uint32_t>(*places[i].layer));
                const bool other_name = !info.model.empty() && !files.name.empty() && plain_name(info.model) != plain_name(files.name);
                if (!other_name) continue;
                const std::string message = paths[i] + ": trained on " + info.model + ", the model here is " + files.name;
                // The name of a folder is its owner's choice; that of a repository is the model's.
                if (!files.revision.empty() && !options.sae_any) throw InputError(message + ". Take the SAEs of this model, or say --sae-any");
                context.log.warning(message);
            }
        });
        model = mpi::agreed(comm, [&] { return model::load_model(files, placement, threads); });
        summary["model"] = files.name;
        summary["dtype"] = model::dtype_name(placement.dtype);
        summary["forward"] = model::engine_name(placement.engine);
    }

    mpi::agreed(comm, [&] {
        for (std::size_t place = 0; place < own.size(); ++place) {
            const sae::Sae& sae = shelf.at(place);
            results[own[place]] = structure_json(sae, paths[own[place]], sae::source_sha256(sae::identify(paths[own[place]])));
            if (!options.activations.empty()) results[own[place]]["quality"] = check_activations(options, shelf.coder(place), pool, context);
        }
    });

    const std::string spool_folder = options.codes + ".part.d";
    CodeRows code_rows;
    if (model) {
        // All rows of a chunk of the text for all SAEs by one pass of the model; then one SAE after the other.
        std::vector<model::CaptureRequest> requests;
        double bytes_of_token = 0;
        for (const auto& [index, point] : places) {
            auto request = std::find_if(requests.begin(), requests.end(), [&](const model::CaptureRequest& r) { return r.site == point.site; });
            if (request == requests.end()) request = requests.insert(requests.end(), {point.site, {}});
            if (std::find(request->layers.begin(), request->layers.end(), *point.layer) == request->layers.end()) {
                request->layers.push_back(*point.layer);
                bytes_of_token += 4.0 * static_cast<double>(model::site_width(model->config(), point.site));
            }
        }
        std::vector<std::pair<std::size_t, std::size_t>> chunks;
        for (std::size_t begin = 0; begin < sequences.size();) {
            std::size_t end = begin;
            double bytes = 0;
            while (end < sequences.size() && (end == begin || bytes + bytes_of_token * static_cast<double>(sequences[end].size()) <= options.rows_memory_gb * 1e9)) {
                bytes += bytes_of_token * static_cast<double>(sequences[end].size());
                ++end;
            }
            chunks.emplace_back(begin, end);
            begin = end;
        }
        if (!options.codes.empty()) {
            mpi::on_first_rank(comm, [&] {
                std::error_code error;
                fs::create_directories(spool_folder, error);
                if (error) throw IoError(spool_folder + ": cannot be made (" + error.message() + "); choose another place for --codes");
                return std::string();
            });
        }
        std::map<std::size_t, ClassSums> sums;
        std::map<std::size_t, CodeSpool> spools;
        mpi::agreed(comm, [&] {
            for (std::size_t place = 0; place < own.size() && !options.codes.empty(); ++place)
                spools.emplace(own[place], CodeSpool(spool_folder, own[place], results[own[place]]["d_sae"].get<std::uint64_t>(), options.values == "bfloat16"));
        });
        std::vector<std::int64_t> items;
        for (std::size_t c = 0; c < chunks.size() && !own.empty(); ++c) items.push_back(static_cast<std::int64_t>(c));
        const std::int64_t total = comm.all_sum(static_cast<std::int64_t>(items.size()));
        const LoopOutcome outcome = process_own_items(context, "chunks of text", "", total, {}, items, [&](std::int64_t item) -> Processed {
            const auto [begin, end] = chunks[static_cast<std::size_t>(item)];
            const auto part = std::span(sequences).subspan(begin, end - begin);
            std::vector<PositionClass> classes;
            for (const auto& tokens : part) {
                for (const PositionClass where : position_classes(tokens, model->config())) classes.push_back(where);
            }
            std::map<std::pair<model::Site, int>, std::vector<float>> rows;
            capture::capture_rows(*model, part, requests, {8, false, {}}, [&](const capture::CapturedRows& captured) {
                std::vector<float>& all = rows[{captured.site, captured.layer}];
                all.insert(all.end(), captured.rows.begin(), captured.rows.end());
            });
            for (std::size_t place = 0; place < own.size(); ++place) {
                const model::SitePoint& point = places.at(own[place]);
                const auto spool = spools.find(own[place]);
                measure(shelf.coder(place), rows.at({point.site, *point.layer}), classes, pool, sums[own[place]], spool == spools.end() ? nullptr : &spool->second);
            }
            return {1, 0};
        });
        if (outcome.stopped && outcome.done_now < total) mpi::agree(comm, mpi::Failure{ExitCode::stopped, "stopped on request before the whole text was run; nothing was kept"});

        Sequences of_loss(sequences.begin(), sequences.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(sequences.size(), static_cast<std::size_t>(options.loss_records))));
        std::erase_if(of_loss, [](const auto& tokens) { return tokens.size() < 2; });
        std::int64_t predicted = 0;
        for (const auto& tokens : of_loss) predicted += static_cast<std::int64_t>(tokens.size()) - 1;
        mpi::agreed(comm, [&] {
            double clean = 0;
            for (const auto& tokens : of_loss) {
                if (!own.empty()) clean += capture::summed_loss(capture::trace_sequence(*model, tokens, {}).logits, tokens);
            }
            for (std::size_t place = 0; place < own.size(); ++place) {
                Json& json = results[own[place]];
                const model::SitePoint& point = places.at(own[place]);
                const sae::Sae& sae = shelf.at(place);
                if (sae.prepend_bos && !sequences.empty()) {
                    const bool bos = model->config().bos_token_id && sequences.front().front() == *model->config().bos_token_id;
                    if (bos != *sae.prepend_bos) json["warnings"].push_back(std::string("it was trained ") + (*sae.prepend_bos ? "with" : "without") + " BOS before each text, these sequences are " + (bos ? "with" : "without"));
                }
                const auto spool = spools.find(own[place]);
                if (spool != spools.end()) {
                    json["stored_bytes"] = spool->second.bytes();
                    spool->second.finish(json);
                }
                if (sae.transcoder) continue;
                json["quality"] = class_json(sums[own[place]]);
                if (predicted > 0 && model::site_is_residual(point.site)) {
                    json["splice"] = splice_json(*model, of_loss, clean, predicted, shelf.coder(place), point, pool);
                    judge_neighbours(json);
                }
            }
        });
        for (std::size_t s = 0; s < sequences.size(); ++s) {
            for (std::size_t t = 0; t < sequences[s].size(); ++t) {
                code_rows.sequence.push_back(static_cast<std::int32_t>(s));
                code_rows.position.push_back(static_cast<std::int32_t>(t));
                code_rows.token.push_back(sequences[s][t]);
            }
        }
    }
    model.reset();

    Json saes = gather_results(comm, results, paths.size());
    for (Json& json : saes) {
        const bool enough = json.contains("quality") && json["quality"]["rows"].get<std::uint64_t>() >= enough_rows;
        if (!judge_l0(json, enough))
            refused.push_back(json["path"].get<std::string>() + ": measured L0 " + shown(json["quality"]["l0"], 1) + ", advertised " + shown(json["advertised_l0"], 1) + " (" + json["advertised_by"].get<std::string>() + ")");
    }

    std::vector<std::string>& lines = report.lines;
    for (std::size_t i = 0; i < saes.size(); ++i) lines.push_back("SAE " + std::to_string(i) + ": " + saes[i]["path"].get<std::string>());
    add_lines(lines, structure_table(saes));
    std::vector<std::vector<std::string>> quality_table = {{"SAE", "rows", "L0", "advertised", "expl. variance", "cosine", "norm ratio", "EV at BOS", "EV first", "EV rest", "bytes a token"}};
    std::vector<std::vector<std::string>> splice_table = {{"SAE", "at layer", "L0", "expl. variance", "loss", "clean", "ablated", "recovered"}};
    for (std::size_t i = 0; i < saes.size(); ++i) {
        const Json& s = saes[i];
        if (s.contains("quality")) {
            const Json& q = s["quality"];
            const auto at = [&](const char* where) { return q.contains(where) ? shown(q[where]["explained_variance"], 4) : std::string("-"); };
            quality_table.push_back({std::to_string(i), q["rows"].dump(), shown(q["l0"], 2), shown(s["advertised_l0"], 1), shown(q["explained_variance"], 4), shown(q["cosine"], 4), shown(q["norm_ratio"], 4),
                                     at("bos"), at("first"), at("rest"),
                                     s.contains("stored_bytes") ? fixed(s["stored_bytes"].get<double>() / static_cast<double>(std::max<std::size_t>(1, code_rows.token.size())), 1) : "-"});
        }
        if (s.contains("splice")) {
            for (const Json& entry : s["splice"]["layers"]) {
                splice_table.push_back({std::to_string(i), entry["layer"].dump() + (entry["own"].get<bool>() ? " (its own)" : ""), shown(entry["l0"], 2), shown(entry["explained_variance"], 4), shown(entry["loss"], 4),
                                        shown(s["splice"]["clean_loss"], 4), shown(entry["ablated_loss"], 4), shown(entry["loss_recovered"], 4)});
            }
        }
        for (const Json& fold : s["folds"]) lines.push_back("SAE " + std::to_string(i) + ": folded: " + fold["what"].get<std::string>() + (fold["factor"] == 1.0 ? "" : ", " + shown(fold["factor"], 6)));
        for (const Json& warning : s["warnings"]) lines.push_back("warning: SAE " + std::to_string(i) + ": " + warning.get<std::string>());
    }
    if (quality_table.size() > 1) add_lines(lines, quality_table);
    if (splice_table.size() > 1) add_lines(lines, splice_table);
    summary["saes"] = saes;
    summary["peak_memory_bytes"] = peak_memory_bytes();
    lines.push_back("peak memory of rank 0: " + fixed(static_cast<double>(peak_memory_bytes()) / 1e9, 3) + " GB");
    if (!refused.empty() && !options.sae_any) {
        if (context.first_rank()) {
            for (const std::string& line : lines) context.log.info(line);
        }
        std::error_code ignored;
        if (context.first_rank() && !options.codes.empty()) fs::remove_all(spool_folder, ignored);
        throw mpi::AgreedError(ExitCode::bad_input, "L0 is off by more than a factor of 2:\n  " + join(refused, "\n  ") + "\nA wrong site, scale or threshold looks like this. Find the reason, or say --sae-any");
    }
    if (!options.codes.empty()) {
        mpi::on_first_rank(comm, [&] {
            write_code_files(spool_folder, paths.size(), options.codes, code_rows, to_json(context.provenance));
            return std::string();
        });
        report.result_path = options.codes;
    }
    if (!options.dump.empty()) report.result_path = options.dump;
    return report;
}

}  // namespace pva::phases
