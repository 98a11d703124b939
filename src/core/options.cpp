// Options by Boost.Program_options; messages in the house's form.
#include "pva/core/options.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "pva/core/error.h"
#include "pva/core/comma_list.h"
#include "pva/core/join.h"

namespace po = boost::program_options;

namespace pva {

struct Option::Definition {
    std::string name;
    std::string value_name;
    std::string help;
    bool is_flag = false;
    bool changes_results = false;
    bool is_required = false;
    bool is_instead = false;
    bool is_list = false;
    std::optional<double> minimum;
    std::vector<std::string> words;
    std::function<void(const std::string&)> set;      // throws UsageError
    std::function<nlohmann::ordered_json()> get;
    bool given = false;
};

Option& Option::changes_results() {
    definition_->changes_results = true;
    return *this;
}
Option& Option::at_least(double minimum) {
    definition_->minimum = minimum;
    return *this;
}
Option& Option::one_of(std::vector<std::string> words) {
    definition_->words = std::move(words);
    return *this;
}
Option& Option::list() {
    definition_->is_list = true;
    return *this;
}
Option& Option::required() {
    definition_->is_required = true;
    return *this;
}
Option& Option::instead_of_a_run() {
    definition_->is_instead = true;
    return *this;
}

namespace {

std::int64_t parse_integer(const std::string& name, const std::string& text) {
    std::size_t used = 0;
    std::int64_t value = 0;
    try {
        value = std::stoll(text, &used);
    } catch (const std::exception&) {
        used = 0;
    }
    if (text.empty() || used != text.size() || std::isspace(static_cast<unsigned char>(text.front())) != 0) {
        throw UsageError("--" + name + " takes a whole number, not '" + text + "'");
    }
    return value;
}

double parse_number(const std::string& name, const std::string& text) {
    std::size_t used = 0;
    double value = 0;
    try {
        value = std::stod(text, &used);
    } catch (const std::exception&) {
        used = 0;
    }
    if (text.empty() || used != text.size() || std::isspace(static_cast<unsigned char>(text.front())) != 0 || !std::isfinite(value)) {
        throw UsageError("--" + name + " takes a number, not '" + text + "'");
    }
    return value;
}

}  // namespace

std::size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<std::vector<std::size_t>> table(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
    for (std::size_t i = 0; i <= a.size(); ++i) table[i][0] = i;
    for (std::size_t j = 0; j <= b.size(); ++j) table[0][j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
            table[i][j] = std::min({table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + change});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                table[i][j] = std::min(table[i][j], table[i - 2][j - 2] + 1);
            }
        }
    }
    return table[a.size()][b.size()];
}

OptionSet::OptionSet(std::string program, std::string summary, std::vector<std::string> examples)
    : program_(std::move(program)), summary_(std::move(summary)), examples_(std::move(examples)) {}
OptionSet::~OptionSet() = default;

Option OptionSet::add_definition(std::unique_ptr<Option::Definition> definition) {
    for (const auto& other : definitions_) {
        if (other->name == definition->name) throw InternalError("option --" + definition->name + " is registered twice");
    }
    definitions_.push_back(std::move(definition));
    return Option(definitions_.back().get());
}

Option OptionSet::add(const std::string& name, std::string& target, const std::string& value_name, const std::string& help) {
    auto definition = std::make_unique<Option::Definition>();
    definition->name = name;
    definition->value_name = value_name;
    definition->help = help;
    definition->set = [&target](const std::string& text) { target = text; };
    definition->get = [&target] { return nlohmann::ordered_json(target); };
    return add_definition(std::move(definition));
}

Option OptionSet::add(const std::string& name, std::int64_t& target, const std::string& value_name, const std::string& help) {
    auto definition = std::make_unique<Option::Definition>();
    definition->name = name;
    definition->value_name = value_name;
    definition->help = help;
    definition->set = [&target, name](const std::string& text) { target = parse_integer(name, text); };
    definition->get = [&target] { return nlohmann::ordered_json(target); };
    return add_definition(std::move(definition));
}

