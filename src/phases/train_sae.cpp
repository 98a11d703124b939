// Training SAEs: options, the loop over steps, measuring, checkpoints, what is written.
#include "pva/phases/train_sae.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "pva/core/error.h"
#include "pva/core/progress.h"
#include "pva/core/sha256.h"
#include "pva/io/run_lock.h"
#include "pva/io/whole_file.h"
#include "pva/kernels/thread_pool.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/bulletin.h"
#include "pva/phases/model_setup.h"
#include "pva/phases/training_checkpoint.h"
#include "pva/phases/training_plan.h"
#include "pva/phases/training_quality.h"
#include "pva/phases/training_rows.h"
#include "pva/phases/training_step.h"
#include "pva/sae/load.h"
#include "pva/train/start.h"
#include "pva/train/state.h"

namespace pva::phases {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

void register_options(OptionSet& set, TrainSaeOptions& options) {
    register_model_option(set, options.model);
    register_options(set, options.text);
    set.add("out", options.out, "DIR", "folder for the SAEs, the progress table and the record of the training").required();
    set.add("format", options.format, "FORMAT", "files of the SAEs; gemma-scope (params.npz) is for batchtopk and jumprelu").one_of({"saelens", "gemma-scope"}).changes_results();
    set.add("model-name", options.model_name, "NAME", "name of the model in the SAEs' metadata; the model's own when not given").changes_results();
    set.add("kind", options.kind, "KIND", "kind of SAE").one_of({"topk", "batchtopk", "jumprelu"}).changes_results();
    set.add("site", options.sites, "SITES", "sites whose rows are trained on, separated by commas").list().changes_results();
    set.add("layers", options.layers, "LIST", "layers, such as 2,5,8-10; all when not given").list().changes_results();
    set.add("start-from", options.start_from, "DIR", "begin with the numbers of these SAEs (one a layer, any format) instead of random ones: fine-tuning").changes_results();
    set.add("latents", options.latents, "LIST", "widths: numbers of latents, separated by commas").list().changes_results();
    set.add("l0", options.l0, "LIST", "active latents a row: k, or the target of jumprelu; separated by commas").list().changes_results();
    set.add("tokens", options.tokens, "N", "rows to train on; each of the text once when not given").at_least(1).changes_results();
    set.add("batch", options.batch, "N", "rows of an optimizer step, of all ranks together").at_least(1).changes_results();
    set.add("micro-batch", options.micro_batch, "N", "rows whose gradients are computed together; at most batch / micro-batch ranks share a step's work").at_least(1).changes_results();
    set.add("buffer", options.buffer, "ROWS", "rows of the shuffle buffer, of all ranks together").at_least(1).changes_results();
    set.add("seed", options.seed, "N", "of first values and orders").at_least(0).changes_results();
    set.add("learning-rate", options.learning_rate, "RATE", "of Adam; 0: 2e-4 / sqrt(latents / 16384), up to ten times that for few steps").at_least(0).changes_results();
    set.add("warm-up", options.warm_up, "SHARE", "share of the steps over which the learning rate rises").at_least(0).changes_results();
    set.add("decay", options.decay, "SHARE", "share of the steps, at the end, over which it falls to 0").at_least(0).changes_results();
    set.add("clip", options.clip, "NORM", "largest norm of the gradient; 0: none").at_least(0).changes_results();
    set.add("sparsity", options.sparsity, "WEIGHT", "jumprelu: weight of (L0 / target - 1)^2, rows having mean norm 1").at_least(0).changes_results();
    set.add("sparsity-warm-up", options.sparsity_warm_up, "SHARE", "share of the steps over which that weight rises").at_least(0).changes_results();
    set.add("bandwidth", options.bandwidth, "WIDTH", "jumprelu: width of the straight-through estimator, rows having mean norm 1").at_least(0).changes_results();
    set.add("dead-after", options.dead_after, "ROWS", "rows without firing after which a latent counts as dead; a tenth of the training, at most 10 million, when not given").at_least(1).changes_results();
    set.add("revive", options.revive, "WEIGHT", "weight of the auxiliary loss for dead latents; 0: none").at_least(0).changes_results();
    set.add("revive-k", options.revive_k, "N", "dead latents a row that share in it; twice the L0 when not given").at_least(1).changes_results();
    set.add("measure-every", options.measure_every, "STEPS", "steps between lines of the progress table; a twentieth of the training when not given, more where measuring would take long").at_least(1).changes_results();
    set.add("measure-sequences", options.measure_sequences, "N", "held-out sequences measured for these lines; at the end all are").at_least(1).changes_results();
    set.add("loss-sequences", options.loss_sequences, "N", "held-out sequences for the loss with the reconstruction put in").at_least(0).changes_results();
    set.add("checkpoint-minutes", options.checkpoint_minutes, "MIN", "minutes between checkpoints").at_least(0);
    set.add("threads", options.threads, "N", "threads a rank (0: by the affinity mask); unless the forward pass is fast it belongs to the identity of a run").at_least(0);
    register_options(set, options.placement);
    set.add_flag("fresh", options.fresh, "start over even if there is a finished or unfinished training in --out");
    set.add_flag("dry-run", options.dry_run, "check all inputs, say what would be done, write no result");
}

namespace {

constexpr std::size_t sample_sequences = 32;  // for scales and first values

constexpr const char* table_head =
    "step\ttokens\tsae\tloss\tl0\texplained_variance_batch\texplained_variance\texplained_variance_first\texplained_variance_rest\texplained_variance_last_prompt\tloss_recovered\t"
    "dead_share\tlearning_rate\tsparsity\ttokens_per_second\tseconds_left\n";

std::string number(double value, int decimals) { return std::isfinite(value) ? fixed(value, decimals) : ""; }

/// What a training is doing, for the loop.
struct Training {
    const TrainSaeOptions& options;
    std::vector<TrainingPlace> places;
    std::vector<TrainingJob> jobs;
    std::vector<train::SaeState> states;
    TrainingProgress progress;
    std::string checkpoint;  ///< path
};

std::vector<MeasuredSae> measured_saes(const Training& training) {
    std::vector<MeasuredSae> saes;
    for (std::size_t i = 0; i < training.jobs.size(); ++i) {
        const train::SaeState& state = training.states[i];
        saes.push_back({sae::to_sae(train::finished(state.settings, state.parameters, training.places[training.jobs[i].place].scale, state.batch_threshold)), training.jobs[i].place});
    }
    return saes;
}

double loss_of(const train::StepSums& sums) { return sums.squared_error / std::max(1.0, sums.n_rows) + sums.sparsity_loss + sums.revive_loss; }

double dead_share(const train::SaeState& state) { return static_cast<double>(std::count(state.dead.begin(), state.dead.end(), std::uint8_t{1})) / static_cast<double>(state.dead.size()); }

/// Scales of the places and first values, from rows of the beginning of the stream.
void begin(const mpi::Communicator& comm, Training& training, const RowStream& stream, const kernels::ThreadPool& pool) {
    const std::vector<std::vector<float>> sample = stream.sample(sample_sequences);
    mpi::agreed(comm, [&] {
        std::vector<std::vector<float>> unit(sample);
        for (std::size_t p = 0; p < training.places.size(); ++p) {
            const std::size_t d = training.places[p].width;
            double norms = 0;
            for (std::size_t row = 0; row < sample[p].size(); row += d) {
                double squares = 0;
                for (std::size_t i = row; i < row + d; ++i) squares += static_cast<double>(sample[p][i]) * sample[p][i];
                norms += std::sqrt(squares);
            }
            if (!(norms > 0) || !std::isfinite(norms)) throw InputError("the rows of " + std::string(model::site_name(training.places[p].site)) + " " + std::to_string(training.places[p].layer) + " are all zero or not finite");
            training.places[p].scale = static_cast<double>(sample[p].size() / d) / norms;
            for (float& value : unit[p]) value *= static_cast<float>(training.places[p].scale);
        }
        for (const TrainingJob& job : training.jobs) {
            const std::vector<std::size_t> offsets = latent_offsets(job.settings.latents, comm.size());
            const auto rank = static_cast<std::size_t>(comm.rank());
            train::Parameters parameters = job.start.empty() ? train::initial_parameters(job.settings, unit[job.place], pool)
                                                             : train::parameters_from(job.settings, sae::load(sae::identify(job.start)), training.places[job.place].scale);
            training.states.push_back(train::first_state(job.settings, std::move(parameters), offsets[rank], offsets[rank + 1]));
        }
    });
    for (const TrainingPlace& place : training.places) training.progress.scales.push_back(place.scale);
    training.progress.table = table_head;
}

void go_on(const mpi::Communicator& comm, Training& training) {
    mpi::agreed(comm, [&] {
        training.progress = read_progress(training.checkpoint, training.progress.identity, training.places.size());
        for (std::size_t p = 0; p < training.places.size(); ++p) training.places[p].scale = training.progress.scales[p];
        for (const TrainingJob& job : training.jobs) {
            const std::vector<std::size_t> offsets = latent_offsets(job.settings.latents, comm.size());
            const auto rank = static_cast<std::size_t>(comm.rank());
            training.states.push_back(train::first_state(job.settings, {}, offsets[rank], offsets[rank + 1]));
        }
        load_states(training.checkpoint, training.states);
    });
}

void write_sae(const TrainSaeOptions& options, const TrainingJob& job, const TrainingPlace& place, const train::SaeState& state, const std::string& model_name, const TrainingText& text, const Json& record) {
    const sae::SavedSae saved = train::finished(state.settings, state.parameters, place.scale, state.batch_threshold);
    const std::string folder = options.out + "/" + job.folder;
    if (options.format == "gemma-scope") {
        sae::save_gemma_scope(folder + "/params.npz", saved);
    } else {
        const std::optional<int> layer = model::site_has_layers(place.site) ? std::optional(place.layer) : std::nullopt;
        sae::save_saelens(folder, saved, {model_name, model::transformer_lens_name({place.site, layer}), text.bos.has_value(), static_cast<std::size_t>(options.text.context), options.text.text, {{"pva_training", record}}});
    }
}

Json settings_json(const train::Settings& s) {
    return {{"kind", train::kind_name(s.kind)}, {"d", s.d}, {"latents", s.latents}, {"l0", s.l0}, {"steps", s.steps}, {"batch", s.batch}, {"micro_batches", s.micro_batches}, {"learning_rate", s.learning_rate},
            {"warm_up", s.warm_up}, {"decay", s.decay}, {"clip", s.clip}, {"sparsity", s.sparsity}, {"sparsity_warm_up", s.sparsity_warm_up}, {"bandwidth", s.bandwidth}, {"dead_after", s.dead_after},
            {"revive", s.revive}, {"revive_k", s.revive_k}, {"seed", s.seed}};
}

std::vector<std::string> quality_lines(const Json& saes) {
    const auto shown = [](const Json& value, int decimals) { return value.is_null() ? std::string("-") : fixed(value.get<double>(), decimals); };
    std::vector<std::vector<std::string>> table = {{"SAE", "L0", "expl. variance", "first", "rest", "last prompt", "loss recovered", "clean loss", "dead"}};
    for (const Json& sae : saes) {
        const Json& q = sae["quality"];
        table.push_back({sae["path"].get<std::string>(), shown(q["all"]["l0"], 2), shown(q["all"]["explained_variance"], 4), shown(q["first"]["explained_variance"], 4), shown(q["rest"]["explained_variance"], 4),
                         shown(q["last_prompt"]["explained_variance"], 4), shown(q["loss_recovered"], 4), shown(q["clean_loss"], 4), fixed(100 * sae["dead_share"].get<double>(), 1) + "%"});
    }
    return table_lines(table);
}

/// Held until the run ends, so that no two runs write into one folder.
class FolderLock {
  public:
    /// Collective. Makes the folder. Errors (AgreedError): InputError when another run holds it, IoError.
    FolderLock(const mpi::Communicator& comm, const std::string& out) : path_(out + "/training.lock"), first_(comm.rank() == 0) {
        mpi::on_first_rank(comm, [&] {
            std::error_code error;
            fs::create_directories(out, error);
            if (error) throw IoError(out + ": the folder cannot be made (" + error.message() + "); choose another --out");
            lock_.acquire_exclusive(path_);
            return std::string();
        });
        // First that of rank 0, which held it alone.
        for (const bool first : {true, false}) {
            mpi::agreed(comm, [&] {
                if (first_ == first) lock_.share(path_);
            });
        }
    }
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;
    ~FolderLock() {
        std::error_code ignored;
        if (first_) fs::remove(path_, ignored);  // who waits for the lock makes a new file
    }

