// Written under another name, forced to the disk, then renamed.
#include "pva/io/whole_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "pva/core/error.h"

namespace pva::io {

namespace {

std::string part(const std::string& path) { return path + ".part"; }

[[noreturn]] void fail(const std::string& path, const std::string& what) {
    throw IoError(path + ": " + what + " (" + std::strerror(errno) + "); look for free space and permissions there");
}

void force_to_disk(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY);
    if (descriptor < 0) fail(path, "cannot be opened for fsync");
    const int status = ::fsync(descriptor);
    ::close(descriptor);
    if (status != 0) fail(path, "fsync failed");
}

}  // namespace

WholeFile::WholeFile(const std::string& path) : path_(path) {
    const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) throw IoError(folder.string() + ": the folder cannot be made (" + error.message() + ")");
    file_.open(part(path), std::ios::binary | std::ios::trunc);
    if (!file_) fail(part(path), "cannot be written");
}

WholeFile::~WholeFile() {
    if (finished_) return;
    file_.close();
    std::error_code ignored;
    std::filesystem::remove(part(path_), ignored);
}

void WholeFile::write(std::span<const std::byte> bytes) {
    file_.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!file_) fail(part(path_), "writing failed");
}

void WholeFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void WholeFile::finish() {
    file_.close();
    if (!file_) fail(part(path_), "writing failed");
    force_to_disk(part(path_));
    if (std::rename(part(path_).c_str(), path_.c_str()) != 0) fail(path_, "cannot be given its name");
    force_to_disk(std::filesystem::absolute(path_).parent_path().string());
    finished_ = true;
}

void write_whole_file(const std::string& path, std::string_view text) {
    WholeFile file(path);
    file.write(text);
    file.finish();
}

}  // namespace pva::io
