// Options of an executable: one registration gives parsing, help, validation, the banner and what result files store.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace pva {

/// Handle to one registered option, for chaining what is special about it.
class Option {
  public:
    /// The value changes results: it belongs to the identity of a run (see docs/formats/common.md).
    Option& changes_results();
    /// Smallest allowed number.
    Option& at_least(double minimum);
    /// The allowed words.
    Option& one_of(std::vector<std::string> words);
    /// A list whose items are separated by commas (core/comma_list.h): its value has no blanks around them, however it was
    /// spelled.
    Option& list();
    /// Must be given.
    Option& required();
    /// A switch that asks for something else than a run: required options may be left out beside it.
    Option& instead_of_a_run();

  private:
    friend class OptionSet;
    struct Definition;
    explicit Option(Definition* definition) : definition_(definition) {}
    Definition* definition_;
};

/// What `OptionSet::parse` found on the command line: a request to run, or for one of the texts.
enum class ParsedAs { run, help, version, man, completion };

/// One option as registered, for texts made from the registration.
struct OptionDescription {
    std::string name;
    std::string value_name;          ///< empty for a switch
    std::string help;
    std::vector<std::string> words;  ///< the allowed words, if it takes some only
    std::string default_text;        ///< empty when there is none
    bool is_required = false;
    bool is_positional = false;      ///< may also stand without its name
};

/// The options of one executable. Values come from the command line, then `--config FILE` (lines `name = value`),
/// then the defaults, which are the targets' values at registration.
class OptionSet {
  public:
    /// program: name as typed; summary: one or two sentences; examples: complete command lines.
    OptionSet(std::string program, std::string summary, std::vector<std::string> examples);
    ~OptionSet();
    OptionSet(const OptionSet&) = delete;
    OptionSet& operator=(const OptionSet&) = delete;

    /// Targets must outlive the set. `value_name` stands in the help (FILE, N, ...).
    Option add(const std::string& name, std::string& target, const std::string& value_name, const std::string& help);
    Option add(const std::string& name, std::int64_t& target, const std::string& value_name, const std::string& help);
    Option add(const std::string& name, double& target, const std::string& value_name, const std::string& help);
    Option add(const std::string& name, std::optional<std::int64_t>& target, const std::string& value_name,
               const std::string& help);
    Option add(const std::string& name, std::optional<double>& target, const std::string& value_name,
               const std::string& help);
    /// A switch without a value; in a configuration file `name = true`.
    Option add_flag(const std::string& name, bool& target, const std::string& help);
    /// The one word that may stand without an option name (also usable as --name).
    Option add_positional(const std::string& name, std::string& target, const std::string& value_name,
                          const std::string& help);

    /// Parses and validates. Errors: UsageError for an unknown option (names the nearest one), one given twice, a bad
    /// value, a missing required one, an unreadable configuration file.
    ParsedAs parse(int argc, const char* const* argv);

    /// In order of registration; at the end those that every executable has: config, help, version, man, completion.
    std::vector<OptionDescription> describe() const;
    std::string help() const;
    const std::string& summary() const { return summary_; }
    const std::vector<std::string>& examples() const { return examples_; }
    const std::string& program() const { return program_; }
    /// All options with their values after parsing.
    nlohmann::ordered_json values() const;
    /// Only those that change results.
    nlohmann::ordered_json identity_values() const;
    /// Only those that stood on the command line or in the configuration file.
    nlohmann::ordered_json given_values() const;

  private:
    Option add_definition(std::unique_ptr<Option::Definition> definition);
    enum class Which { all, identity, given };
    nlohmann::ordered_json collect(Which which) const;

    std::string program_;
    std::string summary_;
    std::vector<std::string> examples_;
    std::vector<std::unique_ptr<Option::Definition>> definitions_;
    std::string config_path_;
    std::string positional_;
};

/// Options that every executable has.
struct CommonOptions {
    std::string data = "data";           ///< folder of the result folders phase0, phase1_0, ...
    std::string json;                    ///< file for the final summary, for scripts; empty: only beside the result
    std::string log_level = "info";      ///< error, warning, info or debug
    bool verbose = false;                ///< log_level debug
    double max_minutes = 0;              ///< stop with exit code 75 after this long; 0: no limit
    std::string gpus;                    ///< which of the visible GPUs ranks may use, such as "0,2"; empty: all
    bool list_checkpoints = false;       ///< list unfinished runs below `data` instead of running
    bool cleanup = false;                ///< remove what dead runs left below `data` instead of running
    double log_days = 30;                ///< age from which `cleanup` removes logs
};
void register_options(OptionSet& set, CommonOptions& options);

/// Edit distance with insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
std::size_t edit_distance(const std::string& a, const std::string& b);

}  // namespace pva
