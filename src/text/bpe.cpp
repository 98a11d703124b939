// Byte-pair encoding with a heap of possible merges.
#include "bpe.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "json_fields.h"
#include "unicode.h"

namespace pva::text {

namespace {

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

std::size_t hash_of_pair(std::uint64_t key) {
    key ^= key >> 32;
    key *= 0x9E3779B97F4A7C15u;
    return static_cast<std::size_t>(key ^ key >> 29);
}

std::string byte_piece(int byte) {
    constexpr char digits[] = "0123456789ABCDEF";
    return std::string("<0x") + digits[byte >> 4] + digits[byte & 15] + ">";
}

/// A token that may still be joined with its neighbours. Positions are indices of symbols, -1: none.
struct Symbol {
    std::int32_t id = 0;
    std::int32_t previous = -1;
    std::int32_t next = -1;
    std::uint32_t bytes = 0;  // 0: it was joined to the one before it
};

/// A possible merge of the symbol at `position` with the next one.
struct Candidate {
    std::int32_t rank = 0;
    std::int32_t position = 0;
    std::int32_t id = 0;
    /// Makes the standard heap give the lowest rank first, and of equal ranks the leftmost.
    bool operator<(const Candidate& other) const {
        return rank != other.rank ? rank > other.rank : position > other.position;
    }
};

}  // namespace

struct Bpe::Workspace::Memory {
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;

    void put(std::int32_t id, std::size_t bytes) {
        const auto here = static_cast<std::int32_t>(symbols.size());
        if (here > 0) symbols.back().next = here;
        symbols.push_back({id, here - 1, -1, static_cast<std::uint32_t>(bytes)});
    }
};

Bpe::Workspace::Workspace() : memory_(std::make_unique<Memory>()) {}
Bpe::Workspace::~Workspace() = default;

Bpe::Bpe(const nlohmann::json& value, const std::string& where) {
    const Component model(value, where + ", model");
    // Files written before the field `type` existed are BPE when they have merges.
    if (const std::string type = model.string("type", model.has("merges") ? "BPE" : "(none)"); type != "BPE")
        model.refuse("pva supports the type BPE, not " + type);
    model.only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                "byte_fallback", "ignore_merges", "vocab", "merges"});
    if (model.has("dropout") && model.value("dropout") != 0.0)
        model.refuse("dropout makes tokens random and is not supported");
    for (const std::string field : {"continuing_subword_prefix", "end_of_word_suffix"}) {
        if (!model.string(field, "").empty()) model.refuse(field + " is not supported");
    }
    fuse_unk_ = model.boolean("fuse_unk", false);
    ignore_merges_ = model.boolean("ignore_merges", false);
    read_vocabulary(model.object("vocab"), model.where() + ", vocab");
    if (model.has("unk_token")) {
        const std::string piece = model.string("unk_token");
        const auto id = id_of(piece);
        if (!id) model.refuse("the unk_token \"" + piece + "\" is not in the vocabulary");
        unk_id_ = *id;
    }
    if (model.boolean("byte_fallback", false)) {
        byte_ids_.assign(256, -1);
        for (int byte = 0; byte < 256; ++byte)
            byte_ids_[static_cast<std::size_t>(byte)] = id_of(byte_piece(byte)).value_or(-1);
    }
    read_merges(model.array("merges"), model.where() + ", merges");

    // Most parts of a text are pieces of the vocabulary, and most of these are what the merges give for them. To know
    // that beforehand saves the merging; it takes the place of a cache, which threads would have to share.
    std::size_t places = 0;
    for (const auto& [piece, id] : vocabulary_)
        places = std::max(places, static_cast<std::size_t>(id) + 1);
    std::vector<bool> stays_whole(places, ignore_merges_);
    if (!ignore_merges_) {
        Workspace workspace;
        std::vector<BpeToken> tokens;
        for (const auto& [piece, id] : vocabulary_) {
            if (piece.empty()) continue;
            tokens.clear();
            join(piece, *workspace.memory_, tokens);
            stays_whole[static_cast<std::size_t>(id)] = tokens.size() == 1 && tokens[0].id == id;
        }
    }
    stays_whole_ = std::move(stays_whole);
}

