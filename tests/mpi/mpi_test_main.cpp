// main of the tests that run under mpirun: every rank runs the same cases, the exit status is the maximum over ranks.
#define BOOST_TEST_NO_MAIN
#define BOOST_TEST_ALTERNATIVE_INIT_API
#include <boost/test/unit_test.hpp>

#include <iostream>

#include "mpi_test.h"
#include "pva/mpi/check.h"
#include "pva/mpi/environment.h"

namespace {
const pva::mpi::Communicator* world_of_tests = nullptr;
}

const pva::mpi::Communicator& test_world() { return *world_of_tests; }

int main(int argc, char** argv) {
    pva::mpi::Environment environment;
    world_of_tests = &environment.world();
    // Only failures and the first rank speak.
    if (world_of_tests->rank() != 0) std::cout.setstate(std::ios::failbit);
    const int own = boost::unit_test::unit_test_main([] { return true; }, argc, argv);
    return static_cast<int>(world_of_tests->all_max(own));
}
