// Creating, adopting, filling and publishing result files.
#include "pva/io/result_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "pva/core/checksum.h"
#include "pva/core/error.h"
#include "pva/core/join.h"
#include "pva/core/sha256.h"
#include "pva/io/naming.h"
#include "pva/io/reader.h"
#include "pva/io/run_lock.h"
#include "pva/mpi/agree.h"
#include "pva/mpi/share.h"

namespace fs = std::filesystem;

namespace pva::io {

std::vector<std::byte> pack_texts(const std::vector<std::string>& texts, std::size_t width) {
    std::vector<std::byte> bytes(texts.size() * width, std::byte{0});
    for (std::size_t i = 0; i < texts.size(); ++i) {
        std::size_t size = std::min(texts[i].size(), width);
        if (size < texts[i].size()) {
            // Do not cut inside a UTF-8 sequence: its later bytes have the form 10xxxxxx.
            while (size > 0 && (static_cast<unsigned char>(texts[i][size]) & 0xC0u) == 0x80u) --size;
        }
        std::memcpy(bytes.data() + i * width, texts[i].data(), size);
    }
    return bytes;
}

std::string identity_hash(const nlohmann::ordered_json& identity) {
    // nlohmann::json sorts keys: the hash does not depend on the order in which they were put in.
    return sha256_hex(nlohmann::json(identity).dump()).substr(0, 16);
}

std::vector<std::string> differences(const nlohmann::ordered_json& there, const nlohmann::ordered_json& here) {
    std::vector<std::string> result;
    std::set<std::string> keys;
    for (const auto& [key, value] : there.items()) keys.insert(key);
    for (const auto& [key, value] : here.items()) keys.insert(key);
    const auto text = [](const nlohmann::ordered_json& json, const std::string& key) {
        return json.contains(key) ? json[key].dump() : std::string("nothing");
    };
    for (const std::string& key : keys) {
        if (text(there, key) != text(here, key)) result.push_back(key + ": " + text(there, key) + " there, " + text(here, key) + " here");
    }
    return result;
}

namespace {

/// Whether a dataset belongs to a unit's checksum. Measurements differ between equal runs and stay out, so that `done`
/// itself is equal between them.
bool is_summed(const DatasetSpec& spec) { return spec.filled == Filled::per_unit && !spec.name.starts_with("measured/"); }

void sync_path(const std::string& path, int flags) {
    const int descriptor = open(path.c_str(), flags | O_CLOEXEC);
    if (descriptor < 0) throw IoError(path + ": cannot be opened for fsync (" + std::strerror(errno) + ")");
    const int result = fsync(descriptor);
    const int reason = errno;
    close(descriptor);
    if (result != 0) throw IoError(path + ": fsync failed (" + std::strerror(reason) + "); the disk may be full or faulty");
}

void reserve_space(const std::string& path) {
    const int descriptor = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (descriptor < 0) throw IoError(path + ": cannot be opened (" + std::strerror(errno) + ")");
    struct stat status {};
    int result = fstat(descriptor, &status) == 0 ? 0 : errno;
    if (result == 0 && status.st_size > 0) result = posix_fallocate(descriptor, 0, status.st_size);
    close(descriptor);
    if (result != 0 && result != EOPNOTSUPP && result != EINVAL) {
        throw IoError(path + ": " + std::to_string(status.st_size) + " bytes cannot be reserved on the disk (" + std::strerror(result) +
                      "); free some space or choose another --data folder. Nothing was started");
    }
}

/// Refuses before anything is written when the file cannot fit.
void check_free_space(const std::string& folder, const std::string& path, std::uint64_t needed) {
    struct statvfs status {};
    if (statvfs(folder.c_str(), &status) != 0) return;  // the file system does not say: posix_fallocate will
    const std::uint64_t free_bytes = static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
    if (free_bytes < needed) {
        throw IoError(path + ": needs " + std::to_string(needed) + " bytes, but only " + std::to_string(free_bytes) + " are free in " + folder +
                      "; free some space or choose another --data folder. Nothing was started");
    }
}

void write_text_file(const std::string& path, const std::string& text) {
    const std::string temporary = path + ".new";
    std::ofstream file(temporary, std::ios::trunc);
    file << text << "\n";
    file.close();
    if (!file || std::rename(temporary.c_str(), path.c_str()) != 0) {
        throw IoError(path + ": cannot be written (" + std::strerror(errno) + ")");
    }
}

std::string base_name(const RunPlan& plan) { return plan.prefix + "_" + identity_hash(plan.identity); }

/// What the JSON beside a result holds, read from the file itself so that it can be made again.
void write_companion(const std::string& path) {
    const h5::File file = h5::open_readonly(path);
    const auto read_text = [&](const std::string& name) {
        const h5::Dataset dataset = h5::open_dataset(file, name);
        std::string text(dataset.text_width, '\0');
        h5::read_rows(dataset, 0, 1, std::as_writable_bytes(std::span(text.data(), text.size())));
        return nlohmann::ordered_json::parse(text.substr(0, text.find('\0')));
    };
    nlohmann::ordered_json json;
    json["file"] = fs::path(path).filename().string();
    json["filetype"] = h5::read_text_attribute(file, "/", "filetype").value_or("");
    json["format_version"] = h5::read_integer_attribute(file, "/", "format_version").value_or(0);
    json["identity"] = nlohmann::ordered_json::parse(h5::read_text_attribute(file, "/", "identity").value_or("{}"));
    json["summary"] = read_text("summary");
    json["measured"] = read_text("measured/run");
    write_text_file(fs::path(path).replace_extension(".json").string(), json.dump(2));
}

/// Creates a file with all datasets and attributes, serially, and puts it under `path` only when it is whole.
void create_file(const std::string& path, const RunPlan& plan, const Sizes& sizes, bool only_common, const Columns& at_creation) {
    const std::string temporary = path + ".new";
    const FileSchema& schema = *plan.schema;
    Sizes all = sizes;
    all["unit"] = plan.n_units;
    all["one"] = 1;
    all["summary_bytes"] = summary_bytes;
    std::uint64_t needed = std::uint64_t{1} << 16;  // headers and attributes
    const auto add_size = [&](const DatasetSpec& spec) {
        std::uint64_t bytes = h5::element_bytes(spec.element, text_width_of(spec, all));
        for (const std::int64_t extent : shape_of(spec, all)) bytes *= static_cast<std::uint64_t>(extent);
        needed += bytes;
    };
    for (const DatasetSpec& spec : common_datasets()) add_size(spec);
    if (!only_common) {
        for (const DatasetSpec& spec : schema.datasets) add_size(spec);
    }
    check_free_space(fs::path(path).parent_path().string(), path, needed);
    try {
        {
            h5::File file = h5::create(temporary);
            h5::write_attribute(file, "/", "filetype", schema.filetype);
            h5::write_attribute(file, "/", "format_version", schema.version);
            h5::write_attribute(file, "/", "program", plan.provenance.program);
            h5::write_attribute(file, "/", "program_version", plan.provenance.build.version);
            h5::write_attribute(file, "/", "git_sha", plan.provenance.build.git_sha);
            h5::write_attribute(file, "/", "identity", plan.identity.dump());
            h5::write_attribute(file, "/", "identity_hash", identity_hash(plan.identity));
            nlohmann::ordered_json inputs = nlohmann::ordered_json::array();
            for (const InputFile& input : plan.provenance.inputs) {
                inputs.push_back({{"role", input.role}, {"name", fs::path(input.path).filename().string()}, {"sha256", input.sha256}});
            }
            h5::write_attribute(file, "/", "inputs", inputs.dump());

            const auto make = [&](const DatasetSpec& spec) {
                const bool zeroed = spec.name == "done" || spec.name == "complete" || spec.filled == Filled::at_end;
                h5::Dataset dataset = h5::create_dataset(file, spec.name, spec.element, text_width_of(spec, all), shape_of(spec, all), zeroed);
                h5::write_attribute(file, spec.name, "dimensions", join(spec.dims, ", "));
                h5::write_attribute(file, spec.name, "unit", spec.unit);
                h5::write_attribute(file, spec.name, "meaning", spec.meaning);
                const auto content = at_creation.find(spec.name);
                if (spec.filled == Filled::at_creation) {
                    if (content == at_creation.end()) throw InternalError("no content for dataset " + spec.name);
                    h5::write_rows(dataset, 0, dataset.rows(), content->second);
                }
                // So that an unfinished file can say how to go on with it; replaced when it is complete.
                if (spec.name == "measured/run") {
                    const std::string started = nlohmann::ordered_json{{"started", timestamp_now()}, {"provenance", to_json(plan.provenance)}}.dump();
                    if (started.size() <= static_cast<std::size_t>(summary_bytes)) h5::write_rows(dataset, 0, 1, pack_texts({started}, static_cast<std::size_t>(summary_bytes)));
                }
            };
            for (const DatasetSpec& spec : common_datasets()) make(spec);
            if (!only_common) {
                for (const DatasetSpec& spec : schema.datasets) make(spec);
            }
            file.handle.close(temporary);
        }
        reserve_space(temporary);
        sync_path(temporary, O_RDWR);
        if (std::rename(temporary.c_str(), path.c_str()) != 0) throw IoError(path + ": rename failed (" + std::strerror(errno) + ")");
    } catch (...) {
        std::error_code ignored;
        fs::remove(temporary, ignored);
        throw;
    }
}

bool all_units_done(const std::string& part_path) {
    const h5::File file = h5::open_readonly(part_path);
    const h5::Dataset dataset = h5::open_dataset(file, "done");
    std::vector<std::uint64_t> done(static_cast<std::size_t>(dataset.rows()));
    h5::read_rows(dataset, 0, dataset.rows(), std::as_writable_bytes(std::span(done)));
    return std::find(done.begin(), done.end(), std::uint64_t{0}) == done.end();
}

/// A complete file of this identity, if there is one.
std::string find_complete(const RunPlan& plan, const std::string& hash) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(plan.folder)) {
        const auto name = parse_file_name(entry.path().filename().string());
        if (name && name->prefix == plan.prefix && name->extension == "h5") names.push_back(entry.path().string());
    }
    std::sort(names.rbegin(), names.rend());
    for (const std::string& path : names) {
        try {
            const h5::File file = h5::open_readonly(path);
            if (h5::read_text_attribute(file, "/", "identity_hash").value_or("") == hash) return path;
        } catch (const Error&) {
            continue;  // not ours or damaged: it does not count as this run's result
        }
    }
    return "";
}

