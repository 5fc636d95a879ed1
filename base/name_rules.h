// What names, versions, aliases and references may look like: "org/name", "v3", "prod/eu", "org/name@v3", "org/name@prod/eu".
// Pure functions, for the job file, the command line and the registry alike. Names follow the Hugging Face client's own rule, so
// that every name can be asked for by it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry {

constexpr size_t kMaxNameBytes = 96;  // of either part of a name, as Hugging Face has it

// 1..96 letters, digits and . _ -, the first neither . nor -.
bool IsNamePart(std::string_view text);

// A bare name stands for "library/NAME". kUsage for a name that is not possible or is reserved (an organisation that a page or
// an interface uses, a name that ends in ".vN").
Result<std::string> FullName(std::string_view name);

// "v12" -> 12; nullopt for anything else ("v0" and "v01" too).
std::optional<int64_t> ParseVersion(std::string_view text);
std::string VersionText(int64_t version);  // 12 -> "v12"

// An alias: at most 128 bytes of name parts with / between them, not "main" or "HEAD", not v and digits ("v0" neither, though no
// version is called so), not 40 hex digits. kUsage otherwise.
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
