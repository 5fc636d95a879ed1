// Percent escapes of addresses (RFC 3986, section 2.1). Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lorry {

// "%2F" -> "/". nullopt for a malformed escape or a zero byte.
std::optional<std::string> PercentDecode(std::string_view text);
// Every byte but the unreserved ones and those of `keep`.
std::string PercentEncode(std::string_view text, std::string_view keep = "");

}  // namespace lorry
