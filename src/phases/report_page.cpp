// HTML of the report: escaping, tables, the style sheet.
#include "pva/phases/report_page.h"

#include <cmath>

#include "pva/phases/context.h"
#include "pva/text/utf8.h"

namespace pva::phases {

namespace {

// Colours by theme; nothing is loaded from anywhere.
constexpr const char* style_sheet = R"(
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1d21; --soft: #5c626b; --line: #d5d9df; --shade: #f3f5f8; --link: #0b62a8; --mark: 217,121,30; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #e4e6ea; --soft: #a2a9b3; --line: #3a3f47; --shade: #1f2226; --link: #7db8ec; --mark: 226,140,58; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1.2rem clamp(0.8rem, 3vw, 2rem) 4rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.4rem 0 0.2rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 0.5rem; padding-top: 0.5rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 0.4rem; }
p, li { max-width: 46rem; }
a { color: var(--link); }
nav ul { columns: 17rem; margin: 0.8rem 0; padding-left: 1.1rem; }
.lead, figcaption, caption { color: var(--soft); }
.lead { font-size: 0.9rem; margin: 0.8rem 0 0.1rem; }
.missing { border-left: 3px solid var(--line); padding: 0.1rem 0.8rem; color: var(--soft); }
.scroll { overflow-x: auto; max-width: 100%; margin: 0.8rem 0; }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.3rem; font-size: 0.88rem; }
th, td { padding: 0.22rem 0.7rem 0.22rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); overflow-wrap: normal; }
th { font-weight: 600; }
td.n { text-align: right; white-space: nowrap; }
td.s { white-space: nowrap; }
th.n { text-align: right; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 0.6rem 1.4rem; align-items: start; }
figure { margin: 0.8rem 0; max-width: 40rem; }
figure svg { display: block; width: 100%; height: auto; font-family: inherit; }
figcaption { font-size: 0.88rem; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace; font-size: 0.85rem; }
pre { background: var(--shade); padding: 0.6rem 0.8rem; overflow-x: auto; white-space: pre-wrap; max-width: 100%; margin: 0.4rem 0 1rem; }
.tokens { background: var(--shade); padding: 0.5rem 0.7rem; margin: 0.2rem 0 0.8rem; white-space: pre-wrap;
  font-family: ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace; font-size: 0.82rem; line-height: 1.5; }
.tokens i { font-style: normal; border-radius: 2px; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.t1 { background: rgba(var(--mark),0.12); } .t2 { background: rgba(var(--mark),0.22); } .t3 { background: rgba(var(--mark),0.34); }
.t4 { background: rgba(var(--mark),0.48); } .t5 { background: rgba(var(--mark),0.64); } .tm { outline: 1px solid rgb(var(--mark)); }
details > summary { cursor: pointer; }
@media print { :root { color-scheme: light; --paper: #ffffff; --ink: #000000; --soft: #444444; --line: #bbbbbb; --shade: #f3f3f3; --link: #000000; }
  body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; } h2, h3 { break-after: avoid; } figure, tr, .tokens { break-inside: avoid; }
  .row { grid-template-columns: 1fr 1fr; } .scroll { overflow: visible; } table { font-size: 8pt; } th, td { overflow-wrap: anywhere; } td.n, td.s { white-space: normal; } }
)";

constexpr std::size_t short_cell = 20;  // a cell of so few bytes is not broken into lines

bool is_number(const std::string& text) { return !text.empty() && text.find_first_not_of("0123456789.+-eE%/[], ") == std::string::npos; }

}  // namespace

std::string html_escape(std::string_view text) {
    std::string escaped;
    while (!text.empty()) {
        const std::size_t good = text::valid_utf8_prefix(text);
        for (const char c : text.substr(0, good)) {
            switch (c) {
                case '&': escaped += "&amp;"; break;
                case '<': escaped += "&lt;"; break;
                case '>': escaped += "&gt;"; break;
                case '"': escaped += "&quot;"; break;
                case '\'': escaped += "&#39;"; break;
                default: {
                    const auto byte = static_cast<unsigned char>(c);
                    const bool control = (byte < 0x20 && c != '\t' && c != '\n') || byte == 0x7f;
                    if (control) escaped += "\xEF\xBF\xBD";
                    else escaped += c;
                }
            }
        }
        if (good < text.size()) escaped += "\xEF\xBF\xBD";
        text.remove_prefix(std::min(text.size(), good + 1));
    }
    return escaped;
}

