// SentencePiece models on top of libsentencepiece. Decoding is ours, from the table of pieces: the library's strips
// leading blanks and replaces bytes that are not valid UTF-8, and both would change programs.
#include <utility>

#include <sentencepiece_processor.h>

#include "backend.h"
#include "pva/core/error.h"
#include "tokenizer_config.h"
#include "unicode.h"

// libsentencepiece and libtorch's libc10 both export a variable of this name: an object of 32 bytes there, an int here. With one of them in
// its place, SentencePiece built its object over libc10's variables behind the int, among them the switch that makes a failed
// allocation abort the process. This room is found before both. Nobody reads it as the other does, but for the level of libc10's
// messages.
extern "C" {
alignas(64) unsigned char FLAGS_minloglevel[256];
}

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

std::size_t count_characters(std::string_view text) {
    std::size_t count = 0;
    for (const char byte : text)
        count += is_continuation_byte(byte) ? 0 : 1;
    return count;
}

class SentencePiece final : public TokenizerBackend {
  public:
    explicit SentencePiece(const std::string& path) : path_(path) {
        const auto refuse = [&](const std::string& reason) {
            throw InputError("tokenizer " + path + ": " + reason +
                             ". It is not a SentencePiece model or was cut short while copying; fetch it again.");
        };
        const auto status = processor_.Load(path);
        if (!status.ok()) refuse(status.ToString());
        const int pieces = processor_.GetPieceSize();
        if (pieces <= 0) refuse("it has no pieces");
        bytes.reserve(static_cast<std::size_t>(pieces));
        for (int id = 0; id < pieces; ++id)
            bytes.emplace_back(bytes_of_piece(processor_, id));
        bos_id = processor_.bos_id();
        eos_id = processor_.eos_id();
        unk_id = processor_.unk_id();
        if (bos_id >= 0) bos_piece_ = processor_.IdToPiece(bos_id);
        // The setting itself is not to be had from the library; what it does to a text is.
        std::vector<std::string> first;
        if (processor_.Encode("a", &first).ok() && !first.empty())
            has_dummy_prefix = first[0].starts_with(blank_symbol);

        const auto config = read_tokenizer_config(path);
        adds_bos_ = bos_id >= 0;
        if (config && config->add_bos_token) adds_bos_ = *config->add_bos_token;
        adds_eos_ = config && config->add_eos_token.value_or(false);
        if (adds_bos_ && bos_id < 0) refuse("tokenizer_config.json wants BOS, and the model has none");
        if (adds_eos_ && eos_id < 0) refuse("tokenizer_config.json wants EOS, and the model has none");
    }

    bool adds_bos() const override { return adds_bos_; }

    std::optional<std::int32_t> id_of(std::string_view piece) const override {
        const std::string wanted(piece);
        const int id = processor_.PieceToId(wanted);
        if (id < 0 || id >= processor_.GetPieceSize() || processor_.IdToPiece(id) != wanted) return std::nullopt;
        return id;
    }

    std::vector<TokenSpan> encode(std::string_view text, Around around, bool with_offsets) const override {
        std::vector<TokenSpan> tokens;
        std::size_t spelled_bos = 0;  // characters
        if (around == Around::bos || (around == Around::by_template && adds_bos_)) {
            if (bos_id < 0) {
                throw InputError("tokenizer " + path_ + " has no BOS token, but one is wanted before the text; " +
                                 "take the tokenizer.model that belongs to the model.");
            }
            if (text.starts_with(bos_piece_)) {
                spelled_bos = count_characters(bos_piece_);
                text.remove_prefix(bos_piece_.size());
            }
            tokens.push_back({bos_id, 0, with_offsets ? spelled_bos : 0});
        }
        const absl::string_view view(text.data(), text.size());
        if (!with_offsets) {
            std::vector<int> ids;
            const auto status = processor_.Encode(view, &ids);
            if (!status.ok()) throw InternalError("SentencePiece cannot encode a text: " + status.ToString());
            for (const int id : ids)
                tokens.push_back({id, 0, 0});
        } else {
            const auto encoded = processor_.EncodeAsImmutableProto(view);
            std::size_t bytes_done = 0;
            std::size_t characters = spelled_bos;
            // Byte offsets ascend, so the characters are counted in one pass.
            const auto character_at = [&](std::size_t byte) {
                if (byte < bytes_done) {
                    bytes_done = 0;
                    characters = spelled_bos;
                }
                characters += count_characters(text.substr(bytes_done, byte - bytes_done));
                bytes_done = byte;
                return characters;
            };
            for (const auto& piece : encoded.pieces()) {
                const std::size_t begin = character_at(piece.begin());
                tokens.push_back({static_cast<std::int32_t>(piece.id()), begin, character_at(piece.end())});
            }
        }
        if (around == Around::by_template && adds_eos_) tokens.push_back({eos_id, 0, 0});
        return tokens;
    }

  private:
    std::string path_;
    sentencepiece::SentencePieceProcessor processor_;
    std::string bos_piece_;
    bool adds_bos_ = false;
    bool adds_eos_ = false;
};

}  // namespace

std::unique_ptr<const TokenizerBackend> load_sentencepiece(const std::string& path) {
    return std::make_unique<SentencePiece>(path);
}

}  // namespace pva::text
