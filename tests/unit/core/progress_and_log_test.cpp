// Progress lines, durations, log levels and the log file, time stamps.
#include <boost/test/unit_test.hpp>

#include <iostream>
#include <regex>
#include <sstream>

#include "pva/core/error.h"
#include "pva/core/log.h"
#include "pva/core/progress.h"
#include "../scratch.h"

using namespace pva;

namespace {

/// What goes to a stream while this lives.
class Captured {
  public:
    explicit Captured(std::ostream& stream) : stream_(stream), before_(stream.rdbuf(text_.rdbuf())) {}
    ~Captured() { stream_.rdbuf(before_); }
    std::string text() const { return text_.str(); }

  private:
    std::ostringstream text_;
    std::ostream& stream_;
    std::streambuf* before_;
};

std::size_t count(const std::string& text, const std::string& part) {
    std::size_t n = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
    return n;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(progress)

BOOST_AUTO_TEST_CASE(durations) {
    BOOST_TEST(duration_text(0) == "0 s");
    BOOST_TEST(duration_text(-3) == "0 s");
    BOOST_TEST(duration_text(12.4) == "12 s");
    BOOST_TEST(duration_text(59.6) == "1 min 00 s");
    BOOST_TEST(duration_text(200) == "3 min 20 s");
    BOOST_TEST(duration_text(3599) == "59 min 59 s");
    BOOST_TEST(duration_text(3600) == "1 h 00 min");
    BOOST_TEST(duration_text(3720) == "1 h 02 min");
    BOOST_TEST(duration_text(400000) == "111 h 06 min");
}

BOOST_AUTO_TEST_CASE(lines) {
    BOOST_TEST(Progress::line("problems", 0, 0, 0, 0) == "0/0 problems (100.0 %)");
    BOOST_TEST(Progress::line("problems", 0, 400, 0, 5) == "0/400 problems (0.0 %)");
    BOOST_TEST(Progress::line("problems", 213, 400, 0, 26.625) == "213/400 problems (53.2 %), 8.0 problems/s, 23 s left");
    // What was done before this run counts for the share, not for the rate.
    BOOST_TEST(Progress::line("problems", 300, 400, 200, 50) == "300/400 problems (75.0 %), 2.0 problems/s, 50 s left");
    BOOST_TEST(Progress::line("problems", 200, 400, 200, 50) == "200/400 problems (50.0 %)");
    // Slow work shows more digits; finished work has nothing left.
    BOOST_TEST(Progress::line("units", 1, 3, 0, 100) == "1/3 units (33.3 %), 0.010 units/s, 3 min 20 s left");
    BOOST_TEST(Progress::line("units", 3, 3, 0, 2) == "3/3 units (100.0 %), 1.5 units/s");
    BOOST_TEST(Progress::line("units", 3, 3, 0, 0) == "3/3 units (100.0 %)");
}

BOOST_AUTO_TEST_CASE(a_log_gets_a_line_every_so_often) {
    Captured out(std::cout);
    Log log(0, LogLevel::info);
    {
        Progress rare(log, "units", 10, 2, {.visible = true, .terminal = false, .seconds_between_lines = 3600});
        for (int done = 3; done <= 10; ++done) rare.update(done, std::to_string(done) + " good");
        BOOST_TEST(out.text().empty());
        rare.finish();
        rare.finish();
    }
    BOOST_TEST(count(out.text(), "10/10 units (100.0 %)") == 1u);
    BOOST_TEST(count(out.text(), "10 good, took 0 s\n") == 1u);
    {
        Progress each(log, "rows", 2, 0, {.visible = true, .terminal = false, .seconds_between_lines = 0});
        each.update(1);
        each.update(2);
    }
    BOOST_TEST(count(out.text(), "1/2 rows") == 1u);
    BOOST_TEST(count(out.text(), "2/2 rows") == 1u);
}

BOOST_AUTO_TEST_CASE(silent_ranks_and_terminals) {
    Captured out(std::cout);
    Log log(0, LogLevel::info);
    {
        Progress silent(log, "units", 2, 0, {.visible = false, .terminal = true, .seconds_between_lines = 0});
        silent.update(1);
        silent.finish();
    }
    BOOST_TEST(out.text().empty());
    {
        // total 0: the bar is full, nothing is divided by it.
        Progress none(log, "units", 0, 0, {.visible = true, .terminal = true, .seconds_between_lines = 0});
        none.update(0);
        none.finish();
    }
    BOOST_TEST(count(out.text(), "0/0 units (100.0 %)") == 1u);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(logging)

BOOST_AUTO_TEST_CASE(levels_by_name) {
    BOOST_TEST((log_level_from_name("error") == LogLevel::error));
    BOOST_TEST((log_level_from_name("warning") == LogLevel::warning));
    BOOST_TEST((log_level_from_name("info") == LogLevel::info));
    BOOST_TEST((log_level_from_name("debug") == LogLevel::debug));
    BOOST_CHECK_THROW(log_level_from_name("INFO"), UsageError);
    BOOST_CHECK_THROW(log_level_from_name(""), UsageError);
}

BOOST_AUTO_TEST_CASE(who_speaks_where) {
    Captured out(std::cout);
    Captured err(std::cerr);
    Log first(0, LogLevel::info);
    first.error("e0");
    first.warning("w0");
    first.info("i0");
    first.debug("d0");
    Log third(3, LogLevel::debug);
    third.error("e3");
    third.info("i3");
    third.debug("d3");
    Log quiet(0, LogLevel::error);
    quiet.warning("w-quiet");
    quiet.info("i-quiet");
    BOOST_TEST(out.text() == "i0\n");
    BOOST_TEST(err.text() == "error: e0\nwarning: w0\n[rank 3] error: e3\n");
    BOOST_TEST((third.level() == LogLevel::debug));
}

BOOST_AUTO_TEST_CASE(the_file_gets_earlier_lines_too) {
    const Scratch scratch;
    const std::string path = scratch.path + "/run.log";
    {
        Captured out(std::cout);
        Captured err(std::cerr);
        Log log(1, LogLevel::debug);
        log.info("before");
        log.open_file(path);
        log.debug("after");
        log.error("bad");
    }
    const std::string text = read_file(path);
    const std::regex form(R"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[rank 1\] before\n)"
                          R"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[rank 1\] after\n)"
                          R"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[rank 1\] error: bad\n)");
    BOOST_TEST(std::regex_match(text, form), text);
    // A second run adds to the file.
    {
        Captured out(std::cout);
        Log log(0, LogLevel::info);
        log.open_file(path);
        log.info("second");
    }
    BOOST_TEST(count(read_file(path), "\n") == 4u);
    Log log(0, LogLevel::info);
    BOOST_CHECK_THROW(log.open_file(scratch.path + "/absent/run.log"), IoError);
}

BOOST_AUTO_TEST_CASE(time_stamps) {
    BOOST_TEST(std::regex_match(timestamp_now(), std::regex(R"(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)")));
}

BOOST_AUTO_TEST_SUITE_END()
