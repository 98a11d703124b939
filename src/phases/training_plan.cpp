// From options to SAEs: places, widths, schedules, folders, and what each begins with.
#include "pva/phases/training_plan.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "pva/core/comma_list.h"
#include "pva/core/error.h"
#include "pva/mpi/agree.h"
#include "pva/sae/discover.h"
#include "pva/sae/load.h"
#include "pva/train/start.h"

namespace pva::phases {

namespace fs = std::filesystem;

namespace {

std::vector<std::int64_t> numbers_of(const std::string& option, const std::string& list) {
    std::vector<std::int64_t> numbers;
    for (const std::string& item : split_at_commas(list)) {
        if (item.empty() || item.size() > 9 || item.find_first_not_of("0123456789") != std::string::npos || std::stol(item) < 1)
            throw UsageError("--" + option + " " + list + ": '" + item + "' is no number above 0; numbers separated by commas are expected");
        numbers.push_back(std::stol(item));
    }
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        if (std::find(numbers.begin(), numbers.begin() + static_cast<std::ptrdiff_t>(i), numbers[i]) != numbers.begin() + static_cast<std::ptrdiff_t>(i))
            throw UsageError("--" + option + " " + list + ": " + std::to_string(numbers[i]) + " stands there twice");
    }
    return numbers;
}

}  // namespace

std::vector<TrainingPlace> training_places(const TrainSaeOptions& options, const model::ModelConfig& config) {
    std::vector<TrainingPlace> places;
    for (const model::CaptureRequest& request : model::parse_sites(options.sites, read_layers(options.layers), config)) {
        for (const int layer : request.layers) places.push_back({request.site, layer, static_cast<std::size_t>(model::site_width(config, request.site)), 1});
    }
    for (const TrainingPlace& place : places) {
        const std::string site(model::site_name(place.site));
        const std::optional<int> layer = model::site_has_layers(place.site) ? std::optional(place.layer) : std::nullopt;
        if (options.format == "saelens" && model::transformer_lens_name({place.site, layer}).empty())
            throw UsageError("--site " + site + " has no name in TransformerLens, which SAELens' files are about; choose another site");
        if (options.format == "gemma-scope" && place.site != model::Site::resid_post)
            throw UsageError("--format gemma-scope names no site, it is for resid_post; write " + site + " as saelens");
    }
    return places;
}

std::vector<TrainingJob> training_jobs(const TrainSaeOptions& options, std::span<const TrainingPlace> places, std::int64_t rows) {
    if (options.format == "gemma-scope" && options.kind == "topk") throw UsageError("--format gemma-scope holds thresholds; --kind topk has none, write it as saelens or train batchtopk or jumprelu");
    if (options.warm_up + options.decay > 1 || options.sparsity_warm_up > 1) throw UsageError("--warm-up, --decay and --sparsity-warm-up are shares of the steps: at most 1 together");
    if (options.batch % options.micro_batch != 0) throw UsageError("--batch " + std::to_string(options.batch) + " is no multiple of --micro-batch " + std::to_string(options.micro_batch));
    if (options.text.prompt_share >= 1) throw UsageError("--oversample-share must be below 1");
    const std::int64_t tokens = options.tokens.value_or(static_cast<std::int64_t>(static_cast<double>(rows) / (1 - options.text.prompt_share)));
    const std::vector<std::int64_t> widths = numbers_of("latents", options.latents);
    const std::vector<std::int64_t> targets = numbers_of("l0", options.l0);
    const bool several_sites = std::any_of(places.begin(), places.end(), [&](const TrainingPlace& place) { return place.site != places[0].site; });
    std::vector<TrainingJob> jobs;
    for (std::size_t p = 0; p < places.size(); ++p) {
        for (const std::int64_t width : widths) {
            for (const std::int64_t l0 : targets) {
                TrainingJob job;
                job.place = p;
                train::Settings& s = job.settings;
                s.kind = train::kind_from_name(options.kind);
                s.d = places[p].width;
                s.latents = static_cast<std::size_t>(width);
                s.l0 = static_cast<std::size_t>(l0);
                s.seed = static_cast<std::uint64_t>(options.seed);
                s.batch = options.batch;
                s.micro_batches = options.batch / options.micro_batch;
                s.steps = tokens / options.batch;
                const auto share = [&](double of_steps) { return std::llround(of_steps * static_cast<double>(s.steps)); };
                s.learning_rate = options.learning_rate > 0 ? options.learning_rate : train::usual_learning_rate(s.latents, s.steps);
                s.warm_up = share(options.warm_up);
                s.decay = share(options.decay);
                s.clip = options.clip;
                s.sparsity = options.sparsity;
                s.sparsity_warm_up = share(options.sparsity_warm_up);
                s.bandwidth = options.bandwidth;
                s.dead_after = options.dead_after.value_or(std::min<std::int64_t>(10'000'000, std::max(options.batch, tokens / 10)));
                s.revive = options.revive;
                s.revive_k = static_cast<std::size_t>(options.revive_k.value_or(2 * l0));
                train::check(s);
                if (widths.size() * targets.size() > 1) job.folder = "width_" + std::to_string(width) + "_l0_" + std::to_string(l0) + "/";
                const std::string site(model::site_name(places[p].site));
                if (several_sites) job.folder += site + "/";
                job.folder += model::site_has_layers(places[p].site) ? "layer_" + std::to_string(places[p].layer) : site;
                jobs.push_back(std::move(job));
            }
        }
    }
    return jobs;
}

void find_starts(const TrainSaeOptions& options, std::span<const TrainingPlace> places, std::vector<TrainingJob>& jobs) {
    std::optional<std::vector<sae::SaeFile>> of_layers;
    for (TrainingJob& job : jobs) {
        const TrainingPlace& place = places[job.place];
        const std::string site(model::site_name(place.site));
        const std::string own = options.start_from + "/" + job.folder;
        if (fs::exists(own)) {
            job.start = own;
        } else {
            if (!of_layers) of_layers = sae::find_saes(options.start_from);
            for (const sae::SaeFile& file : *of_layers) {
                if (static_cast<int>(file.layer) == place.layer) job.start = file.path;
            }
            if (job.start.empty()) throw InputError(options.start_from + ": has no SAE of layer " + std::to_string(place.layer) + "; say with --layers which ones are to be trained on");
        }
        const sae::SaeInfo info = sae::read_info(sae::identify(job.start));
        if (!info.site.empty() && info.site != site) throw InputError(job.start + ": is an SAE of " + info.site + ", not of " + site + "; say --site " + info.site);
        train::check_start(job.settings, info);
    }
}

nlohmann::ordered_json hashes_of_starts(const mpi::Communicator& comm, const std::vector<TrainingJob>& jobs) {
    return nlohmann::ordered_json::parse(mpi::on_first_rank(comm, [&] {
        nlohmann::ordered_json hashes = nlohmann::ordered_json::object();
        for (const TrainingJob& job : jobs) hashes[job.folder] = sae::source_sha256(sae::identify(job.start));
        return hashes.dump();
    }));
}

}  // namespace pva::phases
