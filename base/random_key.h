// Keys that nobody can guess, of the system's randomness: submission ids, query keys, tokens, sessions, a home's id. Never what a
// result depends on: that is base/random.h.
#pragma once

#include <string>

namespace lorry {

// 32 hex digits, 128 bits. Any thread.
std::string RandomKey();

}  // namespace lorry
