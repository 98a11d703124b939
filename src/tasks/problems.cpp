// Reading problem files, with messages that lead to the faulty line.
#include "pva/tasks/problems.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string_view>

#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/text/utf8.h"

namespace pva::tasks {
namespace {

using Json = nlohmann::json;

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

std::size_t line_of(std::string_view text, std::size_t offset) {
    return 1 +
           static_cast<std::size_t>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
}

/// Where a record stands, for messages: "problems.jsonl, line 7".
[[noreturn]] void refuse(const std::string& where, const std::string& what, const std::string& remedy) {
    throw InputError(where + ": " + what + ". " + remedy);
}

[[noreturn]] void refuse_type(const std::string& where, const std::string& field, const Json& value,
                              const char* wanted) {
    refuse(where, "field '" + field + "' is of type " + value.type_name() + ", not " + wanted,
           "Correct this field or take the record out of the file");
}

std::string string_field(const Json& record, const std::string& field, const std::string& where) {
    const Json& value = record.at(field);
    if (!value.is_string()) refuse_type(where, field, value, "a string");
    return value.get<std::string>();
}

std::vector<std::string> string_list_field(const Json& record, const std::string& field, const std::string& where) {
    const Json& value = record.at(field);
    if (!value.is_array()) refuse_type(where, field, value, "an array of strings");
    std::vector<std::string> items;
    for (std::size_t i = 0; i < value.size(); ++i) {
        if (!value[i].is_string()) refuse_type(where, field + "[" + std::to_string(i) + "]", value[i], "a string");
        items.push_back(value[i].get<std::string>());
    }
    return items;
}

bool present(const Json& record, const char* field) {
    return record.contains(field) && !record.at(field).is_null();
}

void require(const Json& record, const char* field, const std::string& where) {
    if (!present(record, field)) {
        refuse(where, std::string("field '") + field + "' is missing",
               "A problem needs task_id, text (or prompt), code and test_list, as in MBPP");
    }
}

Problem read_problem(const Json& record, const std::string& where) {
    if (!record.is_object()) {
        refuse(where, std::string("a problem must be a JSON object, this is of type ") + record.type_name(),
               "Write one object with the fields of MBPP a line");
    }
    Problem problem;
    require(record, "task_id", where);
    const Json& id = record.at("task_id");
    if (!id.is_number_integer()) refuse_type(where, "task_id", id, "an integer");
    if (id.is_number_unsigned() && id.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
        refuse(where, "field 'task_id' is above 2^63 - 1", "Use smaller ids");
    }
    problem.task_id = id.get<std::int64_t>();
    if (problem.task_id < 0) refuse(where, "field 'task_id' is negative", "Use ids from 0 on");

    const char* text_field = !present(record, "text") && present(record, "prompt") ? "prompt" : "text";
    require(record, text_field, where);
    problem.text = string_field(record, text_field, where);
    if (problem.text.find_first_not_of(" \t\r\n") == std::string::npos) {
        refuse(where, std::string("field '") + text_field + "' is blank", "Say there what the program has to do");
    }
    require(record, "code", where);
    problem.code = normalize_line_ends(string_field(record, "code", where));
    require(record, "test_list", where);
    problem.test_list = string_list_field(record, "test_list", where);
    if (problem.test_list.empty()) {
        refuse(where, "field 'test_list' is empty", "A problem needs at least one assert, or nothing can be judged");
    }
    if (present(record, "test_setup_code")) {
        problem.test_setup_code = normalize_line_ends(string_field(record, "test_setup_code", where));
    }
    if (present(record, "test_imports")) {
        std::string imports;
        for (const std::string& line : string_list_field(record, "test_imports", where))
            imports += line + "\n";
        problem.test_setup_code = imports + problem.test_setup_code;
    }
    if (present(record, "challenge_test_list")) {
        problem.challenge_test_list = string_list_field(record, "challenge_test_list", where);
    }
    if (present(record, "family")) problem.family = string_field(record, "family", where);
    return problem;
}

Json parse_json(std::string_view text, const std::string& where, const char* remedy) {
    try {
        return Json::parse(text.begin(), text.end());
    } catch (const Json::exception& error) {
        refuse(where, std::string("not valid JSON (") + error.what() + ")", remedy);
    }
}

std::string read_bytes(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw InputError(path + ": cannot open this problem file. Check the path given with --problems");
    std::ostringstream bytes;
    bytes << file.rdbuf();
    if (file.bad() || bytes.bad()) {
        throw InputError(path + ": reading this problem file failed. Check that it is a readable file, not a folder");
    }
    return std::move(bytes).str();
}

}  // namespace

std::string normalize_line_ends(const std::string& text) {
    std::string result;
    result.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\r') {
            result += text[i];
        } else {
            result += '\n';
            if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
        }
    }
    return result;
}

ProblemSet load_problems(const std::string& path) {
    const std::string bytes = read_bytes(path);
    std::string_view text = bytes;
    if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
    if (const std::size_t valid = text::valid_utf8_prefix(text); valid < text.size()) {
        refuse(path + ", line " + std::to_string(line_of(text, valid)), "not valid UTF-8",
               "Convert the file to UTF-8, for instance with iconv");
    }
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) {
        refuse(path, "no problem in this file", "Give a JSONL file with one problem a line");
    }

    ProblemSet set;
    set.path = path;
    std::map<std::int64_t, std::string> places;  // where each id was seen
    const auto add = [&](const Json& record, const std::string& place) {
        Problem problem = read_problem(record, path + ", " + place);
        const auto [seen, is_new] = places.emplace(problem.task_id, place);
        if (!is_new) {
            refuse(path + ", " + place,
                   "task_id " + std::to_string(problem.task_id) + " stands already in " + seen->second,
                   "Every problem needs an id of its own");
        }
        set.problems.push_back(std::move(problem));
    };

    if (text[first] == '[') {
        const Json records = parse_json(text, path, "Mend the JSON array at the place named");
        for (std::size_t i = 0; i < records.size(); ++i)
            add(records[i], "element " + std::to_string(i) + " of the array");
        if (records.empty()) refuse(path, "no problem in this file", "Give an array with at least one problem");
    } else {
        std::size_t line_number = 0;
        for (std::size_t begin = 0; begin < text.size();) {
            const std::size_t end = std::min(text.find('\n', begin), text.size());
            const std::string_view line = text.substr(begin, end - begin);
            begin = end + 1;
            ++line_number;
            if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
            const std::string place = "line " + std::to_string(line_number);
            add(parse_json(line, path + ", " + place, "Every line must be one complete JSON object"), place);
        }
    }
    std::sort(set.problems.begin(), set.problems.end(),
              [](const Problem& a, const Problem& b) { return a.task_id < b.task_id; });
    set.sha256 = sha256_hex(bytes);
    return set;
}

}  // namespace pva::tasks