/// Refuses when an unfinished, abandoned run of the same phase, model and range exists with other settings.
void refuse_conflicts(const RunPlan& plan) {
    const std::string own = base_name(plan) + ".h5.part";
    for (const auto& entry : fs::directory_iterator(plan.folder)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with(plan.prefix + "_") || !name.ends_with(".h5.part") || name == own) continue;
        nlohmann::ordered_json there;
        try {
            const h5::File file = h5::open_readonly(entry.path().string());
            there = nlohmann::ordered_json::parse(h5::read_text_attribute(file, "/", "identity").value_or("{}"));
        } catch (const std::exception&) {
            continue;
        }
        const auto same = [&](const char* key) {
            return (there.contains(key) ? there[key] : nlohmann::ordered_json()) == (plan.identity.contains(key) ? plan.identity[key] : nlohmann::ordered_json());
        };
        if (!same("phase") || !same("model") || !same("problems") || !same("start") || !same("end")) continue;
        const std::string lock = (entry.path().parent_path() / name.substr(0, name.size() - std::strlen(".h5.part"))).string() + ".lock";
        if (is_locked(lock)) continue;  // alive: two runs with different settings may stand side by side
        if (!find_complete(plan, identity_hash(there)).empty()) continue;  // that run has its result; this is what a kill or --fresh left
        throw InputError(entry.path().string() + " is an unfinished run of the same phase, model and range with other settings (" +
                         join(differences(there, plan.identity), "; ") +
                         "). Give the settings it has to go on with it, or --fresh to start this one beside it");
    }
}

}  // namespace

