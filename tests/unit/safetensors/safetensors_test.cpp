// The safetensors reader: well-formed files, every way a header can lie, and headers with random damage.
#define BOOST_TEST_MODULE safetensors
#include <boost/test/unit_test.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "../scratch.h"
#include "pva/core/error.h"
#include "pva/io/safetensors.h"

namespace fs = std::filesystem;
using pva::io::SafetensorsFile;
using pva::io::SafetensorsSet;

namespace {

std::string length_bytes(std::uint64_t length) {
    std::string bytes;
    for (int i = 0; i < 8; ++i)
        bytes.push_back(static_cast<char>(length >> (8 * i) & 0xFF));
    return bytes;
}

struct TemporaryFile {
    Scratch folder;
    std::string path;
    explicit TemporaryFile(const std::string& bytes) : path(folder.write("model.safetensors", bytes)) {}
};

std::string file_of(const std::string& header, const std::string& data) {
    return length_bytes(header.size()) + header + data;
}

void refused(const std::string& bytes, const std::string& part_of_message) {
    const TemporaryFile file(bytes);
    BOOST_CHECK_EXCEPTION(SafetensorsFile(file.path), pva::InputError, [&](const pva::InputError& error) {
        const std::string message = error.what();
        BOOST_TEST_CONTEXT(message) {
            BOOST_TEST(message.find(part_of_message) != std::string::npos);
            BOOST_TEST(message.find(file.path) != std::string::npos);
        }
        return true;
    });
}

std::string write_index(const Scratch& folder, const std::string& json) { return folder.write("model.safetensors.index.json", json); }

/// A file of U8 tensors.
std::string shard_of(const std::vector<std::pair<std::string, std::string>>& tensors) {
    std::string header = "{", data;
    for (const auto& [name, bytes] : tensors) {
        if (!data.empty()) header += ",";
        header += "\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[" + std::to_string(bytes.size()) +
                  "],\"data_offsets\":[" + std::to_string(data.size()) + "," +
                  std::to_string(data.size() + bytes.size()) + "]}";
        data += bytes;
    }
    return file_of(header + "}", data);
}

/// Tensors a and c in the first shard, d in the second, b in the third.
struct ThreeShards {
    Scratch folder;
    std::string map =
        R"("weight_map":{"a":"m-1.safetensors","b":"m-3.safetensors","c":"m-1.safetensors","d":"m-2.safetensors"})";

    ThreeShards() {
        folder.write("m-1.safetensors", shard_of({{"c", "c"}, {"a", "aa"}}));
        folder.write("m-2.safetensors", shard_of({{"d", "dddd"}}));
        folder.write("m-3.safetensors", shard_of({{"b", "bbb"}}));
        write_index(folder, "{\"metadata\":{\"total_size\":10}," + map + "}");
    }
    std::string index_path() const { return folder.file("model.safetensors.index.json"); }
};

std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Memory of this process that is backed by files, from /proc.
long resident_file_kilobytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("RssFile:")) return std::stol(line.substr(8));
    }
    return 0;
}

/// Reads the first and the last byte of every tensor: a range outside the file would end the process.
bool all_in_range(const SafetensorsFile& file, const std::vector<std::string>& names) {
    std::size_t total = 0, sum = 0;
    for (const std::string& name : names) {
        const auto bytes = file.bytes(name);
        total += bytes.size();
        if (!bytes.empty())
            sum += std::to_integer<std::size_t>(bytes.front()) + std::to_integer<std::size_t>(bytes.back());
    }
    return total == file.total_bytes() && sum < 1'000'000;
}

