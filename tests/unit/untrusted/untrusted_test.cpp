// Mutation fuzzing of every parser of files from elsewhere: whatever the bytes are, a parser gives a value or an error of pva (input, usage,
// reading), within seconds and without gigabytes. The mutations are counted, not drawn from a clock: a failure names its seed
// and number, and the same pair makes the same bytes again.
//
// Files that a fuzzer found to hurt stand in tests/golden/untrusted/PARSER and are tried again here.
//
// Environment: PVA_FUZZ_ROUNDS (mutants of each seed file, default 150), PVA_FUZZ_SEED (default 1), PVA_FUZZ_ONLY (name of a parser, or hdf5).
#define BOOST_TEST_MODULE untrusted
#include <sys/resource.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <random>
#include <sstream>

#include "../export/made_file.h"
#include "../scratch.h"
#include "parsers.h"
#include "pva/core/error.h"
#include "pva/core/log.h"
#include "pva/phases/export.h"
#include "pva/phases/inputs.h"
#include "pva/phases/report.h"
#include "pva/phases/schemas.h"
#include "pva/sae/load.h"

using namespace pva;
namespace fs = std::filesystem;

namespace {

const Scratch& scratch() {
    static const Scratch folder;
    return folder;
}

std::int64_t setting(const char* name, std::int64_t usual) {
    const char* value = std::getenv(name);
    return value == nullptr ? usual : std::atoll(value);
}

/// Bytes a few changes away from the seed's. Changes near the ends are likelier: heads and directories stand there.
std::string mutant(std::string bytes, std::uint64_t number) {
    std::mt19937_64 random(static_cast<std::uint64_t>(setting("PVA_FUZZ_SEED", 1)) * 1000003 + number);
    static const std::vector<std::string> words = {std::string("\0\0\0\0", 4), "\xff\xff\xff\xff", "\xff\xff\xff\x7f", std::string("\0\0\0\x80", 4), std::string(8, '\xff'), "\xff\xff\xff\xff\xff\xff\xff\x7f",
                                                   "-1", "18446744073709551616", "1e999", "[[[[[[[[", "{\"a\":", "\"", "\\u0000", "\\ud800", "null", "NaN", "\n", "../../etc/passwd", "\xc0\x80", "\xed\xa0\x80"};
    const std::uint64_t changes = 1 + random() % 4;
    for (std::uint64_t change = 0; change < changes && !bytes.empty(); ++change) {
        std::size_t at = random() % bytes.size();
        if (random() % 3 == 0) at = std::min<std::size_t>(random() % 128, bytes.size() - 1);
        if (random() % 5 == 0) at = bytes.size() - 1 - std::min<std::size_t>(random() % 256, bytes.size() - 1);
        const std::size_t length = std::min<std::size_t>(1 + random() % 32, bytes.size() - at);
        switch (random() % 8) {
            case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8))); break;
            case 1: bytes[at] = static_cast<char>(random()); break;
            case 2: bytes.resize(at); break;
            case 3: bytes.erase(at, length); break;
            case 4: bytes.insert(at, bytes.substr(at, length)); break;
            case 5: bytes.insert(at, words[random() % words.size()]); break;
            case 6: {
                const std::string& word = words[random() % words.size()];
                bytes.replace(at, std::min(word.size(), bytes.size() - at), word);
                break;
            }
            case 7: {
                const std::size_t from = random() % bytes.size();
                bytes.replace(at, length, bytes.substr(from, length));
                break;
            }
        }
    }
    return bytes;
}

/// The fault of parsing, slowness among them.
std::string timed_fault_of(const std::function<void()>& parse) {
    const std::clock_t start = std::clock();  // of the processor: a busy machine is no fault
    std::string fault = test::fault_of(parse);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    if (seconds > 10) fault += " took " + std::to_string(seconds) + " s of processor time";
    return fault;
}

