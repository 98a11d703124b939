// Random strings from Philox streams, draw by draw as random_strings.py.
#include "random_strings.h"

#include <cstdint>
#include <fstream>
#include <stdexcept>

#include <nlohmann/json.hpp>

#include "pva/core/philox.h"

namespace {

void put(char32_t c, std::string& text) {
    const auto byte = [&](char32_t b) { text.push_back(static_cast<char>(b)); };
    if (c < 0x80) return byte(c);
    if (c < 0x800) {
        byte(0xC0 | c >> 6);
    } else if (c < 0x10000) {
        byte(0xE0 | c >> 12);
        byte(0x80 | (c >> 6 & 0x3F));
    } else {
        byte(0xF0 | c >> 18);
        byte(0x80 | (c >> 12 & 0x3F));
        byte(0x80 | (c >> 6 & 0x3F));
    }
    byte(0x80 | (c & 0x3F));
}

std::vector<char32_t> members(const nlohmann::json& ranges) {
    std::vector<char32_t> result;
    for (const auto& range : ranges) {
        for (auto c = range[0].get<std::uint32_t>(); c <= range[1].get<std::uint32_t>(); ++c)
            result.push_back(c);
    }
    return result;
}

class Strings {
  public:
    explicit Strings(nlohmann::json spec)
        : spec_(std::move(spec)), assigned_(members(spec_.at("assigned"))), marks_(members(spec_.at("marks"))) {}

    std::string make(std::uint32_t item) const {
        pva::PhiloxStream random(spec_.at("seed").get<std::uint64_t>(), spec_.at("stream").get<std::uint64_t>(), item);
        std::string text;
        const std::uint32_t pieces = random.below(14);
        for (std::uint32_t i = 0; i < pieces; ++i)
            put_piece(random, text);
        return text;
    }

  private:
    void put_piece(pva::PhiloxStream& random, std::string& text) const {
        const auto several = [&](std::uint32_t count, const auto& draw) {
            for (; count > 0; --count)
                put(draw(), text);
        };
        switch (random.below(12)) {
            case 0:
                return several(1 + random.below(8), [&] { return char32_t{0x20} + random.below(95); });
            case 1: {
                const std::string blank = pick(random, "blanks");
                for (std::uint32_t count = 1 + random.below(4); count > 0; --count)
                    text += blank;
                return;
            }
            case 2:
                return several(1 + random.below(9), [&] { return char32_t{0x30} + random.below(10); });
            case 3:
                return several(1 + random.below(4), [&] { return any_of(random, marks_); });
            case 4:
                text += pick(random, "bases");
                return several(random.below(4), [&] { return char32_t{0x300} + random.below(0x30); });
            case 5:
                return several(1 + random.below(4), [&] { return char32_t{0x4E00} + random.below(0x51F0); });
            case 6:
                text += pick(random, "snippets");
                return;
            case 7:
                return several(1 + random.below(5), [&] { return any_of(random, assigned_); });
            case 8:
                text += pick(random, "words");
                return;
            case 9:
                text += pick(random, "specials");
                return;
            case 10:
                return several(1 + random.below(6), [&] { return char32_t{0x61} + random.below(26); });
            default:
                text += ' ';
        }
    }

    static char32_t any_of(pva::PhiloxStream& random, const std::vector<char32_t>& from) {
        return from[random.below(static_cast<std::uint32_t>(from.size()))];
    }

    std::string pick(pva::PhiloxStream& random, const char* name) const {
        const auto& list = spec_.at(name);
        return list[random.below(static_cast<std::uint32_t>(list.size()))].get<std::string>();
    }

    nlohmann::json spec_;
    std::vector<char32_t> assigned_;
    std::vector<char32_t> marks_;
};

}  // namespace

std::vector<std::string> random_strings(const std::string& file) {
    std::ifstream stream(file);
    if (!stream) throw std::runtime_error("cannot open " + file);
    const auto spec = nlohmann::json::parse(stream);
    const Strings strings(spec);
    std::vector<std::string> result;
    for (std::uint32_t item = 0; item < spec.at("count").get<std::uint32_t>(); ++item)
        result.push_back(strings.make(item));
    return result;
}
