// Schemas: shapes from named sizes, and what the helpers of result files do to texts and identities.
#include "pva/io/schema.h"

#include <boost/test/unit_test.hpp>

#include "pva/core/error.h"
#include "pva/io/result_file.h"

using namespace pva;

BOOST_AUTO_TEST_SUITE(schemas)

BOOST_AUTO_TEST_CASE(shapes) {
    const io::FileSchema schema{"pva sample", 1, "sample.md", "problem",
                                {{"rows", io::h5::Element::f32, {"problems", "d_model"}, io::Filled::per_unit, "1", "rows", ""},
                                 {"text", io::h5::Element::text, {"problems"}, io::Filled::per_unit, "1", "texts", "width"}}};
    const io::Sizes sizes{{"problems", 4}, {"d_model", 6}, {"width", 100}};
    BOOST_TEST((io::shape_of(io::find_spec(schema, "rows"), sizes) == std::vector<std::int64_t>{4, 6}));
    BOOST_TEST(io::text_width_of(io::find_spec(schema, "text"), sizes) == 100u);
    BOOST_TEST(io::text_width_of(io::find_spec(schema, "rows"), sizes) == 0u);
    BOOST_CHECK_THROW(io::find_spec(schema, "columns"), InternalError);
    BOOST_CHECK_THROW(io::shape_of(io::find_spec(schema, "rows"), {{"problems", 4}}), InternalError);
    BOOST_CHECK_THROW(io::text_width_of(io::find_spec(schema, "text"), {{"problems", 4}}), InternalError);
    // Every file has these, and they can be found in any schema.
    for (const io::DatasetSpec& common : io::common_datasets()) BOOST_TEST(&io::find_spec(schema, common.name) == &common);
}

BOOST_AUTO_TEST_CASE(texts_of_fixed_width) {
    const auto packed = io::pack_texts({"", "abcd", "abcdef", "abc\xc3\xa9", "ab\xe2\x82\xac"}, 4);
    const std::string text(reinterpret_cast<const char*>(packed.data()), packed.size());
    // Cut at the width, never inside a character.
    BOOST_TEST(text == std::string("\0\0\0\0abcdabcdabc\0ab\0\0", 20));
    BOOST_TEST(io::pack_texts({}, 4).empty());
}

BOOST_AUTO_TEST_CASE(identities) {
    const nlohmann::ordered_json a = {{"phase", "1"}, {"seed", 3}};
    const nlohmann::ordered_json b = {{"seed", 3}, {"phase", "1"}};
    BOOST_TEST(io::identity_hash(a) == io::identity_hash(b));
    BOOST_TEST(io::identity_hash(a).size() == 16u);
    const nlohmann::ordered_json c = {{"phase", "1"}, {"seed", 4}, {"end", 9}};
    BOOST_TEST(io::identity_hash(a) != io::identity_hash(c));
    BOOST_TEST(io::differences(a, b).empty());
    BOOST_TEST((io::differences(a, c) == std::vector<std::string>{"end: nothing there, 9 here", "seed: 3 there, 4 here"}));
}

BOOST_AUTO_TEST_SUITE_END()
