// The safetensors reader: well-formed files, and every way a header can lie.
#define BOOST_TEST_MODULE safetensors
#include <boost/test/unit_test.hpp>

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "pva/core/error.h"
#include "pva/io/safetensors.h"

namespace fs = std::filesystem;
using pva::io::SafetensorsFile;

namespace {

std::string length_bytes(std::uint64_t length) {
    std::string bytes;
    for (int i = 0; i < 8; ++i)
        bytes.push_back(static_cast<char>(length >> (8 * i) & 0xFF));
    return bytes;
}

struct TemporaryFile {
    fs::path path;
    explicit TemporaryFile(const std::string& bytes)
        : path(fs::temp_directory_path() / ("pva_" + std::to_string(::getpid()) + ".safetensors")) {
        std::ofstream(path, std::ios::binary) << bytes;
    }
    ~TemporaryFile() { fs::remove(path); }
};

std::string file_of(const std::string& header, const std::string& data) {
    return length_bytes(header.size()) + header + data;
}

void refused(const std::string& bytes, const std::string& part_of_message) {
    const TemporaryFile file(bytes);
    BOOST_CHECK_EXCEPTION(SafetensorsFile(file.path.string()), pva::InputError, [&](const pva::InputError& error) {
        const std::string message = error.what();
        BOOST_TEST_CONTEXT(message) {
            BOOST_TEST(message.find(part_of_message) != std::string::npos);
            BOOST_TEST(message.find(file.path.string()) != std::string::npos);
        }
        return true;
    });
}

const std::string two_tensors =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},)"
    R"("a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}  )";

}  // namespace

BOOST_AUTO_TEST_CASE(reads_tensors_and_metadata) {
    const float values[2] = {1.5F, -2.0F};
    std::string data(8, '\0');
    std::memcpy(data.data(), values, 8);
    const TemporaryFile temporary(file_of(two_tensors, data + "xyz"));
    SafetensorsFile file(temporary.path.string());
    BOOST_TEST((file.names() == std::vector<std::string>{"a", "b"}));
    BOOST_TEST(file.metadata().at("format") == "pt");
    BOOST_TEST(file.entry("a").dtype == "F32");
    BOOST_TEST((file.entry("a").shape == std::vector<std::int64_t>{2, 1}));
    float read[2];
    std::memcpy(read, file.bytes("a").data(), 8);
    BOOST_TEST(read[0] == 1.5F);
    BOOST_TEST(read[1] == -2.0F);
    BOOST_TEST(std::to_integer<int>(file.bytes("b")[2]) == 'z');
    BOOST_TEST(file.contains("b"));
    BOOST_TEST(!file.contains("c"));
    BOOST_CHECK_THROW(file.entry("c"), pva::InputError);
    BOOST_CHECK_THROW(file.bytes("c"), pva::InputError);

    SafetensorsFile moved = std::move(file);
    BOOST_TEST(std::to_integer<int>(moved.bytes("b")[0]) == 'x');
}

BOOST_AUTO_TEST_CASE(empty_and_scalar_tensors) {
    const TemporaryFile none(file_of("{}", ""));
    BOOST_TEST(SafetensorsFile(none.path.string()).names().empty());
    const TemporaryFile some(file_of(
        R"({"e":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]}})",
        std::string(8, '\1')));
    const SafetensorsFile file(some.path.string());
    BOOST_TEST(file.bytes("e").size() == 0u);
    BOOST_TEST(file.bytes("s").size() == 8u);
    BOOST_TEST(file.entry("s").shape.empty());
}

BOOST_AUTO_TEST_CASE(missing_file_and_folder) {
    BOOST_CHECK_THROW(SafetensorsFile("/nonexistent/model.safetensors"), pva::InputError);
    BOOST_CHECK_THROW(SafetensorsFile(fs::temp_directory_path().string()), pva::InputError);
}

BOOST_AUTO_TEST_CASE(cut_short_anywhere) {
    const std::string whole = file_of(two_tensors, std::string(11, 'd'));
    for (std::size_t length = 0; length < whole.size(); ++length) {
        const TemporaryFile file(whole.substr(0, length));
        BOOST_CHECK_THROW(SafetensorsFile(file.path.string()), pva::InputError);
    }
    refused(whole.substr(0, whole.size() - 1), "tensor 'b'");
    refused(whole + "!", "end at byte");
}

BOOST_AUTO_TEST_CASE(lengths_that_lie) {
    refused(length_bytes(~0ULL) + "{}", "header");
    refused(length_bytes(200'000'000) + "{}", "header");
    refused(length_bytes(3) + "{}", "header");
    refused(length_bytes(0), "'{'");
}

BOOST_AUTO_TEST_CASE(headers_that_lie) {
    const auto one = [](const std::string& fields) { return file_of("{\"t\":{" + fields + "}}", std::string(8, 'd')); };
    refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"dtype":"F16")"), "twice");
    refused(
        file_of(
            R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
            std::string(8, 'd')),
        "'t' twice");
    refused(one(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])"), "F33");
    refused(one(R"("dtype":"F32","shape":[2])"), "data_offsets");
    refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1)"), "tensor 't'");
    refused(one(R"("dtype":7,"shape":[2],"data_offsets":[0,8])"), "dtype");
    refused(one(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), "shape");
    refused(one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), "shape");
    refused(one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), "shape");
    refused(one(R"("dtype":"F32","shape":["2"],"data_offsets":[0,8])"), "shape");
    refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), "data_offsets");
    refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,9])"), "outside");
    refused(one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), "outside");
    refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])"), "need 4 bytes");
    refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), "hole");
    refused(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), "end at byte");
    refused(one(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8])"), "overflow");
    refused(one(R"("dtype":"F32","shape":[0,4611686018427387904,4611686018427387904],"data_offsets":[0,0])"),
            "overflow");
    refused(one(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8])"), "too large");
    refused(
        file_of(
            R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
            std::string(8, 'd')),
        "overlap");
    refused(file_of("[1]", ""), "'{'");
    refused(file_of("{\"t\":", ""), "JSON");
    refused(file_of("{\"t\":3}", ""), "tensor 't'");
    refused(file_of("{\"__metadata__\":3}", ""), "__metadata__");
    refused(file_of("{\"__metadata__\":{\"k\":3}}", ""), "'k'");
}