Option OptionSet::add(const std::string& name, double& target, const std::string& value_name, const std::string& help) {
    auto definition = std::make_unique<Option::Definition>();
    definition->name = name;
    definition->value_name = value_name;
    definition->help = help;
    definition->set = [&target, name](const std::string& text) { target = parse_number(name, text); };
    definition->get = [&target] { return nlohmann::ordered_json(target); };
    return add_definition(std::move(definition));
}

Option OptionSet::add(const std::string& name, std::optional<std::int64_t>& target, const std::string& value_name,
                      const std::string& help) {
    auto definition = std::make_unique<Option::Definition>();
    definition->name = name;
    definition->value_name = value_name;
    definition->help = help;
    definition->set = [&target, name](const std::string& text) { target = parse_integer(name, text); };
    definition->get = [&target] { return target ? nlohmann::ordered_json(*target) : nlohmann::ordered_json(nullptr); };
    return add_definition(std::move(definition));
}

Option OptionSet::add(const std::string& name, std::optional<double>& target, const std::string& value_name,
                      const std::string& help) {
    auto definition = std::make_unique<Option::Definition>();
    definition->name = name;
    definition->value_name = value_name;
    definition->help = help;
    definition->set = [&target, name](const std::string& text) { target = parse_number(name, text); };
    definition->get = [&target] { return target ? nlohmann::ordered_json(*target) : nlohmann::ordered_json(nullptr); };
    return add_definition(std::move(definition));
}

Option OptionSet::add_flag(const std::string& name, bool& target, const std::string& help) {
    auto definition = std::make_unique<Option::Definition>();
    definition->name = name;
    definition->help = help;
    definition->is_flag = true;
    definition->set = [&target, name](const std::string& text) {
        if (text != "true" && text != "false") {
            throw UsageError("--" + name + " is a switch: 'true' or 'false' in a configuration file, not '" + text + "'");
        }
        target = text == "true";
    };
    definition->get = [&target] { return nlohmann::ordered_json(target); };
    return add_definition(std::move(definition));
}

Option OptionSet::add_positional(const std::string& name, std::string& target, const std::string& value_name,
                                 const std::string& help) {
    positional_ = name;
    return add(name, target, value_name, help);
}