/// One to four changes among the first `length` bytes: another byte, a flipped bit, a byte more or less, a part twice,
/// or a token that means something to the reader.
std::string mutated(std::string bytes, std::size_t length, std::mt19937_64& random) {
    static const std::vector<std::string> tokens = {"{",
                                                    "}",
                                                    "[",
                                                    "]",
                                                    ",",
                                                    ":",
                                                    "\"",
                                                    "-1",
                                                    "1e99",
                                                    "null",
                                                    "18446744073709551615",
                                                    "9223372036854775807",
                                                    "0",
                                                    "\"a\"",
                                                    "../",
                                                    "\\u0000",
                                                    "\\ud800",
                                                    "F64"};
    const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    const std::size_t changes = 1 + below(4);
    for (std::size_t i = 0; i < changes; ++i) {
        const std::size_t at = below(std::min(length, bytes.size()));
        switch (below(6)) {
            case 0:
                bytes[at] = static_cast<char>(below(256));
                break;
            case 1:
                bytes[at] = static_cast<char>(bytes[at] ^ 1 << below(8));
                break;
            case 2:
                bytes.erase(at, 1 + below(3));
                break;
            case 3:
                bytes.insert(at, bytes.substr(at, 1 + below(20)));
                break;
            case 4: {
                const std::string& token = tokens[below(tokens.size())];
                bytes.replace(at, std::min(token.size(), bytes.size() - at), token);
                break;
            }
            default:
                bytes.insert(at, tokens[below(tokens.size())]);
        }
    }
    return bytes;
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
    SafetensorsFile file(temporary.path);
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
    BOOST_TEST(SafetensorsFile(none.path).names().empty());
    const TemporaryFile some(file_of(
        R"({"e":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]}})",
        std::string(8, '\1')));
    const SafetensorsFile file(some.path);
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
        BOOST_CHECK_THROW(SafetensorsFile(file.path), pva::InputError);
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
    std::string ones = "1";
    for (int i = 0; i < 64; ++i)
        ones += ",1";
    refused(one(R"("dtype":"U8","shape":[)" + ones + R"(],"data_offsets":[0,1])"), "64 dimensions");
    refused(one(std::string("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"\xFF\":1")), "JSON");
}

BOOST_AUTO_TEST_CASE(metadata_of_null_is_absent) {
    const TemporaryFile temporary(
        file_of(R"({"__metadata__":null,"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "ab"));
    const SafetensorsFile file(temporary.path);
    BOOST_TEST(file.metadata().empty());
    BOOST_TEST(file.total_bytes() == 2u);
}

BOOST_AUTO_TEST_CASE(deep_nesting_and_long_names_cost_nothing) {
    constexpr std::size_t levels = 1'000'000;
    refused(file_of("{\"t\":" + std::string(levels, '['), ""), "nested");
    refused(file_of("{\"t\":" + std::string(levels, '[') + std::string(levels, ']') + "}", ""), "nested");
    std::string objects;
    for (std::size_t i = 0; i < levels; ++i)
        objects += "{\"a\":";
    refused(file_of(objects, ""), "nested");
    // A name of a megabyte with line breaks must not become a message of a megabyte.
    const TemporaryFile file(file_of("{\"" + std::string(levels, 'n') + "\\n\":3}", ""));
    BOOST_CHECK_EXCEPTION(SafetensorsFile(file.path), pva::InputError,
                          [](const pva::InputError& error) { return std::string(error.what()).size() < 1000; });
}

BOOST_AUTO_TEST_CASE(fifo_is_refused_at_once) {
    const Scratch folder;
    const std::string path = folder.file("model.safetensors");
    BOOST_REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    BOOST_CHECK_THROW(SafetensorsFile{path}, pva::InputError);
}

BOOST_AUTO_TEST_CASE(released_pages_leave_memory_and_come_back) {
    constexpr std::size_t megabytes = 32, size = megabytes << 20;
    std::string data(size + 3, 'd');
    data[0] = 'f';
    data[size - 1] = 'l';
    const TemporaryFile temporary(file_of(R"({"a":{"dtype":"U8","shape":[)" + std::to_string(size) +
                                              R"(],"data_offsets":[0,)" + std::to_string(size) +
                                              R"(]},"b":{"dtype":"U8","shape":[3],"data_offsets":[)" +
                                              std::to_string(size) + "," + std::to_string(size + 3) + "]}}",
                                          data));
    const SafetensorsFile file(temporary.path);
    const auto sum = [&] {
        std::size_t total = 0;
        for (const std::byte value : file.bytes("a"))
            total += std::to_integer<std::size_t>(value);
        return total;
    };
    const long before = resident_file_kilobytes();
    const std::size_t first_sum = sum();
    const long touched = resident_file_kilobytes();
    file.release("a");
    file.release("b");  // smaller than a page: nothing to give back
    const long released = resident_file_kilobytes();
    BOOST_TEST(touched - before > static_cast<long>(megabytes * 1024 * 9 / 10));
    BOOST_TEST(touched - released > static_cast<long>(megabytes * 1024 * 9 / 10));
    BOOST_TEST(sum() == first_sum);
    BOOST_TEST(std::to_integer<char>(file.bytes("a")[0]) == 'f');
    BOOST_TEST(std::to_integer<char>(file.bytes("a")[size - 1]) == 'l');
    BOOST_CHECK_THROW(file.release("c"), pva::InputError);
}

