// JSON that others wrote, read strictly: UTF-8, bounded depth and size, no key twice; and JSON that we hash, in one canonical
// form.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry {

struct JsonLimits {
  size_t max_bytes = size_t{100} << 20;
  int max_depth = 64;
};

// Errors: kData with line and column: not JSON, not UTF-8, too large or deep, a repeated key (named in `key`), a number out of
// range.
Result<nlohmann::json> ParseJson(std::string_view text, const JsonLimits& limits = {});

// Keys sorted by code point, no blanks, numbers as nlohmann-json writes them: equal values give equal bytes (after RFC 8785,
// whose rule for doubles is not needed: what we hash holds integers and strings only).
std::string CanonicalJson(const nlohmann::json& value);

// For people and for the event log: names and texts that came from outside stand in it with U+FFFD for what is not UTF-8.
std::string ShownJson(const nlohmann::json& value);

}  // namespace lorry
