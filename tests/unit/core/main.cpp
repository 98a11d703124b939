// Entry point of the tests of the room `core`.
#define BOOST_TEST_MODULE core
#include <boost/test/unit_test.hpp>
