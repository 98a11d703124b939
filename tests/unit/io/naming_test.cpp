// Names of finished files: there and back, and names that are none.
#include "pva/io/naming.h"

#include <boost/test/unit_test.hpp>

using namespace pva;

namespace {
void round_trip(const io::FileName& name, const std::string& text) {
    BOOST_TEST(io::to_string(name) == text);
    const auto parsed = io::parse_file_name(text);
    BOOST_REQUIRE_MESSAGE(parsed.has_value(), text);
    BOOST_TEST(parsed->prefix == name.prefix);
    BOOST_TEST(parsed->model == name.model);
    BOOST_TEST(parsed->range == name.range);
    BOOST_TEST(parsed->suffix == name.suffix);
    BOOST_TEST(parsed->timestamp == name.timestamp);
    BOOST_TEST(parsed->extension == name.extension);
}
}  // namespace

BOOST_AUTO_TEST_SUITE(naming)

BOOST_AUTO_TEST_CASE(there_and_back) {
    round_trip({"dataset", "gemma-2-2b", "0-399", "", "2024-06-07_08-09-10", "h5"}, "dataset_gemma-2-2b_0-399_2024-06-07_08-09-10.h5");
    round_trip({"dataset", "my_own_model_v1.5", "0-0", "", "2024-06-07_08-09-10", "h5"}, "dataset_my_own_model_v1.5_0-0_2024-06-07_08-09-10.h5");
    round_trip({"latents", "gemma", "10-1500", "layer-12", "2024-06-07_08-09-10", "json"}, "latents_gemma_10-1500_layer-12_2024-06-07_08-09-10.json");
    // A model whose name holds something like a range: the real range is the last one.
    round_trip({"splits", "mbpp_1-100_set", "0-49", "", "2024-06-07_08-09-10", "h5"}, "splits_mbpp_1-100_set_0-49_2024-06-07_08-09-10.h5");
    round_trip({"splits", "set_1-100", "0-49", "", "2024-06-07_08-09-10", "h5"}, "splits_set_1-100_0-49_2024-06-07_08-09-10.h5");
    // A suffix with an underscore.
    round_trip({"latents", "gemma", "0-9", "part_two", "2024-06-07_08-09-10", "h5"}, "latents_gemma_0-9_part_two_2024-06-07_08-09-10.h5");
}

BOOST_AUTO_TEST_CASE(names_that_are_none) {
    for (const char* name : {"", "dataset", "dataset.h5", "dataset_gemma_0-399.h5", "dataset_gemma_2024-06-07_08-09-10.h5", "dataset_gemma_0-399_2024-06-07.h5",
                             "dataset_gemma_0-399_2024-06-07_08-09-10", "dataset_gemma_0_399_2024-06-07_08-09-10.h5", "dataset_gemma_0-399_2024-06-07_08-09-10.h5.part",
                             "dataset_0123456789abcdef.h5.part", "_gemma_0-399_2024-06-07_08-09-10.h5", "dataset__0-399_2024-06-07_08-09-10.h5 copy",
                             "data/dataset_gemma_0-399_2024-06-07_08-09-10.h5"}) {
        BOOST_TEST(!io::parse_file_name(name).has_value(), name);
    }
}

BOOST_AUTO_TEST_CASE(parts_of_names) {
    BOOST_TEST(io::file_name_part("gemma-2_2b.v1") == "gemma-2_2b.v1");
    BOOST_TEST(io::file_name_part("google/gemma 2") == "google-gemma-2");
    BOOST_TEST(io::file_name_part("a:b*c\n") == "a-b-c-");
    BOOST_TEST(io::file_name_part("\xc3\xa9") == "--");
    BOOST_TEST(io::file_name_part("") == "unnamed");
    // What is written into a name can be read again.
    const io::FileName odd{"dataset", "org/odd model", "0-1", "", "2024-06-07_08-09-10", "h5"};
    const auto parsed = io::parse_file_name(io::to_string(odd));
    BOOST_REQUIRE(parsed.has_value());
    BOOST_TEST(parsed->model == "org-odd-model");
}

BOOST_AUTO_TEST_SUITE_END()
