// Speed of the statistics of latents on sparse codes. Results are printed as JSON, nothing is tested.
// tests/bench/latents_against_scipy.py runs it beside SciPy and scikit-learn.
//
//   latents_bench CODES.bin ROUNDS PERMUTATIONS [RESULT.f64]
//       codes: rows, latents, entries (uint64), row_offsets (uint64), latents (uint32), values (float32), labels (uint8).
//       Moments, Welch, Mann-Whitney and AUROC with DeLong of every latent together, on one thread; then permutations of
//       the AUROC of every latent that fires on 5 rows. RESULT: for each latent p of Mann-Whitney, p of Welch, AUROC.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "pva/analysis/latent_permutation.h"
#include "pva/analysis/latent_statistics.h"
#include "pva/analysis/within_groups.h"

namespace {

template <class T>
std::vector<T> take(std::ifstream& file, std::size_t count) {
    std::vector<T> values(count);
    file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T)));
    if (!file) {
        std::fprintf(stderr, "the file of codes is too short\n");
        std::exit(1);
    }
    return values;
}

template <class Work>
double best_seconds(int rounds, Work&& work) {
    double best = 1e30;
    for (int round = 0; round < rounds; ++round) {
        const auto start = std::chrono::steady_clock::now();
        work();
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) {
        std::fprintf(stderr, "latents_bench CODES.bin ROUNDS PERMUTATIONS [RESULT.f64]\n");
        return 64;
    }
    std::ifstream file(argv[1], std::ios::binary);
    const auto sizes = take<std::uint64_t>(file, 3);
    const auto offsets = take<std::uint64_t>(file, sizes[0] + 1);
    const auto latents = take<std::uint32_t>(file, sizes[2]);
    const auto values = take<float>(file, sizes[2]);
    const auto labels = take<std::uint8_t>(file, sizes[0]);
    const auto n_latents = static_cast<std::uint32_t>(sizes[1]);
    const pva::stats::CsrView codes{offsets, latents, values, n_latents};
    const int rounds = std::atoi(argv[2]);
    const auto n_permutations = static_cast<std::uint32_t>(std::atoi(argv[3]));

    std::vector<pva::analysis::LatentStatistics> statistics;
    const double seconds = best_seconds(rounds, [&] { statistics = pva::analysis::latent_statistics(codes, labels, 0, n_latents); });
    std::vector<std::uint8_t> tested;
    std::uint64_t n_tested = 0;
    std::uint64_t exact = 0;
    for (const auto& s : statistics) {
        tested.push_back(s.fired_rows >= 5);
        n_tested += tested.back();
        exact += s.fired_rows > 0 && s.mann_whitney_exact != 0;
    }
    const auto columns = pva::stats::sparse_columns(codes, 0, n_latents);
    std::vector<std::uint32_t> groups;
    for (std::size_t row = 0; row < labels.size(); ++row) groups.push_back(static_cast<std::uint32_t>(row % 32));
    const double within = best_seconds(rounds, [&] { pva::analysis::within_groups(columns, labels, groups, 32); });
    const pva::stats::LabelPermutations permutations(labels, {}, n_permutations, 1, 2);
    const double permuted = best_seconds(1, [&] { pva::analysis::permute_columns(columns, labels, tested, permutations, pva::analysis::Score::auroc); });
    if (argc > 4) {
        std::vector<double> result;
        for (const auto& s : statistics) {
            result.push_back(s.mann_whitney_p);
            result.push_back(s.welch_p);
            result.push_back(s.auroc);
        }
        std::ofstream out(argv[4], std::ios::binary);
        out.write(reinterpret_cast<const char*>(result.data()), static_cast<std::streamsize>(result.size() * sizeof(double)));
    }
    std::printf("{\"rows\": %zu, \"latents\": %u, \"entries\": %zu, \"tested\": %llu, \"exact\": %llu, \"statistics_seconds\": %.6f, \"within_32_groups_seconds\": %.6f, "
                "\"permutations\": %u, \"permutation_seconds\": %.6f}\n",
                labels.size(), n_latents, latents.size(), static_cast<unsigned long long>(n_tested), static_cast<unsigned long long>(exact), seconds, within, n_permutations, permuted);
    return 0;
}
