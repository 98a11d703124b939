// A small phase for the kill tests: units of pseudo-random rows that take a while to compute, written through the same
// mechanism and loop as the real phases. Every computed unit is noted in a journal, so that repeated work can be counted.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>

#include "pva/core/checksum.h"
#include "pva/core/error.h"
#include "pva/core/philox.h"
#include "pva/io/result_file.h"
#include "pva/mpi/agree.h"
#include "pva/phases/context.h"
#include "pva/phases/inputs.h"
#include "pva/phases/work.h"

using namespace pva;

namespace {

struct Options {
    std::int64_t units = 60;
    std::int64_t block = 2;
    double milliseconds = 8;
    bool segments = false;
};

const io::FileSchema& direct_schema() {
    static const io::FileSchema schema{"pva kill test", 1, "", "unit",
                                       {{"numbers", io::h5::Element::u32, {"item", "width"}, io::Filled::per_unit, "1", "random numbers", ""},
                                        {"measured/seconds", io::h5::Element::f64, {"item"}, io::Filled::per_unit, "s", "time", ""}}};
    return schema;
}
const io::FileSchema& segment_schema() {
    static const io::FileSchema schema{"pva kill test segments", 1, "", "unit",
                                       {{"offset", io::h5::Element::u64, {"item_plus_one"}, io::Filled::at_end, "1", "first number of a unit", ""},
                                        {"numbers", io::h5::Element::u32, {"entry"}, io::Filled::at_end, "1", "random numbers", ""}}};
    return schema;
}

constexpr std::size_t width = 5000;

std::vector<std::uint32_t> compute(std::int64_t unit, std::size_t count, double milliseconds) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double, std::milli>(milliseconds);
    std::vector<std::uint32_t> numbers(count);
    do {
        PhiloxStream random(4, static_cast<std::uint64_t>(unit), 0);
        for (std::uint32_t& x : numbers) x = random.next_u32();
    } while (std::chrono::steady_clock::now() < until);
    return numbers;
}

phases::Report body(phases::Context& context, const Options& options) {
    io::RunPlan plan;
    plan.schema = options.segments ? &segment_schema() : &direct_schema();
    plan.folder = context.folder("work");
    plan.prefix = options.segments ? "ragged" : "direct";
    plan.model = "none";
    plan.range = "0-" + std::to_string(options.units - 1);
    plan.n_units = options.units;
    plan.segmented = options.segments;
    if (!options.segments) plan.sizes = {{"item", options.units}, {"width", static_cast<std::int64_t>(width)}};
    plan.identity = {{"phase", "kill"}, {"start", 0}, {"end", options.units - 1}, {"block", options.block}};
    plan.provenance = context.provenance;
    io::OpenedResult opened = io::open_result_file(context.comm, context.log, plan, {});
    phases::Report report;
    report.result_path = opened.complete_path;
    if (!opened.file) return report;

    const std::string journal_path = context.common.data + "/journal";
    const int journal = open(journal_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    const auto size_of = [](std::int64_t unit) { return static_cast<std::size_t>(unit * unit % 1000); };
    phases::work_through(context, *opened.file, "units", "", phases::cut_into_blocks(0, options.units, options.block), [&](const phases::WorkBlock& block) -> std::int64_t {
        for (const std::int64_t unit : block.units) {
            if (opened.file->is_done(unit)) continue;
            const std::string line = std::to_string(unit) + "\n";
            if (write(journal, line.data(), line.size()) < 0) throw IoError("the journal cannot be written");
            if (options.segments) {
                opened.file->write_segment(unit, io::to_bytes(compute(unit, size_of(unit), options.milliseconds)));
            } else {
                const double now = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
                opened.file->write_unit(unit, {{"numbers", io::to_bytes(compute(unit, width, options.milliseconds))}, {"measured/seconds", io::to_bytes(std::vector<double>{now})}});
            }
        }
        return 0;
    });
    close(journal);
    nlohmann::ordered_json summary = {{"units", options.units}};
    if (!options.segments) {
        report.result_path = opened.file->publish({}, summary, phases::measured_run(context));
        return report;
    }
    opened.file->refresh_segments();
    std::vector<std::uint64_t> offsets = {0};
    for (std::int64_t unit = 0; unit < options.units; ++unit) offsets.push_back(offsets.back() + static_cast<std::uint64_t>(opened.file->segment_size(unit)) / 4);
    const auto layout = opened.file->lay_out({{"item_plus_one", options.units + 1}, {"entry", static_cast<std::int64_t>(offsets.back())}}, {});
    mpi::agreed(context.comm, [&] {
        for (std::int64_t unit = context.comm.rank(); unit < options.units; unit += context.comm.size()) {
            const auto bytes = opened.file->read_segment_of(unit);
            layout->write_rows("numbers", static_cast<std::int64_t>(offsets[static_cast<std::size_t>(unit)]), static_cast<std::int64_t>(bytes.size() / 4), bytes);
        }
    });
    report.result_path = layout->publish({{"offset", io::to_bytes(offsets)}}, summary, {});
    return report;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CommonOptions common;
    OptionSet set("kill_worker", "A small phase for the kill tests.", {});
    set.add("units", options.units, "N", "units").at_least(1);
    set.add("block", options.block, "N", "units a block").at_least(1);
    set.add("milliseconds", options.milliseconds, "T", "time of one unit");
    set.add_flag("segments", options.segments, "units of unequal size, through segment files");
    register_options(set, common);
    return phases::run_executable(argc, argv, set, common, nullptr, [&](phases::Context& context) { return body(context, options); });
}
