// Makes result files of any type with content of one's own, complete and readable like those that a phase wrote.
#pragma once

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "pva/io/h5.h"
#include "pva/io/schema.h"

namespace pva::test {

template <class T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(T));
    if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

/// Texts padded to a width.
inline std::vector<std::byte> bytes_of(const std::vector<std::string>& texts, std::size_t width) {
    std::vector<std::byte> bytes(texts.size() * width, std::byte{0});
    for (std::size_t i = 0; i < texts.size(); ++i) std::memcpy(bytes.data() + i * width, texts[i].data(), std::min(width, texts[i].size()));
    return bytes;
}

struct MadeFile {
    io::Sizes sizes;                                        ///< of every dimension and text width
    std::map<std::string, std::vector<std::byte>> content;  ///< what is not here is zero, but done and complete
    std::string identity = "{}";
    std::string inputs = "[]";
    std::string summary = "{}";
    std::string run = "{}";
    std::uint8_t complete = 1;
    std::map<std::string, std::vector<std::int64_t>> other_shape;  ///< faults: another shape than the schema's
    std::string left_out;                                          ///< fault: this dataset is missing
};

inline void write_made_file(const std::string& path, const io::FileSchema& schema, MadeFile made) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    made.sizes.try_emplace("one", 1);
    made.sizes["summary_bytes"] = io::summary_bytes;
    const auto units = made.sizes.at("unit");
    made.content.try_emplace("done", bytes_of(std::vector<std::uint64_t>(static_cast<std::size_t>(units), 7)));
    made.content["complete"] = {std::byte{made.complete}};
    made.content["summary"] = bytes_of(std::vector{made.summary}, io::summary_bytes);
    made.content["measured/run"] = bytes_of(std::vector{made.run}, io::summary_bytes);
    const io::h5::File file = io::h5::create(path);
    std::vector<io::DatasetSpec> specs = schema.datasets;
    specs.insert(specs.end(), io::common_datasets().begin(), io::common_datasets().end());
    for (const io::DatasetSpec& spec : specs) {
        if (spec.name == made.left_out) continue;
        const auto other = made.other_shape.find(spec.name);
        const std::vector<std::int64_t> shape = other != made.other_shape.end() ? other->second : io::shape_of(spec, made.sizes);
        const std::size_t width = spec.element == io::h5::Element::text ? io::text_width_of(spec, made.sizes) : 0;
        const io::h5::Dataset dataset = io::h5::create_dataset(file, spec.name, spec.element, width, shape, true);
        const auto content = made.content.find(spec.name);
        if (content != made.content.end() && other == made.other_shape.end()) io::h5::write_rows(dataset, 0, dataset.rows(), content->second);
    }
    io::h5::write_attribute(file, "/", "filetype", schema.filetype);
    io::h5::write_attribute(file, "/", "format_version", schema.version);
    io::h5::write_attribute(file, "/", "identity", made.identity);
    io::h5::write_attribute(file, "/", "inputs", made.inputs);
    io::h5::write_attribute(file, "/", "program", "made_file");
}

}  // namespace pva::test
