// A folder for files of one test, and whole files as strings.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>

inline std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline void write_file(const std::string& path, std::string_view text) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << text;
    if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

struct Scratch {
    std::string path;
    Scratch() {
        path = (std::filesystem::temp_directory_path() / "pva_test_XXXXXX").string();
        if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    }
    ~Scratch() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    std::filesystem::path operator/(const std::string& name) const { return std::filesystem::path(path) / name; }
    std::string file(const std::string& name) const { return path + "/" + name; }
    /// Writes a file of that name, making folders on the way, and returns its path.
    std::string write(const std::string& name, const std::string& text) const {
        std::filesystem::create_directories((*this / name).parent_path());
        std::filesystem::remove(*this / name);  // overwriting in place makes some file systems flush, which takes long
        write_file(file(name), text);
        return file(name);
    }
};
