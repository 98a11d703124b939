// A checkpoint is a safetensors file: parameters, moments and counters of every SAE, whole, whatever rank held them.
#include "pva/phases/training_checkpoint.h"

#include <bit>
#include <cstring>

#include "pva/core/error.h"
#include "pva/io/array_files.h"
#include "pva/io/safetensors.h"
#include "pva/mpi/agree.h"

namespace pva::phases {

namespace {

/// On rank 0 the blocks of all ranks one after another.
template <class T>
std::vector<T> gathered(const mpi::Communicator& comm, const std::vector<T>& own) {
    std::vector<T> all;
    for (const std::vector<std::byte>& bytes : comm.gather(std::as_bytes(std::span(own)))) {
        const std::size_t at = all.size();
        all.resize(at + bytes.size() / sizeof(T));
        std::memcpy(all.data() + at, bytes.data(), bytes.size());
    }
    return all;
}

template <class T>
std::vector<T> read(const io::SafetensorsFile& file, const std::string& name, std::size_t first, std::size_t n) {
    const io::TensorEntry& entry = file.entry(name);
    const bool type_fits = entry.dtype == (sizeof(T) == 4 ? "F32" : "I64");
    if (!type_fits || (first + n) * sizeof(T) > entry.bytes) throw InputError(file.path() + ": tensor " + name + " is not what a checkpoint of this training has; say --fresh to start over");
    std::vector<T> values(n);
    std::memcpy(values.data(), file.bytes(name).data() + first * sizeof(T), n * sizeof(T));
    return values;
}

std::string exact(double value) { return std::to_string(std::bit_cast<std::uint64_t>(value)); }
double exact(const std::string& text) { return std::bit_cast<double>(static_cast<std::uint64_t>(std::stoull(text))); }

std::string metadata(const io::SafetensorsFile& file, const std::string& key) {
    const auto found = file.metadata().find(key);
    if (found == file.metadata().end()) throw InputError(file.path() + ": no checkpoint of pva_train_sae (no " + key + "); say --fresh to start over");
    return found->second;
}

struct MomentsOfAll {
    std::string name;
    const train::Moments* moments;
    std::int64_t width;
};

}  // namespace

void save_checkpoint(const mpi::Communicator& comm, const std::string& path, const TrainingProgress& progress, std::span<const train::SaeState> states) {
    std::vector<std::vector<float>> kept;
    std::vector<std::vector<std::int64_t>> counters;
    kept.reserve(states.size() * 8);
    counters.reserve(states.size());
    std::vector<io::NamedArray> arrays;
    std::map<std::string, std::string> about = {{"identity", progress.identity}, {"table", progress.table}, {"seconds", exact(progress.seconds)}, {"step", std::to_string(states[0].step)}};
    for (std::size_t p = 0; p < progress.scales.size(); ++p) about["scale_" + std::to_string(p)] = exact(progress.scales[p]);
    for (std::size_t s = 0; s < states.size(); ++s) {
        const train::SaeState& state = states[s];
        const std::string prefix = "sae_" + std::to_string(s) + ".";
        const auto m = static_cast<std::int64_t>(state.settings.latents);
        const auto d = static_cast<std::int64_t>(state.settings.d);
        arrays.push_back({prefix + "encoder", {m, d}, std::span(state.parameters.encoder)});
        arrays.push_back({prefix + "decoder", {m, d}, std::span(state.parameters.decoder)});
        arrays.push_back({prefix + "b_enc", {m}, std::span(state.parameters.b_enc)});
        arrays.push_back({prefix + "threshold", {m}, std::span(state.parameters.threshold)});
        arrays.push_back({prefix + "b_dec", {d}, std::span(state.parameters.b_dec)});
        arrays.push_back({prefix + "b_dec.first", {d}, std::span(state.b_dec.first)});
        arrays.push_back({prefix + "b_dec.second", {d}, std::span(state.b_dec.second)});
        for (const auto& [name, moments, width] : {MomentsOfAll{"encoder", &state.encoder, d}, MomentsOfAll{"decoder", &state.decoder, d}, MomentsOfAll{"small", &state.small, 2}}) {
            kept.push_back(gathered(comm, moments->first));
            arrays.push_back({prefix + name + ".first", {m, width}, std::span<const float>(kept.back())});
            kept.push_back(gathered(comm, moments->second));
            arrays.push_back({prefix + name + ".second", {m, width}, std::span<const float>(kept.back())});
        }
        counters.push_back(gathered(comm, state.since_fired));
        arrays.push_back({prefix + "since_fired", {m}, std::span<const std::int64_t>(counters.back())});
        about[prefix + "batch_threshold"] = exact(state.batch_threshold);
    }
    mpi::on_first_rank(comm, [&] {
        io::write_safetensors(path, arrays, about);
        return std::string();
    });
}

TrainingProgress read_progress(const std::string& path, const std::string& identity, std::size_t places) {
    const io::SafetensorsFile file(path);
    TrainingProgress progress;
    progress.identity = metadata(file, "identity");
    if (progress.identity != identity)
        throw InputError(path + ": a training with other options, texts or another model stands here unfinished. Give the same options to go on, another --out, or --fresh to start over");
    progress.table = metadata(file, "table");
    progress.seconds = exact(metadata(file, "seconds"));
    for (std::size_t p = 0; p < places; ++p) progress.scales.push_back(exact(metadata(file, "scale_" + std::to_string(p))));
    return progress;
}

void load_states(const std::string& path, std::span<train::SaeState> states) {
    const io::SafetensorsFile file(path);
    const std::int64_t step = std::stoll(metadata(file, "step"));
    for (std::size_t s = 0; s < states.size(); ++s) {
        train::SaeState& state = states[s];
        const std::string prefix = "sae_" + std::to_string(s) + ".";
        const std::size_t m = state.settings.latents;
        const std::size_t d = state.settings.d;
        const std::size_t first = state.first_latent;
        const std::size_t owned = state.last_latent - first;
        state.parameters.encoder = read<float>(file, prefix + "encoder", 0, m * d);
        state.parameters.decoder = read<float>(file, prefix + "decoder", 0, m * d);
        state.parameters.b_enc = read<float>(file, prefix + "b_enc", 0, m);
        state.parameters.threshold = read<float>(file, prefix + "threshold", 0, m);
        state.parameters.b_dec = read<float>(file, prefix + "b_dec", 0, d);
        state.b_dec = {read<float>(file, prefix + "b_dec.first", 0, d), read<float>(file, prefix + "b_dec.second", 0, d)};
        state.encoder = {read<float>(file, prefix + "encoder.first", first * d, owned * d), read<float>(file, prefix + "encoder.second", first * d, owned * d)};
        state.decoder = {read<float>(file, prefix + "decoder.first", first * d, owned * d), read<float>(file, prefix + "decoder.second", first * d, owned * d)};
        state.small = {read<float>(file, prefix + "small.first", first * 2, owned * 2), read<float>(file, prefix + "small.second", first * 2, owned * 2)};
        const std::vector<std::int64_t> silent = read<std::int64_t>(file, prefix + "since_fired", 0, m);
        state.since_fired.assign(silent.begin() + static_cast<std::ptrdiff_t>(first), silent.begin() + static_cast<std::ptrdiff_t>(first + owned));
        for (std::size_t j = 0; j < m; ++j) state.dead[j] = state.settings.dead_after > 0 && silent[j] >= state.settings.dead_after ? 1 : 0;
        state.batch_threshold = exact(metadata(file, prefix + "batch_threshold"));
        state.step = step;
    }
}

}  // namespace pva::phases
