// gnuplot scripts, and the SVG that comes back made fit for a page.
#include "pva/phases/report_plots.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "pva/core/error.h"
#include "pva/phases/export.h"

extern char** environ;

namespace pva::phases {

namespace {

/// A label in gnuplot's single quotes, which know neither escapes nor commands; what is not plain is replaced all the same.
std::string quoted(const std::string& text) {
    std::string safe;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || std::strchr(" .,;:%()+-=/", c) != nullptr;
        safe += plain && c != '\0' ? c : '?';
    }
    return "'" + safe + "'";
}

std::string number(double value) { return export_number(value); }

struct Quartiles {
    double low, first, median, third, high;
    std::vector<double> beyond;
};

double quantile(const std::vector<double>& sorted, double share) {
    const double place = share * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Quartiles quartiles(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    Quartiles q{0, quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75), 0, {}};
    const double reach = 1.5 * (q.third - q.first);
    q.low = *std::find_if(values.begin(), values.end(), [&](double v) { return v >= q.first - reach; });
    q.high = *std::find_if(values.rbegin(), values.rend(), [&](double v) { return v <= q.third + reach; });
    for (const double value : values) {
        if (value < q.low || value > q.high) q.beyond.push_back(value);
    }
    // A picture holds only so many points; the outermost stay.
    constexpr std::size_t most = 150;
    if (q.beyond.size() > most) {
        std::vector<double> some;
        for (std::size_t i = 0; i < most; ++i) some.push_back(q.beyond[i * (q.beyond.size() - 1) / (most - 1)]);
        q.beyond = some;
    }
    return q;
}

void replace_all(std::string& text, const std::string& what, const std::string& with) {
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) text.replace(at, what.size(), with);
}

/// Removes what stands between `from` and `to`, both included.
void cut(std::string& text, const std::string& from, const std::string& to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos;) {
        const std::size_t end = text.find(to, at + from.size());
        if (end == std::string::npos) return;
        text.erase(at, end + to.size() - at);
    }
}

/// gnuplot's document as an element of a page: no prolog, names that no other plot of the page has, the page's own colour for text and axes.
std::string as_element(std::string svg, std::size_t index) {
    svg.erase(0, std::min(svg.find("<svg"), svg.size()));
    if (svg.empty()) return svg;
    cut(svg, "<title>", "</title>");
    cut(svg, "<desc>", "</desc>");
    cut(svg, "<filter", "</filter>");
    replace_all(svg, "gpPt", "p" + std::to_string(index) + "-");
    replace_all(svg, "gpDot", "p" + std::to_string(index) + "-dot");
    for (int plot = 0; plot < 64; ++plot) replace_all(svg, " id=\"gnuplot_plot_" + std::to_string(plot) + "\" ", "");
    replace_all(svg, " id=\"gnuplot_canvas\"", "");
    for (const std::string colour : {"black", "white"}) replace_all(svg, " color=\"" + colour + "\"", "");
    replace_all(svg, "fill=\"black\"", "fill=\"currentColor\"");
    replace_all(svg, "stroke='black'", "");
    replace_all(svg, " stroke-linecap=\"butt\" stroke-linejoin=\"miter\"", "");
    replace_all(svg, " font-family=\"sans-serif\"", "");
    replace_all(svg, "<g fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.00\">\n</g>\n", "");
    replace_all(svg, "\n\n", "\n");
    return svg.erase(svg.rfind("</svg>") + 6) + "\n";
}

}  // namespace

