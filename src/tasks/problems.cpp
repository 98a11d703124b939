// Reading problem files, with messages that lead to the faulty line.
#include "pva/tasks/problems.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/tasks/check_function.h"
#include "pva/tasks/python_scanner.h"
#include "pva/tasks/text_file.h"
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

void require(const Json& record, const char* field, const char* schema, const std::string& where) {
    if (!present(record, field)) refuse(where, std::string("field '") + field + "' is missing", schema);
}

constexpr const char* mbpp_schema = "A problem needs task_id, text (or prompt), code and test_list, as in MBPP";
constexpr const char* human_eval_schema = "A problem with a field 'test' needs task_id, prompt, test and entry_point, as in HumanEval";

/// A problem whose id may still be a text.
struct Record {
    Problem problem;
    bool named = false;                  ///< the id is a text
    std::optional<std::int64_t> number;  ///< of an integer id, or at the end of a text
    std::optional<std::string> field;    ///< the field that was asked for
};

/// The number behind the last slash, or the whole text as a number.
std::optional<std::int64_t> number_of_name(std::string_view name) {
    const std::size_t slash = name.rfind('/');
    if (slash != std::string_view::npos) name.remove_prefix(slash + 1);
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc() || end != name.data() + name.size() || number < 0) return std::nullopt;
    return number;
}

void read_id(const Json& json, const std::string& where, Record& record) {
    const Json& id = json.at("task_id");
    if (id.is_string()) {
        record.named = true;
        record.problem.name = id.get<std::string>();
        if (record.problem.name.empty()) refuse(where, "field 'task_id' is empty", "Every problem needs an id");
        record.number = number_of_name(record.problem.name);
        return;
    }
    if (!id.is_number_integer()) refuse_type(where, "task_id", id, "an integer or a string");
    if (id.is_number_unsigned() && id.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
        refuse(where, "field 'task_id' is above 2^63 - 1", "Use smaller ids");
    }
    record.number = id.get<std::int64_t>();
    if (*record.number < 0) refuse(where, "field 'task_id' is negative", "Use ids from 0 on");
    record.problem.name = std::to_string(*record.number);
}

std::string not_blank(const Json& json, const char* field, const std::string& where) {
    std::string text = string_field(json, field, where);
    if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
        refuse(where, std::string("field '") + field + "' is blank", "Say there what the program has to do");
    }
    return text;
}

void read_mbpp(const Json& json, const std::string& where, Problem& problem) {
    const char* text_field = !present(json, "text") && present(json, "prompt") ? "prompt" : "text";
    require(json, text_field, mbpp_schema, where);
    problem.text = not_blank(json, text_field, where);
    require(json, "code", mbpp_schema, where);
    problem.code = normalize_line_ends(string_field(json, "code", where));
    require(json, "test_list", mbpp_schema, where);
    problem.test_list = string_list_field(json, "test_list", where);
    if (problem.test_list.empty()) {
        refuse(where, "field 'test_list' is empty", "A problem needs at least one assert, or nothing can be judged");
    }
    if (present(json, "test_setup_code")) {
        problem.test_setup_code = normalize_line_ends(string_field(json, "test_setup_code", where));
    }
    if (present(json, "test_imports")) {
        std::string imports;
        for (const std::string& line : string_list_field(json, "test_imports", where))
            imports += line + "\n";
        problem.test_setup_code = imports + problem.test_setup_code;
    }
    if (present(json, "challenge_test_list")) {
        problem.challenge_test_list = string_list_field(json, "challenge_test_list", where);
    }
}

bool is_identifier(std::string_view text) {
    if (text.empty() || (text[0] >= '0' && text[0] <= '9') || is_python_keyword(text)) return false;
    return std::all_of(text.begin(), text.end(), is_identifier_byte);
}

void read_human_eval(const Json& json, const std::string& where, Problem& problem) {
    for (const char* field : {"prompt", "entry_point", "test"}) require(json, field, human_eval_schema, where);
    problem.text = not_blank(json, "prompt", where);
    problem.opening = normalize_line_ends(problem.text);
    if (present(json, "canonical_solution")) {
        problem.code = problem.opening + normalize_line_ends(string_field(json, "canonical_solution", where));
    }
    problem.entry_point = string_field(json, "entry_point", where);
    if (!is_identifier(problem.entry_point)) {
        refuse(where, "field 'entry_point' is '" + problem.entry_point + "', no name of Python",
               "Name the function that the tests are to call");
    }
    try {
        SplitTests tests = split_check_function(normalize_line_ends(string_field(json, "test", where)), problem.entry_point);
        problem.test_setup_code = std::move(tests.setup_code);
        problem.test_list = std::move(tests.tests);
    } catch (const InputError& error) {
        refuse(where, std::string("field 'test': ") + error.what(), "HumanEval's tests are a function check(candidate)");
    }
}

