// The frames between a rank and its supervisor process: length (8 bytes), kind (1 byte), fields in native byte order.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "pva/core/error.h"
#include "pva/exec/verdict.h"

namespace pva::exec {

enum class MessageKind : std::uint8_t {
    program = 1,      ///< rank to supervisor: id, Program
    script = 2,       ///< rank to supervisor: id, script, input
    hello = 10,       ///< supervisor to rank, once: kind of error (ExitCode, 0 none), text, description, version
    outcome = 11,     ///< supervisor to rank: id, Outcome
    script_end = 12,  ///< supervisor to rank: id, 1 or 0 for success, standard output, what went wrong
    heartbeat = 13,   ///< supervisor to rank, every few seconds
};

struct Message {
    MessageKind kind;
    std::string payload;
};

/// Appends fields to a payload.
class Writer {
  public:
    template <typename Number>
    void number(Number value) {
        static_assert(std::is_arithmetic_v<Number>);
        bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    void text(std::string_view value) {
        number<std::uint64_t>(value.size());
        bytes_.append(value);
    }
    std::string take() { return std::move(bytes_); }

  private:
    std::string bytes_;
};

/// Takes fields from a payload in the order they were written. InternalError when it is too short.
class Reader {
  public:
    explicit Reader(std::string_view bytes) : bytes_(bytes) {}
    template <typename Number>
    Number number() {
        Number value;
        std::memcpy(&value, take(sizeof value).data(), sizeof value);
        return value;
    }
    std::string text() { return std::string(take(number<std::uint64_t>())); }

  private:
    std::string_view take(std::uint64_t count) {
        if (count > bytes_.size()) throw InternalError("a message between rank and supervisor process is cut short");
        const std::string_view piece = bytes_.substr(0, count);
        bytes_.remove_prefix(count);
        return piece;
    }
    std::string_view bytes_;
};

/// The bytes of one frame.
std::string encode(MessageKind kind, std::string_view payload);

/// Takes the first whole frame off `buffer`, if there is one. InternalError for a frame that cannot be one.
std::optional<Message> take_message(std::string& buffer);

void put(Writer& writer, const Program& program);
Program take_program(Reader& reader);
void put(Writer& writer, const Outcome& outcome);
Outcome take_outcome(Reader& reader);

}  // namespace pva::exec
