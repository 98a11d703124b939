// The side of an alternative hypothesis.
#pragma once

namespace pva::stats {

enum class Alternative { two_sided, less, greater };

}  // namespace pva::stats
