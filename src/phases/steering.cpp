// Phase 3, steering: coefficient on the tuning part, effect and controls on the analysis part. File: docs/formats/steering.md.
#include "pva/phases/steering.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>
#include <type_traits>

#include "pva/analysis/latent_statistics.h"
#include "pva/analysis/logistic.h"
#include "pva/analysis/mass_mean.h"
#include "pva/analysis/score.h"
#include "pva/analysis/steering.h"
#include "pva/core/error.h"
#include "pva/io/result_file.h"
#include "pva/model/orthogonalize.h"
#include "pva/mpi/agree.h"
#include "pva/phases/generation.h"
#include "pva/phases/model_setup.h"
#include "pva/phases/schemas.h"
#include "pva/phases/steering_results.h"
#include "pva/phases/steering_setup.h"
#include "pva/phases/verdict_columns.h"
#include "pva/sae/encode.h"
#include "pva/sae/load.h"
#include "pva/stats/permutation.h"
#include "pva/tasks/code_similarity.h"

namespace pva::phases {

void register_options(OptionSet& set, SteeringOptions& options) {
    register_model_option(set, options.model);
    set.add("problems", options.problems, "FILE", "the problems file of phase 1").required();
    register_options(set, options.sae, true);
    set.add("dataset", options.dataset, "FILE", "greedy result of pva_phase1; the newest one that fits when not given");
    set.add("splits", options.splits, "FILE", "result of pva_phase1_1; the newest one that fits when not given");
    set.add("latents", options.latents, "FILE", "result of pva_phase2 on the selection part; the newest one that fits when not given");
    set.add("arms", options.arms, "LIST",
            "what is done: right, wrong (the best latent of that direction is added), against-right, against-wrong (subtracted), gated-right (added where the best wrong latent fires), without-right, "
            "without-wrong (taken out of the weights)").list()
        .changes_results();
    set.add("candidates", options.candidates, "N", "latents of each direction, best first; each is an arm of its own").at_least(1).changes_results();
    set.add("positions", options.positions, "RULE", "where it is added: at every position that predicts a token of the answer (last), everywhere (all), or prompt, last-prompt, generated")
        .one_of(generate::edit_positions_names())
        .changes_results();
    set.add("scale", options.scale, "NAME", "coefficients are multiples of the mean norm of the stream at the site (relative), or lengths (absolute)").one_of({"relative", "absolute"}).changes_results();
    set.add("coefficients", options.coefficients, "LIST", "coefficients tried on the tuning part (default 0.05,0.1,0.2,0.4,0.8,1.6 relative, 10 to 100 in steps of 10 absolute)").list().changes_results();
    set.add("controls", options.controls, "N", "control vectors of each of three kinds").at_least(0).changes_results();
    set.add("gate-at", options.gate_at, "MOMENT", "gated arms: looked at each position, or once at the last prompt token or the first new token").one_of(generate::gate_moment_names()).changes_results();
    set.add("gate-percentiles", options.gate_percentiles, "LIST", "gated arms: thresholds tried, percentiles of the gate's value on the tuning part").list().changes_results();
    set.add("compat", options.compat, "NAME", "paper: show the binomial tests of the published study, too, with what is wrong with each").one_of({"none", "paper"}).changes_results();
    set.add_flag("tuning-only", options.tuning_only, "stop after the tuning part");
    set.add("seed", options.seed, "N", "names the random vectors, the shuffles of labels and the bootstrap draws").at_least(0).changes_results();
    set.add("batch-size", options.batch_size, "N", "programs written together by each rank (0: 16, or as many as fit the memory); unless the forward pass is fast it belongs to the identity of a run").at_least(0).changes_results();
    set.add("threads", options.threads, "N", "threads a rank (0: by the affinity mask); unless the forward pass is fast it belongs to the identity of a run").at_least(0);
    set.add("checkpoint-every", options.checkpoint_every, "N", "programs after which results are forced to the disk itself").at_least(1);
    set.add("checkpoint-minutes", options.checkpoint_minutes, "M", "minutes after which they are, too").at_least(0.01);
    set.add_flag("stream", options.stream, "a line in the log for every finished program");
    register_options(set, options.placement);
    set.add_flag("fresh", options.fresh, "start over even if there are finished or unfinished files");
    set.add_flag("dry-run", options.dry_run, "check all inputs, say what would be done on the tuning part, write no result");
    register_options(set, options.python);
}

namespace {

using analysis::Direction;

/// Everything that both parts have in common.
struct Setup {
    Study study;
    io::ResultReader latents;
    StudyRows rows;
    std::vector<LayerSae> saes;
    std::vector<std::int32_t> dataset_layers;
    std::vector<SteeringArm> arms;
    generate::EditPositions positions = generate::EditPositions::last;
    generate::GateMoment gate_at = generate::GateMoment::last_prompt;
    std::vector<double> coefficients;
    std::vector<double> gate_percentiles;
    WritingOptions writing;
    int threads = 1;
    std::int64_t d_model = 0;
    model::Placement placement;
};

/// The model, loaded when it is first needed.
struct ModelHolder {
    std::optional<model::Model> model;
    bool orthogonalized = false;
};

std::vector<std::int64_t> rows_of_part(const Setup& setup, tasks::SplitPart part) { return setup.rows.of_part(setup.rows.dataset_rows, part); }

std::vector<float> stream_rows(const Setup& setup, std::int32_t layer, tasks::SplitPart part) {
    const auto place = std::find(setup.dataset_layers.begin(), setup.dataset_layers.end(), layer);
    if (place == setup.dataset_layers.end()) throw InputError(setup.study.dataset.path() + ": holds no rows of layer " + std::to_string(layer) + ", where a chosen latent lies");
    return setup.study.dataset.read_row_parts("residual/resid_post", rows_of_part(setup, part), place - setup.dataset_layers.begin());
}

/// The SAE of a layer, which must be the one that phase 2 used.
sae::Sae load_sae(const Setup& setup, const SaeOptions& options, std::int32_t layer) {
    const auto file = std::find_if(setup.saes.begin(), setup.saes.end(), [&](const LayerSae& s) { return s.layer == layer; });
    if (file == setup.saes.end()) throw InputError("--sae " + options.names + " has no SAE for layer " + std::to_string(layer) + ", which a chosen latent needs");
    const sae::SaeSource source = sae::identify(file->path);
    if (sae::source_sha256(source) != setup.latents.identity().at("saes").value(std::to_string(layer), std::string()))
        throw InputError(file->path + ": not the SAE that phase 2 used for layer " + std::to_string(layer) + " (another SHA-256); latent numbers of different SAEs mean different things");
    sae::Sae sae = sae::load(source, load_options(options));
    sae::check_width(sae, static_cast<std::size_t>(setup.d_model), static_cast<std::uint32_t>(layer));
    if (sae.d_out != static_cast<std::size_t>(setup.d_model) || sae.transcoder) throw InputError(file->path + ": its decoder rows are no directions of the stream it reads");
    return sae;
}

void check_latents(const io::ResultReader& latents, const io::ResultReader& dataset) {
    if (latents.identity().value("split", std::string()) != "selection") {
        throw InputError(latents.path() + ": its latents were ranked on the part " + latents.identity().value("split", std::string()) +
                         ". Latents must be chosen on selection, or the figures on the other parts mean nothing: run pva_phase2 without --split");
    }
    for (const std::string key : {"site", "position"}) {
        const std::string there = latents.identity().value(key, std::string());
        const std::string here = dataset.identity().value(key, std::string());
        if (there != here) throw InputError(latents.path() + ": its latents were ranked at the " + key + " " + there + ", but " + dataset.path() + " holds " + here + ", which steering reads");
    }
}

void fill_arms(Setup& setup, const SteeringOptions& options) {
    struct Ranked {
        std::vector<std::int32_t> layer, latent;
    };
    std::map<Direction, Ranked> ranked;
    for (const Direction direction : {Direction::right, Direction::wrong}) {
        const std::string group = std::string("ranked_") + analysis::name(direction);
        ranked[direction] = {setup.latents.read<std::int32_t>(group + "/layer"), setup.latents.read<std::int32_t>(group + "/latent")};
    }
    std::map<std::int32_t, sae::Sae> saes;
    const auto sae_of = [&](std::int32_t layer) -> const sae::Sae& {
        const auto known = saes.find(layer);
        return known != saes.end() ? known->second : saes.emplace(layer, load_sae(setup, options.sae, layer)).first->second;
    };
    const auto labels = setup.rows.of_part(setup.rows.passed, tasks::SplitPart::selection);
    for (SteeringArm& arm : setup.arms) {
        const Ranked& list = ranked.at(arm.direction);
        const auto place = static_cast<std::size_t>(arm.latent);
        if (place >= list.layer.size() || list.layer[place] < 0) {
            throw InputError(setup.latents.path() + ": ranks " + std::to_string(std::count_if(list.layer.begin(), list.layer.end(), [](std::int32_t l) { return l >= 0; })) + " latents for " +
                             analysis::name(arm.direction) + " programs; --arms " + options.arms + " with --candidates " + std::to_string(options.candidates) + " needs more");
        }
        arm.layer = list.layer[place];
        arm.latent = list.latent[place];
        arm.name = arm.kind + " L" + std::to_string(arm.layer) + "-" + std::to_string(arm.latent);
        arm.vector = unit_decoder_row(sae_of(arm.layer), arm.latent);
        if (arm.method == SteeringMethod::gated) {
            const Ranked& gates = ranked.at(Direction::wrong);
            if (gates.layer.empty() || gates.layer.front() < 0) throw InputError(setup.latents.path() + ": ranks no latent for wrong programs, which a gated arm needs as its gate");
            arm.gate_layer = gates.layer.front();
            arm.gate_latent = gates.latent.front();
            const PreActivation gate = pre_activation_of(sae_of(arm.gate_layer), arm.gate_latent);
            arm.gate_direction = gate.direction;
            arm.gate_offset = gate.offset;
            arm.name += " by L" + std::to_string(arm.gate_layer) + "-" + std::to_string(arm.gate_latent);
            if (setup.gate_at == generate::GateMoment::each && arm.gate_layer > arm.layer) {
                throw InputError("--gate-at each: the gate's latent lies at layer " + std::to_string(arm.gate_layer) + ", behind layer " + std::to_string(arm.layer) +
                                 " where it should decide; take last-prompt or first-generated");
            }
        }
        // Norm and probes at the last prompt token.
        const std::vector<float> tuning = stream_rows(setup, arm.layer, tasks::SplitPart::tuning);
        const auto d = static_cast<std::size_t>(setup.d_model);
        for (std::size_t row = 0; row < tuning.size() / d; ++row) {
            double squares = 0;
            for (std::size_t k = 0; k < d; ++k) squares += static_cast<double>(tuning[row * d + k]) * static_cast<double>(tuning[row * d + k]);
            arm.mean_norm += std::sqrt(squares);
        }
        arm.mean_norm /= static_cast<double>(tuning.size() / d);
        const std::vector<float> selection = stream_rows(setup, arm.layer, tasks::SplitPart::selection);
        const auto cosine_to = [&](const std::vector<double>& direction) {
            const std::vector<float> narrow(direction.begin(), direction.end());
            return analysis::cosine(arm.vector, narrow);
        };
        arm.cosine_difference_of_means = cosine_to(analysis::difference_of_means(selection, d, labels));
        arm.cosine_mass_mean = cosine_to(analysis::mass_mean_probe(selection, d, labels));
        const analysis::Scaling scaling = analysis::scaling_of(selection, d);
        const analysis::DenseRows features = analysis::scaled(scaling, selection);
        analysis::ProbeSettings probe_settings;
        probe_settings.seed = static_cast<std::uint64_t>(options.seed);
        probe_settings.stream = static_cast<std::uint64_t>(arm.layer);
        std::vector<double> weights = analysis::probe_weights(analysis::nested_probe(features, labels, probe_settings), features);
        for (std::size_t k = 0; k < d; ++k) weights[k] *= scaling.factor[k];  // of the stream, not of the scaled features
        arm.cosine_logistic = cosine_to(weights);
    }
}

Setup read_setup(Context& context, const SteeringOptions& options) {
    const mpi::Communicator& comm = context.comm;
    std::vector<SteeringArm> arms = mpi::agreed(comm, [&] { return read_arms(options.arms, options.candidates); });
    Study study = open_study(context, options.problems, options.model, options.dataset, options.splits);
    nlohmann::ordered_json same_study = study.same_model;
    same_study["dataset"] = study.dataset.content_sha256();
    same_study["splits"] = study.splits.content_sha256();
    if (options.latents.empty()) same_study["split"] = "selection";
    io::ResultReader latents = open_input(context, "latents", options.latents, "phase2", "latents", latents_schema(), same_study, "pva_phase2");
    Setup setup{std::move(study), std::move(latents), {}, {}, {}, std::move(arms), {}, {}, {}, {}, {}, 1, 0, {}};
    mpi::agreed(comm, [&] {
        const io::ResultReader& dataset = setup.study.dataset;
        check_latents(setup.latents, dataset);
        require_one_sample(dataset);
        const nlohmann::ordered_json& identity = dataset.identity();
        if (identity.at("temperature").get<double>() != 0)
            throw InputError(dataset.path() + ": made at temperature " + identity.at("temperature").dump() + "; steering is compared with the greedy programs, so give that one (temperature 0)");
        setup.rows = study_rows(setup.study);
        for (const tasks::SplitPart part : tasks::split_parts) require_two_classes(setup.study, setup.rows, part);
        setup.saes = find_layer_saes(options.sae);
        setup.dataset_layers = dataset.read<std::int32_t>("layer");
        setup.d_model = dataset.shape("residual/resid_post").at(2);
        setup.positions = generate::edit_positions_from_name(options.positions);
        setup.gate_at = generate::gate_moment_from_name(options.gate_at);
        const bool relative = options.scale == "relative";
        setup.coefficients = read_numbers("coefficients", !options.coefficients.empty() ? options.coefficients : relative ? "0.05,0.1,0.2,0.4,0.8,1.6" : "10,20,30,40,50,60,70,80,90,100");
        for (const double coefficient : setup.coefficients) {
            if (!(coefficient > 0)) throw UsageError("--coefficients: " + fixed(coefficient, 3) + " is not above 0 (no steering is always there; against-right and against-wrong subtract)");
        }
        setup.gate_percentiles = read_numbers("gate-percentiles", options.gate_percentiles);
        for (const double percentile : setup.gate_percentiles) {
            if (percentile < 0 || percentile > 100) throw UsageError("--gate-percentiles: " + fixed(percentile, 1) + " is no percentile");
        }
        // Written as phase 1 wrote, or no steering would not be its programs.
        setup.writing.prompt = identity.at("prompt").get<std::string>();
        setup.writing.extraction = identity.at("extraction").get<std::string>();
        setup.writing.max_new_tokens = identity.at("max-new-tokens").get<std::int64_t>();
        setup.writing.stop_strings = identity.at("stop-strings").get<std::string>();
        setup.writing.batch_size = options.batch_size;
        setup.writing.stream = options.stream;
        setup.writing.checkpoint_every = options.checkpoint_every;
        setup.writing.checkpoint_minutes = options.checkpoint_minutes;
        fill_arms(setup, options);
        const auto has = [&](SteeringMethod method) { return std::any_of(setup.arms.begin(), setup.arms.end(), [&](const SteeringArm& arm) { return arm.method == method; }); };
        const bool prompt_only = setup.positions == generate::EditPositions::prompt || setup.positions == generate::EditPositions::last_prompt;
        if (has(SteeringMethod::gated) && prompt_only && setup.gate_at != generate::GateMoment::each) {
            throw UsageError("--positions " + options.positions + " with --gate-at " + options.gate_at + ": this gate decides about positions behind the prompt alone, so a gated arm would do nothing; take --gate-at each or other positions");
        }
        if (options.tuning_only && !has(SteeringMethod::added) && !has(SteeringMethod::gated)) {
            throw UsageError("--tuning-only with --arms " + options.arms + ": what is taken out of the weights has no coefficient, so there is nothing to do on the tuning part");
        }
    });
    setup.threads = thread_count(context, options.threads);
    setup.placement = place_model(context, options.placement);
    return setup;
}

std::string coefficient_text(double value) {
    std::string text = fixed(value, 6);
    while (text.back() == '0') text.pop_back();
    if (text.back() == '.') text.pop_back();
    return text;
}

SteeringCondition no_steering() {
    SteeringCondition none;
    none.name = "no steering";
    return none;
}

/// What the gate's latent says at its moment, one value a problem of the tuning part.
std::vector<double> gate_values(Context& context, const Setup& setup, const SteeringArm& arm, const std::vector<PromptedProblem>& problems, const std::function<const model::Model&()>& model) {
    const auto d = static_cast<std::size_t>(setup.d_model);
    const std::vector<std::int64_t> rows = rows_of_part(setup, tasks::SplitPart::tuning);
    const auto value_of = [&](std::span<const float> x) {
        double value = arm.gate_offset;
        for (std::size_t k = 0; k < d; ++k) value += static_cast<double>(arm.gate_direction[k]) * static_cast<double>(x[k]);
        return value;
    };
    std::vector<double> values;
    if (setup.gate_at != generate::GateMoment::first_generated) {
        const std::vector<float> stream = mpi::agreed(context.comm, [&] { return stream_rows(setup, arm.gate_layer, tasks::SplitPart::tuning); });
        for (std::size_t i = 0; i < rows.size(); ++i) values.push_back(value_of(std::span(stream).subspan(i * d, d)));
        return values;
    }
    // Prompt and the first token that phase 1 wrote; a rank reads every size-th.
    const model::Model& loaded = model();
    std::string own;
    mpi::agreed(context.comm, [&] {
        const model::CaptureRequest request{model::Site::resid_post, {arm.gate_layer}};
        for (std::size_t i = static_cast<std::size_t>(context.comm.rank()); i < rows.size(); i += static_cast<std::size_t>(context.comm.size())) {
            std::vector<std::int32_t> tokens = problems[i].tokens;
            tokens.push_back(setup.study.dataset.read_rows<std::int32_t>("token_ids", rows[i], 1).front());
            std::vector<std::vector<float>> captured(1);
            loaded.run(std::vector<std::vector<std::int32_t>>{tokens}, model::depth_of(std::vector{request}), model::capture_last_token(request, captured));
            char text[64];
            std::snprintf(text, sizeof text, "%zu %.17g\n", i, value_of(captured[0]));
            own += text;
        }
    });
    values.resize(rows.size());
    for (const std::string& lines : context.comm.all_gather(own)) {
        std::size_t at = 0;
        while (at < lines.size()) {
            const std::size_t end = lines.find('\n', at);
            const std::size_t space = lines.find(' ', at);
            values.at(std::stoul(lines.substr(at, space - at))) = std::stod(lines.substr(space + 1, end - space - 1));
            at = end + 1;
        }
    }
    return values;
}

/// The grid of the tuning part.
std::vector<SteeringCondition> tuning_conditions(Context& context, const Setup& setup, const SteeringOptions& options, const std::vector<PromptedProblem>& problems,
                                                 const std::function<const model::Model&()>& model) {
    std::vector<SteeringCondition> conditions = {no_steering()};
    for (std::size_t a = 0; a < setup.arms.size(); ++a) {
        const SteeringArm& arm = setup.arms[a];
        if (arm.method == SteeringMethod::taken_out) continue;
        std::vector<double> values;
        if (arm.method == SteeringMethod::gated) values = gate_values(context, setup, arm, problems, model);
        for (const double given : setup.coefficients) {
            SteeringCondition condition;
            condition.arm = static_cast<std::int32_t>(a);
            condition.kind = ConditionKind::chosen;
            condition.latent = arm.latent;
            condition.relative = arm.sign * (options.scale == "relative" ? given : given / arm.mean_norm);
            condition.coefficient = arm.sign * (options.scale == "relative" ? given * arm.mean_norm : given);
            condition.name = arm.name + " x " + coefficient_text(arm.sign * given);
            condition.vector = arm.vector;
            if (arm.method != SteeringMethod::gated) {
                conditions.push_back(std::move(condition));
                continue;
            }
            for (const double percentile : setup.gate_percentiles) {
                SteeringCondition gated = condition;
                gated.gate_percentile = percentile;
                gated.gate_threshold = stats::quantile(values, percentile / 100);
                gated.name += " above p" + coefficient_text(percentile);
                conditions.push_back(std::move(gated));
            }
        }
    }
    return conditions;
}

struct ControlVector {
    ConditionKind kind;
    std::int32_t latent = -1;
    std::vector<float> vector;
    std::uint32_t draws = 0;  ///< of the shuffled kind: how many shuffles chose it
};

struct Controls {
    std::vector<ControlVector> vectors;
    std::uint32_t own_draws = 0;  ///< shuffles that chose the arm's own latent
};

/// Controls of one arm: `n` of each kind, fewer low-score and shuffled ones where the SAE has no more.
Controls controls_of(const Setup& setup, const SteeringOptions& options, std::size_t arm_index) {
    const SteeringArm& arm = setup.arms[arm_index];
    const auto n = static_cast<std::uint32_t>(options.controls);
    const auto seed = static_cast<std::uint64_t>(options.seed);
    Controls controls;
    if (n == 0) return controls;
    const sae::Sae sae = load_sae(setup, options.sae, arm.layer);
    const auto latents_of_sae = static_cast<std::int64_t>(sae.d_sae);
    const auto layers = setup.latents.read<std::int32_t>("layer");
    const auto place = std::find(layers.begin(), layers.end(), arm.layer) - layers.begin();
    const auto kept = setup.latents.read_rows<std::uint8_t>("kept", place, 1);
    const auto score = setup.latents.read_rows<double>("score", place, 1);
    const auto fired = setup.latents.read_rows<std::uint64_t>("statistics/fired_rows", place, 1);

    // Nothing that a list of phase 2 holds, and not the gate.
    std::set<std::uint32_t> excluded = {static_cast<std::uint32_t>(arm.latent)};
    for (const std::string group : {"ranked_right", "ranked_wrong"}) {
        const auto ranked_layer = setup.latents.read<std::int32_t>(group + "/layer");
        const auto ranked_latent = setup.latents.read<std::int32_t>(group + "/latent");
        for (std::size_t i = 0; i < ranked_layer.size(); ++i) {
            if (ranked_layer[i] == arm.layer) excluded.insert(static_cast<std::uint32_t>(ranked_latent[i]));
        }
    }
    std::vector<analysis::ControlCandidate> candidates;
    for (std::int64_t j = 0; j < latents_of_sae; ++j) {
        const auto at = static_cast<std::size_t>(j);
        if (kept[at] == 1 && fired[at] > 0 && has_direction(sae, static_cast<std::int32_t>(j))) candidates.push_back({static_cast<std::uint32_t>(j), score[at], fired[at]});
    }
    for (const std::uint32_t latent : analysis::low_score_controls(candidates, fired[static_cast<std::size_t>(arm.latent)], std::vector<std::uint32_t>(excluded.begin(), excluded.end()), n))
        controls.vectors.push_back({ConditionKind::low_score, static_cast<std::int32_t>(latent), unit_decoder_row(sae, static_cast<std::int32_t>(latent))});

    for (std::vector<float>& vector : analysis::random_unit_vectors(static_cast<std::size_t>(setup.d_model), n, seed, (std::uint64_t{0x737465} << 32) + arm_index))
        controls.vectors.push_back({ConditionKind::random, -1, std::move(vector)});

    // The latent that a selection at this layer would have taken had the labels been shuffled. Each is written once and
    // counts as often as it was taken; the arm's own latent, taken again, is a tie.
    const std::vector<float> rows = stream_rows(setup, arm.layer, tasks::SplitPart::selection);
    const auto labels = setup.rows.of_part(setup.rows.passed, tasks::SplitPart::selection);
    const sae::CsrRows codes = sae::encode(sae, rows, labels.size());
    const stats::SparseColumns columns = stats::sparse_columns(codes.view(), 0, codes.n_latents, setup.latents.identity().value("activation-threshold", 0.0));
    const analysis::Score what = analysis::score_from_name(setup.latents.identity().at("score").get<std::string>());
    const std::uint32_t tries = 10 * n;
    const stats::LabelPermutations shuffles(labels, {}, tries, seed, (std::uint64_t{0x73687566} << 16) + static_cast<std::uint64_t>(arm.layer));
    const auto right = static_cast<std::uint64_t>(std::count(labels.begin(), labels.end(), 1));
    std::map<std::int64_t, std::size_t> taken;  // latent: its place among the vectors
    std::uint32_t found = 0;
    for (std::uint32_t b = 0; b < tries && found < n; ++b) {
        std::vector<std::uint8_t> shuffled;
        for (std::size_t row = 0; row < labels.size(); ++row) shuffled.push_back(shuffles.positive(b, row) ? 1 : 0);
        const auto statistics = analysis::latent_statistics(columns, shuffled);
        double best = 0;
        std::int64_t picked = -1;
        for (const analysis::ControlCandidate& candidate : candidates) {
            double one = analysis::signed_score(what, statistics[candidate.latent], right, labels.size() - right);
            if (arm.direction == Direction::wrong) one = -one;
            if (one > best) {
                best = one;
                picked = candidate.latent;
            }
        }
        if (picked < 0) continue;
        if (picked == arm.latent) {
            ++controls.own_draws;
        } else if (const auto known = taken.find(picked); known != taken.end()) {
            ++controls.vectors[known->second].draws;
        } else {
            taken[picked] = controls.vectors.size();
            controls.vectors.push_back({ConditionKind::shuffled, static_cast<std::int32_t>(picked), unit_decoder_row(sae, static_cast<std::int32_t>(picked)), 1});
            ++found;
        }
    }
    return controls;
}

/// The chosen condition of each arm, and its controls with the same coefficient, positions and gate.
std::vector<SteeringCondition> analysis_conditions(Context& context, const Setup& setup, const SteeringOptions& options, const std::vector<SteeringCondition>& tuning,
                                                   const std::vector<std::uint8_t>& chosen) {
    std::vector<SteeringCondition> conditions = {no_steering()};
    mpi::agreed(context.comm, [&] {
        for (std::size_t a = 0; a < setup.arms.size(); ++a) {
            const SteeringArm& arm = setup.arms[a];
            SteeringCondition own;
            if (arm.method == SteeringMethod::taken_out) {
                own.arm = static_cast<std::int32_t>(a);
                own.kind = ConditionKind::chosen;
                own.latent = arm.latent;
                own.name = arm.name;
                own.vector = arm.vector;
            } else {
                for (std::size_t c = 0; c < tuning.size(); ++c) {
                    if (tuning[c].arm == static_cast<std::int32_t>(a) && chosen.at(c) == 1) own = tuning[c];
                }
                if (own.arm < 0) throw InternalError("no coefficient was chosen for " + arm.name);
            }
            Controls controls = controls_of(setup, options, a);
            own.draws = controls.own_draws;
            conditions.push_back(own);
            std::map<ConditionKind, int> numbers;
            for (ControlVector& control : controls.vectors) {
                SteeringCondition condition = own;
                condition.kind = control.kind;
                condition.latent = control.latent;
                condition.draws = control.draws;
                condition.vector = std::move(control.vector);
                condition.name = "control of " + arm.name + ": " + (control.kind == ConditionKind::random ? "random " + std::to_string(numbers[control.kind]) : (control.kind == ConditionKind::low_score ? "low-score " : "shuffled ") + std::to_string(control.latent));
                ++numbers[control.kind];
                conditions.push_back(std::move(condition));
            }
            for (const ConditionKind kind : {ConditionKind::low_score, ConditionKind::random, ConditionKind::shuffled}) {
                if (numbers[kind] < options.controls && context.first_rank()) {
                    context.log.warning(arm.name + ": only " + std::to_string(numbers[kind]) + " controls of the kind " + control_kind_name(kind) + " exist at its layer, " + std::to_string(options.controls) +
                                        " were asked for");
                }
            }
        }
    });
    return conditions;
}

struct PartOutcome {
    Report dry_run;                           ///< of a dry run
    std::optional<io::ResultReader> reader;   ///< else
    std::vector<std::string> lines;           ///< how the time was spent; empty when there was nothing to do
    nlohmann::ordered_json measured;
};

class PartRun {
  public:
    PartRun(Context& context, const SteeringOptions& options, const Setup& setup, const text::Tokenizer& tokenizer, ModelHolder& holder, tasks::SplitPart part)
        : context_(context), options_(options), setup_(setup), tokenizer_(tokenizer), holder_(holder), part_(part) {}

