// libFuzzer on one parser of files from elsewhere, whose name the environment variable PVA_FUZZ_ONLY gives. Anything but a value or an error of
// pva ends the process, and libFuzzer then keeps the bytes.
//
//   fuzz_parsers --list            names of the parsers
//   fuzz_parsers --seeds DIR       writes the good files of the parser to DIR
//   fuzz_parsers DIR [OPTIONS]     fuzzes, beginning with the files in DIR (options of libFuzzer)
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <utility>

#include "parsers.h"

namespace fs = std::filesystem;

namespace {

struct Fuzzed {
    pva::test::Parser parser;
    fs::path folder;
};
std::optional<Fuzzed> fuzzed;  // libFuzzer calls functions without state

void write(const fs::path& path, const char* bytes, std::size_t size) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(bytes, static_cast<std::streamsize>(size));
    if (!file.flush()) {
        std::cerr << path << " cannot be written\n";
        std::_Exit(74);
    }
}

void remove_folder() {
    std::error_code ignored;
    if (fuzzed) fs::remove_all(fuzzed->folder, ignored);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* count, char*** words) {
    const auto all = pva::test::parsers(PVA_SOURCE_DIR);
    const std::string first = *count > 1 ? (*words)[1] : "";
    if (first == "--list") {
        for (const auto& parser : all) std::cout << parser.name << "\n";
        std::exit(0);
    }
    const char* wanted = std::getenv("PVA_FUZZ_ONLY");
    for (const auto& parser : all) {
        if (wanted != nullptr && parser.name == wanted) fuzzed = Fuzzed{parser, fs::temp_directory_path() / ("pva_fuzz_" + parser.name + "_" + std::to_string(::getpid()))};
    }
    if (!fuzzed) {
        std::cerr << "PVA_FUZZ_ONLY must name a parser; --list shows them\n";
        std::exit(64);
    }
    if (first == "--seeds" && *count > 2) {
        const fs::path folder = (*words)[2];
        fs::create_directories(folder);
        for (std::size_t i = 0; i < fuzzed->parser.seeds.size(); ++i) write(folder / ("seed" + std::to_string(i)), fuzzed->parser.seeds[i].data(), fuzzed->parser.seeds[i].size());
        std::exit(0);
    }
    fs::create_directories(fuzzed->folder);
    for (const auto& [name, bytes] : fuzzed->parser.beside) write(fuzzed->folder / name, bytes.data(), bytes.size());
    std::atexit(remove_folder);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const fs::path path = fuzzed->folder / fuzzed->parser.file_name;
    std::string file(reinterpret_cast<const char*>(bytes), size);
    if (fuzzed->parser.mend) file = fuzzed->parser.mend(std::move(file));
    write(path, file.data(), file.size());
    const std::string fault = pva::test::fault_of([&] { fuzzed->parser.parse(path.string()); });
    if (!fault.empty()) {
        std::cerr << fuzzed->parser.name << ": " << fault << "\n";
        std::abort();
    }
    return 0;
}
