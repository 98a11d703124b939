// The pages in docs/formats and the schemas in the code say the same, dataset by dataset.
#define BOOST_TEST_MODULE formats
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "pva/io/schema.h"
#include "pva/phases/schemas.h"

namespace io = pva::io;

namespace {

const std::string head_line = "| dataset | type | shape | unit | filled | meaning |";

std::string trimmed(const std::string& text) {
    const auto first = text.find_first_not_of(' ');
    return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

/// Cells of a line of a Markdown table; `\|` is a bar inside a cell.
std::vector<std::string> cells_of(const std::string& line) {
    std::vector<std::string> cells;
    std::string cell;
    for (std::size_t i = 1; i < line.size(); ++i) {
        if (line[i] == '\\' && i + 1 < line.size() && line[i + 1] == '|') {
            cell += line[++i];
        } else if (line[i] == '|') {
            cells.push_back(trimmed(cell));
            cell.clear();
        } else {
            cell += line[i];
        }
    }
    if (!trimmed(cell).empty()) cells.push_back("text behind the last bar: " + cell);
    return cells;
}

/// Rows of the tables of datasets on a page.
struct Page {
    std::int64_t tables = 0;
    std::vector<std::vector<std::string>> rows;
};

Page read_page(const std::string& text) {
    Page page;
    std::istringstream lines(text);
    std::string line;
    bool inside = false;
    while (std::getline(lines, line)) {
        if (line == head_line) {
            ++page.tables;
            inside = true;
            std::getline(lines, line);  // the rule under the head
        } else if (inside && line.starts_with("|")) {
            page.rows.push_back(cells_of(line));
        } else {
            inside = false;
        }
    }
    return page;
}

std::vector<std::string> cells_of(const io::DatasetSpec& spec) {
    std::string shape;
    for (const std::string& dimension : spec.dims) shape += (shape.empty() ? "" : ", ") + dimension;
    const std::string filled = spec.filled == io::Filled::at_creation ? "at creation" : spec.filled == io::Filled::per_unit ? "per unit" : "at end";
    return {spec.name, io::h5::element_name(spec.element), "[" + shape + "]", spec.unit, filled, spec.meaning};
}

std::string joined(const std::vector<std::string>& cells) {
    std::string text;
    for (const std::string& cell : cells) text += " | " + cell;
    return text;
}

/// What a page says differently; empty when page and schema agree. Also: every dimension and text width is explained as a
/// list item "* `name`: ...".
std::vector<std::string> differences(const std::string& text, const std::vector<io::DatasetSpec>& specs) {
    std::vector<std::string> found;
    const Page page = read_page(text);
    if (page.tables != 1) found.push_back(std::to_string(page.tables) + " tables of datasets instead of one");
    for (std::size_t i = 0; i < std::max(page.rows.size(), specs.size()); ++i) {
        if (i >= specs.size()) {
            found.push_back("the page has a row too many:" + joined(page.rows[i]));
        } else if (i >= page.rows.size()) {
            found.push_back("the page lacks the row" + joined(cells_of(specs[i])));
        } else if (page.rows[i] != cells_of(specs[i])) {
            found.push_back("the page says" + joined(page.rows[i]) + "\n    the schema says" + joined(cells_of(specs[i])));
        }
    }
    for (const io::DatasetSpec& spec : specs) {
        std::vector<std::string> names = spec.dims;
        if (!spec.text_width.empty()) names.push_back(spec.text_width);
        for (const std::string& name : names) {
            if (text.find("\n* `" + name + "`: ") == std::string::npos) found.push_back("the page does not explain `" + name + "`");
        }
    }
    return found;
}

std::string page_text(const std::string& name) {
    std::ifstream file(std::string(PVA_SOURCE_DIR) + "/docs/formats/" + name);
    BOOST_REQUIRE_MESSAGE(file, "docs/formats/" + name + " cannot be opened");
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

void check_page(const std::string& name, const std::vector<io::DatasetSpec>& specs) {
    for (const std::string& difference : differences(page_text(name), specs)) BOOST_ERROR("docs/formats/" + name + ": " + difference);
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
    const auto at = text.find(what);
    BOOST_REQUIRE_MESSAGE(at != std::string::npos, "the page no longer holds '" + what + "'");
    return text.replace(at, what.size(), with);
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_page_says_what_its_schema_says) {
    BOOST_TEST(pva::phases::all_schemas().size() == 11u);
    for (const io::FileSchema* schema : pva::phases::all_schemas()) {
        BOOST_TEST_CONTEXT(schema->filetype) {
            check_page(schema->page, schema->datasets);
            const std::string text = page_text(schema->page);
            BOOST_TEST(text.starts_with("# `" + schema->filetype + "`"));
            BOOST_TEST(text.find("Format version " + std::to_string(schema->version) + ".") != std::string::npos);
        }
    }
}

BOOST_AUTO_TEST_CASE(common_page_says_what_every_file_has) {
    check_page("common.md", io::common_datasets());
    for (const io::FileSchema* schema : pva::phases::all_schemas()) {
        BOOST_TEST(page_text("common.md").find("| `" + schema->filetype + "` | [" + schema->page + "](" + schema->page + ") |") != std::string::npos);
    }
}

BOOST_AUTO_TEST_CASE(every_page_has_one_python_example) {
    std::vector<std::string> pages = {"common.md"};
    for (const io::FileSchema* schema : pva::phases::all_schemas()) pages.push_back(schema->page);
    for (const std::string& page : pages) {
        const std::string text = page_text(page);
        const std::string start = "\n```python\nimport sys, h5py\n";
        const auto at = text.find(start);
        BOOST_TEST(at != std::string::npos, page);
        BOOST_TEST(text.find("```python", at + start.size()) == std::string::npos, page + " has a second example");
        BOOST_TEST(text.find("sys.argv[1]", at) != std::string::npos, page);
        BOOST_TEST(text.find("assert ", at) != std::string::npos, page);
    }
}

// The comparison must be able to fail: each change of a true page is found.
BOOST_AUTO_TEST_CASE(a_changed_page_is_found) {
    const auto& specs = pva::phases::splits_schema().datasets;
    const std::string page = page_text("splits.md");
    BOOST_TEST(differences(page, specs).empty());
    const std::string row = "| part | uint8 | [problem] | 1 | per unit | 0 selection, 1 tuning, 2 analysis |\n";
    for (const auto& [what, with] : std::vector<std::pair<std::string, std::string>>{
             {"| part | uint8", "| parts | uint8"},
             {"| part | uint8", "| part | int32"},
             {"| part | uint8 | [problem]", "| part | uint8 | [problem, layer]"},
             {"| part | uint8 | [problem] | 1 |", "| part | uint8 | [problem] | s |"},
             {"| 1 | per unit |", "| 1 | at end |"},
             {"2 analysis |", "3 analysis |"},
             {"2 analysis |", "2 analysis | more |"},
             {row, ""},
             {row, row + row},
             {row, row + "\n" + head_line + "\n| --- | --- | --- | --- | --- | --- |\n"},
             {head_line, "| dataset | type |"},
             {"* `problem`: ", "* problem: "},
         }) {
        BOOST_TEST(!differences(replaced(page, what, with), specs).empty(), "not found: '" + what + "' replaced by '" + with + "'");
    }
    BOOST_TEST(!differences("", specs).empty());
    // A bar in a meaning is written `\|`.
    BOOST_TEST(cells_of("| a | E\\|x\\| |") == (std::vector<std::string>{"a", "E|x|"}), boost::test_tools::per_element());
}