struct ResultFile::State {
    const mpi::Communicator* comm = nullptr;
    Log* log = nullptr;
    RunPlan plan;
    std::string part_path;    // the working file, or the layout in the making
    std::string source_path;  // segmented: the working file that the layout replaces
    h5::File file;
    std::map<std::string, h5::Dataset> datasets;
    std::vector<std::uint64_t> done;
    std::int64_t n_adopted = 0;
    std::shared_ptr<RunLock> lock;
    std::string lock_path;
    std::unique_ptr<SegmentWriter> writer;
    std::map<std::int64_t, SegmentRecord> segments;

    h5::Dataset& dataset(const std::string& name) {
        const auto found = datasets.find(name);
        if (found == datasets.end()) throw InternalError(part_path + ": no dataset " + name + " in the schema");
        return found->second;
    }

    /// Rows of one unit in a per-unit dataset: [unit * k, unit * k + k).
    /// First row and number of rows of a unit in a per-unit dataset.
    std::pair<std::int64_t, std::int64_t> rows_of(std::int64_t unit, const DatasetSpec& spec, const h5::Dataset& set) const {
        if (const auto ragged = plan.unit_rows.find(spec.dims.front()); ragged != plan.unit_rows.end()) {
            const std::int64_t first = ragged->second.at(static_cast<std::size_t>(unit));
            return {first, ragged->second.at(static_cast<std::size_t>(unit) + 1) - first};
        }
        const std::int64_t n = plan.n_units;
        if (n == 0 || set.rows() % n != 0) {
            throw InternalError(set.name + ": " + std::to_string(set.rows()) + " rows are no multiple of " + std::to_string(n) + " units");
        }
        return {unit * (set.rows() / n), set.rows() / n};
    }

