// SHA-256 by OpenSSL's EVP interface.
#include "pva/core/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "pva/core/error.h"

namespace pva {
namespace {

class Hasher {
  public:
    Hasher() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
        if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
            throw InternalError("OpenSSL offers no SHA-256 (a FIPS or minimal build?): check the libcrypto that is linked");
        }
    }
    void add(const void* data, std::size_t size) {
        if (EVP_DigestUpdate(context_.get(), data, size) != 1) throw InternalError("EVP_DigestUpdate failed");
    }
    std::string hex() {
        std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
        unsigned int size = 0;
        if (EVP_DigestFinal_ex(context_.get(), digest.data(), &size) != 1) throw InternalError("EVP_DigestFinal failed");
        static constexpr char digits[] = "0123456789abcdef";
        std::string text;
        for (unsigned int i = 0; i < size; ++i) {
            text += digits[digest[i] >> 4];
            text += digits[digest[i] & 15];
        }
        return text;
    }

  private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256_hex(std::string_view bytes) {
    Hasher hasher;
    hasher.add(bytes.data(), bytes.size());
    return hasher.hex();
}

std::string sha256_file_hex(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw InputError(path + ": cannot be opened (" + std::strerror(errno) + ")");
    Hasher hasher;
    std::vector<char> block(1 << 20);
    while (file) {
        file.read(block.data(), static_cast<std::streamsize>(block.size()));
        if (file.gcount() > 0) hasher.add(block.data(), static_cast<std::size_t>(file.gcount()));
    }
    if (file.bad()) throw InputError(path + ": reading failed (" + std::strerror(errno) + ")");
    return hasher.hex();
}

}  // namespace pva