// Random damage to the header. A damaged file may still be well-formed (a changed letter of a name), so what is asked
// is: either it opens and all its tensors lie inside the file, or InputError. Anything else ends the test.
BOOST_AUTO_TEST_CASE(mutated_headers_never_crash) {
    const std::string whole = file_of(two_tensors, std::string(11, 'd'));
    std::mt19937_64 random(20240607);
    std::size_t opened = 0, refusals = 0;
    for (int round = 0; round < 5000; ++round) {
        // Every second one with a length that fits, so that the damage reaches the JSON.
        const TemporaryFile file(round % 2 == 0
                                     ? mutated(whole, whole.size() - 11, random)
                                     : file_of(mutated(two_tensors, two_tensors.size(), random), std::string(11, 'd')));
        try {
            const SafetensorsFile damaged(file.path);
            BOOST_REQUIRE(all_in_range(damaged, damaged.names()));
            ++opened;
        } catch (const pva::InputError&) {
            ++refusals;
        }
    }
    BOOST_TEST_MESSAGE(opened << " mutated headers still well-formed, " << refusals << " refused");
    BOOST_TEST(opened + refusals == 5000u);
    BOOST_TEST(refusals > 2500u);
    BOOST_TEST(opened > 0u);
}

BOOST_AUTO_TEST_SUITE(sets)

BOOST_AUTO_TEST_CASE(one_file_is_a_set) {
    const Scratch folder;
    const std::string path = folder.write("model.safetensors", file_of(two_tensors, std::string(8, 'd') + "xyz"));
    const SafetensorsSet set(path);
    BOOST_TEST((set.names() == std::vector<std::string>{"a", "b"}));
    BOOST_TEST(set.path() == path);
    BOOST_TEST((set.files() == std::vector<std::string>{path}));
    BOOST_TEST(set.file_of("b") == path);
    BOOST_TEST(set.total_bytes() == 11u);
    BOOST_TEST(set.warnings().empty());
    BOOST_TEST(set.contains("a"));
    BOOST_TEST(!set.contains("c"));
    BOOST_TEST(set.entry("a").dtype == "F32");
    BOOST_TEST(std::to_integer<char>(set.bytes("b")[2]) == 'z');
    BOOST_CHECK_THROW(set.entry("c"), pva::InputError);
    BOOST_CHECK_THROW(SafetensorsSet(folder.file("other.safetensors")), pva::InputError);
}

BOOST_AUTO_TEST_CASE(index_with_one_shard) {
    const Scratch folder;
    folder.write("model-00001-of-00001.safetensors", shard_of({{"x", "1234"}}));
    const SafetensorsSet set(write_index(folder, R"({"weight_map":{"x":"model-00001-of-00001.safetensors"}})"));
    BOOST_TEST((set.names() == std::vector<std::string>{"x"}));
    BOOST_TEST(set.files().size() == 2u);
}

BOOST_AUTO_TEST_CASE(three_shards_are_one_set) {
    const ThreeShards shards;
    SafetensorsSet opened(shards.index_path());
    const SafetensorsSet set = std::move(opened);
    BOOST_TEST((set.names() == std::vector<std::string>{"a", "b", "c", "d"}));
    const auto file = [&](const char* name) { return shards.folder.file(name); };
    BOOST_TEST((set.files() == std::vector<std::string>{shards.index_path(), file("m-1.safetensors"),
                                                        file("m-2.safetensors"), file("m-3.safetensors")}));
    BOOST_TEST(set.file_of("a") == file("m-1.safetensors"));
    BOOST_TEST(set.file_of("b") == file("m-3.safetensors"));
    BOOST_TEST(set.file_of("c") == file("m-1.safetensors"));
    BOOST_TEST(set.file_of("d") == file("m-2.safetensors"));
    BOOST_TEST(text_of(set.bytes("a")) == "aa");
    BOOST_TEST(text_of(set.bytes("b")) == "bbb");
    BOOST_TEST(text_of(set.bytes("c")) == "c");
    BOOST_TEST(text_of(set.bytes("d")) == "dddd");
    BOOST_TEST(set.total_bytes() == 10u);
    BOOST_TEST(set.warnings().empty());
    set.release("d");
    BOOST_TEST(text_of(set.bytes("d")) == "dddd");
    for (const char* call : {"entry", "bytes", "release", "file_of"}) {
        BOOST_CHECK_EXCEPTION(*call == 'e'   ? void(set.entry("z"))
                              : *call == 'b' ? void(set.bytes("z"))
                              : *call == 'r' ? set.release("z")
                                             : void(set.file_of("z")),
                              pva::InputError, [](const pva::InputError& error) {
                                  return std::string(error.what()).find("'z'") != std::string::npos;
                              });
    }
}

