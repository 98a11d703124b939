// SHA-256 (FIPS 180-4) of bytes and files, by OpenSSL: identifies inputs in result files.
#pragma once

#include <string>
#include <string_view>

namespace pva {

/// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::string_view bytes);

/// The same of a whole file. Errors: InputError when it cannot be read.
std::string sha256_file_hex(const std::string& path);

}  // namespace pva
