// Opening complete files and choosing among them.
#include "pva/io/reader.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/io/naming.h"

namespace fs = std::filesystem;

namespace pva::io {

namespace {

/// JSON of a file that anyone may have made. Errors: InputError for text that is none and for nesting that no run of pva writes (it
/// would take the stack of whoever walks it).
template <class Json>
Json parse_stored(const std::string& path, const std::string& what, const std::string& text) {
    constexpr int deepest = 64;
    try {
        return Json::parse(text, [&](int depth, typename Json::parse_event_t, Json&) {
            if (depth > deepest) throw InputError(path + ": " + what + " is nested too deeply; the file is damaged");
            return true;
        });
    } catch (const nlohmann::json::exception& error) {
        throw InputError(path + ": " + what + " is no JSON; the file is damaged (" + error.what() + ")");
    }
}

}  // namespace

ResultReader ResultReader::open(const std::string& path, const FileSchema& schema) {
    ResultReader reader;
    reader.path_ = path;
    reader.file_ = h5::open_readonly(path);
    const auto filetype = h5::read_text_attribute(reader.file_, "/", "filetype");
    if (!filetype || !filetype->starts_with("pva ")) {
        throw InputError(path + ": this HDF5 file was not written by pva (no attribute filetype)");
    }
    if (*filetype != schema.filetype) {
        throw InputError(path + ": this is a file of type '" + *filetype + "', but one of type '" + schema.filetype + "' is needed here");
    }
    const auto version = h5::read_integer_attribute(reader.file_, "/", "format_version").value_or(0);
    if (version != schema.version) {
        throw InputError(path + ": format version " + std::to_string(version) + ", but this pva reads version " + std::to_string(schema.version) +
                         "; make it again with this version");
    }
    if (!h5::exists(reader.file_, "complete") || !h5::exists(reader.file_, "done")) throw InputError(path + ": damaged (no dataset `complete`)");
    const std::vector<std::uint64_t> done = reader.read<std::uint64_t>("done");
    const std::vector<std::uint8_t> complete = reader.read<std::uint8_t>("complete");
    if (complete.size() != 1) throw InputError(path + ": damaged (dataset `complete` has " + std::to_string(complete.size()) + " values)");
    if (complete.front() != 1) {
        const auto finished = std::count_if(done.begin(), done.end(), [](std::uint64_t sum) { return sum != 0; });
        throw InputError(path + ": not complete (" + std::to_string(finished) + " of " + std::to_string(done.size()) +
                         " units done); run the command that writes it again, it goes on where it stopped");
    }
    const std::string identity = h5::read_text_attribute(reader.file_, "/", "identity").value_or("{}");
    reader.identity_ = parse_stored<nlohmann::ordered_json>(path, "its identity", identity);
    if (!reader.identity_.is_object()) throw InputError(path + ": its identity is no JSON object; the file is damaged");
    const auto bytes = std::as_bytes(std::span(done));
    reader.content_sha256_ = sha256_hex(nlohmann::json(reader.identity_).dump() + std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    return reader;
}

h5::Dataset ResultReader::open_checked(const std::string& dataset, h5::Element element) const {
    h5::Dataset set = h5::open_dataset(file_, dataset);
    if (set.element != element) {
        throw InputError(path_ + " dataset " + dataset + ": holds " + h5::element_name(set.element) + ", expected " + h5::element_name(element));
    }
    return set;
}

std::vector<std::int64_t> ResultReader::shape(const std::string& dataset) const { return h5::open_dataset(file_, dataset).shape; }

namespace {
template <class T>
constexpr h5::Element element_of();
template <>
constexpr h5::Element element_of<std::uint8_t>() { return h5::Element::u8; }
template <>
constexpr h5::Element element_of<std::int32_t>() { return h5::Element::i32; }
template <>
constexpr h5::Element element_of<std::uint32_t>() { return h5::Element::u32; }
template <>
constexpr h5::Element element_of<std::int64_t>() { return h5::Element::i64; }
template <>
constexpr h5::Element element_of<std::uint64_t>() { return h5::Element::u64; }
template <>
constexpr h5::Element element_of<float>() { return h5::Element::f32; }
template <>
constexpr h5::Element element_of<double>() { return h5::Element::f64; }
}  // namespace

template <class T>
std::vector<T> ResultReader::read_rows(const std::string& dataset, std::int64_t first, std::int64_t count) const {
    const h5::Dataset set = open_checked(dataset, element_of<T>());
    if (first < 0 || count < 0 || first > set.rows() || count > set.rows() - first) {
        throw InputError(path_ + " dataset " + dataset + ": has " + std::to_string(set.rows()) + " rows, rows up to " + std::to_string(first + count) + " were asked for");
    }
    std::vector<T> values(static_cast<std::size_t>(count) * (set.row_bytes() / sizeof(T)));
    h5::read_rows(set, first, count, std::as_writable_bytes(std::span(values)));
    return values;
}

template <class T>
std::vector<T> ResultReader::read(const std::string& dataset) const {
    return read_rows<T>(dataset, 0, open_checked(dataset, element_of<T>()).rows());
}

#define PVA_INSTANTIATE(T)                                             \
    template std::vector<T> ResultReader::read<T>(const std::string&) const; \
    template std::vector<T> ResultReader::read_rows<T>(const std::string&, std::int64_t, std::int64_t) const;
PVA_INSTANTIATE(std::uint8_t)
PVA_INSTANTIATE(std::int32_t)
PVA_INSTANTIATE(std::uint32_t)
PVA_INSTANTIATE(std::int64_t)
PVA_INSTANTIATE(std::uint64_t)
PVA_INSTANTIATE(float)
PVA_INSTANTIATE(double)
#undef PVA_INSTANTIATE

std::vector<float> ResultReader::read_row_parts(const std::string& dataset, std::span<const std::int64_t> rows, std::int64_t second) const {
    open_checked(dataset, h5::Element::f32);
    const std::vector<std::byte> bytes = read_row_part_bytes(dataset, rows, second);
    std::vector<float> values(bytes.size() / sizeof(float));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
}

std::vector<std::byte> ResultReader::read_row_part_bytes(const std::string& dataset, std::span<const std::int64_t> rows, std::int64_t second) const {
    const h5::Dataset set = h5::open_dataset(file_, dataset);
    if (set.shape.size() < 2 || set.shape[1] == 0) throw InputError(path_ + " dataset " + dataset + ": has no second dimension to choose from");
    const std::size_t size = set.row_bytes() / static_cast<std::size_t>(set.shape[1]);
    std::vector<std::byte> bytes(rows.size() * size);
    for (std::size_t i = 0; i < rows.size(); ++i) h5::read_row_part(set, rows[i], second, std::span(bytes).subspan(i * size, size));
    return bytes;
}

h5::Element ResultReader::element(const std::string& dataset) const { return h5::open_dataset(file_, dataset).element; }

std::vector<std::string> ResultReader::read_texts(const std::string& dataset) const {
    const h5::Dataset set = open_checked(dataset, h5::Element::text);
    std::vector<std::byte> bytes(static_cast<std::size_t>(set.rows()) * set.row_bytes());
    h5::read_rows(set, 0, set.rows(), bytes);
    std::vector<std::string> texts;
    for (std::size_t at = 0; at < bytes.size(); at += set.text_width) {
        const std::string padded(reinterpret_cast<const char*>(bytes.data() + at), set.text_width);
        texts.push_back(padded.substr(0, padded.find_last_not_of('\0') + 1));
    }
    return texts;
}

std::vector<std::byte> ResultReader::read_bytes(const std::string& dataset, std::int64_t first, std::int64_t count) const {
    const h5::Dataset set = h5::open_dataset(file_, dataset);
    if (first < 0 || count < 0 || first > set.rows() || count > set.rows() - first) {
        throw InputError(path_ + " dataset " + dataset + ": has " + std::to_string(set.rows()) + " rows, rows up to " + std::to_string(first + count) + " were asked for");
    }
    std::vector<std::byte> bytes(static_cast<std::size_t>(count) * set.row_bytes());
    h5::read_rows(set, first, count, bytes);
    return bytes;
}

std::size_t ResultReader::row_bytes(const std::string& dataset) const { return h5::open_dataset(file_, dataset).row_bytes(); }

nlohmann::ordered_json ResultReader::summary() const {
    const std::vector<std::string> texts = read_texts("summary");
    return parse_stored<nlohmann::ordered_json>(path_, "its summary", texts.empty() ? std::string() : texts.front());
}

std::vector<InputFile> ResultReader::inputs() const {
    std::vector<InputFile> inputs;
    const auto stored = parse_stored<nlohmann::json>(path_, "its list of inputs", h5::read_text_attribute(file_, "/", "inputs").value_or("[]"));
    try {
        for (const auto& one : stored) inputs.push_back({one.at("role").get<std::string>(), one.at("name").get<std::string>(), one.at("sha256").get<std::string>()});
    } catch (const nlohmann::json::exception&) {
        throw InputError(path_ + ": its list of inputs is not as docs/formats/common.md says; the file is damaged");
    }
    return inputs;
}

std::string ResultReader::program() const { return h5::read_text_attribute(file_, "/", "program").value_or(""); }

FoundFile find_newest(const std::string& folder, const std::string& prefix, const FileSchema& schema, const nlohmann::ordered_json& wanted,
                      const std::string& written_by, const std::function<void(const std::string&)>& warn,
                      const std::function<std::string(const ResultReader&)>& lacks) {
    std::vector<FoundFile> matching;
    std::string others;
    int unfinished = 0;
    std::error_code error;
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(folder, error)) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    for (const fs::path& path : paths) {
        const std::string name = path.filename().string();
        if (name.starts_with(prefix + "_") && name.ends_with(".h5.part")) ++unfinished;
        const auto parts = parse_file_name(name);
        if (!parts || parts->prefix != prefix || parts->extension != "h5") continue;
        try {
            const ResultReader reader = ResultReader::open(path.string(), schema);
            std::string why;
            for (const auto& [key, value] : wanted.items()) {
                const nlohmann::ordered_json there = reader.identity().contains(key) ? reader.identity()[key] : nlohmann::ordered_json();
                if (there != value && why.empty()) why = "its " + key + " is " + there.dump() + ", not " + value.dump();
            }
            if (why.empty() && lacks) why = lacks(reader);
            if (why.empty()) {
                matching.push_back({path.string(), parts->timestamp, reader.identity()});
            } else {
                others += "\n  " + name + ": " + why;
            }
        } catch (const Error& problem) {
            others += "\n  " + std::string(problem.what());
        }
    }
    if (matching.empty()) {
        throw InputError("no finished '" + schema.filetype + "' of the right model and problem set in " + folder + ". Run " + written_by +
                         " first, or name a file on the command line." +
                         (unfinished > 0 ? " (There are " + std::to_string(unfinished) + " unfinished ones: the same " + written_by + " command goes on with them.)" : "") +
                         (others.empty() ? "" : " These do not fit:" + others));
    }
    // The names' times are whole seconds; the files' own times decide between equal ones.
    std::stable_sort(matching.begin(), matching.end(), [](const FoundFile& a, const FoundFile& b) {
        if (a.timestamp != b.timestamp) return a.timestamp < b.timestamp;
        return fs::last_write_time(a.path) < fs::last_write_time(b.path);
    });
    const FoundFile newest = matching.back();
    const auto width = [](const FoundFile& file) {
        return file.identity.value("end", std::int64_t{0}) - file.identity.value("start", std::int64_t{0});
    };
    for (auto file = matching.rbegin(); file != matching.rend(); ++file) {
        if (width(*file) > width(newest)) {
            warn("took the newest, " + fs::path(newest.path).filename().string() + ", but " + fs::path(file->path).filename().string() + " covers a wider range; name the one you want");
            break;
        }
    }
    return newest;
}

}  // namespace pva::io
