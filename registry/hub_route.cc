#include "registry/hub_route.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/percent.h"
#include "base/text.h"

namespace lorry {
namespace {

constexpr std::array<std::string_view, 5> kApiWords = {"revision", "tree", "paths-info", "refs", "auth-check"};

// The decoded parts between slashes; an escaped slash stays inside its part.
std::optional<std::vector<std::string>> Segments(std::string_view path) {
  if (path.empty() || path[0] != '/') return std::nullopt;
  std::vector<std::string> segments;
  for (const std::string& part : Split(path.substr(1), '/')) {
    std::optional<std::string> decoded = PercentDecode(part);
    if (!decoded) return std::nullopt;
    segments.push_back(std::move(*decoded));
  }
  if (!segments.empty() && segments.back().empty()) segments.pop_back();
  return segments;
}

std::string JoinFrom(const std::vector<std::string>& segments, size_t first) {
  return first >= segments.size()
             ? ""
             : fmt::format("{}", fmt::join(segments.begin() + static_cast<std::ptrdiff_t>(first), segments.end(), "/"));
}

// /api/models/REPOSITORY and what follows it.
std::optional<HubRoute> ParseModelApi(const std::vector<std::string>& segments) {
  HubRoute route;
  if (segments.size() == 2) {
    route.question = HubQuestion::kModelList;
    return route;
  }
  route.repository = segments[2];
  size_t next = 3;
  const bool bare = segments.size() == 3 || std::find(kApiWords.begin(), kApiWords.end(), segments[3]) != kApiWords.end();
  if (!bare) route.repository += "/" + segments[next++];
  if (next == segments.size()) return route;
  const std::string& word = segments[next++];
  if (next < segments.size()) route.revision = segments[next++];
  route.path = JoinFrom(segments, next);
  const bool has_revision = !route.revision.empty();
  if (word == "revision" && has_revision && route.path.empty()) return route;
  if (word == "tree" && has_revision) {
    route.question = HubQuestion::kTree;
  } else if (word == "paths-info" && has_revision && route.path.empty()) {
    route.question = HubQuestion::kPathsInfo;
  } else if (word == "refs" && !has_revision) {
    route.question = HubQuestion::kRefs;
  } else if (word == "auth-check" && !has_revision) {
    route.question = HubQuestion::kAuthCheck;
  } else {
    return std::nullopt;
  }
  return route;
}

bool IsFileWord(const std::string& word) { return word == "resolve" || word == "raw"; }

}  // namespace

std::optional<HubRoute> ParseHubPath(std::string_view path) {
  const std::optional<std::vector<std::string>> segments = Segments(path);
  if (!segments || segments->size() < 2) return std::nullopt;
  const std::vector<std::string>& s = *segments;
  if (s[0] == "api") {
    if (s[1] == "models") return ParseModelApi(s);
    if (s[1] == "whoami-v2" && s.size() == 2) return HubRoute{HubQuestion::kWhoAmI, "", "", ""};
    return std::nullopt;
  }
  const bool bare = IsFileWord(s[1]);
  const size_t word = bare ? 1 : 2;
  if (s.size() < word + 3 || !IsFileWord(s[word])) return std::nullopt;
  return HubRoute{HubQuestion::kFile, bare ? s[0] : s[0] + "/" + s[1], s[word + 1], JoinFrom(s, word + 2)};
}

}  // namespace lorry
