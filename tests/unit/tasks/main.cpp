// Entry of the tests of the room `tasks`.
#define BOOST_TEST_MODULE tasks
#include <boost/test/unit_test.hpp>