void Bpe::read_vocabulary(const nlohmann::json& value, const std::string& where) {
    const std::size_t count = value.size();
    // Ids are places in tables: a file of a few bytes must not make tables of gigabytes.
    const std::size_t limit = 4 * count + 65536;
    vocabulary_.reserve(count);
    std::vector<bool> taken;
    const Component here(value, where);
    for (const auto& [piece, number] : value.items()) {
        // Words for a message are put together only when there is one: this runs for every piece of a vocabulary.
        const std::optional<std::int32_t> checked = as_token_id(number);
        if (!checked) here.refuse("the value of \"" + piece + "\" is not a token id: " + number.dump());
        const std::int32_t id = *checked;
        const auto place = static_cast<std::size_t>(id);
        if (place >= limit)
            here.refuse("the id " + std::to_string(id) + " of \"" + piece + "\" is far beyond the " +
                        std::to_string(count) + " pieces of the vocabulary");
        if (place >= taken.size()) taken.resize(place + 1);
        if (taken[place]) here.refuse("the id " + std::to_string(id) + " of \"" + piece + "\" is given twice");
        taken[place] = true;
        vocabulary_.emplace(piece, id);
        if (!piece.empty() && character_length(piece, 0) == piece.size()) {
            std::size_t at = 0;
            const auto code_point = static_cast<std::size_t>(next_code_point(piece, at));
            if (code_point >= character_ids_.size()) character_ids_.resize(code_point + 1, -1);
            character_ids_[code_point] = id;
        }
    }
}

void Bpe::read_merges(const nlohmann::json& value, const std::string& where) {
    merges_.resize(std::bit_ceil(2 * value.size() + 2));
    std::size_t rank = 0;
    const auto refuse = [&](const std::string& reason) {
        Component(nlohmann::json::object(), where).refuse("entry " + std::to_string(rank) + " " + reason);
    };
    for (const auto& one : value) {
        if (one.is_string()) {
            const std::string_view text = one.get_ref<const std::string&>();
            if (text.starts_with("#version")) continue;  // the first line of an old merges.txt
            const std::size_t blank = text.find(' ');
            if (blank == std::string_view::npos || text.find(' ', blank + 1) != std::string_view::npos)
                refuse("is not two pieces with one blank between: \"" + std::string(text) + "\"");
            add_merge(text.substr(0, blank), text.substr(blank + 1), rank, where);
        } else if (one.is_array() && one.size() == 2 && one[0].is_string() && one[1].is_string()) {
            add_merge(one[0].get_ref<const std::string&>(), one[1].get_ref<const std::string&>(), rank, where);
        } else {
            refuse("is neither \"a b\" nor [\"a\", \"b\"]");
        }
        ++rank;
    }
}

void Bpe::add_merge(std::string_view left, std::string_view right, std::size_t rank, const std::string& where) {
    const std::string both = std::string(left) + std::string(right);
    const auto find = [&](std::string_view piece) {
        const auto id = id_of(piece);
        if (!id) {
            Component(nlohmann::json::object(), where)
                .refuse("entry " + std::to_string(rank) + " names \"" + std::string(piece) +
                        "\", which is not in the vocabulary");
        }
        return *id;
    };
    const std::uint64_t key = pair_key(find(left), find(right));
    std::size_t place = hash_of_pair(key) & (merges_.size() - 1);
    while (merges_[place].rank >= 0 && merges_[place].pair != key)
        place = (place + 1) & (merges_.size() - 1);
    merges_[place] = {key, static_cast<std::int32_t>(rank), find(both)};  // a pair listed twice: the last one counts
}

const Bpe::Merge* Bpe::merge_of(std::int32_t left, std::int32_t right) const {
    const std::uint64_t key = pair_key(left, right);
    std::size_t place = hash_of_pair(key) & (merges_.size() - 1);
    while (merges_[place].rank >= 0) {
        if (merges_[place].pair == key) return &merges_[place];
        place = (place + 1) & (merges_.size() - 1);
    }
    return nullptr;
}