BOOST_AUTO_TEST_CASE(total_size_is_only_warned_about) {
    const ThreeShards shards;
    const auto warnings = [&](const std::string& metadata) {
        return SafetensorsSet(write_index(shards.folder, "{\"metadata\":" + metadata + "," + shards.map + "}"))
            .warnings();
    };
    BOOST_TEST(warnings("{}").empty());
    BOOST_TEST(warnings("null").empty());
    BOOST_TEST(warnings(R"({"total_size":10})").empty());
    BOOST_TEST(warnings(R"({"total_size":10.0,"total_parameters":10,"mergekit_version":"0.1"})").empty());
    for (const char* wrong : {"11", "10.5", "-10", "\"10\"", "null", "[]", "18446744073709551616"}) {
        const auto lines = warnings(std::string("{\"total_size\":") + wrong + "}");
        BOOST_TEST_CONTEXT(wrong) {
            BOOST_TEST(lines.size() == 1u);
            if (!lines.empty()) BOOST_TEST(lines[0].find("10 bytes") != std::string::npos);
        }
    }
    BOOST_CHECK_THROW(warnings("3"), pva::InputError);
}

BOOST_AUTO_TEST_CASE(indexes_that_lie) {
    const ThreeShards shards;
    const auto refused_index = [&](const std::string& json, const std::vector<std::string>& parts) {
        const std::string path = write_index(shards.folder, json);
        BOOST_CHECK_EXCEPTION(SafetensorsSet{path}, pva::InputError, [&](const pva::InputError& error) {
            const std::string message = error.what();
            BOOST_TEST_CONTEXT(message) {
                for (const std::string& part : parts)
                    BOOST_TEST(message.find(part) != std::string::npos, part);
                BOOST_TEST(message.find(path) != std::string::npos);
            }
            return true;
        });
    };
    const auto map = [](const std::string& entries) { return "{\"weight_map\":{" + entries + "}}"; };
    const std::string abc = R"("a":"m-1.safetensors","c":"m-1.safetensors","b":"m-3.safetensors")";
    refused_index("", {"JSON"});
    refused_index("{\"weight_map\":", {"JSON"});
    refused_index("[]", {"weight_map"});
    refused_index("{}", {"weight_map"});
    refused_index(R"({"weight_map":["m-1.safetensors"]})", {"weight_map"});
    refused_index(map(""), {"empty"});
    refused_index(map(abc + R"(,"a":"m-2.safetensors")"), {"'a' twice"});
    refused_index(R"({"weight_map":{},"weight_map":{}})", {"'weight_map' twice"});
    refused_index(map(R"("a":7)"), {"'a'", "not a string"});
    refused_index(std::string(1'000'000, '['), {"nested"});
    for (const char* hostile : {"../m-1.safetensors", "/etc/passwd", "/tmp/m-1.safetensors", "sub/m-1.safetensors",
                                "..", ".", "", ".safetensors", "m-1.bin", "..\\\\m-1.safetensors",
                                "m-1.safetensors\\u0000.safetensors", "m\\n.safetensors"}) {
        refused_index(map(std::string("\"a\":\"") + hostile + "\""), {"'a'", "not a plain name"});
    }
    refused_index(map(R"("a":"m-1.safetensors","b":"m-3.safetensors")"), {"'c'", "m-1.safetensors", "does not name"});
    refused_index(map(abc + R"(,"d":"m-3.safetensors")"), {"'d'"});
    refused_index(map(abc + R"(,"d":"m-2.safetensors","e":"m-2.safetensors")"), {"m-2.safetensors has no tensor 'e'"});
    refused_index(map(abc + R"(,"d":"m-2.safetensors","e":"m-4.safetensors")"),
                  {"3 of its 4 shards", "missing: m-4.safetensors"});
}