/// Mutants of the parser's good files, and the files that were once found to hurt.
void fuzz(const test::Parser& parser) {
    if (const char* only = std::getenv("PVA_FUZZ_ONLY"); only != nullptr && parser.name != only) return;
    const std::string name = parser.name + "/" + parser.file_name;
    const std::string path = scratch().file(name);
    for (const auto& [other, bytes] : parser.beside) scratch().write(parser.name + "/" + other, bytes);
    const std::int64_t rounds = setting("PVA_FUZZ_ROUNDS", 150);
    std::size_t accepted = 0;
    int shown = 0;
    for (std::size_t seed = 0; seed < parser.seeds.size(); ++seed) {
        scratch().write(name, parser.seeds[seed]);
        BOOST_CHECK_NO_THROW(parser.parse(path));  // the seed itself is good
        for (std::int64_t round = 0; round < rounds && shown < 5; ++round) {
            std::string bytes = mutant(parser.seeds[seed], static_cast<std::uint64_t>(round));
            scratch().write(name, parser.mend && round % 2 == 1 ? parser.mend(std::move(bytes)) : bytes);
            const std::string fault = timed_fault_of([&] {
                parser.parse(path);
                ++accepted;
            });
            if (fault.empty()) continue;
            ++shown;
            BOOST_ERROR(parser.name + ", seed file " + std::to_string(seed) + ", PVA_FUZZ_SEED=" + std::to_string(setting("PVA_FUZZ_SEED", 1)) + " mutant " + std::to_string(round) + ": " + fault);
        }
    }
    std::vector<fs::path> found;
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(std::string(PVA_SOURCE_DIR) + "/tests/golden/untrusted/" + parser.name, none)) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    for (const fs::path& one : found) {
        scratch().write(name, test::bytes_of_file(one.string()));
        const std::string fault = timed_fault_of([&] { parser.parse(path); });
        BOOST_TEST(fault.empty(), parser.name << ", " << one.filename().string() << ": " << fault);
    }
    BOOST_TEST_MESSAGE(parser.name << ": " << parser.seeds.size() << " times " << rounds << " mutants, " << accepted << " accepted, " << found.size() << " kept files");
}

/// No parser needs much memory for these small files; sanitizers need address space of their own.
struct LittleMemory {
    LittleMemory() {
#ifndef __SANITIZE_ADDRESS__
        const rlimit limit{rlim_t{6} << 30, rlim_t{6} << 30};
        ::setrlimit(RLIMIT_AS, &limit);
#endif
    }
};
BOOST_TEST_GLOBAL_FIXTURE(LittleMemory);

}  // namespace

BOOST_AUTO_TEST_CASE(files) {
    for (const test::Parser& parser : test::parsers(PVA_SOURCE_DIR)) fuzz(parser);
}

BOOST_AUTO_TEST_CASE(configurations_of_saes) {
    const std::string folder = std::string(PVA_SOURCE_DIR) + "/tests/golden/sae/families/dictionary_learning/BatchTopKSAE/";
    fuzz({"sae_config", "config.json", {test::bytes_of_file(folder + "config.json")}, {{"ae.pt", test::bytes_of_file(folder + "ae.pt")}},
          [](const std::string& path) { sae::load(sae::identify(fs::path(path).parent_path().string())); },
          {}});
}

BOOST_AUTO_TEST_CASE(texts) {
    fuzz({"texts", "texts.jsonl", {"{\"text\": \"one \\u00e4\"}\n{\"text\": \"two\", \"more\": [1, 2, {\"a\": null}]}\n"}, {}, [](const std::string& path) { phases::read_texts(path); }, {}});
}

