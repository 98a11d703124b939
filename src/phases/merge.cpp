// Joining datasets. File: docs/formats/dataset.md.
#include "pva/phases/merge.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "pva/core/comma_list.h"
#include "pva/core/error.h"
#include "pva/io/reader.h"
#include "pva/io/result_file.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/share.h"
#include "pva/phases/inputs.h"
#include "pva/phases/phase1.h"
#include "pva/phases/schemas.h"

namespace fs = std::filesystem;

namespace pva::phases {

void register_options(OptionSet& set, MergeOptions& options) {
    set.add("files", options.files, "LIST", "datasets, separated by commas");
    set.add("pattern", options.pattern, "PATTERN", "datasets by a file name with * and ?, in quotes");
    set.add("output", options.output, "DIR", "data folder of the result (in its phase1_0); --data when not given");
    set.add_flag("allow-gaps", options.allow_gaps, "join ranges with problems missing between them");
    set.add_flag("fresh", options.fresh, "write the result again even if it is there");
}

namespace {

bool matches(std::string_view pattern, std::string_view name) {
    if (pattern.empty()) return name.empty();
    if (pattern.front() == '*') {
        for (std::size_t taken = 0; taken <= name.size(); ++taken) {
            if (matches(pattern.substr(1), name.substr(taken))) return true;
        }
        return false;
    }
    return !name.empty() && (pattern.front() == '?' || pattern.front() == name.front()) && matches(pattern.substr(1), name.substr(1));
}

std::vector<std::string> paths_of(const MergeOptions& options) {
    std::vector<std::string> paths = names_at_commas(options.files);
    if (!options.pattern.empty()) {
        const fs::path pattern(options.pattern);
        const fs::path folder = pattern.has_parent_path() ? pattern.parent_path() : fs::path(".");
        std::error_code error;
        std::vector<std::string> found;
        for (const auto& entry : fs::directory_iterator(folder, error)) {
            const std::string name = entry.path().filename().string();
            if (name.ends_with(".h5") && matches(pattern.filename().string(), name)) found.push_back(entry.path().string());
        }
        if (error) throw InputError(folder.string() + ": cannot be listed (" + error.message() + ")");
        std::sort(found.begin(), found.end());
        paths.insert(paths.end(), found.begin(), found.end());
    }
    if (paths.empty()) {
        if (!options.pattern.empty()) throw InputError("--pattern " + options.pattern + ": no such file");
        throw UsageError("nothing to join: give --files or --pattern");
    }
    return paths;
}

struct Part {
    io::ResultReader reader;
    std::int64_t start = 0;
    std::int64_t end = 0;
    std::int64_t units = 0;
    std::int64_t first_unit = 0;  ///< in the result
};

nlohmann::ordered_json without_range(nlohmann::ordered_json identity) {
    identity.erase("start");
    identity.erase("end");
    return identity;
}

std::vector<Part> open_parts(const std::vector<std::string>& paths, bool allow_gaps) {
    std::vector<Part> parts;
    for (const std::string& path : paths) {
        Part part{io::ResultReader::open(path, dataset_schema())};
        if (part.reader.identity().contains("ranges")) throw InputError(path + ": was joined with gaps; join the files it was made from");
        part.start = part.reader.identity().at("start").get<std::int64_t>();
        part.end = part.reader.identity().at("end").get<std::int64_t>();
        part.units = part.reader.shape("done").at(0);
        parts.push_back(std::move(part));
    }
    std::stable_sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return std::pair(a.start, a.end) < std::pair(b.start, b.end); });
    // The same file twice (or a result beside the parts it was made from) is no new range.
    parts.erase(std::unique(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.reader.content_sha256() == b.reader.content_sha256(); }), parts.end());
    for (std::size_t i = 1; i < parts.size(); ++i) {
        const Part& before = parts[i - 1];
        const Part& here = parts[i];
        const std::vector<std::string> different = io::differences(without_range(before.reader.identity()), without_range(here.reader.identity()));
        if (!different.empty()) {
            std::string all;
            for (const std::string& one : different) all += "\n  " + one;
            throw InputError(before.reader.path() + " and " + here.reader.path() + " were made with different settings (there, here):" + all);
        }
        const auto range = [](const Part& part) { return std::to_string(part.start) + "-" + std::to_string(part.end) + " (" + part.reader.path() + ")"; };
        if (here.start <= before.end) throw InputError("the ranges " + range(before) + " and " + range(here) + " overlap; leave one away");
        if (here.start > before.end + 1 && !allow_gaps) {
            throw InputError("problems " + std::to_string(before.end + 1) + "-" + std::to_string(here.start - 1) + " are missing between " + range(before) + " and " + range(here) +
                             "; give their file too, or say --allow-gaps");
        }
    }
    for (std::size_t i = 1; i < parts.size(); ++i) parts[i].first_unit = parts[i - 1].first_unit + parts[i - 1].units;
    return parts;
}