    void open_all(bool only_common) {
        file = h5::open_parallel(part_path, *comm);
        for (const DatasetSpec& spec : common_datasets()) datasets.emplace(spec.name, h5::open_dataset(file, spec.name));
        if (!only_common) {
            for (const DatasetSpec& spec : plan.schema->datasets) datasets.emplace(spec.name, h5::open_dataset(file, spec.name));
        }
        // Flushed once here: without it a killed run can leave a file that does not open.
        h5::flush(file);
    }

    void close_all() {
        for (auto& [name, set] : datasets) set.handle.close(part_path + " dataset " + name);
        datasets.clear();
        file.handle.close(part_path);
    }

    /// Checksum of a unit's rows as they are in the file now.
    std::uint64_t stored_checksum(std::int64_t unit) {
        Checksum sum;
        for (const DatasetSpec& spec : plan.schema->datasets) {
            if (!is_summed(spec)) continue;
            h5::Dataset& set = dataset(spec.name);
            const auto [first, rows] = rows_of(unit, spec, set);
            std::vector<std::byte> bytes(static_cast<std::size_t>(rows) * set.row_bytes());
            h5::read_rows(set, first, rows, bytes);
            sum.add(bytes);
        }
        return sum.value();
    }

    /// Collective. Reads `done` and believes only what its checksum proves; ranks verify a block each.
    void adopt() {
        done.assign(static_cast<std::size_t>(plan.n_units), 0);
        std::int64_t torn = 0;
        const mpi::Block block = mpi::contiguous_block(plan.n_units, comm->size(), comm->rank());
        mpi::agreed(*comm, [&] {
            std::vector<std::uint64_t> stored(done.size());
            h5::read_rows(dataset("done"), 0, plan.n_units, std::as_writable_bytes(std::span(stored)));
            if (plan.segmented) segments = read_segment_index(segment_paths(part_path));
            for (std::int64_t unit = block.first; unit < block.last; ++unit) {
                const std::uint64_t claim = stored[static_cast<std::size_t>(unit)];
                std::uint64_t found = 0;
                if (plan.segmented) {
                    // A whole record with a true checksum counts even when the kill came before its mark in `done`.
                    const auto record = segments.find(unit);
                    if (record != segments.end()) found = record->second.checksum;
                } else if (claim != 0 && stored_checksum(unit) == claim) {
                    found = claim;
                }
                if (claim != 0 && found == 0) ++torn;
                done[static_cast<std::size_t>(unit)] = found;
                // The marks on disk say what is true, so that a later look at them alone (all_units_done) is enough.
                if (found != claim) h5::write_rows(dataset("done"), unit, 1, std::as_bytes(std::span(&found, 1)));
            }
        });
        const auto mine = std::as_bytes(std::span(done).subspan(static_cast<std::size_t>(block.first), static_cast<std::size_t>(block.last - block.first)));
        const std::string bytes(reinterpret_cast<const char*>(mine.data()), mine.size());
        std::string all;
        for (const std::string& piece : comm->all_gather(bytes)) all += piece;
        if (!all.empty()) std::memcpy(done.data(), all.data(), all.size());
        n_adopted = std::count_if(done.begin(), done.end(), [](std::uint64_t sum) { return sum != 0; });
        torn = comm->all_sum(torn);
        if (comm->rank() == 0) {
            log->info("taking up " + part_path + ": " + std::to_string(n_adopted) + " of " + std::to_string(plan.n_units) + " units are done" +
                      (torn > 0 ? ", " + std::to_string(torn) + " more were torn by the interruption and are done again" : ""));
        }
    }
};