Record read_record(const Json& json, const std::string& where) {
    if (!json.is_object()) {
        refuse(where, std::string("a problem must be a JSON object, this is of type ") + json.type_name(),
               "Write one object with the fields of MBPP or HumanEval a line");
    }
    const bool human_eval = present(json, "test") && !present(json, "test_list");
    Record record;
    require(json, "task_id", human_eval ? human_eval_schema : mbpp_schema, where);
    read_id(json, where, record);
    if (human_eval) {
        read_human_eval(json, where, record.problem);
    } else {
        read_mbpp(json, where, record.problem);
    }
    if (present(json, "family")) record.problem.family = string_field(json, "family", where);
    return record;
}

Json parse_json(std::string_view text, const std::string& where, const char* remedy) {
    try {
        return Json::parse(text.begin(), text.end());
    } catch (const Json::exception& error) {
        refuse(where, std::string("not valid JSON (") + error.what() + ")", remedy);
    }
}

/// Gives every problem its number; see load_problems. `places` are for messages.
void number_problems(std::vector<Record>& records, const std::vector<std::string>& places, const std::string& path) {
    std::map<std::string, std::size_t> by_name;
    for (std::size_t i = 0; i < records.size(); ++i) {
        if (records[i].named != records[0].named) {
            refuse(path + ", " + places[i], "the ids of this file are partly integers and partly strings",
                   "Use one kind of ids");
        }
        const auto [seen, is_new] = by_name.emplace(records[i].problem.name, i);
        if (!is_new) {
            refuse(path + ", " + places[i],
                   "task_id " + records[i].problem.name + " stands already in " + places[seen->second],
                   "Every problem needs an id of its own");
        }
    }
    std::map<std::int64_t, std::size_t> by_number;
    bool numbers = true;
    for (std::size_t i = 0; i < records.size(); ++i) {
        numbers = numbers && records[i].number && by_number.emplace(*records[i].number, i).second;
    }
    for (std::size_t i = 0; i < records.size(); ++i) {
        records[i].problem.task_id = numbers ? *records[i].number : static_cast<std::int64_t>(i);
    }
}

struct LoadedRecords {
    std::vector<Record> records;  ///< in the order of the file, numbered
    std::string sha256;
};

/// Every record of a file, with one of its fields as text unless `field` is empty.
LoadedRecords load_records(const std::string& path, const std::string& field);

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

namespace {

LoadedRecords load_records(const std::string& path, const std::string& field) {
    const std::string bytes = read_text_file(path, "problem file");
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

    LoadedRecords loaded;
    std::vector<Record>& records = loaded.records;
    std::vector<std::string> places;
    const auto add = [&](const Json& json, const std::string& place) {
        records.push_back(read_record(json, path + ", " + place));
        places.push_back(place);
        if (!field.empty() && present(json, field.c_str())) {
            const Json& value = json.at(field);
            records.back().field = value.is_string() ? value.get<std::string>() : value.dump();
        }
    };
    if (text[first] == '[') {
        const Json array = parse_json(text, path, "Mend the JSON array at the place named");
        for (std::size_t i = 0; i < array.size(); ++i)
            add(array[i], "element " + std::to_string(i) + " of the array");
        if (array.empty()) refuse(path, "no problem in this file", "Give an array with at least one problem");
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
    number_problems(records, places, path);

    loaded.sha256 = sha256_hex(bytes);
    return loaded;
}

}  // namespace

ProblemSet load_problems(const std::string& path) {
    LoadedRecords loaded = load_records(path, "");
    ProblemSet set;
    set.path = path;
    set.sha256 = loaded.sha256;
    for (Record& record : loaded.records)
        set.problems.push_back(std::move(record.problem));
    std::sort(set.problems.begin(), set.problems.end(),
              [](const Problem& a, const Problem& b) { return a.task_id < b.task_id; });
    return set;
}

std::vector<std::string> problem_fields(const ProblemSet& set, const std::string& field) {
    std::map<std::int64_t, std::string> values;
    for (const Record& record : load_records(set.path, field).records) {
        if (record.field) values[record.problem.task_id] = *record.field;
    }
    if (values.empty()) {
        throw InputError(set.path + ": no problem has a field '" + field + "'; name one that the records have, or add it to them");
    }
    std::vector<std::string> result;
    for (const Problem& problem : set.problems) {
        const auto found = values.find(problem.task_id);
        result.push_back(found == values.end() ? std::string() : found->second);
    }
    return result;
}

}  // namespace pva::tasks
