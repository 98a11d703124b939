// Entry point of the tests of the room `exec`.
#define BOOST_TEST_MODULE exec
#include <boost/test/unit_test.hpp>