ResultFile::ResultFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
ResultFile::~ResultFile() = default;

const std::string& ResultFile::path() const { return state_->part_path; }
std::int64_t ResultFile::n_units() const { return state_->plan.n_units; }
std::int64_t ResultFile::n_adopted() const { return state_->n_adopted; }
bool ResultFile::is_done(std::int64_t unit) const { return state_->done.at(static_cast<std::size_t>(unit)) != 0; }

OpenedResult open_result_file(const mpi::Communicator& comm, Log& log, const RunPlan& plan, const Columns& at_creation) {
    const std::string base = plan.folder + "/" + base_name(plan);
    const std::string part_path = base + ".h5.part";
    const std::string lock_path = base + ".lock";
    auto lock = std::make_shared<RunLock>();
    const std::string example = to_string({plan.prefix, plan.model, plan.range, plan.suffix, timestamp_now(), "h5"});
    // A name that cannot be read back would hide the result from later phases, and from this run started again.
    if (const auto name = parse_file_name(example); !name || name->prefix != plan.prefix || name->range != plan.range) {
        throw InternalError("a result named " + example + " would not be found again: the range must be FIRST-LAST");
    }

    const std::string decision = mpi::on_first_rank(comm, [&]() -> std::string {
        std::error_code error;
        fs::create_directories(plan.folder, error);
        if (error) throw IoError(plan.folder + ": the folder cannot be made (" + error.message() + "); choose another --data");
        lock->acquire_exclusive(lock_path);
        if (!plan.fresh) {
            const std::string complete = find_complete(plan, identity_hash(plan.identity));
            // A working file beside a complete one is either a --fresh run that was interrupted, which goes on, or what a
            // kill left just after the layout was renamed, which is over.
            const bool leftover = !complete.empty() && fs::exists(part_path) && plan.segmented && all_units_done(part_path);
            if (leftover) {
                for (const std::string& path : segment_paths(part_path)) fs::remove(path);
                fs::remove(part_path);
            }
            if (!complete.empty() && !fs::exists(part_path)) {
                if (!fs::exists(fs::path(complete).replace_extension(".json"))) write_companion(complete);
                fs::remove(lock_path, error);
                return "complete:" + complete;
            }
        }
        if (fs::exists(part_path) && plan.fresh) {
            log.info("removing the unfinished " + part_path + " because of --fresh");
            fs::remove(part_path);
            for (const std::string& path : segment_paths(part_path)) fs::remove(path);
        }
        if (fs::exists(part_path)) {
            const h5::File file = h5::open_readonly(part_path);
            const auto there = nlohmann::ordered_json::parse(h5::read_text_attribute(file, "/", "identity").value_or("{}"));
            if (there != plan.identity) {
                throw InputError(part_path + " belongs to a run with other settings (" + join(differences(there, plan.identity), "; ") + "); --fresh starts over");
            }
            return "adopt";
        }
        if (!plan.fresh) refuse_conflicts(plan);
        if (plan.segmented) {
            for (const std::string& path : segment_paths(part_path)) fs::remove(path);  // without their working file they belong to nothing
        }
        create_file(part_path, plan, plan.sizes, plan.segmented, at_creation);
        return "new";
    });
    if (decision.starts_with("complete:")) {
        const std::string complete = decision.substr(std::strlen("complete:"));
        if (comm.rank() == 0) log.info("nothing to do: " + complete + " is complete (--fresh makes it again)");
        return {complete, nullptr};
    }

    auto state = std::make_unique<ResultFile::State>();
    state->comm = &comm;
    state->log = &log;
    state->plan = plan;
    state->part_path = part_path;
    state->lock = lock;
    state->lock_path = lock_path;
    mpi::agreed(comm, [&] {
        if (comm.rank() == 0) lock->share(lock_path);
    });
    mpi::agreed(comm, [&] {
        if (comm.rank() != 0) lock->share(lock_path);
    });
    mpi::agreed(comm, [&] { state->open_all(plan.segmented); });
    if (decision == "adopt") {
        state->adopt();
    } else {
        state->done.assign(static_cast<std::size_t>(plan.n_units), 0);
    }
    return {"", std::unique_ptr<ResultFile>(new ResultFile(std::move(state)))};
}

