// How often each latent fires on general text: one pass of the model for all layers, kept as a file of its own that later
// runs reuse. File: docs/formats/rates.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pva/phases/context.h"
#include "pva/phases/inputs.h"
#include "pva/phases/saes.h"

namespace pva::phases {

/// What of a text is looked at.
enum class TextPositions : std::uint8_t {
    all,       ///< every token but BOS
    one_word,  ///< one token a text: the first at which a word drawn at random is complete, as in the published study
};

struct TextRules {
    std::string path;               ///< JSONL with a field text, any other text, or a finished file of rates (.h5)
    TextPositions positions = TextPositions::all;
    std::int64_t tokens = 256;      ///< longest piece of a text, BOS included
    std::int64_t documents = 0;     ///< first so many texts; 0: all
    double activation_threshold = 0;  ///< a latent fires where it is above this
    std::uint64_t seed = 0;         ///< of the drawn words
};

/// The rates and where they came from.
struct TextRates {
    std::string path;                        ///< of the file of rates
    std::string sha256;                      ///< its content hash
    std::uint64_t documents = 0;             ///< texts with a position
    std::uint64_t tokens = 0;                ///< positions
    std::vector<std::vector<std::uint64_t>> fired;  ///< [layer][latent] positions at which it fires
    std::vector<std::vector<double>> rate;          ///< fired / tokens
    std::vector<std::vector<double>> low, high;     ///< 95 % interval, texts (or groups of them) as clusters
};

/// Share of tokens at which a latent fires, with an interval from its counts in groups of texts: variance of a ratio whose
/// groups are independent, on Wilson's scale with the number of tokens that would give that variance. One group: [0, 1].
struct RateInterval {
    double rate = 0;
    double low = 0;
    double high = 1;
};
RateInterval clustered_rate(const std::vector<std::uint64_t>& fired, const std::vector<std::uint64_t>& tokens);

/// Collective. What belongs to an identity before anything is computed: the SHA-256 of the text or of the finished file, and the rules.
nlohmann::ordered_json text_identity(Context& context, const TextRules& rules);

/// Collective. Refuses, before anything is written, texts that cannot be read and finished rates that are of another model,
/// other SAEs, another site or threshold (AgreedError, InputError).
void require_usable_text(Context& context, const ModelInput& model, const SaeSet& saes, const std::string& site, const TextRules& rules);

/// Collective. Finds the finished file of these texts, SAEs and rules, or computes it and writes
/// <data>/phase2/rates_<model>_<range>_<time>.h5. `dtype`: of the dataset's own pass. The model is loaded where there is
/// work only, one copy a node where it pays. Errors (AgreedError): InputError for a file of rates of another model, other
/// SAEs, site or threshold, and for texts without a position.
TextRates text_rates(Context& context, const ModelInput& model, const SaeSet& saes, const SaeOptions& sae_options, const std::string& site, const TextRules& rules,
                     PlacementOptions placement, const std::string& dtype, int threads, bool fresh);

/// A latent at a layer's place in a file of rates.
struct RateOf {
    std::int64_t file_layer = 0;
    std::uint32_t latent = 0;
};
/// Intervals of some latents' rates by drawing groups of texts again (percentile bootstrap). One group: [0, 1].
std::vector<RateInterval> bootstrapped_rates(const io::ResultReader& file, const std::vector<RateOf>& latents, std::uint32_t draws, std::uint64_t seed);

/// Place of each layer in a file of rates. Errors: InputError for a layer that it does not have.
std::vector<std::int64_t> rate_layers(const io::ResultReader& file, const std::vector<std::int32_t>& layers);

}  // namespace pva::phases