std::string figure(double value, int decimals) { return std::isfinite(value) ? fixed(value, decimals) : "-"; }

std::string with_interval(double value, double low, double high, int decimals) {
    if (!std::isfinite(value)) return "-";
    if (!std::isfinite(low) || !std::isfinite(high)) return fixed(value, decimals);
    return fixed(value, decimals) + " [" + fixed(low, decimals) + ", " + fixed(high, decimals) + "]";
}

void Page::html(std::string_view html) { parts_.push_back({std::string(html), -1}); }

void Page::section(const std::string& id, const std::string& title) {
    contents_.push_back({id, title});
    html("<h2 id=\"" + html_escape(id) + "\">" + html_escape(title) + "</h2>\n");
}

void Page::subsection(const std::string& id, const std::string& title) { html("<h3 id=\"" + html_escape(id) + "\">" + html_escape(title) + "</h3>\n"); }

void Page::paragraph(std::string_view text) { html("<p>" + html_escape(text) + "</p>\n"); }

void Page::missing(std::string_view text) { html("<p class=\"missing\">" + html_escape(text) + "</p>\n"); }

void Page::list(const std::vector<std::string>& items) {
    std::string text = "<ul>\n";
    for (const std::string& item : items) text += "<li>" + html_escape(item) + "</li>\n";
    html(text + "</ul>\n");
}

void Page::table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows, std::string_view caption) {
    // A column stands right when its first cell with content is a number.
    std::vector<bool> right(head.size(), false);
    for (std::size_t column = 0; column < head.size(); ++column) {
        if (head[column].empty()) continue;
        for (const auto& row : rows) {
            if (column >= row.size() || row[column].empty() || row[column] == "-") continue;
            right[column] = is_number(row[column]);
            break;
        }
    }
    std::string text = "<div class=\"scroll\" tabindex=\"0\"><table>\n";
    if (!caption.empty()) text += "<caption>" + html_escape(caption) + "</caption>\n";
    text += "<thead><tr>";
    for (std::size_t column = 0; column < head.size(); ++column) text += (right[column] ? "<th class=\"n\" scope=\"col\">" : "<th scope=\"col\">") + html_escape(head[column]) + "</th>";
    text += "</tr></thead>\n<tbody>\n";
    for (const auto& row : rows) {
        text += "<tr>";
        for (std::size_t column = 0; column < row.size(); ++column) text += (column < right.size() && right[column] ? "<td class=\"n\">" : row[column].size() <= short_cell ? "<td class=\"s\">" : "<td>") + html_escape(row[column]) + "</td>";
        text += "</tr>\n";
    }
    html(text + "</tbody></table></div>\n");
}

void Page::begin_row() { html("<div class=\"row\">\n"); }
void Page::end_row() { html("</div>\n"); }

void Page::plot(Plot plot, std::string caption) {
    parts_.push_back({std::move(caption), static_cast<std::ptrdiff_t>(plots_.size())});
    plots_.push_back(std::move(plot));
}

std::string Page::document(const std::string& title, const std::vector<std::string>& drawings, const std::string& no_drawings) const {
    std::string text = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                       "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>" +
                       html_escape(title) + "</title>\n<style>" + style_sheet + "</style>\n</head>\n<body>\n<h1>" + html_escape(title) + "</h1>\n";
    std::string contents = "<nav aria-label=\"Contents\"><ul>\n";
    for (const Entry& entry : contents_) contents += "<li><a href=\"#" + html_escape(entry.id) + "\">" + html_escape(entry.title) + "</a></li>\n";
    contents += "</ul></nav>\n";
    bool listed = false;
    for (const Part& part : parts_) {
        if (part.plot < 0) {
            if (!listed && part.html.starts_with("<h2")) {
                text += contents;
                listed = true;
            }
            text += part.html;
            continue;
        }
        const auto index = static_cast<std::size_t>(part.plot);
        if (index >= drawings.size()) {
            text += "<p class=\"missing\">" + html_escape("No figure (" + plots_[index].name + "): " + no_drawings + ".") + "</p>\n";
            continue;
        }
        std::string drawing = drawings[index];
        drawing.insert(4, " role=\"img\" aria-label=\"" + html_escape(plots_[index].name) + "\"");
        text += "<figure>" + drawing + "<figcaption>" + html_escape(part.html) + "</figcaption></figure>\n";
    }
    return text + "</body>\n</html>\n";
}

}  // namespace pva::phases
