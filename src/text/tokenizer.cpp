// Choice between the kinds of tokenizer, and what they share: checks of the input, decoding from a table of bytes.
#include "pva/text/tokenizer.h"

#include <filesystem>
#include <fstream>
#include <limits>
#include <utility>

#include "backend.h"
#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/text/utf8.h"
#include "tokenizer_config.h"

namespace pva::text {

namespace {

constexpr std::uintmax_t largest_json_file = std::uintmax_t{1} << 30;

/// Whether the file begins like a JSON object. A SentencePiece model begins with a line feed and a length, then another
/// line feed, so white space before the brace is not skipped without end.
bool begins_like_json(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    char c = 0;
    for (int i = 0; i < 16 && file.get(c); ++i) {
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return c == '{';
    }
    return false;
}

void check_text(std::string_view text) {
    const std::size_t valid = valid_utf8_prefix(text);
    if (valid != text.size()) {
        throw InputError("text to be tokenized is not valid UTF-8 at byte " + std::to_string(valid) + " of " +
                         std::to_string(text.size()) + "; convert it to UTF-8 first.");
    }
    if (text.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
        throw InputError("a text of " + std::to_string(text.size()) + " bytes is too long to be tokenized; cut it.");
}

std::vector<std::int32_t> ids_of(const std::vector<TokenSpan>& tokens) {
    std::vector<std::int32_t> ids;
    ids.reserve(tokens.size());
    for (const TokenSpan& token : tokens)
        ids.push_back(token.id);
    return ids;
}

}  // namespace

Tokenizer::Tokenizer(std::string path, std::string sha256, std::unique_ptr<const TokenizerBackend> backend)
    : path_(std::move(path)), sha256_(std::move(sha256)), backend_(std::move(backend)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::string& path) {
    if (!std::filesystem::is_regular_file(path)) {
        throw InputError("tokenizer " + path +
                         ": no such file. A SentencePiece model (tokenizer.model) or a tokenizer.json is expected " +
                         "there, beside the model's config.json.");
    }
    if (!begins_like_json(path)) return Tokenizer(path, sha256_file_hex(path), load_sentencepiece(path));
    if (std::filesystem::file_size(path) > largest_json_file)
        throw InputError("tokenizer " + path + ": more than 1 GiB is no tokenizer.json; take another file.");
    return Tokenizer(path, sha256_file_hex(path), load_tokenizer_json(path, read_whole_file(path)));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
    check_text(text);
    return ids_of(backend_->encode(text, Around::by_template, false));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_bos) const {
    check_text(text);
    return ids_of(backend_->encode(text, add_bos ? Around::bos : Around::nothing, false));
}

std::vector<TokenSpan> Tokenizer::encode_with_offsets(std::string_view text) const {
    check_text(text);
    return backend_->encode(text, Around::by_template, true);
}

std::vector<TokenSpan> Tokenizer::encode_with_offsets(std::string_view text, bool add_bos) const {
    check_text(text);
    return backend_->encode(text, add_bos ? Around::bos : Around::nothing, true);
}

const std::string& Tokenizer::bytes_of(std::int32_t id) const {
    const auto place = static_cast<std::size_t>(id);
    if (id < 0 || place >= backend_->bytes.size() || !backend_->bytes[place]) {
        throw InputError("token id " + std::to_string(id) + " is not in the tokenizer " + path_ + " (" +
                         std::to_string(vocab_size()) + " pieces); model and tokenizer do not belong together.");
    }
    return *backend_->bytes[place];
}

void Tokenizer::append(std::int32_t id, std::string& text) const {
    text += bytes_of(id);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
    std::string text;
    for (const std::int32_t id : ids)
        append(id, text);
    const bool is_whole_text = !ids.empty() && ids.front() == bos_id();
    if (backend_->has_dummy_prefix && is_whole_text && text.starts_with(' ')) text.erase(0, 1);
    return text;
}

bool Tokenizer::adds_bos() const {
    return backend_->adds_bos();
}
std::int32_t Tokenizer::bos_id() const {
    return backend_->bos_id;
}
std::int32_t Tokenizer::eos_id() const {
    return backend_->eos_id;
}
std::int32_t Tokenizer::unk_id() const {
    return backend_->unk_id;
}
std::optional<std::int32_t> Tokenizer::id_of(std::string_view piece) const {
    return backend_->id_of(piece);
}
std::int32_t Tokenizer::vocab_size() const {
    return static_cast<std::int32_t>(backend_->bytes.size());
}
const std::string& Tokenizer::sha256() const {
    return sha256_;
}
const std::string& Tokenizer::path() const {
    return path_;
}

}  // namespace pva::text
