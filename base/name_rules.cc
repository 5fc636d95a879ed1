#include "base/name_rules.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "base/text.h"

namespace lorry {
namespace {

constexpr std::array<std::string_view, 10> kReservedOrganisations = {"api",      "v1",      "v2",      "runs",    "cost",
                                                                     "registry", "workers", "metrics", "healthz", "readyz"};
constexpr size_t kMaxAlias = 128;

bool IsNameLetter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

bool IsEdgeLetter(char c) { return c == '.' || c == '-'; }

// "v12", and "v0" and "v01" with it: what looks like a version is nothing else.
bool IsVersionWord(std::string_view text) {
  return text.size() > 1 && text[0] == 'v' &&
         std::all_of(text.begin() + 1, text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

Error Wrong(std::string_view text, std::string_view rule) {
  return MakeError(ErrorCode::kUsage, fmt::format("\"{}\" {}", EscapeControl(text, 80), rule));
}

}  // namespace

bool IsNamePart(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNameBytes && std::all_of(text.begin(), text.end(), IsNameLetter) &&
         !IsEdgeLetter(text.front());
}

std::optional<int64_t> ParseVersion(std::string_view text) {
  if (text.size() < 2 || text.size() > 16 || text[0] != 'v' || text[1] == '0') return std::nullopt;
  int64_t version = 0;
  const auto [end, failed] = std::from_chars(text.data() + 1, text.data() + text.size(), version);
  if (failed != std::errc() || end != text.data() + text.size() || version <= 0) return std::nullopt;
  return version;
}

std::string VersionText(int64_t version) { return fmt::format("v{}", version); }

std::optional<PinnedName> ParsePinnedName(std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == name.npos || dot == 0) return std::nullopt;
  const std::optional<int64_t> version = ParseVersion(name.substr(dot + 1));
  if (!version) return std::nullopt;
  return PinnedName{std::string(name.substr(0, dot)), *version};
}

Result<std::string> FullName(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string_view organisation = slash == text.npos ? std::string_view("library") : text.substr(0, slash);
  const std::string_view name = slash == text.npos ? text : text.substr(slash + 1);
  if (!IsNamePart(organisation) || !IsNamePart(name)) return Wrong(text, "is not a name: ORG/NAME of letters, digits, . _ -");
  for (const std::string_view part : {organisation, name}) {
    if (part.find("--") != part.npos || part.find("..") != part.npos || part.ends_with(".git") || IsEdgeLetter(part.back())) {
      return Wrong(text, "is not a name: no --, no .., no . or - or .git at the end");
    }
  }
  const size_t dot = name.rfind('.');
  if (dot != name.npos && IsVersionWord(name.substr(dot + 1))) {
    return Wrong(text, "is reserved: names that end in .vN are versions");
  }
  if (std::find(kReservedOrganisations.begin(), kReservedOrganisations.end(), organisation) != kReservedOrganisations.end()) {
    return Wrong(text, "is reserved: this organisation is one of Lorry's own paths");
  }
  return fmt::format("{}/{}", organisation, name);
}

bool IsCommit(std::string_view text) {
  return text.size() == 40 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Status CheckAlias(std::string_view alias) {
  const std::vector<std::string> parts = Split(alias, '/');
  if (alias.size() > kMaxAlias ||
      !std::all_of(parts.begin(), parts.end(), [](const std::string& part) { return IsNamePart(part); })) {
    return Wrong(alias, "is not an alias: letters, digits, . _ - and /");
  }
  if (IsVersionWord(alias) || alias == "main" || alias == "HEAD" || IsCommit(alias)) {
    return Wrong(alias, "is reserved; an alias may not look like a version or a commit");
  }
  return OkStatus();
}

Result<NameReference> ParseReference(std::string_view text) {
  const size_t at = text.find('@');
  NameReference reference;
  LORRY_ASSIGN_OR_RETURN(reference.name, FullName(text.substr(0, at)));
  if (at == text.npos) return reference;
  reference.revision = text.substr(at + 1);
  if (reference.revision.empty()) {
    return MakeError(ErrorCode::kUsage, fmt::format("\"{}\" has nothing after '@'", EscapeControl(text)));
  }
  return reference;
}

}  // namespace lorry