std::string plot_script(const Plot& plot) {
    std::string data;
    std::string command;
    const auto add = [&](const std::string& block, const std::string& how) {
        const std::string name = "$d" + std::to_string(std::count(command.begin(), command.end(), '$'));
        data += name + " << END\n" + block + "END\n";
        command += (command.empty() ? "plot " : ", ") + name + " " + how;
    };
    for (const PlotSeries& series : plot.series) {
        const std::string colour = " lc rgb '" + series.colour + "'";
        const std::string title = series.label.empty() ? " notitle" : " title " + quoted(series.label);
        if (series.kind == PlotSeries::Kind::boxes) {
            std::vector<double> values;
            for (const double value : series.y) {
                if (std::isfinite(value)) values.push_back(value);
            }
            if (values.empty()) continue;
            const Quartiles q = quartiles(values);
            const std::string x = number(series.x.at(0)) + " ";
            add(x + number(q.first) + " " + number(q.low) + " " + number(q.high) + " " + number(q.third) + "\n",
                "using 1:2:3:4:5 with candlesticks whiskerbars 0.5 lw 1.5" + colour + " fs transparent solid 0.35" + title);
            add(x + number(q.median) + "\n", "using 1:2:2:2:2 with candlesticks lw 3" + colour + " notitle");
            std::string beyond;
            for (const double value : q.beyond) beyond += x + number(value) + "\n";
            if (!beyond.empty()) add(beyond, "using 1:2 with points pt 6 ps 0.35" + colour + " notitle");
            continue;
        }
        std::string block;
        for (std::size_t i = 0; i < series.x.size(); ++i) {
            const bool fits = std::isfinite(series.x[i]) && std::isfinite(series.y[i]) && !(plot.log_x && series.x[i] <= 0) && !(plot.log_y && series.y[i] <= 0);
            if (!fits) continue;
            block += number(series.x[i]) + " " + number(series.y[i]);
            if (series.kind == PlotSeries::Kind::error_bars) block += " " + number(series.low.at(i)) + " " + number(series.high.at(i));
            block += "\n";
        }
        if (block.empty()) continue;
        switch (series.kind) {
            case PlotSeries::Kind::line: add(block, "using 1:2 with lines lw 2" + colour + title); break;
            case PlotSeries::Kind::dashes: add(block, "using 1:2 with lines lw 1.5 dt (6,4)" + colour + title); break;
            case PlotSeries::Kind::points: add(block, "using 1:2 with points pt 7 ps 0.3" + colour + title); break;
            case PlotSeries::Kind::bars: add(block, "using 1:2 with boxes lw 1" + colour + " fs transparent solid 0.45" + title); break;
            case PlotSeries::Kind::error_bars: add(block, "using 1:2:3:4 with yerrorbars pt 7 ps 0.6 lw 2" + colour + title); break;
            case PlotSeries::Kind::boxes: break;
        }
    }
    if (command.empty()) {
        add("0 0\n", "using 1:2 with points ps 0 notitle");
    }
    std::string script = "reset\nset border 3\nset tics nomirror out\nset key " + plot.legend + "\n";
    double width = 1;  // of bars: one bin, also beside empty ones
    for (const PlotSeries& series : plot.series) {
        if (series.kind == PlotSeries::Kind::bars && series.x.size() > 1) width = series.x[1] - series.x[0];
    }
    script += "set boxwidth " + number(width) + " absolute\n";
    if (std::any_of(plot.series.begin(), plot.series.end(), [](const PlotSeries& s) { return s.kind == PlotSeries::Kind::boxes; })) script += "set boxwidth 0.5 absolute\n";
    script += "set xlabel " + quoted(plot.x_label) + "\nset ylabel " + quoted(plot.y_label) + "\n";
    if (plot.log_x) script += "set logscale x\nset format x '%g'\n";
    if (plot.log_y) script += "set logscale y\nset format y '%g'\n";
    if (plot.x_range) script += "set xrange [" + number(plot.x_range->first) + ":" + number(plot.x_range->second) + "]\n";
    if (plot.y_range) script += "set yrange [" + number(plot.y_range->first) + ":" + number(plot.y_range->second) + "]\n";
    if (!plot.x_tics.empty()) {
        std::string tics;
        for (const auto& [place, name] : plot.x_tics) tics += (tics.empty() ? "" : ", ") + quoted(name) + " " + number(place);
        script += "set xtics (" + tics + ")\n";
    }
    return script + data + command + "\n";
}

std::vector<std::string> draw_plots(const std::vector<Plot>& plots, std::string& failure) {
    failure.clear();
    if (plots.empty()) return {};
    std::string folder = (std::filesystem::temp_directory_path() / "pva_report_XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr) throw IoError(folder + ": a folder for plots cannot be made (" + std::strerror(errno) + "); set TMPDIR to a folder with room");
    struct Removed {
        std::string path;
        ~Removed() {
            std::error_code ignored;
            std::filesystem::remove_all(path, ignored);
        }
    } const removed{folder};
    const auto file = [&](std::size_t i) { return folder + "/" + std::to_string(i) + ".svg"; };
    {
        std::ofstream script(folder + "/plots.gp", std::ios::binary);
        script << "set terminal svg size 520,320 dynamic noenhanced font 'sans-serif,14'\n";
        for (std::size_t i = 0; i < plots.size(); ++i) script << "set output '" << i << ".svg'\n" << plot_script(plots[i]);
        script << "set output\n";
        script.close();
        if (!script) throw IoError(folder + "/plots.gp: cannot be written");
    }
    // In a shell of two commands, so that the folder's own name, which TMPDIR gives, needs no quoting: it is an argument.
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    const std::string messages = folder + "/messages";
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 2, messages.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const std::string commands = "cd \"$1\" && exec gnuplot -d plots.gp";
    std::vector<std::string> words = {"sh", "-c", commands, "sh", folder};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t child = 0;
    const int started = ::posix_spawn(&child, "/bin/sh", &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (started != 0) throw IoError(std::string("/bin/sh cannot be started (") + std::strerror(started) + ")");
    int status = 0;
    while (::waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) throw IoError(std::string("waiting for gnuplot failed (") + std::strerror(errno) + ")");
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        std::ifstream said(messages);
        const std::string text{std::istreambuf_iterator<char>(said), std::istreambuf_iterator<char>()};
        const bool absent = WIFEXITED(status) && WEXITSTATUS(status) == 127;
        failure = absent ? "gnuplot is not installed (Debian package gnuplot-nox)" : "gnuplot failed: " + text.substr(0, 400);
        return {};
    }
    std::vector<std::string> drawings;
    for (std::size_t i = 0; i < plots.size(); ++i) {
        std::ifstream drawn(file(i), std::ios::binary);
        drawings.push_back(as_element({std::istreambuf_iterator<char>(drawn), std::istreambuf_iterator<char>()}, i));
        if (drawings.back().find("</svg>") == std::string::npos) {
            failure = "gnuplot drew nothing for plot " + std::to_string(i);
            return {};
        }
    }
    return drawings;
}

}  // namespace pva::phases
