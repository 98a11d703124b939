// Manual pages and bash completion from the registration alone, so that neither can fall behind it.
#include "pva/core/option_texts.h"

#include <set>
#include <sstream>

#include "pva/core/join.h"

namespace pva {

namespace {

/// Text as roff prints it: a minus that can be copied, no escapes, no line that would be a request.
std::string roff(const std::string& text) {
    std::string result;
    for (const char c : text) {
        if ((c == '.' || c == '\'') && (result.empty() || result.back() == '\n')) result += "\\&";
        if (c == '\\') {
            result += "\\e";
        } else if (c == '-') {
            result += "\\-";
        } else if (c == '\'') {
            result += "\\(aq";
        } else if (c == '`') {
            result += "\\(ga";
        } else if (c == '^') {
            result += "\\(ha";
        } else if (c == '~') {
            result += "\\(ti";
        } else {
            result += c;
        }
    }
    return result;
}

/// The first sentence, for the line that apropos shows. A dot inside a name or number ends none.
std::string first_sentence(const std::string& text) {
    const std::size_t end = text.find(". ");
    std::string sentence = text.substr(0, end);
    if (!sentence.empty() && sentence.back() == '.') sentence.pop_back();
    return sentence;
}

/// For single quotes of the shell.
std::string quoted(const std::string& text) {
    std::string result = "'";
    for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return result + "'";
}

struct ExitStatus {
    const char* code;
    const char* meaning;
};
constexpr ExitStatus exit_statuses[] = {
    {"0", "done"},
    {"64", "usage: an option is unknown, missing or has a bad value"},
    {"65", "bad input, or settings that differ from those of an unfinished result"},
    {"70", "internal error"},
    {"74", "input or output failed, for instance a full disk"},
    {"75", "stopped on request (signal USR1, or the end of --max-minutes); the same command goes on"},
};

}  // namespace

std::string man_page(const OptionSet& set, const std::string& version) {
    std::ostringstream out;
    std::string title = set.program();
    for (char& c : title) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    const std::vector<OptionDescription> options = set.describe();
    out << ".\\\" Made by " << set.program() << " --man from its option registration.\n"
        << ".TH " << title << " 1 \"\" \"" << roff(version) << "\" \"pva\"\n"
        << ".SH NAME\n" << roff(set.program()) << " \\- " << roff(first_sentence(set.summary())) << "\n"
        << ".SH SYNOPSIS\n.B " << roff(set.program()) << "\n";
    for (const OptionDescription& option : options) {
        if (option.is_positional) out << ".I " << roff(option.value_name) << "\n";
    }
    for (const OptionDescription& option : options) {
        if (option.is_required && !option.is_positional) out << "\\fB" << roff("--" + option.name) << "\\fR \\fI" << roff(option.value_name) << "\\fR\n";
    }
    out << "[\\fIoptions\\fR]\n.br\n.B mpirun \\-n\n.I ranks\n.B " << roff(set.program()) << "\n\\&...\n"
        << ".SH DESCRIPTION\n" << roff(set.summary()) << "\n"
        << ".SH OPTIONS\nAn option is given once. In a configuration file (\\fB\\-\\-config\\fR) it stands without the dashes, as \\fIname\\fR = \\fIvalue\\fR; "
        << "a switch reads \\fIname\\fR = true.\n";
    for (const OptionDescription& option : options) {
        out << ".TP\n\\fB" << roff("--" + option.name) << "\\fR";
        if (!option.value_name.empty()) out << " \\fI" << roff(option.value_name) << "\\fR";
        out << "\n" << roff(option.help) << ".\n";
        if (!option.words.empty()) out << "One of: " << roff(join(option.words, ", ")) << ".\n";
        if (option.is_required) {
            out << "Needed.\n";
        } else if (!option.default_text.empty()) {
            out << "Default: " << roff(option.default_text) << ".\n";
        }
    }
    out << ".SH EXIT STATUS\nAll ranks return the same code.\n";
    for (const ExitStatus& status : exit_statuses) out << ".TP\n.B " << status.code << "\n" << roff(status.meaning) << ".\n";
    out << ".SH SIGNALS\n.TP\n.B USR1\nEvery rank ends what it has in hand and stores it; exit status 75. mpirun passes the signal on.\n";
    if (!set.examples().empty()) {
        out << ".SH EXAMPLES\n";
        for (const std::string& example : set.examples()) out << ".PP\n.EX\n" << roff(example) << "\n.EE\n";
    }
    out << ".SH SEE ALSO\nThe pages in the folder docs of the sources, above all running.md; mpirun(1).\n";
    return out.str();
}

std::string bash_completion(const OptionSet& set) {
    const std::set<std::string> files{"FILE", "FILE:DATASET", "PATH", "PATTERN"};
    const std::set<std::string> either{"MODEL", "SAES"};  // files, folders or names
    std::ostringstream out;
    std::string function = "_" + set.program();
    std::string names;
    std::string positional = "none";
    std::ostringstream cases;
    for (const OptionDescription& option : set.describe()) {
        names += (names.empty() ? "" : " ") + ("--" + option.name);
        if (option.value_name.empty()) continue;
        std::string how = "none";
        if (!option.words.empty()) {
            how = "words " + quoted(join(option.words, " "));
        } else if (files.count(option.value_name) != 0 || either.count(option.value_name) != 0) {
            how = "files";
        } else if (option.value_name == "DIR") {
            how = "folders";
        }
        if (option.is_positional) positional = how;
        cases << "        --" << option.name << ") " << function << "_offer " << how << "; return ;;\n";
    }
    out << "# bash completion of " << set.program() << ", made from its option registration by: " << set.program() << " --completion bash\n"
        << function << "_offer() {\n"
        << "    case $1 in\n"
        << "        words) mapfile -t COMPREPLY < <(compgen -W \"$2\" -- \"$word\") ;;\n"
        << "        files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;\n"
        << "        none) compopt +o default +o bashdefault 2>/dev/null ;;\n"
        << "        folders) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- \"$word\") ;;\n"
        << "    esac\n"
        << "}\n"
        << function << "() {\n"
        << "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} name given\n"
        << "    COMPREPLY=()\n"
        << "    # Readline cuts --name=value at the equals sign.\n"
        << "    if [[ $word == = ]]; then\n"
        << "        word=\n"
        << "    elif [[ $before == = ]] && ((COMP_CWORD > 1)); then\n"
        << "        before=${COMP_WORDS[COMP_CWORD-2]}\n"
        << "    fi\n"
        << "    case $before in\n"
        << cases.str()
        << "    esac\n"
        << "    if [[ -z $word || $word == -* ]]; then\n"
        << "        given=\" ${COMP_WORDS[*]:0:COMP_CWORD} \"\n"
        << "        for name in " << names << "; do\n"
        << "            # An option is given once.\n"
        << "            [[ $name == \"$word\"* && $given != *\" $name \"* ]] && COMPREPLY+=(\"$name\")\n"
        << "        done\n"
        << "        return\n"
        << "    fi\n"
        << "    " << function << "_offer " << positional << "\n"
        << "}\n"
        << "complete -F " << function << " " << set.program() << "\n";
    return out.str();
}

}  // namespace pva
