// The Python text that every box starts with (bootstrap.py), embedded at build time.
#pragma once

namespace pva::exec {

extern const char* const bootstrap_text;

}  // namespace pva::exec
