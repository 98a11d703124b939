// What a phase loses on many ranks: units whose computation is simulated by sleeping go through the real mechanisms (dealing
// by cost, the loop over units with its messages, the result file with its checksums), and every second of every rank is
// accounted for. Sleeping ranks need no core, so that 64 of them can compute at once on two cores. scaling.py runs it.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <numbers>
#include <thread>

#include "mpi_clock.h"
#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/io/result_file.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/share.h"
#include "pva/phases/context.h"
#include "pva/phases/inputs.h"
#include "pva/phases/work.h"

using namespace pva;

namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Options {
    std::int64_t units = 640;
    std::int64_t rows = 1;
    std::int64_t width = 62500;
    std::int64_t block = 1;
    double milliseconds = 50;
    double spread = 0;
    bool blind = false;
    bool raw = false;
};

const io::FileSchema& schema() {
    static const io::FileSchema one{"pva scaling bench", 1, "", "unit",
                                    {{"numbers", io::h5::Element::f32, {"row", "width"}, io::Filled::per_unit, "1", "made-up rows", ""},
                                     {"label", io::h5::Element::u8, {"row"}, io::Filled::per_unit, "1", "made-up label", ""},
                                     {"measured/seconds", io::h5::Element::f64, {"row"}, io::Filled::per_unit, "s", "of the unit's computation", ""}}};
    return one;
}

/// Seconds that a unit computes: log-normal with the mean asked for, the same in every run.
double cost_of(std::int64_t unit, const Options& options) {
    const double mean = options.milliseconds / 1000;
    if (options.spread == 0) return mean;
    PhiloxStream random(12, static_cast<std::uint64_t>(unit), 0);
    const double normal = std::sqrt(-2 * std::log(1 - random.uniform())) * std::cos(2 * std::numbers::pi * random.uniform());
    const double sigma = std::sqrt(std::log(1 + options.spread * options.spread));
    return mean * std::exp(sigma * normal - sigma * sigma / 2);
}

io::Columns content_of(std::int64_t unit, double seconds, const Options& options) {
    std::vector<float> numbers(static_cast<std::size_t>(options.rows * options.width));
    const auto first = static_cast<float>(PhiloxStream(13, static_cast<std::uint64_t>(unit), 0).uniform());
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = first + static_cast<float>(i);
    const auto rows = static_cast<std::size_t>(options.rows);
    return {{"numbers", io::to_bytes(numbers)},
            {"label", io::to_bytes(std::vector<std::uint8_t>(rows, static_cast<std::uint8_t>(unit % 2)))},
            {"measured/seconds", io::to_bytes(std::vector<double>(rows, seconds))}};
}

/// One rank's seconds, from the moment its ranks are together.
struct Account {
    double open = 0;       ///< creating and opening the result file
    double ideal = 0;      ///< what its units should have computed
    double computing = 0;  ///< what they did: sleeping ends late on a busy machine
    double content = 0;    ///< making the rows up
    double writing = 0;    ///< write_unit: HDF5, MPI-IO, checksum, the system
    double messages = 0;   ///< MPI between units: progress, the look for a stop
    double other = 0;      ///< cutting and dealing the work, the rest of the loop
    double waiting = 0;    ///< for the slowest rank, when its own work was over
    double publish = 0;
    double total = 0;
};