ParsedAs OptionSet::parse(int argc, const char* const* argv) {
    po::options_description description;
    description.add_options()("help,h", "")("version", "")("man", "")("config", po::value<std::string>(), "")("completion", po::value<std::string>(), "");
    for (const auto& definition : definitions_) {
        if (definition->is_flag) {
            description.add_options()(definition->name.c_str(), po::value<std::string>()->implicit_value("true")->zero_tokens(), "");
        } else {
            description.add_options()(definition->name.c_str(), po::value<std::string>(), "");
        }
    }
    // The same names once more without zero_tokens: in a file a switch reads `name = true`.
    po::options_description in_file;
    for (const auto& definition : definitions_) in_file.add_options()(definition->name.c_str(), po::value<std::string>(), "");

    const auto explain = [&](const std::string& where, const std::exception& error) -> std::string {
        const std::string see = " (see " + program_ + " --help)";
        if (const auto* unknown = dynamic_cast<const po::unknown_option*>(&error)) {
            std::string name = unknown->get_option_name();
            while (!name.empty() && name.front() == '-') name.erase(name.begin());
            std::string nearest;
            std::size_t distance = std::string::npos;
            std::vector<std::string> names;
            for (const OptionDescription& option : describe()) names.push_back(option.name);
            for (const std::string& candidate : names) {
                const std::size_t d = edit_distance(name, candidate);
                if (d < distance) {
                    distance = d;
                    nearest = candidate;
                }
            }
            std::string message = where + "unknown option '" + name + "'";
            if (distance <= std::max<std::size_t>(2, name.size() / 3)) message += "; did you mean --" + nearest + "?";
            return message + see;
        }
        if (const auto* repeated = dynamic_cast<const po::multiple_occurrences*>(&error)) {
            return where + "option " + repeated->get_option_name() + " is given more than once; give it once" + see;
        }
        return where + error.what() + see;
    };

    po::variables_map values;
    po::positional_options_description positional;
    if (!positional_.empty()) positional.add(positional_.c_str(), 1);
    try {
        auto parser = po::command_line_parser(argc, argv)
                          .options(description)
                          .positional(positional)
                          .style(po::command_line_style::unix_style & ~po::command_line_style::allow_guessing);
        const auto parsed = parser.run();
        // The library notices repeated values, but not repeated switches.
        for (const auto& definition : definitions_) {
            const auto times = std::count_if(parsed.options.begin(), parsed.options.end(),
                                             [&](const auto& option) { return option.string_key == definition->name; });
            if (times > 1) throw UsageError("option --" + definition->name + " is given more than once; give it once (see " + program_ + " --help)");
        }
        po::store(parsed, values);
    } catch (const po::too_many_positional_options_error&) {
        throw UsageError("a word stands without an option name; every value needs its --name (see " + program_ + " --help)");
    } catch (const po::error& error) {
        throw UsageError(explain("", error));
    }
    if (values.count("help") != 0) return ParsedAs::help;
    if (values.count("version") != 0) return ParsedAs::version;
    if (values.count("man") != 0) return ParsedAs::man;
    if (values.count("completion") != 0) {
        const std::string shell = values["completion"].as<std::string>();
        if (shell != "bash") throw UsageError("--completion is made for bash only, not for '" + shell + "'");
        return ParsedAs::completion;
    }

    if (values.count("config") != 0) {
        config_path_ = values["config"].as<std::string>();
        std::ifstream file(config_path_);
        if (!file) throw UsageError("--config " + config_path_ + ": the file cannot be opened");
        po::variables_map from_file;
        try {
            po::store(po::parse_config_file(file, in_file), from_file);
        } catch (const po::error& error) {
            throw UsageError(explain(config_path_ + ": ", error));
        }
        for (const auto& [name, value] : from_file) {
            if (values.count(name) == 0) values.insert({name, value});
        }
    }

    const bool instead = std::any_of(definitions_.begin(), definitions_.end(), [&](const auto& definition) {
        return definition->is_instead && values.count(definition->name) != 0 && values[definition->name].template as<std::string>() == "true";
    });
    for (const auto& definition : definitions_) {
        if (values.count(definition->name) == 0) {
            if (definition->is_required && !instead) {
                throw UsageError("--" + definition->name + " " + definition->value_name + " is needed: " + definition->help +
                                 " (see " + program_ + " --help)");
            }
            continue;
        }
        definition->given = true;
        const std::string given = values[definition->name].as<std::string>();
        definition->set(definition->is_list ? join(split_at_commas(given), ",") : given);
        const nlohmann::ordered_json value = definition->get();
        if (definition->minimum && value.is_number() && value.get<double>() < *definition->minimum) {
            std::ostringstream minimum;
            minimum << *definition->minimum;
            throw UsageError("--" + definition->name + " must be at least " + minimum.str() + ", not " +
                             values[definition->name].as<std::string>());
        }
        if (!definition->words.empty() &&
            std::find(definition->words.begin(), definition->words.end(), value.get<std::string>()) == definition->words.end()) {
            throw UsageError("--" + definition->name + " is one of " + join(definition->words, ", ") + ", not '" +
                             value.get<std::string>() + "'");
        }
    }
    return ParsedAs::run;
}

std::vector<OptionDescription> OptionSet::describe() const {
    std::vector<OptionDescription> result;
    for (const auto& definition : definitions_) {
        OptionDescription option;
        option.name = definition->name;
        option.value_name = definition->value_name;
        option.help = definition->help;
        option.words = definition->words;
        option.is_required = definition->is_required;
        option.is_positional = definition->name == positional_;
        if (!definition->is_flag) {
            const nlohmann::ordered_json value = definition->get();
            if (!value.is_null()) option.default_text = value.is_string() ? value.get<std::string>() : value.dump();
        }
        result.push_back(std::move(option));
    }
    const auto common = [&result](const std::string& name, const std::string& value_name, const std::string& help) -> OptionDescription& {
        OptionDescription& option = result.emplace_back();
        option.name = name;
        option.value_name = value_name;
        option.help = help;
        return option;
    };
    common("config", "FILE", "read options from FILE, one `name = value` a line; the command line wins");
    common("help", "", "show this text");
    common("version", "", "show version, commit, compiler and libraries");
    common("man", "", "print the manual page (try: " + program_ + " --man | man -l -)");
    common("completion", "SHELL", "print what the shell needs to complete these options").words = {"bash"};
    return result;
}

