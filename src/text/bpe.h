// Byte-pair encoding (Sennrich et al. 2016) as the model of a tokenizer.json has it: a part of a text becomes tokens by
// joining neighbours, the pair that stands first in the list of merges first.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

namespace pva::text {

/// One token of a part: `end` is the byte of the part behind it, the next one begins there.
struct BpeToken {
    std::int32_t id = 0;
    std::size_t end = 0;
};

/// Immutable; may be used by several threads, each with its own workspace.
class Bpe {
  public:
    /// Memory that `encode` uses again from part to part.
    class Workspace {
      public:
        Workspace();
        ~Workspace();

      private:
        friend class Bpe;
        struct Memory;
        std::unique_ptr<Memory> memory_;
    };

    /// The `model` of a tokenizer.json: type BPE, without dropout, prefixes and suffixes. Errors: InputError for
    /// another type, wrong fields, duplicate ids, merges of unknown pieces.
    Bpe(const nlohmann::json& value, const std::string& where);

    /// Appends the tokens of one non-empty part, O(n log n) for n bytes. Characters that neither the vocabulary nor
    /// byte fallback nor an unknown token covers are left out, as the reference does.
    void encode(std::string_view part, Workspace& workspace, std::vector<BpeToken>& tokens) const;

    std::optional<std::int32_t> id_of(std::string_view piece) const;
    /// Number of pieces. Ids need not be contiguous.
    std::size_t size() const { return vocabulary_.size(); }
    /// Id and piece of the whole vocabulary, in no special order.
    const auto& vocabulary() const { return vocabulary_; }
    /// Id of the unknown token, -1 when there is none.
    std::int32_t unk_id() const { return unk_id_; }

  private:
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
    };
    struct Merge {
        std::uint64_t pair = 0;  // left id in the upper half, right id in the lower one
        std::int32_t rank = -1;  // -1: a free place of the table
        std::int32_t id = 0;
    };

    void read_vocabulary(const nlohmann::json& value, const std::string& where);
    void read_merges(const nlohmann::json& value, const std::string& where);
    void add_merge(std::string_view left, std::string_view right, std::size_t rank, const std::string& where);
    const Merge* merge_of(std::int32_t left, std::int32_t right) const;
    void put_symbols(std::string_view part, Workspace::Memory& memory) const;
    void join(std::string_view part, Workspace::Memory& memory, std::vector<BpeToken>& tokens) const;

    std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> vocabulary_;
    std::vector<Merge> merges_;                // hash table with linear probing, a power of two
    std::vector<std::int32_t> character_ids_;  // by code point, -1: not a piece
    std::vector<std::int32_t> byte_ids_;       // <0x00> to <0xFF>; empty without byte fallback
    std::vector<bool> stays_whole_;            // by id: its own text becomes this one token
    std::int32_t unk_id_ = -1;
    bool fuse_unk_ = false;
    bool ignore_merges_ = false;
};

}  // namespace pva::text
