// Table of the rates that io::check_io measures.
#include "pva/phases/iocheck.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "pva/io/io_check.h"

namespace pva::phases {

void register_options(OptionSet& set, IoCheckOptions& options) {
    set.add_positional("folder", options.folder, "DIR", "folder to check, where results will be written").required();
    set.add("gib", options.gib, "G", "GiB that each rank writes and reads, rounded up to a MiB").at_least(0.001);
    set.add("rounds", options.rounds, "N", "how often; the fastest round counts, so that other users' load matters less").at_least(1);
}

namespace {

/// The MPI-IO component asked for. Open MPI hands `mpirun --mca io NAME` to its processes in this variable.
std::string mpi_io_component() {
    const char* asked = std::getenv("OMPI_MCA_io");
    return asked == nullptr || *asked == '\0' ? "default" : asked;
}

double rate(std::int64_t bytes, double seconds) { return static_cast<double>(bytes) / 1e9 / std::max(seconds, 1e-9); }

nlohmann::ordered_json rates_json(const io::IoMeasurement& measured) {
    return {{"way", measured.way},
            {"bytes", measured.bytes},
            {"write_raw_gb_per_s", rate(measured.bytes, measured.write.data)},
            {"write_observed_gb_per_s", rate(measured.bytes, measured.write.total)},
            {"read_raw_gb_per_s", rate(measured.bytes, measured.read.data)},
            {"read_observed_gb_per_s", rate(measured.bytes, measured.read.total)}};
}

}  // namespace

Report run_iocheck(Context& context, const IoCheckOptions& options) {
    io::IoCheckSettings settings;
    settings.folder = options.folder;
    settings.bytes_per_rank = static_cast<std::int64_t>(std::ceil(options.gib * 1024)) * io::io_check_row_bytes;
    settings.rounds = options.rounds;
    const std::vector<io::IoMeasurement> measured = io::check_io(context.comm, settings);

    Report report;
    const std::string component = mpi_io_component();
    report.summary["folder"] = options.folder;
    report.summary["ranks"] = context.comm.size();
    report.summary["bytes_per_rank"] = settings.bytes_per_rank;
    report.summary["block_bytes"] = io::io_check_block_bytes;
    report.summary["rounds"] = options.rounds;
    report.summary["mpi_io_component"] = component;
    report.summary["ways"] = nlohmann::ordered_json::array();
    const io::IoMeasurement& yardstick = measured.front();
    std::vector<std::vector<std::string>> table = {{"GB/s (share of the first row)", "write raw", "write observed", "read raw", "read observed"}};
    for (const io::IoMeasurement& way : measured) {
        const auto cell = [&](double io::IoSeconds::* seconds, io::IoSeconds io::IoMeasurement::* direction) {
            const double own = rate(way.bytes, way.*direction.*seconds);
            return fixed(own, 2) + " (" + fixed(own / rate(yardstick.bytes, yardstick.*direction.*seconds), 2) + ")";
        };
        table.push_back({way.way, cell(&io::IoSeconds::data, &io::IoMeasurement::write), cell(&io::IoSeconds::total, &io::IoMeasurement::write),
                         cell(&io::IoSeconds::data, &io::IoMeasurement::read), cell(&io::IoSeconds::total, &io::IoMeasurement::read)});
        report.summary["ways"].push_back(rates_json(way));
    }
    report.lines.push_back(options.folder + ": " + std::to_string(context.comm.size()) + (context.comm.size() == 1 ? " rank, " : " ranks, ") +
                           fixed(static_cast<double>(settings.bytes_per_rank) / 1073741824.0, 2) + " GiB a rank in blocks of 64 MiB, MPI-IO component " + component);
    for (std::string& line : table_lines(table)) report.lines.push_back(std::move(line));
    report.lines.push_back("raw: data calls only; observed: with create, flush to the disk and close; every byte was read back and compared; fastest of " +
                           std::to_string(options.rounds) + (options.rounds == 1 ? " round" : " rounds"));
    return report;
}

}  // namespace pva::phases
