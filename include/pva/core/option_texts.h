// Texts made from an executable's option registration: manual page and shell completion.
#pragma once

#include <string>

#include "pva/core/options.h"

namespace pva {

/// Manual page of section 1 in the man macros of roff (man(7)): name, synopsis, description, options with their words and
/// defaults, exit status, environment, examples. `version`: what stands in the page's foot.
std::string man_page(const OptionSet& set, const std::string& version);

/// Bash code that defines the completion function `_PROGRAM` and registers it: names of options that are not given yet, the words
/// of those that take some, files for values called FILE, folders for DIR, files and folders where either is possible.
std::string bash_completion(const OptionSet& set);

}  // namespace pva