void ResultFile::write_unit(std::int64_t unit, const Columns& columns) {
    Checksum sum;
    for (const DatasetSpec& spec : state_->plan.schema->datasets) {
        if (spec.filled != Filled::per_unit) continue;
        const auto content = columns.find(spec.name);
        if (content == columns.end()) throw InternalError("unit " + std::to_string(unit) + ": no rows for dataset " + spec.name);
        h5::Dataset& set = state_->dataset(spec.name);
        const auto [first, rows] = state_->rows_of(unit, spec, set);
        h5::write_rows(set, first, rows, content->second);
        if (is_summed(spec)) sum.add(content->second);
    }
    // Data first, its mark second: a kill between the two only costs the unit.
    const std::uint64_t value = sum.value();
    h5::write_rows(state_->dataset("done"), unit, 1, std::as_bytes(std::span(&value, 1)));
    state_->done.at(static_cast<std::size_t>(unit)) = value;
}

void ResultFile::write_segment(std::int64_t unit, std::span<const std::byte> payload) {
    if (!state_->writer) {
        // A name of its own for every run and rank, so that a torn tail of an earlier run is never written behind.
        for (int attempt = 0; !state_->writer; ++attempt) {
            const std::string path = state_->part_path + ".segment." + std::to_string(attempt) + "." + std::to_string(state_->comm->rank());
            if (!fs::exists(path)) state_->writer = std::make_unique<SegmentWriter>(path);
        }
    }
    const std::uint64_t value = state_->writer->append(unit, payload);
    h5::write_rows(state_->dataset("done"), unit, 1, std::as_bytes(std::span(&value, 1)));
    state_->done.at(static_cast<std::size_t>(unit)) = value;
}

void ResultFile::refresh_segments() {
    state_->comm->barrier();
    mpi::agreed(*state_->comm, [&] { state_->segments = read_segment_index(segment_paths(state_->part_path)); });
}

std::vector<std::byte> ResultFile::read_segment_of(std::int64_t unit) const {
    const auto found = state_->segments.find(unit);
    if (found == state_->segments.end()) throw InternalError("unit " + std::to_string(unit) + " has no segment record");
    return read_segment(found->second);
}

std::int64_t ResultFile::segment_size(std::int64_t unit) const {
    const auto found = state_->segments.find(unit);
    if (found == state_->segments.end()) throw InternalError("unit " + std::to_string(unit) + " has no segment record");
    return found->second.size;
}

void ResultFile::write_rows(const std::string& dataset, std::int64_t first_row, std::int64_t count, std::span<const std::byte> bytes) {
    h5::write_rows(state_->dataset(dataset), first_row, count, bytes);
}

void ResultFile::read_rows(const std::string& dataset, std::int64_t first_row, std::int64_t count, std::span<std::byte> bytes) const {
    h5::read_rows(state_->dataset(dataset), first_row, count, bytes);
}

const std::vector<std::int64_t>& ResultFile::shape(const std::string& dataset) const { return state_->dataset(dataset).shape; }

void ResultFile::flush() {
    mpi::agreed(*state_->comm, [&] { h5::flush(state_->file); });
    state_->comm->barrier();
}

void ResultFile::save() {
    if (state_->writer) state_->writer->sync();
    sync_path(state_->part_path, O_RDWR);
}

void ResultFile::leave_unfinished() {
    mpi::agreed(*state_->comm, [&] {
        if (state_->writer) state_->writer->sync();
        h5::flush(state_->file);
        state_->close_all();
    });
    mpi::on_first_rank(*state_->comm, [&] {
        sync_path(state_->part_path, O_RDWR);
        return std::string();
    });
    state_->lock->release();
    state_->comm->barrier();
}

