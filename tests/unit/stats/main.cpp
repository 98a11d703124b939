// Entry point of the tests of the room `stats`.
#define BOOST_TEST_MODULE stats
#include <boost/test/unit_test.hpp>
