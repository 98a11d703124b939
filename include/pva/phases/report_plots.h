// Plots, drawn by gnuplot as SVG that stands inside a page: no fixed colours but those of the series, no scripts.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pva::phases {

/// Colours that can be told apart on white and on near-black, and by people who see no red or no green.
inline constexpr const char* colour_right = "#2a8fc7";
inline constexpr const char* colour_wrong = "#d9791e";
inline constexpr const char* colour_other = "#8a8a8a";
inline constexpr const char* colour_fourth = "#9a6fc4";
inline constexpr const char* colour_fifth = "#4c9a5b";

struct PlotSeries {
    enum class Kind {
        line,
        dashes,
        points,
        bars,         ///< from 0, at equal distances, as wide as the distance of the first two
        error_bars,   ///< points with `low` and `high`
        boxes         ///< values of one group at x[0]: quartiles, whiskers to 1.5 times their distance, the points beyond
    };
    Kind kind = Kind::line;
    std::string label;   ///< of the legend; empty: none
    std::string colour;
    std::vector<double> x;
    std::vector<double> y;
    std::vector<double> low;
    std::vector<double> high;
};

struct Plot {
    std::string name;    ///< what it shows, for those who do not see it
    std::string x_label;
    std::string y_label;
    bool log_x = false;
    bool log_y = false;
    std::optional<std::pair<double, double>> x_range;
    std::optional<std::pair<double, double>> y_range;
    std::vector<std::pair<double, std::string>> x_tics;  ///< in place of numbers
    std::string legend = "top right";                    ///< gnuplot's words for its place
    std::vector<PlotSeries> series;
};

/// One SVG element a plot. Characters of labels outside a safe set are replaced, numbers that are not finite left out. Empty with the reason in `failure`
/// when gnuplot is missing or fails. Must not be called when MPI is initialised (it starts a child process). Errors: IoError.
std::vector<std::string> draw_plots(const std::vector<Plot>& plots, std::string& failure);

/// The script of one plot, without terminal and output; for tests.
std::string plot_script(const Plot& plot);

}  // namespace pva::phases
