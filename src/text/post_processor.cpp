// Reading of post-processors.
#include "post_processor.h"

#include <utility>

#include "json_fields.h"

namespace pva::text {

namespace {

Template read_template(const Component& component) {
    component.only({"type", "single", "pair", "special_tokens"});
    const Component special(component.object("special_tokens"), component.where() + ", special_tokens");
    Template result;
    bool has_text = false;
    for (const auto& one : component.array("single")) {
        const Component piece(one, component.where() + ", single");
        piece.only({"Sequence", "SpecialToken"});
        if (piece.has("Sequence")) {
            const Component sequence(piece.object("Sequence"), piece.where() + ", Sequence");
            if (sequence.string("id") != "A" || has_text) piece.refuse("the text $A is expected once and nothing else");
            has_text = true;
            continue;
        }
        const std::string name = Component(piece.object("SpecialToken"), piece.where() + ", SpecialToken").string("id");
        const Component token(special.object(name), special.where() + ", " + name);
        for (const auto& id : token.array("ids"))
            (has_text ? result.behind : result.before).push_back(token_id(id, token.where() + ": an entry of ids"));
    }
    if (!has_text) component.refuse("the text $A is missing in single");
    return result;
}

void read_into(const nlohmann::json& value, const std::string& where,
               std::vector<std::variant<TrimOffsets, Template>>& steps) {
    if (value.is_null()) return;
    const std::string type = Component(value, where + ", post_processor").type();
    const Component named(value, where + ", post_processor " + type);
    if (type == "ByteLevel") {
        named.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
        if (named.boolean("trim_offsets")) steps.push_back(TrimOffsets{named.boolean("add_prefix_space")});
    } else if (type == "TemplateProcessing") {
        steps.push_back(read_template(named));
    } else if (type == "Sequence") {
        named.only({"type", "processors"});
        for (const auto& one : named.array("processors"))
            read_into(one, where, steps);
    } else {
        named.refuse("pva does not support this post-processor");
    }
}

}  // namespace

std::vector<std::variant<TrimOffsets, Template>> read_post_processor(const nlohmann::json& value,
                                                                     const std::string& where) {
    std::vector<std::variant<TrimOffsets, Template>> steps;
    read_into(value, where, steps);
    return steps;
}

}  // namespace pva::text
