// Damaged and hostile config.json: whatever the file holds, there is a configuration or an InputError.
#include <boost/test/unit_test.hpp>

#include <set>
#include <string>
#include <vector>

#include "config_samples.h"
#include "pva/core/error.h"
#include "pva/model/config.h"

using namespace pva;
using samples::json;

namespace {

/// True when the text is refused; fails the test for an exception of another kind or a message without the file.
bool refuses(const std::string& text) {
    try {
        model::parse_config(text, "some/config.json");
        return false;
    } catch (const InputError& error) {
        const std::string message = error.what();
        BOOST_TEST(message.find("some/config.json") != std::string::npos, message);
    } catch (const std::exception& error) {
        BOOST_ERROR("another exception: " << error.what() << " for " << text.substr(0, 400));
    }
    return true;
}

std::string nested(std::size_t depth, const std::string& open, const std::string& close) {
    std::string text;
    for (std::size_t i = 0; i < depth; ++i)
        text += open;
    text += "1";
    for (std::size_t i = 0; i < depth; ++i)
        text += close;
    return text;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(hostile)

BOOST_AUTO_TEST_CASE(no_json_or_no_object) {
    for (const std::string text : {"", " ", "{", "[]", "null", "5", "\"llama\"", "{}", "{\"a\":}", "{'a': 1}",
                                   "\xff\xfe{", "{\"model_type\": \"\xff\"}"})
        BOOST_TEST(refuses(text), text);
    BOOST_TEST(refuses(std::string("\0\0\0\0", 4)));
    BOOST_CHECK_THROW(model::load_config(std::string("/nonexistent/config.json")), InputError);
}

BOOST_AUTO_TEST_CASE(cut_anywhere) {
    for (const json& base : samples::one_of_each()) {
        const std::string text = base.dump();
        for (std::size_t length = 0; length < text.size(); ++length)
            BOOST_REQUIRE(refuses(text.substr(0, length)));
        BOOST_TEST(!refuses(text));
    }
}

BOOST_AUTO_TEST_CASE(numbers_that_json_does_not_have) {
    for (const json& base : samples::one_of_each()) {
        const std::string rest = base.dump().substr(1);
        for (const std::string number :
             {"NaN", "-NaN", "nan", "Infinity", "-Infinity", "1e400", "0x40", "064", "+64", "64."}) {
            // The first of two equal keys would be overruled by the second, so the field goes first and away below.
            json without = base;
            without.erase("hidden_size");
            BOOST_TEST(refuses("{\"hidden_size\": " + number + ", " + without.dump().substr(1)), number);
            BOOST_TEST(refuses("{\"stray\": " + number + ", " + rest), number);
        }
    }
}

// Every field of every architecture with every kind of value.
BOOST_AUTO_TEST_CASE(any_value_in_any_field) {
    const std::vector<std::string> values = {
        "0",
        "-1",
        "1",
        "2",
        "1e30",
        "-1e30",
        "1e-320",
        "1e308",
        "2147483647",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "0.5",
        "true",
        "false",
        "null",
        "\"\"",
        "\"x\"",
        "\"1\"",
        "[]",
        "{}",
        "[[]]",
        "[1,2]",
        "[1,[2,[3,{\"a\":[{}]}]]]",
        "[null]",
        "{\"a\":null}",
        "{\"rope_type\":{\"rope_type\":{}}}",
        "{\"rope_type\":[]}",
        "{\"type\":null}",
        "{\"rope_theta\":{}}",
        "{\"rope_type\":\"llama3\"}",
        "{\"rope_type\":\"llama3\",\"factor\":1e308,\"low_freq_factor\":1e-308,\"high_freq_factor\":1e308}",
        "[\"sliding_attention\"]"};
    std::set<std::string> fields;
    for (const json& base : samples::one_of_each()) {
        for (const auto& [field, value] : base.items())
            fields.insert(field);
    }
    for (const char* field :
         {"rope_parameters", "partial_rotary_factor", "layer_types", "quantization_config", "head_dim", "mlp_bias",
          "use_bidirectional_attention", "pruned_heads", "no_rope_layers", "original_max_position_embeddings", "stray"})
        fields.insert(field);
    std::size_t taken = 0;
    std::size_t tried = 0;
    for (const json& base : samples::one_of_each()) {
        for (const std::string& field : fields) {
            for (const std::string& value : values) {
                json object = base;
                object[field] = json::parse(value);
                ++tried;
                taken += refuses(object.dump()) ? 0 : 1;
            }
        }
    }
    BOOST_TEST_MESSAGE(tried << " files tried, " << taken << " taken");
    BOOST_TEST(tried > 5000u);
    BOOST_TEST(taken > 1000u);
    BOOST_TEST(taken < tried);
}

// Copying, comparing and printing such a value would use as much stack as it is deep.
BOOST_AUTO_TEST_CASE(nested_beyond_measure) {
    const std::string arrays = nested(500000, "[", "]");
    const std::string objects = nested(500000, "{\"a\":", "}");
    for (const std::string& deep : {arrays, objects, std::string(1000000, '[')}) {
        for (const char* field :
             {"hidden_size", "eos_token_id", "rope_parameters", "layer_types", "quantization_config", "stray"}) {
            for (const json& base : {samples::llama_2_7b(), samples::gemma_2_2b()}) {
                json without = base;
                without.erase(field);
                BOOST_TEST(refuses("{\"" + std::string(field) + "\": " + deep + ", " + without.dump().substr(1)));
            }
        }
        BOOST_TEST(refuses(deep));
    }
}

BOOST_AUTO_TEST_SUITE_END()
