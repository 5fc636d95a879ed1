#include "registry/name_rules.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "base/text.h"

namespace lorry {
namespace {

constexpr std::array<std::string_view, 10> kReservedOrganisations = {"api",      "v1",      "v2",      "runs",    "cost",
                                                                     "registry", "workers", "metrics", "healthz", "readyz"};
constexpr size_t kMaxPart = 96;
constexpr size_t kMaxAlias = 128;

bool IsNameLetter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

bool IsNamePart(std::string_view part) {
  if (part.empty() || part.size() > kMaxPart || !std::all_of(part.begin(), part.end(), IsNameLetter)) return false;
  const bool edges = part.front() == '.' || part.front() == '-' || part.back() == '.' || part.back() == '-';
  return !edges && part.find("--") == part.npos && part.find("..") == part.npos && !part.ends_with(".git");
}

Error BadName(std::string_view name, std::string_view why) {
  return MakeError(ErrorCode::kUsage, fmt::format("\"{}\" is no possible name: {}", EscapeControl(name), why),
                   "use ORG/NAME of letters, digits, '.', '_' and '-'");
}

}  // namespace

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

Result<std::string> FullName(std::string_view name) {
  const std::string full = name.find('/') == name.npos ? fmt::format("library/{}", name) : std::string(name);
  const size_t slash = full.find('/');
  const std::string_view organisation = std::string_view(full).substr(0, slash);
  const std::string_view rest = std::string_view(full).substr(slash + 1);
  if (!IsNamePart(organisation) || !IsNamePart(rest)) {
    return BadName(name, "a part has letters that are not allowed, or is too long or empty");
  }
  if (std::find(kReservedOrganisations.begin(), kReservedOrganisations.end(), organisation) != kReservedOrganisations.end()) {
    return BadName(name, fmt::format("\"{}\" is reserved", organisation));
  }
  if (ParsePinnedName(rest)) return BadName(name, "names that end in .vN stand for versions");
  return full;
}

bool IsCommit(std::string_view text) {
  return text.size() == 40 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Status CheckAlias(std::string_view alias) {
  bool good = !alias.empty() && alias.size() <= kMaxAlias && alias != "main" && alias != "HEAD" && !ParseVersion(alias) &&
              !IsCommit(alias);
  for (const std::string& part : Split(alias, '/')) {
    good = good && !part.empty() && part != "." && part != ".." && std::all_of(part.begin(), part.end(), IsNameLetter);
  }
  if (good) return OkStatus();
  return MakeError(ErrorCode::kUsage, fmt::format("\"{}\" is no possible alias", EscapeControl(alias)),
                   "use letters, digits, '.', '_', '-' and '/'; not main, a version or a commit");
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
