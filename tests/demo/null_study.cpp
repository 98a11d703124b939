// With labels that mean nothing phase 3 reports nothing, and a planted latent it finds: on the codes of a finished study.
// null_study DATA SEEDS: shuffles the labels of all programs, ranks latents on selection, and measures the first five of
// each direction on analysis as phase 3 does, once a seed. Exit code 1 when more than 11 of 100 seeds have a latent with
// q < 0.05 (a rate of 0.05 gives more in 0.4 % of runs), or when a planted latent is missed.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "pva/analysis/detection.h"
#include "pva/analysis/selection.h"
#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/io/reader.h"
#include "pva/phases/schemas.h"
#include "pva/phases/sparse_codes.h"
#include "pva/stats/multiple.h"
#include "pva/stats/sparse_columns.h"
#include "pva/tasks/split.h"

namespace {

using namespace pva;
using Role = tasks::SplitPart;

constexpr int candidates = 5;

std::string newest(const std::string& folder, const std::string& prefix) {
    std::string found;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with(prefix) && name.ends_with(".h5")) found = std::max(found, entry.path().string());
    }
    if (found.empty()) throw InputError(folder + ": no " + prefix + "*.h5");
    return found;
}

struct Study {
    std::vector<std::uint8_t> passed, part;
    std::vector<std::int32_t> layers;
    std::vector<std::vector<double>> general_rate;  ///< [layer][latent]
    double most_general = 1;
    std::uint64_t least_rows = 0;
    std::map<Role, std::vector<std::int64_t>> rows;
    std::vector<std::map<Role, sae::CsrRows>> codes;  ///< [layer]
    std::uint32_t d_sae = 0;
};

Study read_study(const std::string& data) {
    const auto latents = io::ResultReader::open(newest(data + "/phase2", "latents_"), phases::latents_schema());
    const auto splits = io::ResultReader::open(newest(data + "/phase1_1", "splits_"), phases::splits_schema());
    const auto dataset = io::ResultReader::open(newest(data + "/phase1_0", "dataset_"), phases::dataset_schema());
    // Codes of the last prompt token: those of as many rows as the dataset has, with all layers of the latents.
    Study study;
    study.passed = dataset.read<std::uint8_t>("passed");
    study.part = splits.read<std::uint8_t>("part");
    study.layers = latents.read<std::int32_t>("layer");
    study.most_general = latents.identity().at("general-threshold").get<double>();
    study.least_rows = latents.identity().at("min-rows").get<std::uint64_t>();
    std::string path;
    for (const auto& entry : std::filesystem::directory_iterator(data + "/phase2")) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with("sparse_") || !name.ends_with(".h5")) continue;
        const auto codes = io::ResultReader::open(entry.path().string(), phases::sparse_schema());
        if (codes.identity().value("position", std::string()) == "last-prompt" && codes.read<std::int32_t>("layer") == study.layers) path = entry.path().string();
    }
    if (path.empty() || study.passed.size() != study.part.size()) throw InputError(data + ": its results do not belong together");
    const auto codes = io::ResultReader::open(path, phases::sparse_schema());
    study.d_sae = codes.read<std::uint32_t>("d_sae").at(0);
    for (std::size_t i = 0; i < study.part.size(); ++i) study.rows[static_cast<Role>(study.part[i])].push_back(static_cast<std::int64_t>(i));
    const auto rates = latents.read<double>("general_text/rate");
    for (std::size_t l = 0; l < study.layers.size(); ++l) {
        study.general_rate.emplace_back(rates.begin() + static_cast<std::ptrdiff_t>(l * study.d_sae), rates.begin() + static_cast<std::ptrdiff_t>((l + 1) * study.d_sae));
        study.codes.emplace_back();
        for (const auto& [role, rows] : study.rows) study.codes.back()[role] = phases::read_layer_codes(codes, static_cast<std::int64_t>(l), rows, study.d_sae, 0).codes;
    }
    return study;
}

std::vector<std::uint8_t> labels_of(const Study& study, const std::vector<std::uint8_t>& labels, Role role) {
    std::vector<std::uint8_t> own;
    for (const std::int64_t row : study.rows.at(role)) own.push_back(labels[static_cast<std::size_t>(row)]);
    return own;
}

struct Finds {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> latents;  ///< layer and index with q < 0.05, on the side they were chosen for
    double smallest_p = 1;
};

