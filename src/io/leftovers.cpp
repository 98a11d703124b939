// Looking through the folders of a data folder.
#include "pva/io/leftovers.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "pva/core/error.h"
#include "pva/io/h5.h"
#include "pva/io/naming.h"
#include "pva/io/result_file.h"
#include "pva/io/run_lock.h"
#include "pva/io/segments.h"

namespace fs = std::filesystem;

namespace pva::io {

namespace {

constexpr std::string_view part_ending = ".h5.part";

/// Folders that phases write, directly below <data>.
std::vector<fs::path> result_folders(const std::string& data) {
    std::vector<fs::path> folders;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(data, error)) {
        if (entry.is_directory() && entry.path().filename() != "logs") folders.push_back(entry.path());
    }
    std::sort(folders.begin(), folders.end());
    return folders;
}

std::vector<fs::path> files_of(const fs::path& folder) {
    std::vector<fs::path> files;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        if (entry.is_regular_file()) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
}

std::string base_of(const fs::path& path) {
    const std::string text = path.string();
    const std::size_t end = text.find(".h5.", path.parent_path().string().size());
    if (end != std::string::npos) return text.substr(0, end);
    return text.ends_with(".lock") ? text.substr(0, text.size() - std::strlen(".lock")) : text;
}

bool is_alive(const fs::path& path) { return is_locked(base_of(path) + ".lock"); }

struct PartFile {
    std::string identity_hash;
    UnfinishedRun run;
};

PartFile read_part(const fs::path& path) {
    const h5::File file = h5::open_readonly(path.string());
    PartFile part;
    part.identity_hash = h5::read_text_attribute(file, "/", "identity_hash").value_or("");
    part.run.path = path.string();
    part.run.filetype = h5::read_text_attribute(file, "/", "filetype").value_or("");
    part.run.program = h5::read_text_attribute(file, "/", "program").value_or("");
    const h5::Dataset done = h5::open_dataset(file, "done");
    std::vector<std::uint64_t> marks(static_cast<std::size_t>(done.rows()));
    h5::read_rows(done, 0, done.rows(), std::as_writable_bytes(std::span(marks)));
    part.run.total = done.rows();
    part.run.done = done.rows() - std::count(marks.begin(), marks.end(), std::uint64_t{0});
    const h5::Dataset measured = h5::open_dataset(file, "measured/run");
    std::string text(measured.row_bytes(), '\0');
    h5::read_rows(measured, 0, 1, std::as_writable_bytes(std::span(text.data(), text.size())));
    text.resize(std::strlen(text.c_str()));
    const auto json = nlohmann::ordered_json::parse(text, nullptr, false);
    if (json.is_object() && json.contains("provenance")) {
        part.run.ranks = json["provenance"].value("ranks", 1);
        const auto given = json["provenance"].value("given", nlohmann::ordered_json::object());
        for (const auto& [name, value] : given.items()) {
            const bool is_switch = value.is_boolean();
            if (value.is_null() || (is_switch && !value.get<bool>()) || (value.is_string() && value.get<std::string>().empty())) continue;
            part.run.arguments.push_back("--" + name);
            if (!is_switch) part.run.arguments.push_back(value.is_string() ? value.get<std::string>() : value.dump());
        }
    }
    return part;
}

/// Identity hashes of the complete results of a folder.
std::set<std::string> complete_hashes(const std::vector<fs::path>& files) {
    std::set<std::string> hashes;
    for (const fs::path& path : files) {
        const auto name = parse_file_name(path.filename().string());
        if (!name || name->extension != "h5") continue;
        try {
            hashes.insert(h5::read_text_attribute(h5::open_readonly(path.string()), "/", "identity_hash").value_or(""));
        } catch (const Error&) {
            continue;  // not ours or damaged: it does not count as a result
        }
    }
    hashes.erase("");
    return hashes;
}

}  // namespace

std::vector<UnfinishedRun> unfinished_runs(const std::string& data) {
    std::vector<UnfinishedRun> runs;
    for (const fs::path& folder : result_folders(data)) {
        const std::vector<fs::path> files = files_of(folder);
        const std::set<std::string> complete = complete_hashes(files);
        for (const fs::path& path : files) {
            if (!path.string().ends_with(part_ending)) continue;
            try {
                PartFile part = read_part(path);
                part.run.alive = is_alive(path);
                if (part.run.alive || !complete.contains(part.identity_hash)) runs.push_back(std::move(part.run));
            } catch (const Error&) {
                continue;
            }
        }
    }
    return runs;
}

std::vector<Leftover> leftovers(const std::string& data, double log_days) {
    std::vector<Leftover> found;
    const auto add = [&](const fs::path& path, const std::string& why) {
        std::error_code error;
        const std::uintmax_t bytes = fs::file_size(path, error);
        found.push_back({path.string(), why, error ? 0 : bytes});
    };
    for (const fs::path& folder : result_folders(data)) {
        const std::vector<fs::path> files = files_of(folder);
        const std::set<std::string> complete = complete_hashes(files);
        std::set<std::string> needed;  // bases of working files that can be taken up, or are being worked on
        for (const fs::path& path : files) {
            if (is_alive(path)) needed.insert(base_of(path));
            if (!path.string().ends_with(part_ending)) continue;
            try {
                if (!complete.contains(read_part(path).identity_hash)) needed.insert(base_of(path));
            } catch (const Error&) {
                // Damaged: not to be taken up, but not for us to throw away either.
                needed.insert(base_of(path));
            }
        }
        for (const fs::path& path : files) {
            const std::string name = path.filename().string();
            const std::string base = base_of(path);
            const bool alive = is_alive(path);
            if (alive) continue;
            if (name.ends_with(".h5.part.new") || name.ends_with(".h5.layout.new")) add(path, "a run ended while it made this file");
            else if (name.ends_with(".h5.layout")) add(path, "a run ended while it laid out its result; it is made anew");
            else if (name.find(".h5.part.segment.") != std::string::npos && !needed.contains(base)) add(path, "belongs to no unfinished run");
            else if (name.ends_with(part_ending) && !needed.contains(base)) add(path, "the result of this run is complete");
            else if (name.ends_with(".lock") && !needed.contains(base)) add(path, "the lock of a run that is over");
        }
    }
    const auto now = fs::file_time_type::clock::now();
    for (const fs::path& path : files_of(fs::path(data) / "logs")) {
        std::error_code error;
        const auto age = std::chrono::duration<double, std::ratio<86400>>(now - fs::last_write_time(path, error)).count();
        if (!error && path.extension() == ".log" && age > log_days) add(path, "a log of " + std::to_string(static_cast<int>(age)) + " days ago");
    }
    return found;
}

void remove_leftovers(const std::vector<Leftover>& files) {
    for (const Leftover& file : files) {
        std::error_code error;
        fs::remove(file.path, error);
        if (error) throw IoError(file.path + ": cannot be removed (" + error.message() + ")");
    }
}

}  // namespace pva::io