    void prepare(const std::vector<tasks::Problem>& problems);
    const std::vector<PromptedProblem>& problems() const { return generation_.problems; }
    const model::Model& model();
    model::PassSize pass_of(std::int64_t batch_size) const;
    PartOutcome run(std::vector<SteeringCondition> conditions, const nlohmann::ordered_json& more_identity, const std::vector<InputFile>& more_inputs);

  private:
    io::RunPlan plan(const nlohmann::ordered_json& more_identity, const std::vector<InputFile>& more_inputs);
    io::Columns at_creation() const;
    GenerationUse write_programs(io::ResultFile& file, const io::Sizes& sizes);
    SteeredPrograms read_programs(const io::ResultFile& file) const;

    Context& context_;
    const SteeringOptions& options_;
    const Setup& setup_;
    const text::Tokenizer& tokenizer_;
    ModelHolder& holder_;
    tasks::SplitPart part_;
    std::vector<std::int64_t> ids_;
    std::vector<std::uint8_t> passed_;
    std::vector<std::string> programs_;  // of phase 1
    std::vector<SteeringCondition> conditions_;
    GenerationPlan generation_;
};

void PartRun::prepare(const std::vector<tasks::Problem>& all) {
    ids_ = setup_.rows.of_part(setup_.rows.ids, part_);
    passed_ = setup_.rows.of_part(setup_.rows.passed, part_);
    std::vector<tasks::Problem> problems;
    mpi::agreed(context_.comm, [&] {
        std::map<std::int64_t, const tasks::Problem*> by_id;
        for (const tasks::Problem& problem : all) by_id[problem.task_id] = &problem;
        for (const std::int64_t id : ids_) problems.push_back(*by_id.at(id));
        for (const std::int64_t row : rows_of_part(setup_, part_)) {
            const auto bytes = setup_.study.dataset.read_bytes("program", row, 1);
            std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            text.resize(std::min(text.size(), text.find('\0')));
            programs_.push_back(std::move(text));
        }
    });
    generation_.problems = prompted_problems(context_, problems, tasks::prompt_template_from_name(setup_.writing.prompt), tokenizer_);
    generation_.writing = setup_.writing;
    generation_.threads = setup_.threads;
    generation_.test_workers = options_.python.test_workers;
    generation_.unit_name = "programs of the " + tasks::split_part_name(part_) + " part";
    generation_.remember_tests = true;
    generation_.writing.batch_size = fit_batch_size(context_, setup_.study.model.files, setup_.placement, options_.placement, options_.batch_size, [&](std::int64_t batch_size) { return pass_of(batch_size); });
    mpi::agreed(context_.comm, [&] {
        if (generation_.problems.size() != ids_.size()) throw InternalError("the dataset holds problems that its own prompt shows as examples");
    });
}

model::PassSize PartRun::pass_of(std::int64_t batch_size) const {
    const std::int64_t longest = generation_.longest_prompt();
    return {batch_size, std::max<std::int64_t>(longest, generate::EngineSettings().prefill_tokens), longest + setup_.writing.max_new_tokens};
}

const model::Model& PartRun::model() {
    if (!holder_.model || holder_.orthogonalized) {
        holder_.model.reset();
        holder_.model.emplace(load_model(context_, setup_.study.model.files, setup_.placement, options_.placement, pass_of(generation_.writing.batch_size), setup_.threads));
        holder_.orthogonalized = false;
        mpi::agreed(context_.comm, [&] { check_tokenizer(tokenizer_, holder_.model->config().vocab_size, setup_.study.model); });
    }
    return *holder_.model;
}

io::RunPlan PartRun::plan(const nlohmann::ordered_json& more_identity, const std::vector<InputFile>& more_inputs) {
    const Study& study = setup_.study;
    io::RunPlan plan;
    plan.schema = &steering_schema();
    plan.folder = context_.folder("phase3");
    plan.prefix = "steering";
    plan.model = study.model.files.name;
    plan.range = study.dataset.identity().at("start").dump() + "-" + study.dataset.identity().at("end").dump();
    plan.suffix = tasks::split_part_name(part_);
    plan.sizes = {{"problem", static_cast<std::int64_t>(ids_.size())},
                  {"arm", static_cast<std::int64_t>(setup_.arms.size())},
                  {"condition", static_cast<std::int64_t>(conditions_.size())},
                  {"row", generation_.rows()},
                  {"token", setup_.writing.max_new_tokens},
                  {"d_model", setup_.d_model},
                  {"test", steering_test_count(part_, setup_.arms, options_.compat == "paper")},
                  {"verdict_kind", verdict_kinds},
                  {"verdict_kind_after", verdict_kinds},
                  {"name_bytes", steering_name_bytes},
                  {"note_bytes", steering_note_bytes},
                  {"output_bytes", std::max<std::int64_t>(256, 4 * setup_.writing.max_new_tokens)},
                  {"detail_bytes", detail_bytes}};
    plan.n_units = generation_.units();
    plan.fresh = options_.fresh;
    plan.provenance = context_.provenance;
    plan.provenance.inputs = {{"problems", study.all.set.path, study.all.set.sha256},
                              {"model config", study.model.files.config, study.model.hashes.config},
                              {"model weights", study.model.files.weights, study.model.hashes.weights},
                              {"tokenizer", study.model.files.tokenizer, tokenizer_.sha256()},
                              study.dataset.as_input("dataset"),
                              study.splits.as_input("splits"),
                              setup_.latents.as_input("latents")};
    for (const InputFile& input : more_inputs) plan.provenance.inputs.push_back(input);
    plan.identity = study_identity(context_, "3 steering", *plan.schema, study);
    plan.identity["part"] = plan.suffix;
    plan.identity["latents"] = setup_.latents.content_sha256();
    plan.identity["saes"] = setup_.latents.identity().at("saes");
    plan.identity["tokenizer"] = tokenizer_.sha256();
    for (const std::string key : {"prompt", "extraction", "max-new-tokens", "stop-strings"}) plan.identity[key] = study.dataset.identity().at(key);
    plan.identity["coefficients"] = setup_.coefficients;
    plan.identity["batch-size"] = generation_.writing.batch_size;
    for (const auto& [key, value] : more_identity.items()) plan.identity[key] = value;
    if (part_ == tasks::SplitPart::tuning) {
        // What only the analysis part looks at.
        plan.identity["controls"] = 0;
        plan.identity["compat"] = "none";
    }
    add_result_options(context_, plan.identity);
    add_placement(plan.identity, setup_.placement, setup_.threads);
    return plan;
}

io::Columns PartRun::at_creation() const {
    io::Columns columns = {{"task_id", io::to_bytes(ids_)}, {"baseline/passed", io::to_bytes(passed_)}};
    const auto of_arms = [&](const std::string& name, auto value_of) {
        std::vector<decltype(value_of(setup_.arms.front()))> values;
        for (const SteeringArm& arm : setup_.arms) values.push_back(value_of(arm));
        if constexpr (std::is_same_v<decltype(value_of(setup_.arms.front())), std::string>) {
            columns["arm/" + name] = io::pack_texts(values, steering_name_bytes);
        } else {
            columns["arm/" + name] = io::to_bytes(values);
        }
    };
    of_arms("name", [](const SteeringArm& arm) { return arm.name; });
    of_arms("aim", [](const SteeringArm& arm) { return static_cast<std::uint8_t>(arm.aim == Direction::right ? 0 : 1); });
    of_arms("method", [](const SteeringArm& arm) { return static_cast<std::uint8_t>(arm.method); });
    of_arms("layer", [](const SteeringArm& arm) { return arm.layer; });
    of_arms("latent", [](const SteeringArm& arm) { return arm.latent; });
    of_arms("mean_norm", [](const SteeringArm& arm) { return arm.mean_norm; });
    of_arms("gate_layer", [](const SteeringArm& arm) { return arm.gate_layer; });
    of_arms("gate_latent", [](const SteeringArm& arm) { return arm.gate_latent; });
    of_arms("cosine_difference_of_means", [](const SteeringArm& arm) { return arm.cosine_difference_of_means; });
    of_arms("cosine_mass_mean", [](const SteeringArm& arm) { return arm.cosine_mass_mean; });
    of_arms("cosine_logistic", [](const SteeringArm& arm) { return arm.cosine_logistic; });
    std::vector<std::string> names;
    std::vector<std::int32_t> arms, latents;
    std::vector<std::uint8_t> kinds;
    std::vector<double> relative, coefficient, percentile, threshold;
    std::vector<float> vectors;
    for (const SteeringCondition& condition : conditions_) {
        names.push_back(condition.name);
        arms.push_back(condition.arm);
        kinds.push_back(static_cast<std::uint8_t>(condition.kind));
        latents.push_back(condition.latent);
        relative.push_back(condition.relative);
        coefficient.push_back(condition.coefficient);
        percentile.push_back(condition.gate_percentile);
        threshold.push_back(condition.gate_threshold);
        std::vector<float> vector = condition.vector;
        vector.resize(static_cast<std::size_t>(setup_.d_model), 0.0F);
        vectors.insert(vectors.end(), vector.begin(), vector.end());
    }
    columns["condition/name"] = io::pack_texts(names, steering_name_bytes);
    columns["condition/arm"] = io::to_bytes(arms);
    columns["condition/kind"] = io::to_bytes(kinds);
    columns["condition/latent"] = io::to_bytes(latents);
    columns["condition/relative"] = io::to_bytes(relative);
    columns["condition/coefficient"] = io::to_bytes(coefficient);
    columns["condition/gate_percentile"] = io::to_bytes(percentile);
    columns["condition/gate_threshold"] = io::to_bytes(threshold);
    columns["condition/vector"] = io::to_bytes(vectors);
    return columns;
}

GenerationUse PartRun::write_programs(io::ResultFile& file, const io::Sizes& sizes) {
    const mpi::Communicator& comm = context_.comm;
    std::vector<std::size_t> in_stream;
    std::vector<std::size_t> in_weights;
    for (std::size_t c = 0; c < conditions_.size(); ++c) {
        const bool weights = conditions_[c].arm >= 0 && setup_.arms[static_cast<std::size_t>(conditions_[c].arm)].method == SteeringMethod::taken_out;
        bool done = true;
        for (std::size_t problem = 0; problem < ids_.size(); ++problem) done = done && file.is_done(static_cast<std::int64_t>(problem * conditions_.size() + c));
        if (!done) (weights ? in_weights : in_stream).push_back(c);
    }
    GenerationUse use;
    if (!in_stream.empty()) {
        generation_.only = in_stream;
        use = generate_programs(context_, model(), tokenizer_, file, sizes, generation_);
    }
    // Each of these is a model of its own, one at a time.
    const std::string folder = context_.folder("phase3") + "/steering_model.tmp";
    const auto remove_folder = [&] {
        std::error_code ignored;
        std::filesystem::remove_all(folder, ignored);
        return std::string();
    };
    for (const std::size_t condition : in_weights) {
        holder_.model.reset();
        const std::string said = mpi::on_first_rank(comm, [&] {
            remove_folder();
            std::filesystem::create_directories(folder);
            const model::Orthogonalization change = model::write_orthogonalized_model(setup_.study.model.files, conditions_[condition].vector, folder);
            char text[160];
            std::snprintf(text, sizeof text, "taken out of %zu tensors, largest |d'W| left %.1e, relative change of the weights %.3g%s", change.tensors.size(), change.largest_product, change.relative_change,
                          change.untied ? ", unembedding kept apart" : "");
            return std::string(text);
        });
        context_.log.info(conditions_[condition].name + ": " + said);
        holder_.model.emplace(load_model(context_, model::orthogonalized_files(setup_.study.model.files, folder), setup_.placement, options_.placement, pass_of(generation_.writing.batch_size), setup_.threads));
        holder_.orthogonalized = true;
        generation_.only = {condition};
        GenerationUse one = generate_programs(context_, *holder_.model, tokenizer_, file, sizes, generation_);
        if (use.lines.empty()) use = std::move(one);
        comm.barrier();
        if (context_.first_rank()) remove_folder();
    }
    return use;
}

SteeredPrograms PartRun::read_programs(const io::ResultFile& file) const {
    SteeredPrograms programs;
    programs.part = part_;
    programs.problems = ids_.size();
    mpi::agreed(context_.comm, [&] {
        const auto rows = static_cast<std::int64_t>(ids_.size() * conditions_.size());
        const auto read = [&](const std::string& name, auto& values) {
            values.resize(static_cast<std::size_t>(rows));
            file.read_rows(name, 0, rows, std::as_writable_bytes(std::span(values)));
        };
        read("passed", programs.passed);
        read("verdict", programs.verdict);
        read("similarity", programs.similarity);
        read("gate_open", programs.gate_open);
        const std::vector<std::int64_t> dataset_rows = rows_of_part(setup_, part_);
        std::vector<std::int32_t> tokens(static_cast<std::size_t>(setup_.writing.max_new_tokens));
        for (std::size_t problem = 0; problem < ids_.size(); ++problem) {
            file.read_rows("token_ids", static_cast<std::int64_t>(problem * conditions_.size()), 1, std::as_writable_bytes(std::span(tokens)));
            if (tokens != setup_.study.dataset.read_rows<std::int32_t>("token_ids", dataset_rows[problem], 1)) ++programs.baseline_differs;
        }
    });
    return programs;
}

PartOutcome PartRun::run(std::vector<SteeringCondition> conditions, const nlohmann::ordered_json& more_identity, const std::vector<InputFile>& more_inputs) {
    const mpi::Communicator& comm = context_.comm;
    conditions_ = std::move(conditions);
    generation_.temperatures.assign(conditions_.size(), 0.0);
    generation_.edits.clear();
    for (const SteeringCondition& condition : conditions_) {
        const auto edit = edit_of(condition, setup_.arms, static_cast<std::size_t>(setup_.d_model), setup_.positions, setup_.gate_at);
        generation_.edits.push_back(edit ? std::vector{edit} : std::vector<std::shared_ptr<const generate::StreamEdit>>());
    }
    generation_.more_columns = [this](std::int64_t unit, const generate::Generation& generation, const tasks::Extraction& extraction, io::Columns& columns) {
        const std::size_t problem = static_cast<std::size_t>(unit) / conditions_.size();
        columns["similarity"] = io::to_bytes(std::vector{tasks::code_similarity(programs_[problem], extraction.program)});
        columns["gate_open"] = io::to_bytes(std::vector{generation.gates.empty() ? std::uint8_t{1} : generation.gates.front()});
        columns["gate_value"] = io::to_bytes(std::vector{generation.gate_values.empty() ? std::numeric_limits<double>::quiet_NaN() : generation.gate_values.front()});
    };
    PartOutcome outcome;
    const io::RunPlan run_plan = plan(more_identity, more_inputs);
    if (options_.dry_run) {
        outcome.dry_run = dry_run_report(context_, run_plan, "programs");
        return outcome;
    }
    io::OpenedResult opened = io::open_result_file(comm, context_.log, run_plan, at_creation());
    std::string path = opened.complete_path;
    if (opened.file) {
        GenerationUse use = write_programs(*opened.file, run_plan.sizes);
        opened.file->flush();
        const SteeredPrograms programs = read_programs(*opened.file);
        if (programs.baseline_differs > 0 && context_.first_rank()) {
            context_.log.warning(std::to_string(programs.baseline_differs) + " of " + std::to_string(programs.problems) +
                                 " programs without steering are not what phase 1 wrote. With the same device, --dtype and the fast forward pass they are; effects are measured against the programs written here");
        }
        const SteeringResults results = mpi::agreed(comm, [&] {
            return steering_results(programs, setup_.arms, conditions_, options_.controls, options_.compat == "paper", static_cast<std::uint64_t>(options_.seed));
        });
        nlohmann::ordered_json measured = measured_run(context_);
        measured["generation"] = use.measured;
        path = opened.file->publish(results.columns, results.summary, measured);
        outcome.lines = use.lines;
        outcome.measured = use.measured;
    }
    outcome.reader = mpi::agreed(comm, [&] { return io::ResultReader::open(path, steering_schema()); });
    return outcome;
}

}  // namespace

Report run_steering(Context& context, const SteeringOptions& options) {
    const Setup setup = read_setup(context, options);
    const text::Tokenizer tokenizer = load_tokenizer(context, setup.study.model);
    ModelHolder holder;
    Report report;
    const auto add = [&](const std::string& part, const PartOutcome& outcome) {
        report.lines.insert(report.lines.end(), outcome.lines.begin(), outcome.lines.end());
        const nlohmann::ordered_json summary = outcome.reader->summary();
        for (const std::string& line : steering_lines(summary)) report.lines.push_back(line);
        report.summary[part] = summary;
        report.summary[part]["result"] = outcome.reader->path();
        if (!outcome.measured.is_null()) report.summary["measured"][part] = outcome.measured;
        report.result_path = outcome.reader->path();
    };

    for (const SteeringArm& arm : setup.arms) {
        context.log.info(arm.name + ": aims at " + analysis::name(arm.aim) + " programs; mean norm of the stream there " + fixed(arm.mean_norm, 3) + "; cosine of its decoder row to the difference of means " +
                         fixed(arm.cosine_difference_of_means, 3) + " (" + analysis::cosine_word(arm.cosine_difference_of_means) + "), to the mass-mean probe " + fixed(arm.cosine_mass_mean, 3) + ", to the logistic probe " +
                         fixed(arm.cosine_logistic, 3));
    }

    // Whatever is chosen is chosen here, on the tuning part.
    std::vector<SteeringCondition> tuning;
    std::vector<std::uint8_t> chosen;
    nlohmann::ordered_json identity = nlohmann::ordered_json::object();
    std::vector<InputFile> inputs;
    const bool anything_to_choose = std::any_of(setup.arms.begin(), setup.arms.end(), [](const SteeringArm& arm) { return arm.method != SteeringMethod::taken_out; });
    if (anything_to_choose) {
        PartRun part(context, options, setup, tokenizer, holder, tasks::SplitPart::tuning);
        part.prepare(setup.study.all.set.problems);
        tuning = tuning_conditions(context, setup, options, part.problems(), [&]() -> const model::Model& { return part.model(); });
        const PartOutcome outcome = part.run(tuning, identity, {});
        if (options.dry_run) return outcome.dry_run;
        add("tuning", outcome);
        mpi::agreed(context.comm, [&] { chosen = outcome.reader->read<std::uint8_t>("choice/chosen"); });
        identity["tuning"] = outcome.reader->content_sha256();
        inputs.push_back(outcome.reader->as_input("coefficients of the tuning part"));
        if (options.tuning_only) return report;
    }
    PartRun part(context, options, setup, tokenizer, holder, tasks::SplitPart::analysis);
    part.prepare(setup.study.all.set.problems);
    const PartOutcome outcome = part.run(analysis_conditions(context, setup, options, tuning, chosen), identity, inputs);
    if (options.dry_run) return outcome.dry_run;
    add("analysis", outcome);
    return report;
}

}  // namespace pva::phases