std::unique_ptr<ResultFile> ResultFile::lay_out(const Sizes& sizes, const Columns& at_creation) {
    auto state = std::make_unique<State>();
    state->comm = state_->comm;
    state->log = state_->log;
    state->plan = state_->plan;
    state->plan.sizes = sizes;
    state->plan.segmented = false;
    state->source_path = state_->part_path;
    state->part_path = state_->plan.folder + "/" + base_name(state_->plan) + ".h5.layout";
    state->lock = state_->lock;
    state->lock_path = state_->lock_path;
    mpi::on_first_rank(*state_->comm, [&] {
        std::error_code ignored;
        fs::remove(state->part_path, ignored);  // a layout that a kill cut short is made anew
        create_file(state->part_path, state->plan, sizes, false, at_creation);
        return std::string();
    });
    mpi::agreed(*state_->comm, [&] { state->open_all(false); });
    // The checksums of the records are the layout's marks, too: equal for equal content.
    state->done.assign(static_cast<std::size_t>(state->plan.n_units), 0);
    for (const auto& [unit, record] : state_->segments) state->done.at(static_cast<std::size_t>(unit)) = record.checksum;
    state->n_adopted = static_cast<std::int64_t>(state_->segments.size());
    if (state->n_adopted != state->plan.n_units) throw InternalError("lay_out: not every unit has a record");
    mpi::agreed(*state_->comm, [&] {
        if (state->comm->rank() == 0) {
            h5::write_rows(state->dataset("done"), 0, state->plan.n_units, std::as_bytes(std::span(state->done)));
        }
    });
    return std::unique_ptr<ResultFile>(new ResultFile(std::move(state)));
}

std::string ResultFile::publish(const Columns& at_end, const nlohmann::ordered_json& summary, const nlohmann::ordered_json& measured) {
    State& state = *state_;
    const mpi::Communicator& comm = *state.comm;
    comm.barrier();
    mpi::on_first_rank(comm, [&] {
        std::vector<std::uint64_t> stored(static_cast<std::size_t>(state.plan.n_units));
        h5::read_rows(state.dataset("done"), 0, state.plan.n_units, std::as_writable_bytes(std::span(stored)));
        const auto open_units = std::count(stored.begin(), stored.end(), std::uint64_t{0});
        if (open_units != 0) throw InternalError(state.part_path + ": " + std::to_string(open_units) + " units are not done at the end");
        for (const auto& [name, bytes] : at_end) {
            h5::Dataset& set = state.dataset(name);
            h5::write_rows(set, 0, set.rows(), bytes);
        }
        const auto write_json = [&](const std::string& name, const nlohmann::ordered_json& json) {
            std::string text = json.dump();
            if (text.size() > static_cast<std::size_t>(summary_bytes)) {
                throw InternalError(name + ": " + std::to_string(text.size()) + " bytes of JSON, but " + std::to_string(summary_bytes) + " are reserved");
            }
            h5::write_rows(state.dataset(name), 0, 1, pack_texts({text}, static_cast<std::size_t>(summary_bytes)));
        };
        write_json("summary", summary);
        write_json("measured/run", measured);
        return std::string();
    });
    mpi::agreed(comm, [&] { h5::flush(state.file); });
    mpi::agreed(comm, [&] {
        if (comm.rank() == 0) {
            const std::uint8_t complete = 1;
            h5::write_rows(state.dataset("complete"), 0, 1, std::as_bytes(std::span(&complete, 1)));
        }
        state.close_all();
    });
    const std::string final_path = mpi::on_first_rank(comm, [&] {
        sync_path(state.part_path, O_RDWR);
        std::string target;
        while (true) {
            target = state.plan.folder + "/" +
                     to_string({state.plan.prefix, state.plan.model, state.plan.range, state.plan.suffix, timestamp_now(), "h5"});
            if (renameat2(AT_FDCWD, state.part_path.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0) break;
            if (errno == EEXIST) {  // another run ended in the same second: take the next one
                std::this_thread::sleep_for(std::chrono::milliseconds(300));
                continue;
            }
            // Some file systems know no RENAME_NOREPLACE.
            if ((errno == EINVAL || errno == ENOSYS) && !fs::exists(target) && std::rename(state.part_path.c_str(), target.c_str()) == 0) break;
            throw IoError(target + ": rename failed (" + std::strerror(errno) + "); the finished file is " + state.part_path);
        }
        sync_path(state.plan.folder, O_RDONLY | O_DIRECTORY);
        write_companion(target);
        std::error_code ignored;
        if (!state.source_path.empty()) {
            for (const std::string& path : segment_paths(state.source_path)) fs::remove(path, ignored);
            fs::remove(state.source_path, ignored);
        }
        fs::remove(state.lock_path, ignored);
        return target;
    });
    state.lock->release();
    return final_path;
}

}  // namespace pva::io