std::string OptionSet::help() const {
    std::ostringstream out;
    out << summary_ << "\n\nUsage: " << program_;
    const std::vector<OptionDescription> options = describe();
    for (const OptionDescription& option : options) {
        if (option.is_positional) out << " " << option.value_name;
    }
    out << " [options]\n\nOptions\n";
    const auto line = [&out](const std::string& left, const std::string& text) {
        constexpr std::size_t column = 34;
        constexpr std::size_t width = 110;
        std::string current = "  " + left;
        if (current.size() + 1 > column) {
            out << current << "\n";
            current.clear();
        }
        current.resize(column, ' ');
        std::istringstream words(text);
        std::string word;
        bool empty = true;
        while (words >> word) {
            if (!empty && current.size() + 1 + word.size() > width) {
                out << current << "\n";
                current.assign(column, ' ');
                empty = true;
            }
            current += (empty ? "" : " ") + word;
            empty = false;
        }
        out << current << "\n";
    };
    for (const OptionDescription& option : options) {
        std::string text = option.help;
        if (!option.words.empty()) text += " (" + join(option.words, ", ") + ")";
        if (option.is_required) {
            text += " [needed]";
        } else if (!option.default_text.empty()) {
            text += " [" + option.default_text + "]";
        }
        line("--" + option.name + (option.value_name.empty() ? "" : " " + option.value_name), text);
    }
    if (!examples_.empty()) {
        out << "\nExamples\n";
        for (const std::string& example : examples_) out << "  " << example << "\n";
    }
    out << "\nExit codes: 0 done, 64 usage, 65 bad input, 70 internal, 74 input or output, 75 stopped on request (run again).\n";
    return out.str();
}

nlohmann::ordered_json OptionSet::collect(Which which) const {
    nlohmann::ordered_json result = nlohmann::ordered_json::object();
    for (const auto& definition : definitions_) {
        if (which == Which::all || (which == Which::identity ? definition->changes_results : definition->given)) result[definition->name] = definition->get();
    }
    return result;
}

nlohmann::ordered_json OptionSet::values() const { return collect(Which::all); }
nlohmann::ordered_json OptionSet::identity_values() const { return collect(Which::identity); }
nlohmann::ordered_json OptionSet::given_values() const { return collect(Which::given); }

void register_options(OptionSet& set, CommonOptions& options) {
    set.add("data", options.data, "DIR", "folder in which the result folders phase0, phase1_0, ... live");
    set.add("json", options.json, "FILE", "write the final summary there too, for scripts");
    set.add("log-level", options.log_level, "LEVEL", "how much is said").one_of({"error", "warning", "info", "debug"});
    set.add_flag("verbose", options.verbose, "the same as --log-level debug");
    set.add("gpus", options.gpus, "LIST", "which of the visible GPUs ranks may use, such as 0,2 (all when not given)").list();
    set.add("max-minutes", options.max_minutes, "M", "stop after the unit at hand with exit code 75 once M minutes are over (0: never)")
        .at_least(0);
    set.add_flag("list-checkpoints", options.list_checkpoints, "list the unfinished runs below --data and how to go on with them, then end").instead_of_a_run();
    set.add_flag("cleanup", options.cleanup, "list and remove what dead runs left below --data and old logs, then end; nothing that can be taken up").instead_of_a_run();
    set.add("log-days", options.log_days, "D", "with --cleanup: logs older than this are removed").at_least(0);
}

}  // namespace pva
