// Texts to tokens, one forward pass for all layers, counts by latent.
#include "pva/phases/text_rates.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "pva/capture/capture.h"
#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/core/sha256.h"
#include "pva/io/result_file.h"
#include "pva/kernels/thread_pool.h"
#include "pva/mpi/agree.h"
#include "pva/phases/model_setup.h"
#include "pva/phases/schemas.h"
#include "pva/phases/segment_record.h"
#include "pva/phases/work.h"
#include "pva/sae/encode.h"
#include "pva/stats/bootstrap.h"
#include "pva/stats/intervals.h"

namespace pva::phases {

namespace {

constexpr std::int64_t most_groups = 128;
constexpr std::int64_t documents_per_unit = 8;
constexpr std::uint64_t word_stream = 0x776f7264;  // "word"

bool is_rates_file(const std::string& path) { return path.ends_with(".h5"); }

std::string lower(std::string text) {
    for (char& c : text) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return text;
}

bool is_punctuation(char c) { return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~'); }

/// Words between white space without ASCII punctuation around them; those that are nothing else are left out.
std::vector<std::string> plain_words(const std::string& text) {
    std::vector<std::string> words;
    const char* const blanks = " \t\r\n\v\f";
    for (std::size_t at = text.find_first_not_of(blanks); at != std::string::npos;) {
        const std::size_t end = std::min(text.find_first_of(blanks, at), text.size());
        std::size_t first = at;
        std::size_t last = end;
        while (first < last && is_punctuation(text[first])) ++first;
        while (last > first && is_punctuation(text[last - 1])) --last;
        if (last > first) words.push_back(text.substr(first, last - first));
        at = text.find_first_not_of(blanks, end);
    }
    return words;
}

/// The first token at which the text so far holds the word, case of ASCII letters aside; -1 where it was cut off.
std::int64_t position_of_word(const text::Tokenizer& tokenizer, const std::vector<std::int32_t>& tokens, const std::string& word) {
    const std::string wanted = lower(word);
    std::string text;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        const std::size_t before = text.size();
        tokenizer.append(tokens[i], text);
        for (std::size_t k = before; k < text.size(); ++k) {
            if (text[k] >= 'A' && text[k] <= 'Z') text[k] = static_cast<char>(text[k] - 'A' + 'a');
        }
        // Only what is new can complete the word.
        const std::size_t from = before >= wanted.size() ? before - wanted.size() : 0;
        if (text.find(wanted, from) != std::string::npos) return static_cast<std::int64_t>(i);
    }
    return -1;
}

struct Documents {
    std::vector<std::vector<std::int32_t>> tokens;
    std::vector<std::int64_t> position;  ///< -1: all of them
    std::int64_t texts = 0;              ///< that were looked at
};

Documents read_documents(const text::Tokenizer& tokenizer, const TextRules& rules) {
    Documents documents;
    std::vector<std::string> texts = read_texts(rules.path);
    if (rules.documents > 0 && static_cast<std::int64_t>(texts.size()) > rules.documents) texts.resize(static_cast<std::size_t>(rules.documents));
    documents.texts = static_cast<std::int64_t>(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
        std::vector<std::int32_t> tokens = tokenizer.encode(texts[i]);
        if (static_cast<std::int64_t>(tokens.size()) > rules.tokens) tokens.resize(static_cast<std::size_t>(rules.tokens));
        std::int64_t position = -1;
        if (rules.positions == TextPositions::one_word) {
            const std::vector<std::string> words = plain_words(texts[i]);
            if (words.empty()) continue;
            PhiloxStream random(rules.seed, word_stream, static_cast<std::uint32_t>(i));
            position = position_of_word(tokenizer, tokens, words[random.below(static_cast<std::uint32_t>(words.size()))]);
            if (position < 0) continue;
        } else if (tokens.empty() || (tokens.size() == 1 && tokens.front() == tokenizer.bos_id())) {
            continue;
        }
        documents.tokens.push_back(std::move(tokens));
        documents.position.push_back(position);
    }
    if (documents.tokens.empty()) throw InputError(rules.path + ": no text has a position to look at besides BOS; give longer texts");
    return documents;
}

/// A unit: positions, and of each layer the latents that fired with their numbers of positions.
struct UnitCounts {
    std::uint64_t tokens = 0;
    std::vector<std::vector<std::uint32_t>> latents;
    std::vector<std::vector<std::uint32_t>> counts;
};

std::vector<std::byte> record_of(const UnitCounts& unit) {
    RecordWriter record;
    record.add(unit.tokens);
    for (std::size_t layer = 0; layer < unit.latents.size(); ++layer) {
        record.add(std::uint64_t{unit.latents[layer].size()});
        record.add(unit.latents[layer]);
        record.add(unit.counts[layer]);
    }
    return std::move(record.bytes);
}

UnitCounts unit_of(std::span<const std::byte> bytes, std::size_t n_layers) {
    RecordReader record{bytes};
    UnitCounts unit;
    unit.tokens = record.number();
    for (std::size_t layer = 0; layer < n_layers; ++layer) {
        const std::uint64_t count = record.number();
        unit.latents.push_back(record.take<std::uint32_t>(count));
        unit.counts.push_back(record.take<std::uint32_t>(count));
    }
    return unit;
}

TextRates rates_of(const io::ResultReader& file, const std::vector<std::int32_t>& layers) {
    TextRates rates;
    rates.path = file.path();
    rates.sha256 = file.content_sha256();
    rates.tokens = file.read<std::uint64_t>("tokens").front();
    rates.documents = file.read<std::uint64_t>("documents").front();
    for (const std::int64_t layer : rate_layers(file, layers)) {
        rates.fired.push_back(file.read_rows<std::uint64_t>("fired", layer, 1));
        rates.rate.push_back(file.read_rows<double>("rate", layer, 1));
        rates.low.push_back(file.read_rows<double>("rate_low", layer, 1));
        rates.high.push_back(file.read_rows<double>("rate_high", layer, 1));
    }
    return rates;
}

/// Refuses a finished file that was made for something else.
void require_same(const io::ResultReader& file, const ModelInput& model, const SaeSet& saes, const std::string& site, const TextRules& rules) {
    const auto refuse = [&](const std::string& what, const std::string& there, const std::string& here) {
        throw InputError(file.path() + ": its " + what + " is " + there + ", but this run has " + here + "; give the text itself to --general-text and the rates are computed for this run");
    };
    const nlohmann::ordered_json& identity = file.identity();
    if (identity.value("model_weights", std::string()) != model.hashes.weights) refuse("model", identity.value("model", std::string("another one")), model.files.name);
    if (identity.value("site", std::string()) != site) refuse("site", identity.value("site", std::string()), site);
    const double threshold = identity.value("activation-threshold", 0.0);
    if (threshold != rules.activation_threshold) refuse("activation threshold", std::to_string(threshold), std::to_string(rules.activation_threshold));
    for (std::size_t i = 0; i < saes.layers.size(); ++i) {
        const std::string layer = std::to_string(saes.layers[i]);
        const std::string there = identity.contains("saes") ? identity.at("saes").value(layer, std::string("none")) : std::string("none");
        if (there != saes.sha256[i]) refuse("SAE of layer " + layer, there, saes.sha256[i]);
    }
}

}  // namespace

RateInterval clustered_rate(const std::vector<std::uint64_t>& fired, const std::vector<std::uint64_t>& tokens) {
    double f = 0;
    double t = 0;
    for (std::size_t g = 0; g < fired.size(); ++g) {
        f += static_cast<double>(fired[g]);
        t += static_cast<double>(tokens[g]);
    }
    RateInterval result;
    if (t == 0) return result;
    result.rate = f / t;
    if (fired.size() < 2) return result;
    double squares = 0;
    for (std::size_t g = 0; g < fired.size(); ++g) {
        const double deviation = static_cast<double>(fired[g]) - result.rate * static_cast<double>(tokens[g]);
        squares += deviation * deviation;
    }
    const double groups = static_cast<double>(fired.size());
    const double variance = squares * groups / (groups - 1) / (t * t);
    // Tokens that, if they were independent, would give this variance; never more than there are.
    const double n = variance > 0 ? std::min(t, result.rate * (1 - result.rate) / variance) : t;
    const double z = stats::two_sided_normal_quantile(0.95);
    const double centre = result.rate + z * z / (2 * n);
    const double half = z * std::sqrt(result.rate * (1 - result.rate) / n + z * z / (4 * n * n));
    const double scale = 1 + z * z / n;
    result.low = f == 0 ? 0.0 : std::max(0.0, (centre - half) / scale);
    result.high = f == t ? 1.0 : std::min(1.0, (centre + half) / scale);
    return result;
}

nlohmann::ordered_json text_identity(Context& context, const TextRules& rules) {
    const std::string sha256 = mpi::on_first_rank(context.comm, [&] { return is_rates_file(rules.path) ? io::ResultReader::open(rules.path, rates_schema()).content_sha256() : sha256_file_hex(rules.path); });
    nlohmann::ordered_json identity = {{"general_text", sha256}, {"activation-threshold", rules.activation_threshold}};
    if (is_rates_file(rules.path)) return identity;
    identity["general-positions"] = rules.positions == TextPositions::all ? "all" : "one-word";
    identity["general-tokens"] = rules.tokens;
    identity["general-documents"] = rules.documents;
    if (rules.positions == TextPositions::one_word) identity["seed"] = rules.seed;
    return identity;
}

void require_usable_text(Context& context, const ModelInput& model, const SaeSet& saes, const std::string& site, const TextRules& rules) {
    mpi::agreed(context.comm, [&] {
        if (is_rates_file(rules.path)) {
            const io::ResultReader file = io::ResultReader::open(rules.path, rates_schema());
            require_same(file, model, saes, site, rules);
        } else if (context.first_rank()) {
            read_texts(rules.path);
        }
    });
}

std::vector<std::int64_t> rate_layers(const io::ResultReader& file, const std::vector<std::int32_t>& layers) {
    const auto there = file.read<std::int32_t>("layer");
    std::vector<std::int64_t> places;
    for (const std::int32_t layer : layers) {
        const auto found = std::find(there.begin(), there.end(), layer);
        if (found == there.end()) throw InputError(file.path() + ": has no rates of layer " + std::to_string(layer) + "; give the text itself to --general-text");
        places.push_back(found - there.begin());
    }
    return places;
}

std::vector<RateInterval> bootstrapped_rates(const io::ResultReader& file, const std::vector<RateOf>& latents, std::uint32_t draws, std::uint64_t seed) {
    const auto tokens = file.read<std::uint64_t>("group_tokens");
    const auto n_latents = static_cast<std::size_t>(file.shape("group_fired").at(2));
    std::vector<std::vector<std::uint64_t>> fired(latents.size());
    for (std::size_t g = 0; g < tokens.size(); ++g) {
        const auto of_group = file.read_rows<std::uint32_t>("group_fired", static_cast<std::int64_t>(g), 1);
        for (std::size_t i = 0; i < latents.size(); ++i) fired[i].push_back(of_group.at(static_cast<std::size_t>(latents[i].file_layer) * n_latents + latents[i].latent));
    }
    std::vector<RateInterval> results;
    for (const std::vector<std::uint64_t>& counts : fired) {
        RateInterval result = clustered_rate(counts, tokens);
        if (tokens.size() > 1) {
            // The same draws for every latent.
            const auto drawn = stats::bootstrap(static_cast<std::uint32_t>(tokens.size()), {}, {draws, seed, 0x72617465}, [&](std::span<const std::uint32_t> groups) {
                std::uint64_t f = 0;
                std::uint64_t t = 0;
                for (const std::uint32_t g : groups) {
                    f += counts[g];
                    t += tokens[g];
                }
                return t == 0 ? 0.0 : static_cast<double>(f) / static_cast<double>(t);
            });
            const stats::Interval interval = stats::percentile_interval(drawn);
            result.low = interval.lower;
            result.high = interval.upper;
        }
        results.push_back(result);
    }
    return results;
}

TextRates text_rates(Context& context, const ModelInput& model_input, const SaeSet& saes, const SaeOptions& sae_options, const std::string& site, const TextRules& rules,
                     PlacementOptions placement_options, const std::string& dtype, int threads, bool fresh) {
    const mpi::Communicator& comm = context.comm;
    if (is_rates_file(rules.path)) {
        return mpi::agreed(comm, [&] {
            const io::ResultReader file = io::ResultReader::open(rules.path, rates_schema());
            return rates_of(file, saes.layers);
        });
    }
    placement_options.dtype = dtype;
    const model::Placement placement = place_model(context, placement_options);
    const text::Tokenizer tokenizer = load_tokenizer(context, model_input);
    const Documents documents = mpi::agreed(comm, [&] { return read_documents(tokenizer, rules); });
    const auto n = static_cast<std::int64_t>(documents.tokens.size());
    const auto n_layers = static_cast<std::int64_t>(saes.layers.size());
    // Groups of equal numbers of neighbouring texts; units do not cross them.
    const std::int64_t group_size = (n + most_groups - 1) / most_groups;
    const std::int64_t n_groups = (n + group_size - 1) / group_size;
    struct Unit {
        std::int64_t first = 0;
        std::int64_t last = 0;
        std::int64_t group = 0;
    };
    std::vector<Unit> units;
    for (std::int64_t group = 0; group < n_groups; ++group) {
        const std::int64_t end = std::min(n, (group + 1) * group_size);
        for (std::int64_t at = group * group_size; at < end; at += documents_per_unit) units.push_back({at, std::min(end, at + documents_per_unit), group});
    }

    io::RunPlan plan;
    plan.schema = &rates_schema();
    plan.folder = context.folder("phase2");
    plan.prefix = "rates";
    plan.model = model_input.files.name;
    plan.range = "0-" + std::to_string(documents.texts - 1);
    plan.n_units = static_cast<std::int64_t>(units.size());
    plan.segmented = true;
    plan.fresh = fresh;
    plan.provenance = context.provenance;
    plan.identity = {{"phase", "2 rates"},
                     {"format_version", plan.schema->version},
                     {"pva_version", context.provenance.build.version},
                     {"model", model_input.files.name},
                     {"model_config", model_input.hashes.config},
                     {"model_weights", model_input.hashes.weights},
                     {"site", site},
                     {"saes", saes.hashes()},
                     {"sae-scale", sae_options.scale},
                     {"dtype", model::dtype_name(placement.dtype)}};
    const nlohmann::ordered_json of_text = text_identity(context, rules);
    plan.identity.update(of_text);
    add_placement(plan.identity, placement, threads);
    plan.provenance.inputs = {{"general text", rules.path, of_text.at("general_text").get<std::string>()}, {"model weights", model_input.files.weights, model_input.hashes.weights}};
    for (const InputFile& input : saes.inputs()) plan.provenance.inputs.push_back(input);

    io::OpenedResult opened = io::open_result_file(comm, context.log, plan, {});
    if (!opened.file) return mpi::agreed(comm, [&] { return rates_of(io::ResultReader::open(opened.complete_path, rates_schema()), saes.layers); });

    std::vector<WorkBlock> blocks = cut_into_blocks(0, plan.n_units, 1);
    std::int64_t most_tokens = 1;
    bool all_done = true;
    for (std::size_t u = 0; u < units.size(); ++u) {
        std::int64_t tokens = 0;
        for (std::int64_t i = units[u].first; i < units[u].last; ++i) tokens += static_cast<std::int64_t>(documents.tokens[static_cast<std::size_t>(i)].size());
        blocks[u].cost = static_cast<double>(tokens);
        most_tokens = std::max(most_tokens, tokens);
        all_done = all_done && opened.file->is_done(static_cast<std::int64_t>(u));
    }
    if (!all_done) {
        const model::Model model = load_model(context, model_input.files, placement, placement_options, {documents_per_unit, most_tokens, 0}, threads);
        const kernels::ThreadPool pool(threads);
        SaeShelf shelf(saes.paths, sae_options, placement);
        const std::vector<model::CaptureRequest> requests = mpi::agreed(comm, [&] { return model::parse_sites(site, std::vector<int>(saes.layers.begin(), saes.layers.end()), model.config()); });
        auto at_once = static_cast<int>(documents_per_unit);
        work_through(context, *opened.file, "blocks of texts", "", blocks, [&](const WorkBlock& block) -> std::int64_t {
            const Unit& unit = units[static_cast<std::size_t>(block.units.front())];
            const auto first = static_cast<std::size_t>(unit.first);
            capture::CaptureSettings settings{at_once, true, {}, smaller_batches(context, at_once)};
            if (rules.positions == TextPositions::one_word) {
                settings.skip_bos = false;
                settings.positions = [&](std::size_t sequence, std::size_t) { return std::vector<std::int64_t>{documents.position[first + sequence]}; };
            }
            // All layers' rows first, then one SAE after the other, so that only one has to be in memory.
            std::vector<std::vector<float>> rows(saes.layers.size());
            capture::capture_rows(model, std::span(documents.tokens).subspan(first, static_cast<std::size_t>(unit.last - unit.first)), requests, settings,
                                  [&](const capture::CapturedRows& captured) {
                                      const auto layer = static_cast<std::size_t>(std::find(saes.layers.begin(), saes.layers.end(), captured.layer) - saes.layers.begin());
                                      rows[layer].insert(rows[layer].end(), captured.rows.begin(), captured.rows.end());
                                  });
            UnitCounts counts;
            for (std::size_t layer = 0; layer < rows.size(); ++layer) {
                const sae_aten::Coder& coder = shelf.coder(layer);
                counts.tokens = rows[layer].size() / coder.sae().d_in;
                const sae::CsrRows codes = coder.encode(rows[layer], counts.tokens, pool);
                std::map<std::uint32_t, std::uint32_t> fired;
                for (std::size_t e = 0; e < codes.latents.size(); ++e) fired[codes.latents[e]] += static_cast<double>(codes.values[e]) > rules.activation_threshold;
                std::erase_if(fired, [](const auto& entry) { return entry.second == 0; });
                counts.latents.emplace_back();
                counts.counts.emplace_back();
                for (const auto& [latent, count] : fired) {
                    counts.latents.back().push_back(latent);
                    counts.counts.back().push_back(count);
                }
            }
            opened.file->write_segment(block.units.front(), record_of(counts));
            return 0;
        });
    }
    opened.file->refresh_segments();

    const io::Sizes sizes = {{"layer", n_layers}, {"latent", saes.d_sae}, {"group", n_groups}, {"document", n}, {"one", 1}};
    const auto layout = opened.file->lay_out(sizes, {{"layer", io::to_bytes(saes.layers)}, {"position", io::to_bytes(documents.position)}});
    // Groups are dealt to ranks; a group's counts are whole numbers, added in no order that matters.
    std::vector<std::uint64_t> group_tokens(static_cast<std::size_t>(n_groups), 0);
    mpi::agreed(comm, [&] {
        std::size_t u = 0;
        for (std::int64_t group = 0; group < n_groups; ++group) {
            const bool own = group % comm.size() == comm.rank();
            std::vector<std::uint32_t> counts(own ? static_cast<std::size_t>(n_layers) * saes.d_sae : 0, 0);
            for (; u < units.size() && units[u].group == group; ++u) {
                if (!own && !context.first_rank()) continue;
                const UnitCounts unit = unit_of(opened.file->read_segment_of(static_cast<std::int64_t>(u)), saes.layers.size());
                group_tokens[static_cast<std::size_t>(group)] += unit.tokens;
                for (std::size_t layer = 0; own && layer < unit.latents.size(); ++layer) {
                    for (std::size_t i = 0; i < unit.latents[layer].size(); ++i) counts[layer * saes.d_sae + unit.latents[layer][i]] += unit.counts[layer][i];
                }
            }
            if (own) layout->write_rows("group_fired", group, 1, std::as_bytes(std::span(counts)));
        }
    });
    layout->flush();
    io::Columns at_end;
    nlohmann::ordered_json summary;
    mpi::on_first_rank(comm, [&] {
        std::uint64_t tokens = 0;
        for (const std::uint64_t count : group_tokens) tokens += count;
        const std::size_t cells = saes.layers.size() * saes.d_sae;
        std::vector<std::vector<std::uint32_t>> groups(static_cast<std::size_t>(n_groups), std::vector<std::uint32_t>(cells));
        for (std::size_t g = 0; g < groups.size(); ++g) layout->read_rows("group_fired", static_cast<std::int64_t>(g), 1, std::as_writable_bytes(std::span(groups[g])));
        std::vector<std::uint64_t> fired(cells, 0);
        std::vector<double> rate(cells), low(cells), high(cells);
        std::vector<std::uint64_t> of_latent(groups.size());
        for (std::size_t cell = 0; cell < cells; ++cell) {
            for (std::size_t g = 0; g < groups.size(); ++g) {
                of_latent[g] = groups[g][cell];
                fired[cell] += of_latent[g];
            }
            const RateInterval interval = clustered_rate(of_latent, group_tokens);
            rate[cell] = interval.rate;
            low[cell] = interval.low;
            high[cell] = interval.high;
        }
        at_end = {{"tokens", io::to_bytes(std::vector<std::uint64_t>{tokens})},
                  {"documents", io::to_bytes(std::vector<std::uint64_t>{static_cast<std::uint64_t>(n)})},
                  {"group_tokens", io::to_bytes(group_tokens)},
                  {"fired", io::to_bytes(fired)},
                  {"rate", io::to_bytes(rate)},
                  {"rate_low", io::to_bytes(low)},
                  {"rate_high", io::to_bytes(high)}};
        summary = {{"texts", documents.texts}, {"texts_with_a_position", n}, {"positions", tokens}, {"groups", n_groups}};
        return std::string();
    });
    const std::string path = layout->publish(at_end, summary, measured_run(context));
    return mpi::agreed(comm, [&] { return rates_of(io::ResultReader::open(path, rates_schema()), saes.layers); });
}

}  // namespace pva::phases
