// The random strings that tokenizers are compared on; tests/reference/text/random_strings.py makes the same ones.
#pragma once

#include <string>
#include <vector>

/// All strings of the file tests/golden/text/random_strings.json, in order.
std::vector<std::string> random_strings(const std::string& file);
