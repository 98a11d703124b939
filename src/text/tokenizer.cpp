// SentencePiece tokenizer on top of libsentencepiece. Decoding is ours, from the table of pieces: the library's strips
// leading blanks and replaces bytes that are not valid UTF-8, and both would change programs.
#include "pva/text/tokenizer.h"

#include <filesystem>
#include <utility>

#include <sentencepiece_processor.h>

#include "pva/core/error.h"
#include "pva/core/sha256.h"
#include "pva/text/utf8.h"

namespace pva::text {

namespace {

constexpr std::string_view blank_symbol = "\xE2\x96\x81";  // U+2581, SentencePiece's spelling of a blank

std::string replace_blank_symbols(std::string_view piece) {
    std::string bytes;
    while (!piece.empty()) {
        const std::size_t at = piece.find(blank_symbol);
        bytes.append(piece.substr(0, at));
        if (at == std::string_view::npos) break;
        bytes.push_back(' ');
        piece.remove_prefix(at + blank_symbol.size());
    }
    return bytes;
}

std::string bytes_of_piece(const sentencepiece::SentencePieceProcessor& processor, int id) {
    if (processor.IsControl(id)) return {};
    if (processor.IsUnknown(id)) {
        // The surface of the unknown token (usually " U+2047 ") is a setting of the model file that only decoding
        // shows.
        std::string surface;
        if (!processor.Decode(std::vector<int>{id}, &surface).ok()) surface.clear();
        return surface;
    }
    const std::string& piece = processor.IdToPiece(id);
    if (processor.IsByte(id))
        return std::string(1, static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16)));  // <0xAB>
    return replace_blank_symbols(piece);
}

}  // namespace

struct Tokenizer::Impl {
    std::string path;
    std::string sha256;
    sentencepiece::SentencePieceProcessor processor;
    std::string bos_piece;
    std::vector<std::string> bytes;  // [vocab_size]
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::string& path) {
    if (!std::filesystem::is_regular_file(path)) {
        throw InputError("tokenizer " + path +
                         ": no such file. A SentencePiece model is expected there (tokenizer.model, " +
                         "beside the model's config.json).");
    }
    auto impl = std::make_unique<Impl>();
    impl->path = path;
    impl->sha256 = sha256_file_hex(path);
    const auto refuse = [&](const std::string& reason) {
        throw InputError("tokenizer " + path + ": " + reason +
                         ". It is not a SentencePiece model or was cut short while copying; fetch it again.");
    };
    const auto status = impl->processor.Load(path);
    if (!status.ok()) refuse(status.ToString());
    const int pieces = impl->processor.GetPieceSize();
    if (pieces <= 0) refuse("it has no pieces");
    impl->bytes.reserve(static_cast<std::size_t>(pieces));
    for (int id = 0; id < pieces; ++id)
        impl->bytes.push_back(bytes_of_piece(impl->processor, id));
    if (impl->processor.bos_id() >= 0) impl->bos_piece = impl->processor.IdToPiece(impl->processor.bos_id());
    return Tokenizer(std::move(impl));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_bos) const {
    const std::size_t valid = valid_utf8_prefix(text);
    if (valid != text.size()) {
        throw InputError("text to be tokenized is not valid UTF-8 at byte " + std::to_string(valid) + " of " +
                         std::to_string(text.size()) + "; convert it to UTF-8 first.");
    }
    std::vector<std::int32_t> ids;
    if (add_bos) {
        if (bos_id() < 0) {
            throw InputError("tokenizer " + impl_->path + " has no BOS token, but one is wanted before the text; " +
                             "take the tokenizer.model that belongs to the model.");
        }
        ids.push_back(bos_id());
        if (text.starts_with(impl_->bos_piece)) text.remove_prefix(impl_->bos_piece.size());
    }
    std::vector<int> encoded;
    const auto status = impl_->processor.Encode(absl::string_view(text.data(), text.size()), &encoded);
    if (!status.ok()) throw InternalError("SentencePiece cannot encode a text: " + status.ToString());
    ids.insert(ids.end(), encoded.begin(), encoded.end());
    return ids;
}

void Tokenizer::append(std::int32_t id, std::string& text) const {
    if (id < 0 || id >= vocab_size()) {
        throw InputError("token id " + std::to_string(id) + " is not in the tokenizer " + impl_->path + " (" +
                         std::to_string(vocab_size()) + " pieces); model and tokenizer do not belong together.");
    }
    text += impl_->bytes[static_cast<std::size_t>(id)];
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
    std::string text;
    for (const std::int32_t id : ids)
        append(id, text);
    return text;
}

std::int32_t Tokenizer::bos_id() const {
    return impl_->processor.bos_id();
}
std::int32_t Tokenizer::eos_id() const {
    return impl_->processor.eos_id();
}
std::int32_t Tokenizer::vocab_size() const {
    return static_cast<std::int32_t>(impl_->bytes.size());
}
const std::string& Tokenizer::sha256() const {
    return impl_->sha256;
}
const std::string& Tokenizer::path() const {
    return impl_->path;
}

}  // namespace pva::text
