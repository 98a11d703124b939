// Parts of an HTML page. Everything that is put in as text is escaped here and nowhere else.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "pva/phases/report_plots.h"

namespace pva::phases {

/// Text as HTML, also inside attributes: & < > " ' escaped; bytes that are no UTF-8 and control characters other than tab and newline become U+FFFD.
std::string html_escape(std::string_view text);

/// "0.731"; "-" when it is not finite.
std::string figure(double value, int decimals = 3);
/// "0.606 [0.504, 0.700]".
std::string with_interval(double value, double low, double high, int decimals = 3);

/// A page in the making: sections of paragraphs, tables and figures, in order.
class Page {
  public:
    void section(const std::string& id, const std::string& title);
    void subsection(const std::string& id, const std::string& title);
    void paragraph(std::string_view text);
    /// What is not there, and how to get it.
    void missing(std::string_view text);
    /// Cells are text; those that look like numbers stand right.
    void table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows, std::string_view caption = {});
    void list(const std::vector<std::string>& items);
    void plot(Plot plot, std::string caption);
    /// The plots that come until the next call of end_row stand beside each other where there is room.
    void begin_row();
    void end_row();
    /// HTML as it is. Whoever calls it has escaped what is in it.
    void html(std::string_view html);

    const std::vector<Plot>& plots() const { return plots_; }
    /// The whole document with the drawn plots put in their places; where `drawings` is empty, `no_drawings` says why.
    std::string document(const std::string& title, const std::vector<std::string>& drawings, const std::string& no_drawings) const;

  private:
    struct Part {
        std::string html;
        std::ptrdiff_t plot = -1;
    };
    struct Entry {
        std::string id;
        std::string title;
    };
    std::vector<Part> parts_;
    std::vector<Plot> plots_;
    std::vector<Entry> contents_;
};

}  // namespace pva::phases
