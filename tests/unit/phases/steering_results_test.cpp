// From made-up programs of a steered part to what is chosen and how controls count.
#define BOOST_TEST_MODULE steering_results
#include <boost/test/unit_test.hpp>

#include <string>
#include <vector>

#include "pva/phases/steering_results.h"

using namespace pva;
using namespace pva::phases;

namespace {

SteeringArm one_arm() {
    SteeringArm arm;
    arm.name = "right L1-5";
    arm.kind = "right";
    arm.layer = 1;
    arm.latent = 5;
    return arm;
}

SteeringCondition condition(const std::string& name, ConditionKind kind, double coefficient, std::int32_t latent = 5) {
    SteeringCondition one;
    one.name = name;
    one.arm = kind == ConditionKind::none ? -1 : 0;
    one.kind = kind;
    one.latent = latent;
    one.coefficient = coefficient;
    return one;
}

/// Twenty problems, ten of them solved without steering; a condition fixes the first `fixed` of the others and breaks none.
SteeredPrograms programs_of(tasks::SplitPart part, const std::vector<int>& fixed) {
    SteeredPrograms programs;
    programs.part = part;
    programs.problems = 20;
    for (int problem = 0; problem < 20; ++problem) {
        for (const int n : fixed) {
            programs.passed.push_back(problem >= 10 || problem < n ? 1 : 0);
            programs.verdict.push_back(programs.passed.back() == 1 ? 0 : 1);
            programs.similarity.push_back(1);
            programs.gate_open.push_back(1);
        }
    }
    return programs;
}

}  // namespace

BOOST_AUTO_TEST_CASE(of_equally_good_gates_the_one_that_opens_least) {
    std::vector<SteeringCondition> conditions = {condition("no steering", ConditionKind::none, 0)};
    for (const double coefficient : {1.0, 2.0}) {
        for (const double percentile : {50.0, 70.0, 90.0}) {
            conditions.push_back(condition("x " + std::to_string(coefficient) + " above p" + std::to_string(percentile), ConditionKind::chosen, coefficient));
            conditions.back().gate_percentile = percentile;
        }
    }
    const auto chosen_of = [&](const std::vector<int>& fixed) {
        const nlohmann::ordered_json summary = steering_results(programs_of(tasks::SplitPart::tuning, fixed), {one_arm()}, conditions, 0, false, 1).summary;
        return summary.at("arms").at(0).at("chosen_condition").get<int>();
    };
    BOOST_TEST(chosen_of({0, 4, 4, 4, 5, 5, 5}) == 3);
    BOOST_TEST(chosen_of({0, 4, 4, 0, 5, 5, 5}) == 2);  // the last one does nothing
    BOOST_TEST(chosen_of({0, 0, 0, 0, 5, 5, 0}) == 5);
}

BOOST_AUTO_TEST_CASE(shuffled_controls_count_as_often_as_shuffles_chose_them) {
    std::vector<SteeringCondition> conditions = {condition("no steering", ConditionKind::none, 0), condition("chosen", ConditionKind::chosen, 1), condition("low", ConditionKind::low_score, 1, 7),
                                                 condition("random", ConditionKind::random, 1, -1), condition("shuffled 7", ConditionKind::shuffled, 1, 7), condition("shuffled 8", ConditionKind::shuffled, 1, 8)};
    conditions[1].draws = 2;
    conditions[4].draws = 3;
    conditions[5].draws = 4;
    const nlohmann::ordered_json summary = steering_results(programs_of(tasks::SplitPart::analysis, {0, 5, 1, 0, 1, 6}), {one_arm()}, conditions, 20, false, 1).summary;
    const nlohmann::ordered_json& shuffled = summary.at("arms").at(0).at("controls").at(2);
    BOOST_TEST(shuffled.at("controls") == 2);
    BOOST_TEST(shuffled.at("shuffles") == 9);
    BOOST_TEST(shuffled.at("chose_the_latent_itself") == 2);
    BOOST_TEST(shuffled.at("times_chosen") == (std::vector<int>{3, 4}));
    BOOST_TEST(shuffled.at("smallest_p").get<double>() == 0.3);
    std::string ranks;
    for (const auto& test : summary.at("tests")) {
        if (test.at("test").get<std::string>().starts_with("rank")) ranks += test.at("note").get<std::string>() + "; ";
    }
    // Latent 7 is one control of two kinds: three controls in all.
    BOOST_TEST(ranks == "rank 1 of 2; rank 1 of 2; rank 7 of 10; rank 2 of 4; ");
    BOOST_TEST(!steering_lines(summary).empty());
}
