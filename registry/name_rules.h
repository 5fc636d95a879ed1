// What names, versions, aliases and references may look like: "org/name", "v3", "prod/eu", "org/name@v3", "org/name@prod/eu".
// Pure functions. Names follow the Hugging Face client's own rule, so that every name can be asked for by it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry {

// A bare name stands for "library/NAME". kUsage for a name that is not possible or is reserved (an organisation that a page or
// an interface uses, a name that ends in ".vN").
Result<std::string> FullName(std::string_view name);

// "v12" -> 12; nullopt for anything else ("v0" and "v01" too).
std::optional<int64_t> ParseVersion(std::string_view text);
std::string VersionText(int64_t version);  // 12 -> "v12"

// An alias: 1..128 letters, digits and . _ - /, no empty part, not "main", not a version, not 40 hex digits. kUsage otherwise.
Status CheckAlias(std::string_view alias);

// 40 lower-case hex digits: what a commit looks like.
bool IsCommit(std::string_view text);

struct NameReference {
  std::string name;      // full
  std::string revision;  // after '@'; empty where there was none
};
Result<NameReference> ParseReference(std::string_view text);

// "org/name.v3" -> {"org/name", 3}: a repository of its own, which never changes.
struct PinnedName {
  std::string name;
  int64_t version = 0;
};
std::optional<PinnedName> ParsePinnedName(std::string_view name);

}  // namespace lorry
