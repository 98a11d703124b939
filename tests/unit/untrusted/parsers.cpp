// What every parser of files from elsewhere is tried with.
#include "parsers.h"

#include <zlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>

#include "pva/core/error.h"
#include "pva/io/npz.h"
#include "pva/io/safetensors.h"
#include "pva/io/torch_file.h"
#include "pva/tasks/completions.h"
#include "pva/tasks/problems.h"
#include "pva/text/tokenizer.h"

namespace fs = std::filesystem;

namespace pva::test {

std::string bytes_of_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + " cannot be opened");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string fault_of(const std::function<void()>& parse) {
    try {
        parse();
    } catch (const InternalError& error) {
        return std::string("an internal error: ") + error.what();
    } catch (const Error&) {
    } catch (const std::exception& error) {
        return std::string("an exception that is no error of pva: ") + error.what();
    }
    return {};
}

namespace {

template <class T>
T number_at(const std::string& bytes, std::size_t at) {
    T value = 0;
    if (at + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

/// A ZIP archive whose directory states the checksums that the members have, where members can be found.
std::string with_right_checksums(std::string zip) {
    for (std::size_t entry = 0; (entry = zip.find("PK\x01\x02", entry)) != std::string::npos; entry += 4) {
        if (entry + 46 > zip.size()) break;
        const std::size_t local = number_at<std::uint32_t>(zip, entry + 42);
        const std::size_t packed = number_at<std::uint32_t>(zip, entry + 20);
        const std::size_t data = local + 30 + number_at<std::uint16_t>(zip, local + 26) + number_at<std::uint16_t>(zip, local + 28);
        if (local + 30 > zip.size() || data > zip.size() || packed > zip.size() - data) continue;
        std::string content = zip.substr(data, packed);
        if (number_at<std::uint16_t>(zip, entry + 10) == 8) {
            std::string unpacked(std::size_t{1} << 16, '\0');
            z_stream stream{};
            if (inflateInit2(&stream, -15) != Z_OK) continue;
            stream.next_in = reinterpret_cast<Bytef*>(content.data());
            stream.avail_in = static_cast<uInt>(content.size());
            stream.next_out = reinterpret_cast<Bytef*>(unpacked.data());
            stream.avail_out = static_cast<uInt>(unpacked.size());
            inflate(&stream, Z_FINISH);
            unpacked.resize(unpacked.size() - stream.avail_out);
            inflateEnd(&stream);
            content = unpacked;
        }
        const auto sum = static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size())));
        std::memcpy(zip.data() + entry + 16, &sum, sizeof sum);
        std::memcpy(zip.data() + local + 14, &sum, sizeof sum);
    }
    return zip;
}

}  // namespace

std::vector<Parser> parsers(const std::string& source) {
    const std::string golden = source + "/tests/golden/";
    std::vector<Parser> all;

    const std::string sharded = golden + "models/neox_tied_sharded/";
    all.push_back({"safetensors", "model.safetensors", {bytes_of_file(sharded + "model-00001-of-00003.safetensors")}, {}, [](const std::string& path) {
                       const io::SafetensorsFile file(path);
                       std::size_t sum = 0;
                       for (const std::string& name : file.names()) {
                           for (const std::byte b : file.bytes(name)) sum += static_cast<std::size_t>(b);
                       }
                       if (sum == 1) throw InputError("the bytes were read");  // so that reading them cannot be left out
                   },
                   {}});
    Parser index{"index", "model.safetensors.index.json", {bytes_of_file(sharded + "model.safetensors.index.json")}, {}, [](const std::string& path) { io::SafetensorsSet set(path); }, {}};
    for (const std::string shard : {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"}) {
        index.beside.emplace_back(shard, bytes_of_file(sharded + shard));
    }
    all.push_back(index);

    all.push_back({"npz", "params.npz", {bytes_of_file(golden + "sae/small_stored.npz"), bytes_of_file(golden + "sae/small_deflated.npz")}, {}, [](const std::string& path) {
                       const io::NpzFile file(path);
                       for (const io::NpzMember& member : file.members()) {
                           if (member.n_values < 1000000) file.read(member);
                       }
                   },
                   with_right_checksums});

    const std::string learned = golden + "sae/families/dictionary_learning/";
    all.push_back({"torch", "ae.pt", {bytes_of_file(learned + "AutoEncoder/ae.pt"), bytes_of_file(learned + "BatchTopKSAE/ae.pt")}, {}, [](const std::string& path) {
                       const io::TorchFile file(path);
                       for (const io::TorchTensor& tensor : file.tensors()) {
                           try {
                               file.read(tensor);
                           } catch (const InputError&) {  // integers are not read as floats
                           }
                       }
                   },
                   with_right_checksums});

    Parser tokenizer{"tokenizer", "tokenizer.json", {}, {}, [](const std::string& path) {
                         const text::Tokenizer one = text::Tokenizer::load(path);
                         const auto ids = one.encode("def f(x):\n    return 'a b' + \xC3\xA4\xE2\x82\xAC 12345");
                         one.decode(ids);
                     },
                     {}};
    for (const std::string name : {"smollm2", "llama2", "llama3", "gemma"}) tokenizer.seeds.push_back(bytes_of_file(golden + "text/tokenizers/" + name + ".json"));
    all.push_back(tokenizer);

    std::istringstream lines(bytes_of_file(source + "/data/demo/problems.jsonl"));
    std::string problems;
    std::string line;
    for (int i = 0; i < 3 && std::getline(lines, line); ++i) problems += line + "\n";
    all.push_back({"problems", "problems.jsonl", {problems, "[" + line + "]"}, {}, [](const std::string& path) { tasks::load_problems(path); }, {}});
    all.push_back({"completions",
                   "completions.jsonl",
                   {"{\"task_id\": 1, \"completion\": \"def f():\\n    return 1\"}\n{\"task_id\": 2, \"code\": \"x = 1\"}\n\n{\"task_id\": 1, \"solution\": \"y\"}\n"},
                   {{"problems.jsonl", problems}},
                   [](const std::string& path) { tasks::load_completions(path, tasks::load_problems((fs::path(path).parent_path() / "problems.jsonl").string())); },
                   {}});
    return all;
}

}  // namespace pva::test
