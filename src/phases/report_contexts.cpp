// Strongest contexts of latents.
#include "pva/phases/report_contexts.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "pva/core/comma_list.h"
#include "pva/core/error.h"
#include "pva/io/float_values.h"
#include "pva/io/h5.h"
#include "pva/kernels/thread_pool.h"
#include "pva/phases/activations.h"
#include "pva/phases/report_page.h"
#include "pva/sae/encode.h"
#include "pva/sae/load.h"
#include "pva/text/utf8.h"

namespace fs = std::filesystem;

namespace pva::phases {

namespace {

constexpr std::size_t most_programs = 100;
constexpr std::size_t tokens_before = 24;
constexpr std::size_t tokens_behind = 10;

template <class T>
std::vector<T> read_all(const io::h5::File& file, const std::string& name, io::h5::Element element) {
    const io::h5::Dataset dataset = io::h5::open_dataset(file, name);
    if (dataset.element != element || dataset.shape.size() != 1) throw InputError(file.path + " dataset " + name + ": not as docs/formats/codes.md says");
    std::vector<T> values(static_cast<std::size_t>(dataset.rows()));
    io::h5::read_rows(dataset, 0, dataset.rows(), std::as_writable_bytes(std::span(values)));
    return values;
}

/// SHA-256 of the SAE of a layer, as phase 2 recorded it.
std::string recorded_sae(const io::ResultReader& latents, std::int32_t layer) {
    const auto& identity = latents.identity();
    const std::string key = std::to_string(layer);
    if (!identity.contains("saes") || !identity.at("saes").is_object() || !identity.at("saes").contains(key) || !identity.at("saes").at(key).is_string()) return {};
    return identity.at("saes").at(key).get<std::string>();
}

int usable_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    return ::sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

}  // namespace

ContextFinder::ContextFinder(const ReportStudy& study, const ReportOptions& options) : study_(study), most_(static_cast<std::size_t>(std::max<std::int64_t>(0, options.contexts))) {
    if (!study.latents || !study.dataset || most_ == 0) return;
    const std::string path = options.tokenizer.empty() ? input_path(*study.dataset, "tokenizer") : options.tokenizer;
    try {
        if (path.empty()) throw InputError("the dataset does not say where its tokenizer was");
        text::Tokenizer tokenizer = text::Tokenizer::load(path);
        const auto& identity = study.dataset->identity();
        if (identity.contains("tokenizer") && identity.at("tokenizer") != tokenizer.sha256()) throw InputError(fs::path(path).filename().string() + " is not the tokenizer that phase 1 used (another SHA-256)");
        tokenizer_.emplace(std::move(tokenizer));
    } catch (const Error&) {
        notes_.push_back("Contexts need the tokenizer that phase 1 used, and it is not where it was: name it by pva_report --tokenizer FILE.");
        return;
    }

    const std::string site = study.latents->identity().value("site", std::string("resid_post"));
    if (study.activations && site == "resid_post") {
        const auto kind = study.activations->read<std::uint8_t>("row/kind");
        const auto program = study.activations->read<std::int64_t>("row/program");
        const auto position = study.activations->read<std::int32_t>("row/position");
        const auto token = study.activations->read<std::int32_t>("row/token_id");
        task_ids_ = study.activations->read<std::int64_t>("task_id");
        passed_ = study.activations->read<std::uint8_t>("passed");
        if (program.size() != kind.size() || position.size() != kind.size() || token.size() != kind.size() || passed_.size() != task_ids_.size()) {
            throw InputError(study.activations->path() + ": its datasets have different sizes; the file is damaged");
        }
        const std::size_t step = std::max<std::size_t>(1, (task_ids_.size() + most_programs - 1) / most_programs);
        for (std::size_t row = 0; row < kind.size(); ++row) {
            if (kind[row] != static_cast<std::uint8_t>(PositionKind::all) || program[row] < 0 || static_cast<std::size_t>(program[row]) >= task_ids_.size()) continue;
            if (static_cast<std::size_t>(program[row]) % step != 0) continue;
            program_rows_.push_back({program[row], position[row], token[row]});
            stored_rows_.push_back(static_cast<std::int64_t>(row));
        }
        if (step > 1) notes_.push_back("Contexts in programs come from every " + std::to_string(step) + "th program of the dataset.");
    }
    if (program_rows_.empty()) {
        notes_.push_back("Tokens of programs are not shaded: there are no rows at all their positions. The command of phase 1 with --positions all added makes them without generating anything again.");
    }

    std::vector<std::string> files = names_at_commas(options.codes);
    if (options.codes.empty()) {
        std::error_code error;
        for (const auto& entry : fs::directory_iterator(options.folder + "/codes", error)) {
            if (entry.path().extension() == ".h5") files.push_back(entry.path().string());
        }
        std::sort(files.begin(), files.end());
    }
    for (const std::string& name : files) {
        try {
            const io::h5::File file = io::h5::open_readonly(name);
            if (io::h5::read_text_attribute(file, "/", "filetype") != "codes") throw InputError(name + ": holds no codes of pva_check --codes");
            code_files_.push_back(name);
        } catch (const InputError&) {
            if (!options.codes.empty()) throw;
            notes_.push_back(fs::path(name).filename().string() + " in the folder codes holds no codes of pva_check --codes.");
        }
    }
    if (code_files_.empty()) {
        notes_.push_back("There are no contexts in general text. They need codes at all of its positions: pva_check --model MODEL --sae SAES --text general_text.jsonl --loss-records 0 --codes DIR/codes/general_text.h5, "
                         "where DIR is this folder of results.");
    }
}

void ContextFinder::prepare(const std::vector<ChosenLatent>& latents) {
    if (program_rows_.empty()) return;
    const kernels::ThreadPool pool(usable_cpus());
    std::vector<std::int32_t> layers;
    for (const ChosenLatent& latent : latents) {
        if (std::find(layers.begin(), layers.end(), latent.layer) == layers.end()) layers.push_back(latent.layer);
    }
    for (const std::int32_t layer : layers) {
        const std::string where = "The SAE of layer " + std::to_string(layer);
        try {
            const std::string path = input_path(*study_.latents, "sae of layer " + std::to_string(layer));
            const sae::SaeSource source = sae::identify(path);
            if (sae::source_sha256(source) != recorded_sae(*study_.latents, layer)) throw InputError("another SHA-256");
            sae::LoadOptions how;
            const double scale = study_.latents->identity().value("sae-scale", 0.0);
            if (scale > 0) how.input_scale = scale;
            const sae::Sae sae = sae::load(source, how);
            const auto stored = stored_layers(*study_.activations, "resid_post");
            if (std::find(stored.begin(), stored.end(), layer) == stored.end()) {
                notes_.push_back("Layer " + std::to_string(layer) + " is not among the layers that were stored at all positions, so its latents have no contexts in programs.");
                continue;
            }
            for (const ChosenLatent& latent : latents) {
                if (latent.layer == layer) values_[{layer, latent.latent}].assign(program_rows_.size(), 0.0);
            }
            constexpr std::size_t block = 4096;
            for (std::size_t first = 0; first < program_rows_.size(); first += block) {
                const std::size_t n = std::min(block, program_rows_.size() - first);
                const auto rows = read_activations(*study_.activations, "resid_post", layer, std::span(stored_rows_).subspan(first, n));
                const sae::CsrRows codes = sae::encode(sae, rows, n, pool);
                for (std::size_t i = 0; i < n; ++i) {
                    const auto active = codes.latents_of(i);
                    for (const ChosenLatent& latent : latents) {
                        if (latent.layer != layer) continue;
                        const auto found = std::lower_bound(active.begin(), active.end(), static_cast<std::uint32_t>(latent.latent));
                        if (found == active.end() || *found != static_cast<std::uint32_t>(latent.latent)) continue;
                        values_[{layer, latent.latent}][first + i] = static_cast<double>(codes.values_of(i)[static_cast<std::size_t>(found - active.begin())]);
                    }
                }
            }
        } catch (const InputError&) {
            notes_.push_back(where + " is not where phase 2 read it, or has changed, so its latents have no contexts in programs.");
        }
    }
}

std::vector<ShownContext> ContextFinder::strongest(const std::vector<Row>& rows, const std::vector<double>& values, bool programs) const {
    // The strongest token of each sequence, its first one (BOS, an attention sink) left out.
    std::vector<std::size_t> peaks;
    for (std::size_t i = 0; i < rows.size();) {
        std::size_t end = i;
        std::size_t best = rows.size();
        for (; end < rows.size() && rows[end].sequence == rows[i].sequence; ++end) {
            if (rows[end].position > 0 && values[end] > 0 && (best == rows.size() || values[end] > values[best])) best = end;
        }
        if (best < rows.size()) peaks.push_back(best);
        i = end;
    }
    std::stable_sort(peaks.begin(), peaks.end(), [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
    if (peaks.size() > most_) peaks.resize(most_);
    std::vector<ShownContext> contexts;
    for (const std::size_t peak : peaks) {
        ShownContext context;
        context.strongest = values[peaks.front()];
        const std::int64_t sequence = rows[peak].sequence;
        std::size_t first = peak;
        while (first > 0 && peak - first < tokens_before && rows[first - 1].sequence == sequence) --first;
        std::size_t last = peak + 1;
        while (last < rows.size() && last - peak <= tokens_behind && rows[last].sequence == sequence) ++last;
        std::string bytes;
        double value = 0;
        const std::string ellipsis = "\xE2\x80\xA6";
        if (first > 0 && rows[first - 1].sequence == sequence) context.tokens.emplace_back(ellipsis, 0.0);
        for (std::size_t i = first; i < last; ++i) {
            tokenizer_->append(rows[i].token, bytes);
            value = std::max(value, rows[i].position > 0 ? values[i] : 0.0);
            if (i == peak) context.peak = context.tokens.size();
            const bool torn = text::valid_utf8_prefix(bytes) < bytes.size() && bytes.size() < 4;
            if (torn && i + 1 < last) continue;
            context.tokens.emplace_back(std::exchange(bytes, ""), std::exchange(value, 0.0));
        }
        if (last < rows.size() && rows[last].sequence == sequence) context.tokens.emplace_back(ellipsis, 0.0);
        const std::string strength = ", activation " + figure(values[peak], 3);
        if (programs) {
            const auto program = static_cast<std::size_t>(sequence);
            context.title = "problem " + std::to_string(task_ids_[program]) + ", " + (passed_[program] ? "right" : "wrong") + strength;
        } else {
            context.title = "text " + std::to_string(sequence + 1) + strength;
        }
        contexts.push_back(std::move(context));
    }
    return contexts;
}

std::vector<ShownContext> ContextFinder::in_programs(const ChosenLatent& latent) const {
    const auto found = values_.find({latent.layer, latent.latent});
    return found == values_.end() ? std::vector<ShownContext>() : strongest(program_rows_, found->second, true);
}

std::vector<std::pair<std::string, std::vector<ShownContext>>> ContextFinder::in_texts(const ChosenLatent& latent) const {
    std::vector<std::pair<std::string, std::vector<ShownContext>>> result;
    const std::string wanted = recorded_sae(*study_.latents, latent.layer);
    for (const std::string& name : code_files_) {
        const io::h5::File file = io::h5::open_readonly(name);
        const std::int64_t groups = io::h5::read_integer_attribute(file, "/", "saes").value_or(0);
        for (std::int64_t group = 0; group < groups; ++group) {
            const std::string prefix = "sae/" + std::to_string(group) + "/";
            const auto about = nlohmann::json::parse(io::h5::read_text_attribute(file, prefix + "row_offset", "about").value_or(""), nullptr, false);
            if (!about.is_object() || wanted.empty() || about.value("sha256", std::string()) != wanted) continue;
            const auto sequence = read_all<std::int32_t>(file, "row/sequence", io::h5::Element::i32);
            const auto position = read_all<std::int32_t>(file, "row/position", io::h5::Element::i32);
            const auto token = read_all<std::int32_t>(file, "row/token", io::h5::Element::i32);
            const auto offset = read_all<std::uint64_t>(file, prefix + "row_offset", io::h5::Element::u64);
            const io::h5::Dataset latents = io::h5::open_dataset(file, prefix + "latent");
            const io::h5::Dataset stored = io::h5::open_dataset(file, prefix + "value");
            const bool bits = stored.element == io::h5::Element::u16;
            const bool narrow = latents.element == io::h5::Element::u16;
            const bool fits = position.size() == sequence.size() && token.size() == sequence.size() && offset.size() == sequence.size() + 1 && latents.shape.size() == 1 && stored.shape == latents.shape &&
                              (bits || stored.element == io::h5::Element::f32) && (narrow || latents.element == io::h5::Element::u32) && offset.back() == static_cast<std::uint64_t>(latents.rows());
            if (!fits) throw InputError(name + ": not as docs/formats/codes.md says; it is damaged");
            std::vector<std::byte> numbers(static_cast<std::size_t>(latents.rows()) * latents.row_bytes());
            std::vector<std::byte> bytes(static_cast<std::size_t>(stored.rows()) * stored.row_bytes());
            io::h5::read_rows(latents, 0, latents.rows(), numbers);
            io::h5::read_rows(stored, 0, stored.rows(), bytes);
            std::vector<float> values(static_cast<std::size_t>(stored.rows()));
            io::to_floats(bits ? "BF16" : "F32", bytes.data(), values);
            std::vector<Row> rows;
            std::vector<double> of_latent(sequence.size(), 0.0);
            for (std::size_t row = 0; row < sequence.size(); ++row) {
                rows.push_back({sequence[row], position[row], token[row]});
                if (offset[row] > offset[row + 1] || offset[row + 1] > values.size()) throw InputError(name + " dataset " + prefix + "row_offset: does not ascend; the file is damaged");
                for (std::uint64_t e = offset[row]; e < offset[row + 1]; ++e) {
                    std::uint32_t number = 0;
                    if (narrow) number = reinterpret_cast<const std::uint16_t*>(numbers.data())[e];
                    else number = reinterpret_cast<const std::uint32_t*>(numbers.data())[e];
                    if (number == static_cast<std::uint32_t>(latent.latent)) of_latent[row] = static_cast<double>(values[e]);
                }
            }
            result.emplace_back(fs::path(name).stem().string(), strongest(rows, of_latent, false));
            break;
        }
    }
    return result;
}

std::string contexts_html(const std::vector<ShownContext>& contexts) {
    std::string html;
    for (const ShownContext& context : contexts) {
        html += "<p class=\"lead\">" + html_escape(context.title) + "</p><div class=\"tokens\">";
        for (std::size_t i = 0; i < context.tokens.size(); ++i) {
            const auto& [bytes, value] = context.tokens[i];
            const int shade = value > 0 ? std::clamp(static_cast<int>(std::ceil(5 * value / context.strongest)), 1, 5) : 0;
            const std::string text = bytes.empty() ? "\xE2\x90\xA3" : html_escape(bytes);  // a control token has no bytes
            if (shade == 0) html += text;
            else html += "<i class=\"t" + std::to_string(shade) + (i == context.peak ? " tm" : "") + "\" title=\"" + figure(value, 3) + "\">" + text + "</i>";
        }
        html += "</div>\n";
    }
    return html;
}

}  // namespace pva::phases