// Phase 2 and 3 in small: rank on selection, threshold on tuning, test on analysis, q over all that were tried.
Finds run(const Study& study, const std::vector<std::uint8_t>& labels, std::uint64_t seed) {
    std::vector<std::vector<analysis::LatentStatistics>> statistics;
    std::vector<analysis::LayerStatistics> layers;
    const auto selection = labels_of(study, labels, Role::selection);
    for (std::size_t l = 0; l < study.layers.size(); ++l) {
        statistics.push_back(analysis::latent_statistics(stats::sparse_columns(study.codes[l].at(Role::selection).view(), 0, study.d_sae), selection));
    }
    for (std::size_t l = 0; l < study.layers.size(); ++l) layers.push_back({static_cast<std::uint32_t>(study.layers[l]), statistics[l], study.general_rate[l], {}});
    analysis::SelectionRule rule;
    rule.max_general_text_rate = study.most_general;
    rule.min_rows = study.least_rows;
    rule.top_k = candidates;
    const auto right = static_cast<std::uint64_t>(std::count(selection.begin(), selection.end(), std::uint8_t{1}));
    const analysis::Selection ranked = analysis::rank_latents(layers, right, selection.size() - right, rule);
    std::vector<double> p_values;
    std::vector<bool> right_side;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> tried;
    for (const auto* list : {&ranked.right, &ranked.wrong}) {
        for (const analysis::RankedLatent& latent : *list) {
            const auto l = static_cast<std::size_t>(std::find(study.layers.begin(), study.layers.end(), static_cast<std::int32_t>(latent.layer)) - study.layers.begin());
            const auto values = [&](Role role) { return phases::latent_column(study.codes[l].at(role), latent.latent); };
            const analysis::AnalysisScores held_out{values(Role::analysis), labels_of(study, labels, Role::analysis)};
            const analysis::DetectionRule decided = analysis::choose_threshold({values(Role::tuning), labels_of(study, labels, Role::tuning)}, latent.direction);
            p_values.push_back(analysis::permutation_p(analysis::oriented(decided, held_out), {}, 0, {0, 1999, seed, 7}));
            right_side.push_back(analysis::measure(decided, held_out).auroc > 0.5);
            tried.emplace_back(latent.layer, latent.latent);
        }
    }
    const std::vector<double> q = stats::benjamini_hochberg(p_values);
    Finds finds;
    for (std::size_t i = 0; i < q.size(); ++i) {
        finds.smallest_p = std::min(finds.smallest_p, p_values[i]);
        if (q[i] < 0.05 && right_side[i]) finds.latents.push_back(tried[i]);
    }
    return finds;
}

std::vector<std::uint8_t> shuffled(const std::vector<std::uint8_t>& labels, std::uint64_t seed) {
    std::vector<std::uint8_t> result = labels;
    PhiloxStream random(seed, 0x6e756c6c, 0);
    for (std::size_t i = result.size(); i > 1; --i) std::swap(result[i - 1], result[random.below(static_cast<std::uint32_t>(i))]);
    return result;
}

// Labels that follow one latent three times in four: the one that fires nearest to half of the selection rows.
std::vector<std::uint8_t> planted(const Study& study, std::uint64_t seed, std::pair<std::uint32_t, std::uint32_t>& latent) {
    double nearest = 1;
    std::size_t layer = 0;
    for (std::size_t l = 0; l < study.layers.size(); ++l) {
        std::vector<std::size_t> fired(study.d_sae, 0);
        const sae::CsrRows& codes = study.codes[l].at(Role::selection);
        for (const std::uint32_t j : codes.latents) ++fired[j];
        for (std::uint32_t j = 0; j < study.d_sae; ++j) {
            const double distance = std::abs(static_cast<double>(fired[j]) / static_cast<double>(codes.n_rows()) - 0.5);
            if (study.general_rate[l][j] > study.most_general || distance >= nearest) continue;
            nearest = distance;
            layer = l;
            latent = {static_cast<std::uint32_t>(study.layers[l]), j};
        }
    }
    std::vector<std::uint8_t> labels(study.passed.size());
    PhiloxStream random(seed, 0x706c616e74, 0);
    for (const auto& [role, rows] : study.rows) {
        const std::vector<double> values = phases::latent_column(study.codes[layer].at(role), latent.second);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const bool follows = random.uniform() < 0.75;
            labels[static_cast<std::size_t>(rows[i])] = static_cast<std::uint8_t>((values[i] > 0) == follows);
        }
    }
    return labels;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 64;
    try {
        const Study study = read_study(argv[1]);
        const int seeds = std::stoi(argv[2]);
        int with_finds = 0, uncorrected = 0, found = 0;
        for (int seed = 0; seed < seeds; ++seed) {
            const Finds finds = run(study, shuffled(study.passed, static_cast<std::uint64_t>(seed)), static_cast<std::uint64_t>(seed));
            with_finds += !finds.latents.empty();
            uncorrected += finds.smallest_p < 0.05;
        }
        const int plants = 10;
        for (int seed = 0; seed < plants; ++seed) {
            std::pair<std::uint32_t, std::uint32_t> latent;
            const auto labels = planted(study, static_cast<std::uint64_t>(seed), latent);
            const Finds finds = run(study, labels, static_cast<std::uint64_t>(seed));
            found += std::find(finds.latents.begin(), finds.latents.end(), latent) != finds.latents.end();
        }
        std::printf("shuffled labels: a latent has q < 0.05 in %d of %d seeds (p < 0.05 uncorrected: %d); planted: found in %d of %d\n", with_finds, seeds, uncorrected, found, plants);
        return 100 * with_finds > 11 * seeds || found < plants - 1 ? 1 : 0;
    } catch (const Error& error) {
        std::printf("%s\n", error.what());
        return 1;
    }
}
