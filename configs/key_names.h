// Which key did they mean? Suggestions for a key that Lorry does not know.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lorry {

// What to say behind "unknown key": `; here it is called "r"`, `; did you mean "learning_rate"?`, or nothing.
//
// Looked for in the same section first (a listed alias, then a near spelling), then by full path (a listed alias, the same key in
// another section, a near spelling of the whole path). `path` is the unknown key's ("adapter.rank"), `all` every known key path.
std::string KeySuggestion(std::string_view path, const std::vector<std::string>& all);

}  // namespace lorry
