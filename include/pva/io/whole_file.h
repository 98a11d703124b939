// Files that are there whole or not at all: written under another name, forced to the disk, then renamed.
#pragma once

#include <cstddef>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

namespace pva::io {

/// A file on its way: bytes go to `path`.part, and finish() gives it its name. Without finish() nothing of that name changes.
class WholeFile {
  public:
    /// Makes the folders on the way. Errors: IoError.
    explicit WholeFile(const std::string& path);
    ~WholeFile();
    WholeFile(const WholeFile&) = delete;
    WholeFile& operator=(const WholeFile&) = delete;

    /// Errors: IoError (no space, ...).
    void write(std::span<const std::byte> bytes);
    void write(std::string_view text);
    /// Forces the bytes to the disk and renames. Errors: IoError.
    void finish();

  private:
    std::string path_;
    std::ofstream file_;
    bool finished_ = false;
};

/// The same of one text.
void write_whole_file(const std::string& path, std::string_view text);

}  // namespace pva::io