std::optional<std::int32_t> Bpe::id_of(std::string_view piece) const {
    const auto found = vocabulary_.find(piece);
    if (found == vocabulary_.end()) return std::nullopt;
    return found->second;
}

void Bpe::put_symbols(std::string_view part, Workspace::Memory& memory) const {
    memory.symbols.clear();
    std::size_t unknown_bytes = 0;  // of an unknown token that is not put down yet
    const auto put_unknown = [&] {
        if (unknown_bytes > 0) memory.put(unk_id_, unknown_bytes);
        unknown_bytes = 0;
    };
    for (std::size_t at = 0; at < part.size();) {
        const std::size_t begin = at;
        const auto code_point = static_cast<std::size_t>(next_code_point(part, at));
        if (code_point < character_ids_.size() && character_ids_[code_point] >= 0) {
            put_unknown();
            memory.put(character_ids_[code_point], at - begin);
            continue;
        }
        if (!byte_ids_.empty()) {
            const auto id_of_byte = [&](std::size_t i) { return byte_ids_[static_cast<unsigned char>(part[i])]; };
            bool all = true;
            for (std::size_t i = begin; i < at; ++i)
                all = all && id_of_byte(i) >= 0;
            if (all) {
                for (std::size_t i = begin; i < at; ++i)
                    memory.put(id_of_byte(i), 1);
                continue;
            }
        }
        if (unk_id_ < 0) continue;
        if (!fuse_unk_) put_unknown();
        unknown_bytes += at - begin;
    }
    put_unknown();
}

void Bpe::join(std::string_view part, Workspace::Memory& memory, std::vector<BpeToken>& tokens) const {
    put_symbols(part, memory);
    std::vector<Symbol>& symbols = memory.symbols;
    std::vector<Candidate>& heap = memory.heap;
    heap.clear();
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        if (const Merge* merge = merge_of(symbols[i].id, symbols[i + 1].id))
            heap.push_back({merge->rank, static_cast<std::int32_t>(i), merge->id});
    }
    std::make_heap(heap.begin(), heap.end());
    const auto offer = [&](std::int32_t left) {
        const Symbol& symbol = symbols[static_cast<std::size_t>(left)];
        const Merge* merge = merge_of(symbol.id, symbols[static_cast<std::size_t>(symbol.next)].id);
        if (merge == nullptr) return;
        heap.push_back({merge->rank, left, merge->id});
        std::push_heap(heap.begin(), heap.end());
    };
    while (!heap.empty()) {
        std::pop_heap(heap.begin(), heap.end());
        const Candidate best = heap.back();
        heap.pop_back();
        Symbol& left = symbols[static_cast<std::size_t>(best.position)];
        if (left.bytes == 0 || left.next < 0) continue;
        Symbol& right = symbols[static_cast<std::size_t>(left.next)];
        // The symbols may have been joined to others since: the pair must still give this token.
        const Merge* merge = merge_of(left.id, right.id);
        if (merge == nullptr || merge->id != best.id) continue;
        left.id = best.id;
        left.bytes += right.bytes;
        left.next = right.next;
        right.bytes = 0;
        if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = best.position;
        if (left.previous >= 0) offer(left.previous);
        if (left.next >= 0) offer(best.position);
    }
    std::size_t end = 0;
    for (const Symbol& symbol : symbols) {
        if (symbol.bytes == 0) continue;
        end += symbol.bytes;
        tokens.push_back({symbol.id, end});
    }
}

void Bpe::encode(std::string_view part, Workspace& workspace, std::vector<BpeToken>& tokens) const {
    if (const auto id = id_of(part); id && stays_whole_[static_cast<std::size_t>(*id)]) {
        tokens.push_back({*id, part.size()});
        return;
    }
    join(part, *workspace.memory_, tokens);
}

}  // namespace pva::text