/// Rows [first, first + count) of a dataset with texts padded to another width.
std::vector<std::byte> rows_of(const Part& part, const io::DatasetSpec& spec, std::int64_t first, std::int64_t count, std::size_t row_bytes) {
    const std::vector<std::byte> bytes = part.reader.read_bytes(spec.name, first, count);
    const std::size_t own = part.reader.row_bytes(spec.name);
    if (own == row_bytes) return bytes;
    if (spec.text_width.empty() || own > row_bytes) throw InputError(part.reader.path() + " dataset " + spec.name + ": has rows of another size than the other files'");
    std::vector<std::byte> padded(static_cast<std::size_t>(count) * row_bytes, std::byte{0});
    for (std::size_t row = 0; row < static_cast<std::size_t>(count); ++row) std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(row * own), own, padded.begin() + static_cast<std::ptrdiff_t>(row * row_bytes));
    return padded;
}

}  // namespace

Report run_merge(Context& context, const MergeOptions& options) {
    const mpi::Communicator& comm = context.comm;
    const std::vector<Part> parts = mpi::agreed(comm, [&] { return open_parts(paths_of(options), options.allow_gaps); });
    const Part& first = parts.front();
    const std::int64_t units = parts.back().first_unit + parts.back().units;
    const io::FileSchema& schema = dataset_schema();

    io::RunPlan plan;
    plan.schema = &schema;
    plan.folder = options.output.empty() ? context.folder("phase1_0") : options.output + "/phase1_0";
    plan.prefix = "dataset";
    plan.model = first.reader.identity().at("model").get<std::string>();
    plan.range = std::to_string(first.start) + "-" + std::to_string(parts.back().end);
    plan.n_units = units;
    plan.fresh = options.fresh;
    for (const Part& part : parts) context.provenance.inputs.push_back(part.reader.as_input("dataset"));
    // What the programs come from, as one run would say it; who joined them stands among the measurements.
    plan.provenance = context.provenance;
    plan.provenance.program = first.reader.program();
    plan.provenance.inputs = first.reader.inputs();
    plan.identity = first.reader.identity();
    plan.identity["start"] = first.start;
    plan.identity["end"] = parts.back().end;
    nlohmann::ordered_json ranges = nlohmann::ordered_json::array();
    bool gaps = false;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        ranges.push_back(std::to_string(parts[i].start) + "-" + std::to_string(parts[i].end));
        gaps = gaps || (i > 0 && parts[i].start != parts[i - 1].end + 1);
    }
    if (gaps) plan.identity["ranges"] = ranges;  // no run over one range can have written this

    // Sizes: of problems and rows the sum, of a text's width the largest, of all else every file's own.
    std::map<std::string, std::size_t> row_bytes;
    io::Columns at_creation;
    mpi::agreed(comm, [&] {
        for (const io::DatasetSpec& spec : schema.datasets) {
            std::int64_t rows = 0;
            for (const Part& part : parts) {
                row_bytes[spec.name] = std::max(row_bytes[spec.name], part.reader.row_bytes(spec.name));
                rows += part.reader.shape(spec.name).at(0);
            }
            const std::vector<std::int64_t> shape = first.reader.shape(spec.name);
            for (std::size_t dimension = 0; dimension < spec.dims.size(); ++dimension) {
                const bool summed = spec.dims[dimension] == "problem" || spec.dims[dimension] == "row";
                plan.sizes[spec.dims[dimension]] = dimension == 0 && summed ? rows : shape[dimension];
            }
            if (!spec.text_width.empty()) plan.sizes[spec.text_width] = static_cast<std::int64_t>(row_bytes[spec.name]);
        }
        for (const io::DatasetSpec& spec : schema.datasets) {
            if (spec.filled != io::Filled::at_creation) continue;
            std::vector<std::byte>& column = at_creation[spec.name];
            for (const Part& part : parts) {
                const std::vector<std::byte> rows = rows_of(part, spec, 0, part.reader.shape(spec.name).at(0), row_bytes[spec.name]);
                if (spec.dims.front() == "layer") {
                    if (!column.empty() && column != rows) throw InputError(part.reader.path() + " dataset " + spec.name + ": differs from the other files'");
                    column = rows;
                } else {
                    column.insert(column.end(), rows.begin(), rows.end());
                }
            }
        }
    });

    io::OpenedResult opened = io::open_result_file(comm, context.log, plan, at_creation);
    if (!opened.file) return dataset_report(context, opened.complete_path);
    io::ResultFile& file = *opened.file;
    const mpi::Block own = mpi::contiguous_block(units, comm.size(), comm.rank());
    mpi::agreed(comm, [&] {
        for (const Part& part : parts) {
            for (std::int64_t unit = std::max(own.first, part.first_unit); unit < std::min(own.last, part.first_unit + part.units); ++unit) {
                if (file.is_done(unit)) continue;
                io::Columns columns;
                for (const io::DatasetSpec& spec : schema.datasets) {
                    if (spec.filled != io::Filled::per_unit) continue;
                    const std::int64_t rows = part.reader.shape(spec.name).at(0) / part.units;
                    columns[spec.name] = rows_of(part, spec, (unit - part.first_unit) * rows, rows, row_bytes[spec.name]);
                }
                file.write_unit(unit, columns);
            }
        }
    });
    file.flush();
    const std::string path = file.publish({}, dataset_report(read_columns(context, file)).summary, measured_run(context));
    Report report = dataset_report(context, path);
    report.lines.push_back("joined " + std::to_string(parts.size()) + " files");
    return report;
}

}  // namespace pva::phases
