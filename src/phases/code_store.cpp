// Spools of plain numbers and their HDF5 form. The layout: docs/formats/codes.md.
#include "pva/phases/code_store.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include "pva/core/error.h"
#include "pva/io/float_values.h"
#include "pva/io/h5.h"

namespace pva::phases {

namespace fs = std::filesystem;

CodeSpool::CodeSpool(const std::string& folder, std::size_t index, std::uint64_t n_latents, bool bfloat16)
    : base_(folder + "/" + std::to_string(index)), narrow_(n_latents <= 65536), bfloat16_(bfloat16), n_latents_(n_latents) {
    const std::uint64_t zero = 0;
    write("latent", {}, true);
    write("value", {}, true);
    write("norm", {}, true);
    write("row_offset", std::as_bytes(std::span(&zero, 1)), true);
}

void CodeSpool::write(const std::string& what, std::span<const std::byte> bytes, bool first) const {
    const std::string path = base_ + "." + what;
    std::ofstream file(path, std::ios::binary | (first ? std::ios::trunc : std::ios::app));
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    file.close();
    if (!file) throw IoError(path + ": cannot be written; is the disk full? Choose another place for --codes");
}

void CodeSpool::append(const sae::CsrRows& codes) {
    if (narrow_) {
        std::vector<std::uint16_t> latents(codes.latents.begin(), codes.latents.end());
        write("latent", std::as_bytes(std::span(latents)), false);
    } else {
        write("latent", std::as_bytes(std::span(codes.latents)), false);
    }
    if (bfloat16_) {
        std::vector<std::byte> values(2 * codes.values.size());
        io::from_floats("BF16", codes.values, values);
        write("value", values, false);
    } else {
        write("value", std::as_bytes(std::span(codes.values)), false);
    }
    std::vector<std::uint64_t> offsets(codes.row_offsets.begin() + 1, codes.row_offsets.end());
    for (std::uint64_t& offset : offsets) offset += n_entries_;
    write("row_offset", std::as_bytes(std::span(offsets)), false);
    if (!codes.norms.empty()) {
        write("norm", std::as_bytes(std::span(codes.norms)), false);
        has_norms_ = true;
    }
    n_entries_ += codes.latents.size();
    n_rows_ += codes.n_rows();
}

std::uint64_t CodeSpool::bytes() const { return n_entries_ * ((narrow_ ? 2 : 4) + (bfloat16_ ? 2 : 4)) + (n_rows_ + 1) * 8 + (has_norms_ ? n_rows_ * 8 : 0); }

void CodeSpool::finish(nlohmann::ordered_json about) {
    about["n_latents"] = n_latents_;
    about["rows"] = n_rows_;
    about["entries"] = n_entries_;
    about["latent_bytes"] = narrow_ ? 2 : 4;
    about["values"] = bfloat16_ ? "bfloat16" : "float32";
    about["row_normalization"] = has_norms_;
    about["stored_bytes"] = bytes();
    const std::string text = about.dump();
    write("json", std::as_bytes(std::span(text.data(), text.size())), true);
}

namespace {

/// Copies a plain file into a new dataset, some megabytes at a time.
void copy_into(const io::h5::File& file, const std::string& name, io::h5::Element element, std::vector<std::int64_t> shape, const std::string& from) {
    const io::h5::Dataset dataset = io::h5::create_dataset(file, name, element, 0, shape, false);
    std::ifstream stream(from, std::ios::binary);
    const std::size_t row_bytes = dataset.row_bytes();
    const std::int64_t piece = std::max<std::int64_t>(1, (std::int64_t{4} << 20) / static_cast<std::int64_t>(row_bytes));
    std::vector<std::byte> bytes;
    for (std::int64_t row = 0; row < dataset.rows(); row += piece) {
        const std::int64_t count = std::min(piece, dataset.rows() - row);
        bytes.resize(static_cast<std::size_t>(count) * row_bytes);
        stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        if (!stream) throw IoError(from + ": is shorter than it was written; do the ranks see the same folder?");
        io::h5::write_rows(dataset, row, count, bytes);
    }
}

template <class T>
void put(const io::h5::File& file, const std::string& name, io::h5::Element element, const std::vector<T>& values) {
    const io::h5::Dataset dataset = io::h5::create_dataset(file, name, element, 0, {static_cast<std::int64_t>(values.size())}, false);
    io::h5::write_rows(dataset, 0, dataset.rows(), std::as_bytes(std::span(values)));
}

io::h5::File create_code_file(const std::string& path, const CodeRows& rows, std::size_t n, const nlohmann::ordered_json& provenance) {
    io::h5::File file = io::h5::create(path);
    io::h5::write_attribute(file, "/", "filetype", "codes");
    io::h5::write_attribute(file, "/", "version", 1);
    io::h5::write_attribute(file, "/", "saes", static_cast<std::int64_t>(n));
    io::h5::write_attribute(file, "/", "provenance", provenance.dump());
    put(file, "row/sequence", io::h5::Element::i32, rows.sequence);
    put(file, "row/position", io::h5::Element::i32, rows.position);
    put(file, "row/token", io::h5::Element::i32, rows.token);
    return file;
}

void add_sae(const io::h5::File& file, std::size_t number, const std::string& base) {
    std::ifstream stream(base + ".json", std::ios::binary);
    const auto about = nlohmann::ordered_json::parse(stream);
    const std::string group = "sae/" + std::to_string(number) + "/";
    const auto entries = about.at("entries").get<std::int64_t>();
    const auto rows = about.at("rows").get<std::int64_t>();
    copy_into(file, group + "row_offset", io::h5::Element::u64, {rows + 1}, base + ".row_offset");
    copy_into(file, group + "latent", about.at("latent_bytes") == 2 ? io::h5::Element::u16 : io::h5::Element::u32, {entries}, base + ".latent");
    copy_into(file, group + "value", about.at("values") == "bfloat16" ? io::h5::Element::u16 : io::h5::Element::f32, {entries}, base + ".value");
    if (about.at("row_normalization").get<bool>()) copy_into(file, group + "norm", io::h5::Element::f32, {rows, 2}, base + ".norm");
    io::h5::write_attribute(file, group + "row_offset", "about", about.dump());
}

void publish(io::h5::File& file, const std::string& part, const std::string& path) {
    io::h5::flush(file);
    file.handle.close(part);
    std::error_code error;
    fs::rename(part, path, error);
    if (error) throw IoError(path + ": cannot be given its name (" + error.message() + "); it stands complete at " + part);
}

}  // namespace

void write_code_files(const std::string& spool_folder, std::size_t n, const std::string& path, const CodeRows& rows, const nlohmann::ordered_json& provenance) {
    const auto base = [&](std::size_t i) { return spool_folder + "/" + std::to_string(i); };
    if (path.ends_with(".h5")) {
        io::h5::File file = create_code_file(path + ".part", rows, n, provenance);
        for (std::size_t i = 0; i < n; ++i) add_sae(file, i, base(i));
        publish(file, path + ".part", path);
    } else {
        fs::create_directories(path);
        for (const auto& entry : fs::directory_iterator(path)) {  // of an earlier run that is to be replaced
            const std::string name = entry.path().filename().string();
            if (entry.is_regular_file() && name.starts_with("sae_") && name.ends_with(".h5")) fs::remove(entry.path());
        }
        for (std::size_t i = 0; i < n; ++i) {
            const std::string name = path + "/sae_" + std::to_string(i) + ".h5";
            io::h5::File file = create_code_file(name + ".part", rows, 1, provenance);
            add_sae(file, 0, base(i));
            publish(file, name + ".part", name);
        }
    }
    std::error_code ignored;
    fs::remove_all(spool_folder, ignored);
}

}  // namespace pva::phases