  private:
    std::string path_;
    bool first_;
    io::RunLock lock_;
};

/// The record of a finished training in the folder; nothing when there is none. Errors: InputError when it is of another one.
std::optional<Json> finished_record(const TrainSaeOptions& options, const std::string& identity) {
    std::ifstream file(options.out + "/training.json");
    if (!file || options.fresh) return std::nullopt;
    Json record;
    try {
        record = Json::parse(file);
        if (record.at("identity").get<std::string>() == identity) return record;
    } catch (const nlohmann::json::exception& error) {
        throw InputError(options.out + "/training.json: cannot be read (" + error.what() + "); choose another --out, or --fresh to write over it");
    }
    throw InputError(options.out + ": holds SAEs of a training with other options, texts or another model; choose another --out, or --fresh to write over them");
}

/// Steps between measurements: a twentieth of all, or more, so that the model reads at least five times as many tokens to
/// train on as to measure (clean, ablated and with each SAE's reconstruction for the loss).
std::int64_t usual_interval(const TrainSaeOptions& options, const Training& training) {
    const train::Settings& any = training.jobs[0].settings;
    const std::int64_t passes = options.measure_sequences + options.loss_sequences * (2 + static_cast<std::int64_t>(training.jobs.size()));
    const std::int64_t steps = 5 * passes * options.text.context / any.batch;
    return std::clamp<std::int64_t>(std::max(any.steps / 20, steps), 1, any.steps);
}

/// Steps until all are done or a stop is asked for.
void train_all(Context& context, Training& training, RowStream& stream, QualityMeasure& measure, const kernels::ThreadPool& pool) {
    const mpi::Communicator& comm = context.comm;
    const TrainSaeOptions& options = training.options;
    const train::Settings& any = training.jobs[0].settings;
    const std::int64_t every = options.measure_every.value_or(usual_interval(options, training));
    std::vector<GradientStore> stores;
    for (const TrainingJob& job : training.jobs) {
        const auto same = std::find_if(training.jobs.begin(), training.jobs.end(), [&](const TrainingJob& other) { return other.settings.latents == job.settings.latents && other.settings.d == job.settings.d; });
        const auto place = static_cast<std::size_t>(same - training.jobs.begin());
        if (place == stores.size()) stores.emplace_back(job.settings.latents, job.settings.d);
        else stores.emplace_back(0, 0);  // that of the first SAE of this shape is used
    }
    const auto store_of = [&](std::size_t i) -> GradientStore& {
        for (std::size_t other = 0; other < i; ++other) {
            if (training.jobs[other].settings.latents == training.jobs[i].settings.latents && training.jobs[other].settings.d == training.jobs[i].settings.d) return stores[other];
        }
        return stores[i];
    };
    mpi::Bulletin bulletin(comm, context.common.max_minutes);
    const std::int64_t first_step = training.states[0].step;
    const double seconds_before = training.progress.seconds;
    Progress progress(context.log, "tokens", any.steps * any.batch, first_step * any.batch, {context.first_rank() && context.log.level() >= LogLevel::info, stdout_is_terminal(), 15});
    const auto start = Clock::now();
    auto last_checkpoint = start;
    auto last_row = start;
    std::int64_t rows_since = 0;
    std::vector<train::StepSums> recent(training.jobs.size());
    bool stopped = false;
    double measuring = 0;
    const auto seconds_since = [](Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); };