// HDF5 itself is trusted with its own bytes; what is in them is not: datasets of any shape and type, or none, and any JSON.
BOOST_AUTO_TEST_CASE(hdf5) {
    if (const char* only = std::getenv("PVA_FUZZ_ONLY"); only != nullptr && std::string(only) != "hdf5") return;
    const std::vector<std::pair<const io::FileSchema*, std::string>> kinds = {{&phases::dataset_schema(), "phase1_0/dataset"},          {&phases::latents_schema(), "phase2/latents"},
                                                                              {&phases::validation_schema(), "phase3/validation"},      {&phases::sparse_schema(), "phase2/sparse"},
                                                                              {&phases::temperatures_schema(), "phase1_2/temperatures"}, {&phases::splits_schema(), "phase1_1/splits"}};
    const std::int64_t rounds = std::max<std::int64_t>(1, setting("PVA_FUZZ_ROUNDS", 150) / 10);
    static const std::vector<std::string> texts = {"", "{}", "[]", "1", "{", "\"x\"", R"({"saes":1,"model":{},"dataset":"d"})", R"({"provenance":[],"verdicts":3,"temperatures":[1,{"pass_at_k":2}]})",
                                                   R"({"detectors":[1,{"layer":"x"}],"comparison":[[1,2],3],"score":{}})", std::string(5000, '[')};
    int shown = 0;
    std::int64_t looks = 0;
    for (std::int64_t round = 0; round < rounds && shown < 5; ++round) {
        std::mt19937_64 random(static_cast<std::uint64_t>(setting("PVA_FUZZ_SEED", 1)) * 7919 + static_cast<std::uint64_t>(round));
        const std::string folder = scratch().file("hdf5");
        fs::remove_all(folder);
        std::vector<std::string> paths;
        for (const auto& [schema, name] : kinds) {
            test::MadeFile made;
            made.sizes["unit"] = static_cast<std::int64_t>(random() % 3);
            made.sizes["one"] = 1;
            for (const io::DatasetSpec& spec : schema->datasets) {
                for (const std::string& dim : spec.dims) made.sizes.try_emplace(dim, static_cast<std::int64_t>(random() % 4));
                if (!spec.text_width.empty()) made.sizes.try_emplace(spec.text_width, 9);
            }
            const io::DatasetSpec& hit = schema->datasets[random() % schema->datasets.size()];
            if (random() % 2) made.left_out = random() % 8 == 0 ? "summary" : hit.name;
            else made.other_shape[hit.name] = std::vector<std::int64_t>(random() % 4, static_cast<std::int64_t>(random() % 4));
            if (random() % 4 == 0) made.left_out.clear(), made.other_shape.clear();
            for (const io::DatasetSpec& spec : schema->datasets) {
                std::size_t bytes = spec.element == io::h5::Element::text ? 9 : io::h5::element_bytes(spec.element);
                for (const std::int64_t extent : io::shape_of(spec, made.sizes)) bytes *= static_cast<std::size_t>(extent);
                std::vector<std::byte> content(bytes);
                const bool wild = random() % 2;
                for (std::byte& b : content) b = static_cast<std::byte>(wild ? random() : random() % 3 == 0);
                made.content[spec.name] = content;
            }
            made.identity = random() % 3 ? R"({"model":"m","problems":"p","saes":{"0":"x"},"positions":[4],"compat":"none","split":"selection"})" : texts[random() % texts.size()];
            made.summary = texts[random() % texts.size()];
            made.run = texts[random() % texts.size()];
            paths.push_back(folder + "/" + name + "_m_0-1_2026-01-01_00-00-00.h5");
            test::write_made_file(paths.back(), *schema, made);
        }
        const auto look = [&](const std::string& what, const std::function<void()>& parse) {
            const std::string fault = timed_fault_of(parse);
            ++looks;
            if (fault.empty()) return;
            ++shown;
            BOOST_ERROR("hdf5, PVA_FUZZ_SEED=" + std::to_string(setting("PVA_FUZZ_SEED", 1)) + " round " + std::to_string(round) + ", " + what + ": " + fault);
        };
        for (const std::string& path : paths) {
            look("export of " + fs::path(path).filename().string(), [&] {
                for (const phases::ExportTable& table : phases::export_tables(path)) {
                    std::ostringstream out;
                    phases::ExportOptions options;
                    options.file = path;
                    options.table = table.name;
                    options.wide = true;
                    phases::run_export(options, out);
                }
            });
        }
        look("report", [&] {
            Log log(0, LogLevel::error);
            phases::ReportOptions options;
            options.folder = folder;
            options.output = scratch().file("fuzzed.html");
            std::ostringstream swallowed;  // warnings of damaged files
            auto* const before = std::cerr.rdbuf(swallowed.rdbuf());
            try {
                phases::run_report(log, options);
            } catch (...) {
                std::cerr.rdbuf(before);
                throw;
            }
            std::cerr.rdbuf(before);
        });
    }
    BOOST_TEST((shown > 0 || looks == rounds * static_cast<std::int64_t>(kinds.size() + 1)));
}
