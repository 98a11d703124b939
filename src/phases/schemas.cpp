// Declarative schemas of the result files. Change a page in docs/formats together with its schema here.
#include "pva/phases/schemas.h"

namespace pva::phases {

using io::Filled;
using io::h5::Element;

const io::FileSchema& difficulty_schema() {
    static const io::FileSchema schema{
        "pva difficulty", 1, "difficulty.md", "problem",
        {
            {"task_id", Element::i64, {"problem"}, Filled::at_creation, "1", "id of the problem, ascending", ""},
            {"task_name", Element::text, {"problem"}, Filled::at_creation, "1", "its id as it stands in the problems file", "name_bytes"},
            {"complexity", Element::i32, {"problem"}, Filled::per_unit, "1", "largest cyclomatic complexity of the reference solution's blocks, radon's rules", ""},
            {"stratum", Element::u8, {"problem"}, Filled::per_unit, "1", "0 easy (complexity 1), 1 medium (2, 3), 2 hard (4 and more)", ""},
        }};
    return schema;
}

const io::FileSchema& dataset_schema() {
    static const io::FileSchema schema{
        "pva dataset", 2, "dataset.md", "problem",
        {
            {"task_id", Element::i64, {"row"}, Filled::at_creation, "1", "id of the row's problem, ascending", ""},
            {"sample", Element::i32, {"row"}, Filled::at_creation, "1", "which program of its problem, from 0; the rows of a problem stand side by side", ""},
            {"temperature", Element::f64, {"row"}, Filled::at_creation, "1", "0: the most probable token each time", ""},
            {"family", Element::text, {"row"}, Filled::at_creation, "1", "kind of problem, empty when the problems file does not say", "family_bytes"},
            {"complexity", Element::i32, {"row"}, Filled::at_creation, "1", "difficulty from phase 0, -1 when none was given", ""},
            {"prompt_sha256", Element::text, {"row"}, Filled::at_creation, "1", "SHA-256 of the prompt's bytes", "sha256_digits"},
            {"prompt_tokens", Element::i32, {"row"}, Filled::at_creation, "tokens", "length of the prompt, BOS included", ""},
            {"layer", Element::i32, {"layer"}, Filled::at_creation, "1", "block index of each residual layer", ""},
            {"residual/resid_post", Element::f32, {"problem", "layer", "d_model"}, Filled::per_unit, "1", "residual stream after the block, at the last prompt token", ""},
            {"token_ids", Element::i32, {"row", "token"}, Filled::per_unit, "1", "generated tokens, EOS included; -1 behind the last", ""},
            {"log_probability", Element::f32, {"row", "token"}, Filled::per_unit, "nat", "of each token under the model (temperature 1, no filters); 0 behind the last", ""},
            {"entropy", Element::f32, {"row", "token"}, Filled::per_unit, "nat", "of the distribution each token was taken from, temperature 1, no filters; 0 behind the last", ""},
            {"mean_log_probability", Element::f64, {"row"}, Filled::per_unit, "nat", "mean of log_probability over the generated tokens", ""},
            {"generated_tokens", Element::i32, {"row"}, Filled::per_unit, "tokens", "number of generated tokens", ""},
            {"stop_reason", Element::u8, {"row"}, Filled::per_unit, "1", "0 EOS, 1 the program was complete, 2 token limit, 3 stop string", ""},
            {"raw_output", Element::text, {"row"}, Filled::per_unit, "1", "what the model wrote, cut at the width; token_ids are authoritative", "output_bytes"},
            {"raw_output_bytes", Element::i64, {"row"}, Filled::per_unit, "bytes", "its full length", ""},
            {"program", Element::text, {"row"}, Filled::per_unit, "1", "the program taken from it, cut at the width", "output_bytes"},
            {"program_bytes", Element::i64, {"row"}, Filled::per_unit, "bytes", "its full length", ""},
            {"verdict", Element::u8, {"row"}, Filled::per_unit, "1", "how the tests ended: 0 passed, 1 wrong, 2 syntax, 3 name, 4 type, 5 runtime, 6 early_exit, 7 signal, 8 timeout_cpu, 9 timeout_wall, 10 memory, 11 output_limit, 12 nproc, 13 internal", ""},
            {"passed", Element::u8, {"row"}, Filled::per_unit, "1", "1 when every assert was proven to hold", ""},
            {"asserts_passed", Element::i32, {"row"}, Filled::per_unit, "asserts", "tests that held", ""},
            {"asserts_total", Element::i32, {"row"}, Filled::per_unit, "asserts", "tests given", ""},
            {"first_failed", Element::i32, {"row"}, Filled::per_unit, "1", "index of the first test that failed, -1 when none was reached", ""},
            {"exit_status", Element::i32, {"row"}, Filled::per_unit, "1", "exit status of the program's process, 0 when it was ended from outside", ""},
            {"signal", Element::i32, {"row"}, Filled::per_unit, "1", "signal that ended the program's process, 0 when none", ""},
            {"suspicious", Element::u8, {"row"}, Filled::per_unit, "1", "1 when the program meddled with its tester", ""},
            {"measured/detail", Element::text, {"row"}, Filled::per_unit, "1", "first failure in words; may hold addresses", "detail_bytes"},
            {"measured/test_wall_seconds", Element::f64, {"row"}, Filled::per_unit, "s", "elapsed time of the tests", ""},
            {"measured/test_cpu_seconds", Element::f64, {"row"}, Filled::per_unit, "s", "processor time of the tests with their box", ""},
        }};
    return schema;
}

io::FileSchema activations_schema(const std::vector<std::string>& sites, Element element) {
    io::FileSchema schema{
        "pva activations", 1, "activations.md", "problem",
        {
            {"task_id", Element::i64, {"program"}, Filled::at_creation, "1", "id of the program's problem; programs stand as in the dataset", ""},
            {"sample", Element::i32, {"program"}, Filled::at_creation, "1", "which program of its problem, from 0", ""},
            {"passed", Element::u8, {"program"}, Filled::at_creation, "1", "1 when the program passed its tests", ""},
            {"first_row", Element::i64, {"program_plus_one"}, Filled::at_creation, "rows", "where each program's rows begin; the last is their end", ""},
            {"row/program", Element::i64, {"row"}, Filled::at_creation, "1", "index of the row's program", ""},
            {"row/kind", Element::u8, {"row"}, Filled::at_creation, "1", "what its position is: 0 last-prompt, 1 signature-end, 2 tenths, 3 last-token, 4 all", ""},
            {"row/tenth", Element::i32, {"row"}, Filled::at_creation, "1", "which tenth of the program ends there, 1 to 10; 0 for the other kinds", ""},
            {"row/position", Element::i32, {"row"}, Filled::at_creation, "tokens", "index of the token in prompt and answer together, BOS counted", ""},
            {"row/token_id", Element::i32, {"row"}, Filled::at_creation, "1", "the token at the position", ""},
        }};
    for (const std::string& site : sites) {
        schema.datasets.push_back({"layer/" + site, Element::i32, {"layer_" + site}, Filled::at_creation, "1", "block index of each layer of " + site, ""});
    }
    for (const std::string& site : sites) {
        schema.datasets.push_back({"activations/" + site, element, {"row", "layer_" + site, "width_" + site}, Filled::per_unit, "1", "values at " + site, ""});
    }
    return schema;
}

const io::FileSchema& temperatures_schema() {
    static const io::FileSchema schema = [] {
        io::FileSchema s{"pva temperatures", 1, "temperatures.md", "problem at a temperature", {}};
        // What the dataset says of a program, without its residual stream and what belongs to that alone.
        for (const io::DatasetSpec& spec : dataset_schema().datasets) {
            if (spec.dims.front() == "row" && spec.name != "family" && spec.name != "prompt_tokens") s.datasets.push_back(spec);
        }
        s.datasets.push_back({"greedy/task_id", Element::i64, {"problem"}, Filled::at_creation, "1", "problems of the part, ascending", ""});
        s.datasets.push_back({"greedy/passed", Element::u8, {"problem"}, Filled::at_creation, "1", "1 when phase 1's program for it, at temperature 0, passed its tests", ""});
        return s;
    }();
    return schema;
}

const io::FileSchema& splits_schema() {
    static const io::FileSchema schema{
        "pva splits", 1, "splits.md", "problem",
        {
            {"task_id", Element::i64, {"problem"}, Filled::at_creation, "1", "id of the problem, ascending", ""},
            {"complexity", Element::i32, {"problem"}, Filled::at_creation, "1", "difficulty from phase 0", ""},
            {"role", Element::text, {"part"}, Filled::at_creation, "1", "name of each part, by its number", "role_bytes"},
            {"part", Element::u8, {"problem"}, Filled::per_unit, "1", "0 selection, 1 tuning, 2 analysis", ""},
        }};
    return schema;
}

const io::FileSchema& verdicts_schema() {
    static const io::FileSchema schema{
        "pva verdicts", 1, "verdicts.md", "completion",
        {
            {"task_id", Element::i64, {"completion"}, Filled::at_creation, "1", "id of the problem, in the order of the input", ""},
            {"index", Element::i32, {"completion"}, Filled::at_creation, "1", "number among the completions of its problem, from 0", ""},
            {"problem/task_id", Element::i64, {"problem"}, Filled::at_creation, "1", "id of every problem of the file, ascending", ""},
            {"problem/name", Element::text, {"problem"}, Filled::at_creation, "1", "its id as it stands in the problems file", "name_bytes"},
            {"previous_verdict", Element::u8, {"completion"}, Filled::at_creation, "1", "verdict in the dataset that is scored again, 255 when there is none", ""},
            {"program_sha256", Element::text, {"completion"}, Filled::per_unit, "1", "SHA-256 of the program that was run", "sha256_digits"},
            {"verdict", Element::u8, {"completion"}, Filled::per_unit, "1", "how the tests ended, numbered as in dataset.md", ""},
            {"passed", Element::u8, {"completion"}, Filled::per_unit, "1", "1 when every assert was proven to hold", ""},
            {"asserts_passed", Element::i32, {"completion"}, Filled::per_unit, "asserts", "tests that held", ""},
            {"asserts_total", Element::i32, {"completion"}, Filled::per_unit, "asserts", "tests given", ""},
            {"first_failed", Element::i32, {"completion"}, Filled::per_unit, "1", "index of the first test that failed, -1 when none was reached", ""},
            {"exit_status", Element::i32, {"completion"}, Filled::per_unit, "1", "exit status of the program's process, 0 when it was ended from outside", ""},
            {"signal", Element::i32, {"completion"}, Filled::per_unit, "1", "signal that ended the program's process, 0 when none", ""},
            {"suspicious", Element::u8, {"completion"}, Filled::per_unit, "1", "1 when the program meddled with its tester", ""},
            {"measured/detail", Element::text, {"completion"}, Filled::per_unit, "1", "first failure in words, addresses left out", "detail_bytes"},
            {"measured/test_wall_seconds", Element::f64, {"completion"}, Filled::per_unit, "s", "elapsed time of the tests", ""},
            {"measured/test_cpu_seconds", Element::f64, {"completion"}, Filled::per_unit, "s", "processor time of the tests with their box", ""},
            {"measured/peak_rss_bytes", Element::u64, {"completion"}, Filled::per_unit, "bytes", "largest resident set of a process of the box", ""},
        }};
    return schema;
}

const io::FileSchema& sparse_schema() {
    static const io::FileSchema schema{
        "pva sparse", 1, "sparse.md", "block of rows of a layer",
        {
            {"task_id", Element::i64, {"row"}, Filled::at_creation, "1", "problem of each row, ascending", ""},
            {"layer", Element::i32, {"layer"}, Filled::at_creation, "1", "block index of each SAE", ""},
            {"d_sae", Element::u32, {"layer"}, Filled::at_creation, "latents", "latents of each SAE", ""},
            {"codes/row_offset", Element::u64, {"layer", "row_plus_one"}, Filled::at_end, "1", "where each row's entries begin in latent and value; the last is their end", ""},
            {"codes/latent", Element::u32, {"entry"}, Filled::at_end, "1", "index of an active latent, ascending within a row", ""},
            {"codes/value", Element::f32, {"entry"}, Filled::at_end, "1", "its activation", ""},
            {"quality/squared_error", Element::f64, {"layer", "row"}, Filled::at_end, "1", "|x - x_hat|^2 of each row", ""},
            {"quality/cosine", Element::f64, {"layer", "row"}, Filled::at_end, "1", "cosine of row and reconstruction", ""},
        }};
    return schema;
}

const io::FileSchema& rates_schema() {
    static const io::FileSchema schema{
        "pva rates", 1, "rates.md", "block of texts",
        {
            {"layer", Element::i32, {"layer"}, Filled::at_creation, "1", "block index of each SAE", ""},
            {"position", Element::i64, {"document"}, Filled::at_creation, "1", "token that was looked at in each text that has one; -1: all tokens but BOS", ""},
            {"documents", Element::u64, {"one"}, Filled::at_end, "texts", "texts that have a position to look at", ""},
            {"tokens", Element::u64, {"one"}, Filled::at_end, "tokens", "positions that were looked at", ""},
            {"fired", Element::u64, {"layer", "latent"}, Filled::at_end, "tokens", "positions at which the latent fires", ""},
            {"rate", Element::f64, {"layer", "latent"}, Filled::at_end, "1", "share of positions at which it fires", ""},
            {"rate_low", Element::f64, {"layer", "latent"}, Filled::at_end, "1", "lower end of its 95 % interval, groups of texts as clusters", ""},
            {"rate_high", Element::f64, {"layer", "latent"}, Filled::at_end, "1", "upper end", ""},
            {"group_tokens", Element::u64, {"group"}, Filled::at_end, "tokens", "positions in each group of neighbouring texts", ""},
            {"group_fired", Element::u32, {"group", "layer", "latent"}, Filled::at_end, "tokens", "positions of the group at which the latent fires", ""},
        }};
    return schema;
}

const io::FileSchema& latents_schema() {
    static const io::FileSchema schema = [] {
        io::FileSchema s{
            "pva latents", 2, "latents.md", "block of latents, or baselines of a layer",
            {
                {"task_id", Element::i64, {"row"}, Filled::at_creation, "1", "problem of each row of the part, ascending", ""},
                {"passed", Element::u8, {"row"}, Filled::at_creation, "1", "1 when the program passed its tests (right), 0 when not (wrong)", ""},
                {"tuning/task_id", Element::i64, {"tuning_row"}, Filled::at_creation, "1", "problem of each row of the tuning part; none when the part is not selection", ""},
                {"tuning/passed", Element::u8, {"tuning_row"}, Filled::at_creation, "1", "as passed", ""},
                {"layer", Element::i32, {"layer"}, Filled::at_creation, "1", "block index of each SAE", ""},
                {"group/field", Element::text, {"field"}, Filled::at_creation, "1", "what problems are grouped by", "group_bytes"},
                {"group/name", Element::text, {"group"}, Filled::at_creation, "1", "name of each group", "group_bytes"},
                {"group/of_field", Element::i32, {"group"}, Filled::at_creation, "1", "field that the group belongs to", ""},
                {"group/right", Element::u64, {"group"}, Filled::at_creation, "rows", "right rows of the group", ""},
                {"group/wrong", Element::u64, {"group"}, Filled::at_creation, "rows", "wrong rows of the group", ""},
                {"group/of_row", Element::i32, {"field", "row"}, Filled::at_creation, "1", "group of each row", ""},
                {"quality/l0", Element::f64, {"layer"}, Filled::at_end, "latents", "mean number of active latents per row", ""},
                {"quality/explained_variance", Element::f64, {"layer"}, Filled::at_end, "1", "1 - E|x - x_hat|^2 / (E|x|^2 - |E x|^2) over the rows", ""},
                {"quality/cosine", Element::f64, {"layer"}, Filled::at_end, "1", "mean cosine of row and reconstruction", ""},
                {"general_text/tokens", Element::u64, {"one"}, Filled::at_end, "tokens", "positions of general text that were looked at", ""},
                {"general_text/fired", Element::u64, {"layer", "latent"}, Filled::at_end, "tokens", "positions at which the latent fires", ""},
                {"general_text/rate", Element::f64, {"layer", "latent"}, Filled::at_end, "1", "share of positions at which it fires", ""},
                {"general_text/rate_low", Element::f64, {"layer", "latent"}, Filled::at_end, "1", "lower end of its 95 % interval, groups of texts as clusters", ""},
                {"general_text/rate_high", Element::f64, {"layer", "latent"}, Filled::at_end, "1", "upper end", ""},
                {"kept", Element::u8, {"layer", "latent"}, Filled::at_end, "1", "1 kept, 0 set aside: fires on too few rows, 2 dropped: fires too often on general text", ""},
                {"large_effect", Element::u8, {"layer", "latent"}, Filled::at_end, "1", "1 when Cohen's d is above --min-effect or below its negative", ""},
                {"score", Element::f64, {"layer", "latent"}, Filled::at_end, "1", "what latents are ranked by; above 0 speaks for right, below 0 for wrong programs", ""},
            }};
        const auto statistic = [&s](const std::string& name, const std::string& meaning) {
            s.datasets.push_back({"statistics/" + name, Element::f64, {"layer", "latent"}, Filled::at_end, "1", meaning, ""});
        };
        s.datasets.push_back({"statistics/fired_rows", Element::u64, {"layer", "latent"}, Filled::at_end, "rows", "rows of both classes on which the latent fires", ""});
        statistic("firing_share_right", "share of right rows on which it fires");
        statistic("firing_share_wrong", "share of wrong rows on which it fires");
        statistic("frequency_difference", "the first less the second");
        statistic("mean_right", "mean activation over right rows, zeros included");
        statistic("mean_wrong", "mean activation over wrong rows, zeros included");
        statistic("variance_right", "unbiased variance over right rows");
        statistic("variance_wrong", "unbiased variance over wrong rows");
        statistic("cohens_d", "(mean right - mean wrong) / pooled standard deviation");
        statistic("welch_t", "Welch's t, right minus wrong");
        statistic("welch_df", "its degrees of freedom");
        statistic("welch_p", "its two-sided p-value; misleading for latents that fire seldom");
        statistic("auroc", "AUROC of the activation for right; ties count one half");
        statistic("auroc_standard_error", "DeLong's standard error");
        statistic("auroc_low", "lower end of the 95 % DeLong interval on the logit scale");
        statistic("auroc_high", "upper end");
        statistic("mann_whitney_z", "Mann-Whitney's U in standard deviations from its mean, corrected for ties");
        statistic("mann_whitney_p", "its two-sided p-value, exact where that is cheap");
        s.datasets.push_back({"statistics/mann_whitney_exact", Element::u8, {"layer", "latent"}, Filled::at_end, "1", "1 when that p is exact, 0 when it is the normal approximation", ""});
        statistic("permutation_p", "share of label permutations with a score at least as far from 0; NaN where not tested");
        statistic("family_wise_p", "share of permutations in which any tested latent of any layer gets so far; NaN where not tested");
        statistic("q_value", "Benjamini-Hochberg q among all tested latents of all layers; NaN where not tested");
        const auto within = [&s](const std::string& name, const std::string& meaning) {
            s.datasets.push_back({"within/" + name, Element::f64, {"field", "layer", "latent"}, Filled::at_end, "1", meaning, ""});
        };
        within("auroc", "AUROC from pairs of one group only");
        within("p", "its two-sided p-value, normal approximation");
        within("cohens_d", "difference of means within groups / residual standard deviation");
        within("t", "t of the label in a regression with a constant for each group");
        within("frequency_difference", "difference of firing shares within groups, Mantel and Haenszel's weights");
        s.datasets.push_back({"permutation/maximum", Element::f64, {"permutation"}, Filled::at_end, "1", "largest score over all tested latents, either side, in each permutation, ascending", ""});
        s.datasets.push_back({"permutation/threshold", Element::f64, {"one"}, Filled::at_end, "1", "score from which on the family-wise p is at most 0.05; infinite without enough permutations", ""});
        for (const std::string direction : {"right", "wrong"}) {
            const std::string group = "ranked_" + direction + "/";
            const auto add = [&](const std::string& name, const std::string& unit, const std::string& meaning) {
                s.datasets.push_back({group + name, Element::f64, {"rank"}, Filled::at_end, unit, meaning, ""});
            };
            s.datasets.push_back({group + "layer", Element::i32, {"rank"}, Filled::at_end, "1", "layer of the latents that speak for " + direction + " programs, best first; -1 behind the last", ""});
            s.datasets.push_back({group + "latent", Element::i32, {"rank"}, Filled::at_end, "1", "index of the latent", ""});
            add("score", "1", "distance of its score from 0");
            add("q_value", "1", "as statistics/q_value");
            add("family_wise_p", "1", "as statistics/family_wise_p");
            add("general_text_low", "1", "lower end of the 95 % interval of its rate on general text, groups of texts drawn again");
            add("general_text_high", "1", "upper end");
            add("tuning_score", "1", "its score on the tuning part, above 0 where it still speaks for " + direction + " programs; NaN where it cannot be measured");
            add("tuning_auroc", "1", "AUROC for " + direction + " programs on the tuning part");
            add("tuning_auroc_low", "1", "lower end of its 95 % DeLong interval");
            add("tuning_auroc_high", "1", "upper end");
            for (const auto& [name, meaning] : {std::pair{"group_auroc", "AUROC for right programs within one group; NaN where a class is missing"}, std::pair{"group_auroc_low", "lower end of its 95 % DeLong interval"},
                                                std::pair{"group_auroc_high", "upper end"}, std::pair{"group_cohens_d", "Cohen's d within one group"}, std::pair{"group_welch_t", "Welch's t within one group"},
                                                std::pair{"group_frequency_difference", "difference of firing shares within one group"}}) {
                s.datasets.push_back({group + name, Element::f64, {"rank", "group"}, Filled::at_end, "1", meaning, ""});
            }
        }
        const auto baseline = [&s](const std::string& name, Element element, const std::string& meaning) {
            s.datasets.push_back({"baseline/" + name, element, {"baseline"}, Filled::at_end, "1", meaning, element == Element::text ? "baseline_bytes" : ""});
        };
        baseline("name", Element::text, "what the score is");
        baseline("layer", Element::i32, "layer, -1 where it belongs to none");
        baseline("index", Element::i32, "dimension or number of the direction that was picked out of many, else -1");
        baseline("sign", Element::i32, "-1: a low score speaks for right programs");
        baseline("fitted", Element::u8, "1: fitted, so that figures on the part are cross-validated; 0: figures on the part flatter what was picked there");
        baseline("strength", Element::f64, "C of the logistic regression on all rows of the part, 0 where there is none");
        baseline("auroc", Element::f64, "AUROC on the part, for the class that the score speaks for");
        baseline("auroc_low", Element::f64, "lower end of its 95 % interval");
        baseline("auroc_high", Element::f64, "upper end");
        baseline("tuning_auroc", Element::f64, "AUROC on the tuning part; NaN where it cannot be measured");
        baseline("tuning_auroc_low", Element::f64, "lower end of its 95 % interval");
        baseline("tuning_auroc_high", Element::f64, "upper end");
        s.datasets.push_back({"baseline/within_auroc", Element::f64, {"baseline", "field"}, Filled::at_end, "1", "AUROC on the part from pairs of one group only", ""});
        s.datasets.push_back({"baseline/score", Element::f64, {"baseline", "row"}, Filled::at_end, "1", "the score of each row of the part, of fitted ones by the fit without its fold", ""});
        s.datasets.push_back({"baseline/tuning_score", Element::f64, {"baseline", "tuning_row"}, Filled::at_end, "1", "the score of each row of the tuning part", ""});
        s.datasets.push_back({"random_directions/mean", Element::f64, {"layer"}, Filled::at_end, "1", "mean distance of their AUROCs from one half", ""});
        s.datasets.push_back({"random_directions/share_95", Element::f64, {"layer"}, Filled::at_end, "1", "distance that 95 % of them stay below", ""});
        s.datasets.push_back({"random_directions/largest", Element::f64, {"layer"}, Filled::at_end, "1", "largest distance", ""});
        return s;
    }();
    return schema;
}

const io::FileSchema& validation_schema() {
    static const io::FileSchema schema = [] {
        io::FileSchema s{
            "pva validation", 2, "validation.md", "detector",
            {
                {"task_id", Element::i64, {"row"}, Filled::at_creation, "1", "problem of each row (tuning and analysis parts), ascending", ""},
                {"part", Element::u8, {"row"}, Filled::at_creation, "1", "1 tuning, 2 analysis", ""},
                {"passed", Element::u8, {"row"}, Filled::at_creation, "1", "1 when the program passed its tests", ""},
                {"detector", Element::text, {"detector"}, Filled::at_creation, "1", "name of the score", "detector_bytes"},
                {"kind", Element::u8, {"detector"}, Filled::at_creation, "1", "0 latent, 1 words, 2 words and latent, 3 prompt length, 4 digits, 5 complexity, 6 surface numbers, 7 entropy of the first token, 8 mean log-probability, 9 difference of means, 10 logistic probe", ""},
                {"positive_class", Element::u8, {"detector"}, Filled::at_creation, "1", "0: predicts right programs, 1: predicts wrong ones", ""},
                {"layer", Element::i32, {"detector"}, Filled::at_creation, "1", "layer of the latent, -1 for a baseline", ""},
                {"latent", Element::i32, {"detector"}, Filled::at_creation, "1", "index of the latent, -1 for a baseline", ""},
                {"rank", Element::i32, {"detector"}, Filled::at_creation, "1", "place of the latent in the ranked list of its class, from 0; -1 for a baseline", ""},
                {"group/field", Element::text, {"field"}, Filled::at_creation, "1", "what problems are grouped by", "group_bytes"},
                {"group/name", Element::text, {"group"}, Filled::at_creation, "1", "name of each group", "group_bytes"},
                {"group/of_field", Element::i32, {"group"}, Filled::at_creation, "1", "field that the group belongs to", ""},
                {"group/right", Element::u64, {"group"}, Filled::at_creation, "problems", "right programs of the group in the analysis part", ""},
                {"group/wrong", Element::u64, {"group"}, Filled::at_creation, "problems", "wrong programs of the group in the analysis part", ""},
                {"group/of_row", Element::i32, {"field", "row"}, Filled::at_creation, "1", "group of each row of the analysis part, -1 for the tuning part", ""},
                {"temperature/value", Element::f64, {"temperature"}, Filled::at_creation, "1", "0: the greedy programs of phase 1; the others from phase 1.2", ""},
                {"temperature/right", Element::u64, {"temperature"}, Filled::at_creation, "programs", "right programs of the analysis part", ""},
                {"temperature/wrong", Element::u64, {"temperature"}, Filled::at_creation, "programs", "wrong programs of the analysis part", ""},
                {"selection_auroc", Element::f64, {"detector"}, Filled::per_unit, "1", "AUROC for its class on the selection part, where it was chosen; optimistic, but cross-validated for fitted scores", ""},
                {"score", Element::f64, {"detector", "row"}, Filled::per_unit, "1", "the score of each row", ""},
                {"sign", Element::i32, {"detector"}, Filled::per_unit, "1", "-1 when a low score speaks for the positive class (decided on the selection part)", ""},
            }};
        const auto figure = [&s](const std::string& name, const std::string& meaning) {
            s.datasets.push_back({name, Element::f64, {"detector"}, Filled::per_unit, "1", meaning, ""});
        };
        figure("threshold", "sign * score at or above it predicts the positive class; best F1 on the tuning part");
        figure("tuning_f1", "F1 on the tuning part, where the threshold was chosen");
        figure("auroc", "AUROC on the analysis part");
        figure("auroc_standard_error", "DeLong's standard error");
        figure("auroc_low", "lower end of the 95 % DeLong interval on the logit scale");
        figure("auroc_high", "upper end");
        figure("auroc_bootstrap_low", "lower end of the 95 % BCa interval, problems drawn again within each class");
        figure("auroc_bootstrap_high", "upper end");
        figure("permutation_p", "two-sided p of AUROC = 1/2 by exchanging labels; NaN without permutations");
        figure("average_precision", "average precision on the analysis part");
        figure("average_precision_low", "lower end of its 95 % BCa interval");
        figure("average_precision_high", "upper end");
        figure("average_precision_lift", "average precision over base rate; 1 without information");
        figure("base_rate", "share of the positive class on the analysis part");
        figure("f1", "F1 on the analysis part at the tuned threshold");
        figure("always_positive_f1", "F1 of calling everything positive: what F1 has to beat");
        figure("precision", "precision on the analysis part");
        figure("recall", "recall on the analysis part");
        figure("balanced_accuracy", "mean of the two classes' accuracies on the analysis part");
        figure("mcc", "Matthews correlation on the analysis part, 0 when undefined");
        for (const std::string name : {"true_positives", "false_positives", "true_negatives", "false_negatives"}) {
            s.datasets.push_back({"counts/" + name, Element::u64, {"detector"}, Filled::per_unit, "problems", "on the analysis part at the tuned threshold", ""});
        }
        figure("against_text/difference", "AUROC less that of the words of the text, on the same rows; NaN for the words themselves");
        figure("against_text/standard_error", "of the difference, DeLong's for paired scores");
        figure("against_text/low", "lower end of its 95 % interval");
        figure("against_text/high", "upper end");
        figure("against_text/p", "two-sided p of no difference");
        s.datasets.push_back({"curve/points", Element::u32, {"detector"}, Filled::per_unit, "1", "points of the curves of this detector: the distinct scores and one above them", ""});
        s.datasets.push_back({"curve/threshold", Element::f64, {"detector", "point"}, Filled::per_unit, "1", "every distinct sign * score of the analysis part, falling, after infinity; NaN behind the last", ""});
        s.datasets.push_back({"curve/true_positives", Element::u64, {"detector", "point"}, Filled::per_unit, "problems", "positives at or above the threshold; 0 behind the last", ""});
        s.datasets.push_back({"curve/false_positives", Element::u64, {"detector", "point"}, Filled::per_unit, "problems", "negatives at or above the threshold; 0 behind the last", ""});
        const auto stratum_figures = [&s](const std::string& folder, const std::string& dimension, const std::string& where, const std::string& interval) {
            for (const auto& [name, meaning] : std::vector<std::pair<std::string, std::string>>{{"base_rate", "share of the positive class"},
                                                                                                {"auroc", "AUROC"},
                                                                                                {"auroc_low", "lower end of its 95 % interval, " + interval},
                                                                                                {"auroc_high", "upper end"},
                                                                                                {"average_precision", "average precision"},
                                                                                                {"average_precision_lift", "average precision over base rate"},
                                                                                                {"f1", "F1 at the tuned threshold"},
                                                                                                {"always_positive_f1", "F1 of calling everything positive"},
                                                                                                {"balanced_accuracy", "mean of the two classes' accuracies"},
                                                                                                {"mcc", "Matthews correlation"}}) {
                s.datasets.push_back({folder + "/" + name, Element::f64, {"detector", dimension}, Filled::per_unit, "1", meaning + (name == "auroc_high" ? "" : name == "auroc_low" ? "" : where), ""});
            }
        };
        stratum_figures("by_group", "group", " within the group; NaN where it is not defined", "DeLong");
        stratum_figures("by_temperature", "temperature", " at the temperature; NaN where it is not defined", "BCa, problems drawn again");
        s.datasets.push_back({"within/auroc", Element::f64, {"detector", "field"}, Filled::per_unit, "1", "AUROC from pairs of one group only", ""});
        s.datasets.push_back({"within/p", Element::f64, {"detector", "field"}, Filled::per_unit, "1", "its two-sided p-value, normal approximation", ""});
        figure("difficulty_trend/slope", "change of AUROC from one difficulty to the next, groups weighted by 1 / standard error squared; NaN with fewer than two");
        figure("difficulty_trend/standard_error", "of the slope");
        figure("difficulty_trend/p", "two-sided p of no trend");
        figure("temperature_trend/slope", "change of AUROC from temperature 0 to 1 along a line; NaN with fewer than two temperatures");
        figure("temperature_trend/low", "lower end of its 95 % BCa interval, problems drawn again");
        figure("temperature_trend/high", "upper end");
        figure("temperature_trend/p", "two-sided p of no trend");
        const auto at_end = [&s](const std::string& name, Element element, const std::vector<std::string>& dims, const std::string& meaning, const std::string& width = "") {
            s.datasets.push_back({name, element, dims, Filled::at_end, "1", meaning, width});
        };
        at_end("q_value", Element::f64, {"detector"}, "Benjamini-Hochberg q of permutation_p among all latents of both classes; NaN for a baseline");
        at_end("holm_p", Element::f64, {"detector"}, "the same corrected by Holm");
        at_end("random_p", Element::f64, {"detector"}, "rank of a latent's AUROC among those of the random latents: (1 + random ones at least as good) / (1 + random ones); NaN for a baseline");
        at_end("temperature/right_share", Element::f64, {"temperature"}, "share of right programs");
        at_end("temperature/right_share_low", Element::f64, {"temperature"}, "lower end of its 95 % interval, problems drawn again");
        at_end("temperature/right_share_high", Element::f64, {"temperature"}, "upper end");
        at_end("random/layer", Element::i32, {"random"}, "layer of each random latent");
        at_end("random/latent", Element::i32, {"random"}, "its index");
        at_end("random/positive_class", Element::u8, {"random"}, "what it speaks for on the selection part");
        at_end("random/selection_auroc", Element::f64, {"random"}, "AUROC for that class on the selection part");
        at_end("random/auroc", Element::f64, {"random"}, "AUROC for that class on the analysis part");
        at_end("direction/name", Element::text, {"direction"}, "what direction of the residual stream it is", "detector_bytes");
        at_end("direction/layer", Element::i32, {"direction"}, "layer of the rows it was fitted to");
        at_end("direction/weights", Element::f64, {"direction", "d_model"}, "score of a row x: intercept + sum of weight times x; high speaks for right programs");
        at_end("direction/intercept", Element::f64, {"direction"}, "constant of the score");
        at_end("direction/cosine", Element::f64, {"direction", "detector"}, "cosine of the direction and the latent's decoder row, where both are of one layer; else NaN");
        return s;
    }();
    return schema;
}

const io::FileSchema& stages_schema() {
    static const io::FileSchema schema = [] {
        io::FileSchema s{
            "pva stages", 1, "stages.md", "stage and layer, or stage",
            {
                {"task_id", Element::i64, {"row"}, Filled::at_creation, "1", "problem of each row of the analysis part, ascending", ""},
                {"passed", Element::u8, {"row"}, Filled::at_creation, "1", "1 when the program passed its tests", ""},
                {"stage", Element::text, {"stage"}, Filled::at_creation, "1", "last-prompt, signature-end, tenth-1 to tenth-10, last-token: those that the activations hold", "stage_bytes"},
                {"layer", Element::i32, {"layer"}, Filled::at_creation, "1", "block index of each layer with an SAE and rows", ""},
                {"detector", Element::text, {"detector"}, Filled::at_creation, "1", "latent for right, latent for wrong, difference of means, logistic probe", "detector_bytes"},
                {"baseline", Element::text, {"baseline"}, Filled::at_creation, "1", "words so far, tokens so far, mean log-probability so far, entropy of the next token", "detector_bytes"},
                {"tokens_written", Element::f64, {"stage"}, Filled::at_end, "tokens", "mean number of answer tokens written at the stage", ""},
                {"latent", Element::i32, {"stage", "layer", "detector"}, Filled::at_end, "1", "index of the latent chosen on the selection part; -1 for a direction, and where no latent speaks for the class", ""},
                {"score", Element::f64, {"stage", "layer", "detector", "row"}, Filled::at_end, "1", "the score of each row", ""},
                {"baseline_score", Element::f64, {"stage", "baseline", "row"}, Filled::at_end, "1", "the score of each row; NaN where the stage does not define it for every program", ""},
                {"baseline_sign", Element::i32, {"stage", "baseline"}, Filled::at_end, "1", "-1 when a low score speaks for right programs (decided on the selection part)", ""},
                {"best_layer", Element::i32, {"stage", "detector"}, Filled::at_end, "1", "index among the layers of the one that is best on the selection part", ""},
            }};
        const auto figures = [&s](const std::string& prefix, const std::vector<std::string>& dims, const std::string& of_selection) {
            for (const auto& [name, meaning] : std::vector<std::pair<std::string, std::string>>{
                     {"selection_auroc", of_selection}, {"auroc", "AUROC on the analysis part, for the class it speaks for"}, {"auroc_low", "lower end of its 95 % DeLong interval"}, {"auroc_high", "upper end"}}) {
                s.datasets.push_back({prefix + name, Element::f64, dims, Filled::at_end, "1", meaning, ""});
            }
        };
        figures("", {"stage", "layer", "detector"}, "AUROC on the selection part: of latents the best of many, of directions cross-validated");
        figures("baseline_", {"stage", "baseline"}, "AUROC on the selection part, cross-validated for words");
        for (const auto& [name, meaning] : std::vector<std::pair<std::string, std::string>>{{"difference", "AUROC of the best layer less that of the words so far, on the same rows"},
                                                                                            {"low", "lower end of its 95 % interval, paired DeLong"},
                                                                                            {"high", "upper end"},
                                                                                            {"p", "two-sided p of no difference"}}) {
            s.datasets.push_back({"against_words/" + name, Element::f64, {"stage", "detector"}, Filled::at_end, "1", meaning, ""});
        }
        for (const auto& [name, meaning] : std::vector<std::pair<std::string, std::string>>{{"difference", "AUROC of the best layer less that at the first stage, on the same rows"},
                                                                                            {"low", "lower end of its 95 % interval, paired DeLong"},
                                                                                            {"high", "upper end"},
                                                                                            {"p", "two-sided p of no difference"}}) {
            s.datasets.push_back({"against_first/" + name, Element::f64, {"stage", "detector"}, Filled::at_end, "1", meaning, ""});
        }
        return s;
    }();
    return schema;
}

const io::FileSchema& steering_schema() {
    static const io::FileSchema schema = [] {
        io::FileSchema s{
            "pva steering", 1, "steering.md", "problem under a condition",
            {
                {"task_id", Element::i64, {"problem"}, Filled::at_creation, "1", "problems of the part, ascending", ""},
                {"baseline/passed", Element::u8, {"problem"}, Filled::at_creation, "1", "1 when phase 1's program for it passed its tests", ""},
                {"arm/name", Element::text, {"arm"}, Filled::at_creation, "1", "intervention", "name_bytes"},
                {"arm/aim", Element::u8, {"arm"}, Filled::at_creation, "1", "0: towards right programs, 1: towards wrong ones", ""},
                {"arm/method", Element::u8, {"arm"}, Filled::at_creation, "1", "0 added to the stream, 1 added where a gate is open, 2 taken out of the weights", ""},
                {"arm/layer", Element::i32, {"arm"}, Filled::at_creation, "1", "layer of its latent", ""},
                {"arm/latent", Element::i32, {"arm"}, Filled::at_creation, "1", "index of its latent, chosen on the selection part", ""},
                {"arm/mean_norm", Element::f64, {"arm"}, Filled::at_creation, "1", "mean norm of the stream at the site, last prompt tokens of the tuning part", ""},
                {"arm/gate_layer", Element::i32, {"arm"}, Filled::at_creation, "1", "layer of the gate's latent, -1 without a gate", ""},
                {"arm/gate_latent", Element::i32, {"arm"}, Filled::at_creation, "1", "index of the gate's latent, -1 without a gate", ""},
                {"arm/cosine_difference_of_means", Element::f64, {"arm"}, Filled::at_creation, "1", "cosine of decoder row and mean(right) - mean(wrong) of the selection part at that layer", ""},
                {"arm/cosine_mass_mean", Element::f64, {"arm"}, Filled::at_creation, "1", "cosine of decoder row and mass-mean probe", ""},
                {"arm/cosine_logistic", Element::f64, {"arm"}, Filled::at_creation, "1", "cosine of decoder row and logistic probe", ""},
                {"condition/name", Element::text, {"condition"}, Filled::at_creation, "1", "what was done", "name_bytes"},
                {"condition/arm", Element::i32, {"condition"}, Filled::at_creation, "1", "arm that it belongs to, -1: no steering", ""},
                {"condition/kind", Element::u8, {"condition"}, Filled::at_creation, "1", "0 no steering, 1 the chosen latent, 2 control: low-score latent, 3 control: random vector, 4 control: latent chosen on shuffled labels", ""},
                {"condition/latent", Element::i32, {"condition"}, Filled::at_creation, "1", "latent whose decoder row it is, -1 for a random vector", ""},
                {"condition/relative", Element::f64, {"condition"}, Filled::at_creation, "1", "coefficient over arm/mean_norm; 0 for what is taken out of the weights", ""},
                {"condition/coefficient", Element::f64, {"condition"}, Filled::at_creation, "1", "length of what is added, negative when it is subtracted", ""},
                {"condition/gate_percentile", Element::f64, {"condition"}, Filled::at_creation, "%", "percentile of the gate's threshold, NaN without a gate", ""},
                {"condition/gate_threshold", Element::f64, {"condition"}, Filled::at_creation, "1", "pre-activation above which the gate opens, NaN without a gate", ""},
                {"condition/vector", Element::f32, {"condition", "d_model"}, Filled::at_creation, "1", "unit vector that is added or taken out; zeros for no steering", ""},
                {"token_ids", Element::i32, {"row", "token"}, Filled::per_unit, "1", "generated tokens, EOS included; -1 behind the last", ""},
                {"mean_log_probability", Element::f64, {"row"}, Filled::per_unit, "nat", "mean log-probability of the generated tokens under the steered model", ""},
                {"generated_tokens", Element::i32, {"row"}, Filled::per_unit, "tokens", "number of generated tokens", ""},
                {"stop_reason", Element::u8, {"row"}, Filled::per_unit, "1", "0 EOS, 1 the program was complete, 2 token limit, 3 stop string", ""},
                {"program", Element::text, {"row"}, Filled::per_unit, "1", "the program, cut at the width", "output_bytes"},
                {"program_bytes", Element::i64, {"row"}, Filled::per_unit, "bytes", "its full length", ""},
                {"similarity", Element::f64, {"row"}, Filled::per_unit, "1", "token similarity of phase 1's program and this one, 0 to 1", ""},
                {"gate_open", Element::u8, {"row"}, Filled::per_unit, "1", "1 where the gate was open (with --gate-at each: at any position), or there is none", ""},
                {"gate_value", Element::f64, {"row"}, Filled::per_unit, "1", "pre-activation that the gate looked at (with --gate-at each: the largest), NaN where there is none", ""},
            }};
        for (const std::string name : {"verdict", "passed", "asserts_passed", "asserts_total", "first_failed", "exit_status", "signal", "suspicious", "measured/detail", "measured/test_wall_seconds", "measured/test_cpu_seconds"})
            s.datasets.push_back(io::find_spec(dataset_schema(), name));
        const auto count = [&s](const std::string& name, const std::string& meaning) {
            s.datasets.push_back({"effect/" + name, Element::u64, {"condition"}, Filled::at_end, "problems", meaning, ""});
        };
        const auto figure = [&s](const std::string& name, const std::string& meaning) {
            s.datasets.push_back({"effect/" + name, Element::f64, {"condition"}, Filled::at_end, "1", meaning, ""});
        };
        count("fixed", "wrong without steering, right with it");
        count("broken", "right without steering, wrong with it");
        count("stayed_right", "right both times");
        count("stayed_wrong", "wrong both times");
        for (const auto& [rate, meaning] : {std::pair{"correction", "fixed / wrong without steering"}, std::pair{"corruption", "broken / right without steering"}, std::pair{"preservation", "stayed right / right without steering"}}) {
            figure(rate, meaning);
            figure(std::string(rate) + "_low", "lower end of its 95 % Wilson interval");
            figure(std::string(rate) + "_high", "upper end");
            figure(std::string(rate) + "_bootstrap_low", "lower end of its 95 % bootstrap interval, problems drawn again");
            figure(std::string(rate) + "_bootstrap_high", "upper end");
        }
        figure("net", "(fixed - broken) / problems");
        figure("net_standard_error", "its standard error over problems");
        figure("net_low", "lower end of its 95 % interval by Newcombe's paired method");
        figure("net_high", "upper end");
        figure("net_bootstrap_low", "lower end of its 95 % bootstrap interval");
        figure("net_bootstrap_high", "upper end");
        figure("mcnemar_p", "exact, two-sided, against no steering; not adjusted");
        figure("aimed", "net change towards the class that the arm aims at");
        figure("similarity", "mean of similarity");
        figure("similarity_right", "of the problems solved without steering");
        figure("similarity_wrong", "of the others");
        figure("gate_open_right", "share of problems solved without steering whose gate was open");
        figure("gate_open_wrong", "share of the others");
        s.datasets.push_back({"effect/verdicts", Element::u64, {"condition", "verdict_kind"}, Filled::at_end, "problems", "how the tests ended, by verdict", ""});
        s.datasets.push_back({"effect/changed_verdicts", Element::u64, {"condition", "verdict_kind", "verdict_kind_after"}, Filled::at_end, "problems", "verdict without steering and with it", ""});
        s.datasets.push_back({"choice/chosen", Element::u8, {"condition"}, Filled::at_end, "1", "1 for the coefficient (and threshold) chosen for its arm; 0 on the analysis part, where nothing is chosen", ""});
        s.datasets.push_back({"test/name", Element::text, {"test"}, Filled::at_end, "1", "test", "name_bytes"});
        s.datasets.push_back({"test/arm", Element::i32, {"test"}, Filled::at_end, "1", "arm that is tested", ""});
        s.datasets.push_back({"test/published", Element::u8, {"test"}, Filled::at_end, "1", "1: a test of the published study, shown for comparison and not adjusted", ""});
        const auto test = [&s](const std::string& name, const std::string& meaning) {
            s.datasets.push_back({"test/" + name, Element::f64, {"test"}, Filled::at_end, "1", meaning, ""});
        };
        test("p", "p-value; NaN where there were no controls to compare with");
        test("smallest_p", "the smallest p that could have come out, NaN where it is not known");
        test("holm", "Holm's adjusted p over all tests of the file that have a p; NaN for the others and published ones");
        test("q", "Benjamini-Hochberg q over all tests of the file that have a p; NaN for the others and published ones");
        s.datasets.push_back({"test/note", Element::text, {"test"}, Filled::at_end, "1", "counts behind it; of published ones what is wrong with it", "note_bytes"});
        return s;
    }();
    return schema;
}

std::vector<const io::FileSchema*> all_schemas() {
    static const io::FileSchema activations = activations_schema({"resid_post"}, Element::f32);
    return {&difficulty_schema(), &dataset_schema(), &temperatures_schema(), &splits_schema(), &sparse_schema(), &rates_schema(), &latents_schema(), &validation_schema(), &stages_schema(), &steering_schema(), &verdicts_schema(),
            &activations};
}

}  // namespace pva::phases
