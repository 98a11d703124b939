// The parsers of files from elsewhere, each with good files to begin with; shared by unit.untrusted and the libFuzzer program of tests/fuzz.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace pva::test {

struct Parser {
    std::string name;                                        ///< for PVA_FUZZ_ONLY and for folders
    std::string file_name;                                   ///< what the parser expects the file to be called
    std::vector<std::string> seeds;                          ///< bytes of good files
    std::vector<std::pair<std::string, std::string>> beside; ///< names and bytes of other files in its folder
    std::function<void(const std::string& path)> parse;      ///< reads it all; gives a value or throws
    std::function<std::string(std::string bytes)> mend;      ///< makes checksums of changed bytes right, so that they are read at all; may be empty
};

/// Those of the rooms io, text and tasks, but of HDF5 files. `source` is the checkout.
std::vector<Parser> parsers(const std::string& source);

/// All bytes of a file. Throws std::runtime_error when it cannot be opened.
std::string bytes_of_file(const std::string& path);

/// What the parser did with the file: nothing when it gave a value or an error that it may give (of pva, and not an internal one).
std::string fault_of(const std::function<void()>& parse);

}  // namespace pva::test