/// The same bytes by plain pwrite into one reserved file, each rank its own units. Seconds of writing, and with reserving and fsync.
std::pair<double, double> write_raw(phases::Context& context, const Options& options, const std::vector<std::int64_t>& own) {
    const std::string path = context.folder("work") + "/raw";
    const auto unit_bytes = static_cast<std::size_t>(options.rows) * (static_cast<std::size_t>(options.width) * sizeof(float) + 1 + sizeof(double));
    const std::vector<std::byte> bytes(unit_bytes, std::byte{1});
    const auto start = Clock::now();
    mpi::on_first_rank(context.comm, [&] {
        const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (file < 0 || posix_fallocate(file, 0, static_cast<off_t>(unit_bytes) * options.units) != 0) throw IoError(path + ": no space for the raw file");
        close(file);
        return std::string();
    });
    double writing = 0;
    mpi::agreed(context.comm, [&] {
        const int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);
        const auto begun = Clock::now();
        for (const std::int64_t unit : own) {
            for (std::size_t at = 0; at < unit_bytes;) {
                const ssize_t n = pwrite(file, bytes.data() + at, unit_bytes - at, static_cast<off_t>(unit) * static_cast<off_t>(unit_bytes) + static_cast<off_t>(at));
                if (n <= 0) throw IoError(path + ": pwrite failed");
                at += static_cast<std::size_t>(n);
            }
        }
        writing = since(begun);
        close(file);
    });
    context.comm.barrier();
    mpi::on_first_rank(context.comm, [&] {
        const int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);
        if (file < 0 || fsync(file) != 0) throw IoError(path + ": fsync failed");
        close(file);
        unlink(path.c_str());
        return std::string();
    });
    return {writing, since(start)};
}