    for (std::int64_t step = first_step; step < any.steps && !stopped; ++step) {
        for (std::size_t i = 0; i < training.jobs.size(); ++i) {
            const train::StepSums sums = training_step(comm, training.states[i], stream.rows(step, training.jobs[i].place), store_of(i), pool);
            recent[i] = sums;
        }
        rows_since += any.batch;
        if ((step + 1) % every == 0 || step + 1 == any.steps) {
            const auto before = Clock::now();
            const std::vector<SaeQuality> quality = measure.measure(measured_saes(training), static_cast<std::size_t>(options.measure_sequences), pool);
            measuring += seconds_since(before);
            const double rate = static_cast<double>(rows_since) / std::max(1e-9, std::chrono::duration<double>(before - last_row).count());
            for (std::size_t i = 0; i < quality.size(); ++i) {
                const SaeQuality& q = quality[i];
                training.progress.table += std::to_string(step + 1) + "\t" + std::to_string((step + 1) * any.batch) + "\t" + training.jobs[i].folder + "\t" + number(loss_of(recent[i]), 6) + "\t" +
                                           number(q.all.l0, 3) + "\t" + number(recent[i].explained_variance(), 6) + "\t" + number(q.all.explained_variance, 6) + "\t" + number(q.first.explained_variance, 6) + "\t" +
                                           number(q.rest.explained_variance, 6) + "\t" + number(q.last_prompt.explained_variance, 6) + "\t" + number(q.loss_recovered, 6) + "\t" +
                                           number(dead_share(training.states[i]), 6) + "\t" + number(train::learning_rate_at(training.jobs[i].settings, step), 8) + "\t" +
                                           number(train::sparsity_at(training.jobs[i].settings, step), 6) + "\t" + number(rate, 1) + "\t" +
                                           number(static_cast<double>((any.steps - step - 1) * any.batch) / rate, 0) + "\n";
            }
            last_row = Clock::now();
            rows_since = 0;
            mpi::on_first_rank(comm, [&] {
                io::write_whole_file(options.out + "/progress.tsv", training.progress.table);
                return std::string();
            });
        }
        if (context.first_rank()) {
            const train::StepSums& sums = recent[0];
            progress.update((step + 1) * any.batch, training.jobs[0].folder + ": loss " + number(loss_of(sums), 4) + ", L0 " + number(sums.n_active / sums.n_rows, 1) + ", expl. variance " +
                                                        number(sums.explained_variance(), 4) + ", dead " + number(100 * dead_share(training.states[0]), 1) + " %");
        }
        const bool due = context.first_rank() && seconds_since(last_checkpoint) >= 60 * options.checkpoint_minutes;
        const std::int64_t wish = comm.all_max(bulletin.stop_requested() ? 2 : due ? 1 : 0);
        stopped = wish == 2 && step + 1 < any.steps;
        if (stopped || (wish == 1 && step + 1 < any.steps)) {
            training.progress.seconds = seconds_before + seconds_since(start) - measuring;
            save_checkpoint(comm, training.checkpoint, training.progress, training.states);
            last_checkpoint = Clock::now();
        }
    }
    training.progress.seconds = seconds_before + seconds_since(start) - measuring;
    if (context.first_rank()) progress.finish();
    bulletin.finish({});
    if (stopped) {
        mpi::agree(comm, mpi::Failure{ExitCode::stopped, "stopped on request: " + std::to_string(training.states[0].step) + " of " + std::to_string(any.steps) +
                                                             " steps are done and stored. The same command goes on"});
    }
}

}  // namespace

