// Choice of the instruction set.
#include <algorithm>
#include <boost/test/unit_test.hpp>

#include "pva/core/error.h"
#include "pva/kernels/cpu.h"

using namespace pva::kernels;

BOOST_AUTO_TEST_SUITE(cpu)

BOOST_AUTO_TEST_CASE(the_best_one_is_used_and_any_can_be_forced) {
    const std::vector<std::string> names = usable_instruction_sets();
    BOOST_REQUIRE(!names.empty());
    BOOST_TEST(instruction_set() == names.front());
    for (const std::string& name : names) {
        const ForcedInstructionSet forced(name);
        BOOST_TEST(instruction_set() == name);
    }
    BOOST_TEST(instruction_set() == names.front());
    if (std::find(names.begin(), names.end(), "AVX3") == names.end())
        BOOST_TEST_MESSAGE("skipped: this CPU has no AVX-512, so nothing was compared with it");
}

BOOST_AUTO_TEST_CASE(sets_without_fused_multiply_add_are_left_out) {
    for (const char* name : {"SSE2", "SSSE3", "SSE4", "EMU128", ""})
        BOOST_CHECK_THROW(ForcedInstructionSet forced(name), pva::UsageError);
}

BOOST_AUTO_TEST_CASE(a_cpu_without_fused_multiply_add_is_refused) {
    const std::vector<std::string> names = usable_instruction_sets();
    if (names.front() != "SCALAR") BOOST_CHECK_NO_THROW(require_supported_cpu());
    if (names.back() == "SCALAR") {
        const ForcedInstructionSet forced("SCALAR");
        BOOST_CHECK_THROW(require_supported_cpu(), pva::InputError);
    }
}

BOOST_AUTO_TEST_SUITE_END()