phases::Report body(phases::Context& context, const Options& options) {
    const mpi::Communicator& comm = context.comm;
    const auto max_of = [&](double seconds) { return static_cast<double>(comm.all_max(std::llround(seconds * 1e9))) * 1e-9; };
    const auto sum_of = [&](double seconds) { return static_cast<double>(comm.all_sum(std::llround(seconds * 1e9))) * 1e-9; };
    io::RunPlan plan;
    plan.schema = &schema();
    plan.folder = context.folder("work");
    plan.prefix = "scaling";
    plan.model = "none";
    plan.range = "0-" + std::to_string(options.units - 1);
    plan.n_units = options.units;
    plan.sizes = {{"row", options.units * options.rows}, {"width", options.width}};
    plan.identity = {{"phase", "scaling"}, {"units", options.units}, {"rows", options.rows}, {"width", options.width}};
    plan.provenance = context.provenance;
    plan.fresh = true;

    Account mine;
    comm.barrier();
    const auto start = Clock::now();
    io::OpenedResult opened = io::open_result_file(comm, context.log, plan, {});
    mine.open = since(start);

    const auto loop = Clock::now();
    std::vector<phases::WorkBlock> blocks = phases::cut_into_blocks(0, options.units, options.block);
    for (phases::WorkBlock& block : blocks) {
        if (options.blind) continue;
        block.cost = 0;
        for (const std::int64_t unit : block.units) block.cost += cost_of(unit, options);
    }
    std::vector<std::int64_t> own;
    const double messages_before = bench::mpi_seconds().messages;
    double messages_until_last = 0;  // up to the end of this rank's last unit, without those of writing
    double last_end = 0;
    double messages_of_writing = 0;
    phases::work_through(context, *opened.file, "units", "", blocks, [&](const phases::WorkBlock& block) -> std::int64_t {
        for (const std::int64_t unit : block.units) {
            const double cost = cost_of(unit, options);
            auto clock = Clock::now();
            if (cost > 0) std::this_thread::sleep_for(std::chrono::duration<double>(cost));
            const double slept = since(clock);
            mine.ideal += cost;
            mine.computing += slept;
            clock = Clock::now();
            const io::Columns columns = content_of(unit, slept, options);
            mine.content += since(clock);
            clock = Clock::now();
            const double before = bench::mpi_seconds().messages;
            opened.file->write_unit(unit, columns);
            messages_of_writing += bench::mpi_seconds().messages - before;
            mine.writing += since(clock);
            own.push_back(unit);
        }
        messages_until_last = bench::mpi_seconds().messages - messages_before - messages_of_writing;
        last_end = since(loop);
        return 0;
    });
    const double loop_seconds = since(loop);
    mine.messages = messages_until_last;
    mine.other = std::max(0.0, last_end - mine.computing - mine.content - mine.writing - mine.messages);
    mine.waiting = loop_seconds - last_end;
    const auto publishing = Clock::now();
    opened.file->flush();
    phases::Report report;
    report.result_path = opened.file->publish({}, {{"units", options.units}}, phases::measured_run(context));
    mine.publish = since(publishing);
    mine.total = since(start);

    const double total = sum_of(mine.total);
    const double slowest_loop = max_of(last_end);
    nlohmann::ordered_json& s = report.summary;
    const double bytes = static_cast<double>(options.units * options.rows) * static_cast<double>(options.width) * sizeof(float);
    s["ranks"] = comm.size();
    s["units"] = options.units;
    s["rows"] = options.units * options.rows;
    s["bytes"] = bytes;
    s["ideal_seconds"] = sum_of(mine.ideal) / comm.size();
    s["seconds"] = max_of(mine.total);
    s["efficiency"] = s["ideal_seconds"].get<double>() / s["seconds"].get<double>();
    s["loop_seconds"] = slowest_loop;
    s["write_microseconds_a_unit"] = sum_of(mine.writing) / static_cast<double>(options.units) * 1e6;
    s["message_microseconds_a_block"] = sum_of(mine.messages) / static_cast<double>(blocks.size()) * 1e6;
    s["open_seconds"] = max_of(mine.open);
    s["publish_seconds"] = max_of(mine.publish);
    nlohmann::ordered_json& shares = s["share_of_rank_seconds"];
    const auto share = [&](const char* name, double seconds) { shares[name] = sum_of(seconds) / total; };
    share("computing", mine.ideal);
    share("late_wakening", mine.computing - mine.ideal);
    share("content", mine.content);
    share("writing", mine.writing);
    share("messages", mine.messages);
    share("other", mine.other);
    share("waiting", mine.waiting);
    share("open", mine.open);
    share("publish", mine.publish);
    const bench::MpiSeconds mpi = bench::mpi_seconds();
    s["mpi_message_share"] = sum_of(mpi.messages) / total;
    s["mpi_file_share"] = sum_of(mpi.files) / total;
    std::vector<std::vector<std::string>> table = {{"of all ranks' time", "%"}};
    for (const auto& [name, value] : shares.items()) table.push_back({name, phases::fixed(100 * value.get<double>(), 2)});
    report.lines = phases::table_lines(table);
    report.lines.push_back(std::to_string(comm.size()) + " ranks: " + phases::fixed(s["seconds"], 2) + " s, ideal " + phases::fixed(s["ideal_seconds"], 2) + " s");
    if (options.raw) {
        const auto [writing, all] = write_raw(context, options, own);
        s["raw_gb_per_s"] = bytes / 1e9 / max_of(writing);
        s["raw_with_fsync_gb_per_s"] = bytes / 1e9 / max_of(all);
        s["gb_per_s"] = bytes / 1e9 / max_of(mine.writing);
        s["with_fsync_gb_per_s"] = bytes / 1e9 / s["seconds"].get<double>();
        report.lines.push_back("write_unit " + phases::fixed(s["gb_per_s"], 2) + " GB/s, pwrite " + phases::fixed(s["raw_gb_per_s"], 2) + " GB/s; with reserving and fsync " +
                               phases::fixed(s["with_fsync_gb_per_s"], 2) + " and " + phases::fixed(s["raw_with_fsync_gb_per_s"], 2));
    }
    return report;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CommonOptions common;
    OptionSet set("scaling_bench", "What a phase loses on many ranks, with simulated computation.", {});
    set.add("units", options.units, "N", "units of work").at_least(1);
    set.add("rows", options.rows, "N", "rows a unit").at_least(1);
    set.add("width", options.width, "N", "float32 numbers a row").at_least(1);
    set.add("block", options.block, "N", "units dealt together").at_least(1);
    set.add("milliseconds", options.milliseconds, "T", "mean time that a unit computes (sleeps)").at_least(0);
    set.add("spread", options.spread, "C", "standard deviation of that time over its mean").at_least(0);
    set.add_flag("blind", options.blind, "deal the units as if all cost the same");
    set.add_flag("raw", options.raw, "write the same bytes by plain pwrite afterwards and compare");
    register_options(set, common);
    return phases::run_executable(argc, argv, set, common, nullptr, [&](phases::Context& context) { return body(context, options); });
}