BOOST_AUTO_TEST_CASE(shards_that_lie) {
    const auto message_after = [](const auto& change) {
        const ThreeShards shards;
        change(shards.folder);
        try {
            const SafetensorsSet set(shards.index_path());
        } catch (const pva::InputError& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    const auto says = [](const std::string& message, const std::string& part) {
        BOOST_TEST_CONTEXT(message) {
            BOOST_TEST(message.find(part) != std::string::npos, part);
        }
    };
    says(message_after([](const Scratch& folder) { fs::remove(folder / "m-2.safetensors"); }),
         "2 of its 3 shards are there, missing: m-2.safetensors");
    says(message_after([](const Scratch& folder) {
             fs::remove(folder / "m-2.safetensors");
             fs::create_symlink("../../blobs/0123", folder / "m-2.safetensors");
         }),
         "m-2.safetensors (a link to a file that is not there)");
    says(message_after([](const Scratch& folder) {
             folder.write("m-2.safetensors", shard_of({{"d", "dddd"}, {"x", "y"}}));
         }),
         "shard m-2.safetensors has tensor 'x', which the index does not name");
    says(message_after([](const Scratch& folder) {
             folder.write("m-2.safetensors", shard_of({{"x", "dddd"}}));
         }),
         "m-2.safetensors");
    says(message_after([](const Scratch& folder) {
             folder.write("m-2.safetensors", shard_of({{"d", "dddd"}, {"a", "aa"}}));
         }),
         "tensor 'a' is in both m-1.safetensors and m-2.safetensors");
    says(message_after([](const Scratch& folder) {
             folder.write("m-2.safetensors", shard_of({{"d", "dddd"}, {"b", "bbb"}}));
             folder.write("m-3.safetensors", shard_of({}));
         }),
         "tensor 'b' is in m-2.safetensors, but the index places it in m-3.safetensors");
    says(message_after([](const Scratch& folder) {
             folder.write("m-2.safetensors", shard_of({{"d", "dddd"}}) + "!");
         }),
         "m-2.safetensors: its tensors end at byte");
    says(message_after([](const Scratch& folder) {
             fs::remove(folder / "m-2.safetensors");
             fs::create_directory(folder / "m-2.safetensors");
         }),
         "not a regular file");
    says(message_after([](const Scratch& folder) { fs::remove(folder / "model.safetensors.index.json"); }),
         "no such file");
}

BOOST_AUTO_TEST_CASE(links_to_shards_are_followed) {
    const Scratch blobs;
    blobs.write("0123", shard_of({{"x", "1234"}}));
    blobs.write("4567", R"({"weight_map":{"x":"model.safetensors"}})");
    const Scratch folder;
    fs::create_symlink(blobs / "0123", folder / "model.safetensors");
    fs::create_symlink(blobs / "4567", folder / "model.safetensors.index.json");
    const SafetensorsSet set(folder.file("model.safetensors.index.json"));
    BOOST_TEST(text_of(set.bytes("x")) == "1234");
    BOOST_TEST(set.file_of("x") == folder.file("model.safetensors"));
}

BOOST_AUTO_TEST_CASE(mutated_indexes_never_crash) {
    const ThreeShards shards;
    std::ifstream file(shards.index_path());
    const std::string whole((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::mt19937_64 random(5);
    std::size_t opened = 0, refusals = 0;
    for (int round = 0; round < 3000; ++round) {
        write_index(shards.folder, mutated(whole, whole.size(), random));
        try {
            const SafetensorsSet damaged(shards.index_path());
            BOOST_REQUIRE(damaged.names().size() == 4u);
            ++opened;
        } catch (const pva::InputError&) {
            ++refusals;
        }
    }
    BOOST_TEST_MESSAGE(opened << " mutated indexes still right, " << refusals << " refused");
    BOOST_TEST(opened + refusals == 3000u);
    BOOST_TEST(refusals > 1500u);
    BOOST_TEST(opened > 0u);  // a changed digit of total_size is a warning
}

BOOST_AUTO_TEST_SUITE_END()