Report run_train_sae(Context& context, const TrainSaeOptions& options) {
    const mpi::Communicator& comm = context.comm;
    const ModelInput model_input = find_model(context, options.model);
    const model::ModelConfig config = mpi::agreed(comm, [&] { return model::load_config(model_input.files); });
    Training training{options, {}, {}, {}, {}, options.out + "/checkpoint.safetensors"};
    mpi::agreed(comm, [&] {
        training.places = training_places(options, config);
        training_jobs(options, training.places, std::int64_t{1} << 40);  // senseless options are told before anything is read
    });
    const text::Tokenizer tokenizer = load_tokenizer(context, model_input);
    mpi::agreed(comm, [&] { check_tokenizer(tokenizer, config.vocab_size, model_input); });
    const TrainingText text = read_training_text(context, options.text, tokenizer, config);
    std::int64_t rows = 0;
    for (const auto& sequence : text.sequences) rows += static_cast<std::int64_t>(train::used_positions(sequence, text.bos).size());
    mpi::agreed(comm, [&] {
        training.jobs = training_jobs(options, training.places, rows);
        if (!options.start_from.empty()) find_starts(options, training.places, training.jobs);
    });
    const train::Settings& any = training.jobs[0].settings;

    const int threads = thread_count(context, options.threads);
    const model::Placement placement = place_model(context, options.placement);
    Json identity = {{"program", "pva_train_sae"}, {"pva_version", context.provenance.build.version}, {"model_config", model_input.hashes.config}, {"model_weights", model_input.hashes.weights},
                     {"text_sha256", text.sha256}, {"tokenizer", tokenizer.sha256()}};
    add_placement(identity, placement, threads);
    add_result_options(context, identity);
    if (!options.start_from.empty()) {
        const Json hashes = hashes_of_starts(comm, training.jobs);
        identity["start_from"] = hashes;
        for (const TrainingJob& job : training.jobs) context.provenance.inputs.push_back({"SAE that " + job.folder + " begins with", job.start, hashes[job.folder].get<std::string>()});
    }
    training.progress.identity = sha256_hex(identity.dump());
    context.provenance.inputs.push_back({"model weights", model_input.files.weights, model_input.hashes.weights});

    Report report;
    report.result_path = options.out;
    std::optional<FolderLock> lock;
    if (!options.dry_run) lock.emplace(comm, options.out);
    const std::string known = mpi::on_first_rank(comm, [&] {
        const auto record = finished_record(options, training.progress.identity);
        std::error_code ignored;
        if (record && !options.dry_run) fs::remove(training.checkpoint, ignored);  // a kill may have come between the two
        return record ? record->dump() : std::string();
    });
    if (!known.empty()) {
        report.summary = Json::parse(known);
        report.lines = quality_lines(report.summary["saes"]);
        report.lines.insert(report.lines.begin(), options.out + " is finished already, with the same options, texts and model");
        return report;
    }
    const train::StreamSettings stream_settings{static_cast<std::uint64_t>(options.seed), any.steps, any.batch, options.buffer, options.text.prompt_share};
    if (context.first_rank()) {
        context.log.info("text: " + std::to_string(text.sequences.size()) + " sequences with " + std::to_string(rows) + " rows to train on, " + std::to_string(text.held_out.size()) + " sequences to measure on" +
                         (text.prompts.empty() ? "" : "; prompts: " + std::to_string(text.prompts.size()) + " and " + std::to_string(text.held_out_prompts.size())));
        context.log.info(std::to_string(training.jobs.size()) + " SAEs, " + std::to_string(any.steps) + " steps of " + std::to_string(any.batch) + " rows in " + std::to_string(any.micro_batches) + " micro-batches");
        if (any.micro_batches < comm.size()) context.log.warning("there are fewer micro-batches than ranks: some ranks only run the model; take a smaller --micro-batch");
        if (text.held_out.empty()) context.log.warning("no text is held out: nothing will be measured on it; give --held-out-text or a --held-out-share above 0");
        const double times = static_cast<double>(any.steps * any.batch) * (1 - options.text.prompt_share) / static_cast<double>(std::max<std::int64_t>(1, rows));
        if (times > 1.001) context.log.warning("the text is read " + fixed(times, 2) + " times: repeated tokens make worse SAEs than new ones; give more text or fewer --tokens");
    }
    if (options.dry_run) {
        report.result_path.clear();
        report.summary = {{"dry_run", true}, {"saes", training.jobs.size()}, {"steps", any.steps}, {"rows", rows}, {"text", text.about}};
        report.lines = {"dry run: all inputs are usable. No result was written"};
        return report;
    }

    const std::int64_t longest = std::max<std::int64_t>(options.text.context, 1);
    const model::Model model = load_model(context, model_input.files, placement, options.placement, {4, 4 * longest, 0}, threads);
    const kernels::ThreadPool pool(threads);
    const bool unfinished = !mpi::on_first_rank(comm, [&] {
                                 std::error_code error;
                                 if (options.fresh) {
                                     fs::remove(training.checkpoint, error);
                                     fs::remove(options.out + "/training.json", error);
                                 }
                                 return std::string(fs::exists(training.checkpoint) ? "yes" : "");
                             }).empty();
    // Scales belong to the rows that leave the buffer, so they are known before the stream is.
    std::optional<RowStream> stream;
    stream.emplace(comm, model, text, training.places, stream_settings, any.micro_batches);
    if (unfinished) {
        go_on(comm, training);
        if (context.first_rank()) context.log.info("going on after step " + std::to_string(training.states[0].step) + " of " + training.checkpoint);
    } else {
        begin(comm, training, *stream, pool);
    }
    QualityMeasure measure(comm, model, text, training.places, static_cast<std::size_t>(options.loss_sequences));
    train_all(context, training, *stream, measure, pool);

    const std::vector<SaeQuality> quality = measure.measure(measured_saes(training), 0, pool);
    const std::string model_name = options.model_name.empty() ? model_input.files.name : options.model_name;
    Json record = {{"identity", training.progress.identity}, {"model", model_name}, {"text", text.about}, {"rows_trained", any.steps * any.batch}, {"epochs", stream->epochs()}};
    record["saes"] = Json::array();
    for (std::size_t i = 0; i < training.jobs.size(); ++i) {
        const TrainingJob& job = training.jobs[i];
        const TrainingPlace& place = training.places[job.place];
        record["saes"].push_back({{"path", job.folder}, {"site", model::site_name(place.site)}, {"layer", place.layer}, {"scale", place.scale}, {"settings", settings_json(job.settings)},
                                  {"dead_share", dead_share(training.states[i])}, {"quality", to_json(quality[i])}});
    }
    record["provenance"] = pva::to_json(context.provenance);
    record["measured"] = {{"training_seconds", training.progress.seconds}, {"ranks", comm.size()}, {"threads", threads}, {"host", host_name()}, {"finished", timestamp_now()}};
    mpi::on_first_rank(comm, [&] {
        for (std::size_t i = 0; i < training.jobs.size(); ++i) {
            Json own = record["saes"][i];
            own["text_sha256"] = text.sha256;
            own["rows_trained"] = record["rows_trained"];
            own["program"] = version_line("pva_train_sae");
            write_sae(options, training.jobs[i], training.places[training.jobs[i].place], training.states[i], model_name, text, own);
        }
        io::write_whole_file(options.out + "/documents.tsv", text.documents_table);
        io::write_whole_file(options.out + "/training.json", record.dump(2) + "\n");
        std::error_code ignored;
        fs::remove(training.checkpoint, ignored);
        return std::string();
    });
    report.summary = record;
    report.lines = quality_lines(record["saes"]);
    report.lines.push_back(fixed(static_cast<double>(any.steps * any.batch) / std::max(1e-9, training.progress.seconds), 0) + " tokens/s, model and training together");
    return report;
}

}  // namespace pva::phases
