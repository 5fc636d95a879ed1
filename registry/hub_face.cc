#include "registry/hub_face.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/percent.h"
#include "base/text.h"
#include "registry/hub_entries.h"
#include "registry/hub_route.h"
#include "registry/name_index.h"

namespace lorry {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxPathsAsked = 1000;

HubResponse JsonAnswer(const Json& json, int status = 200) {
  return {status, {{"Content-Type", "application/json; charset=utf-8"}}, json.dump(), std::nullopt};
}

// `code` is what clients tell faults apart by.
HubResponse Fault(int status, const char* code, const std::string& message) {
  HubResponse response = JsonAnswer({{"error", message}}, status);
  if (*code != '\0') response.headers.emplace_back("X-Error-Code", code);
  response.headers.emplace_back("X-Error-Message", EscapeControl(message));
  return response;
}

HubResponse FaultOf(const Error& error, const char* code) {
  return error.code == ErrorCode::kNotFound || error.code == ErrorCode::kUsage ? Fault(404, code, error.Format())
                                                                               : Fault(500, "", error.Format());
}

std::string QueryValue(const HubRequest& request, std::string_view key) {
  for (const auto& [name, value] : request.query) {
    if (name == key) return value;
  }
  return "";
}

bool IsTrue(const std::string& text) { return text == "true" || text == "True" || text == "1"; }

// The repository of a request: the name, and the one version that it can show where the name is pinned.
struct Repository {
  NameEntry entry;
  std::string id;                // as the client spells it
  std::string default_revision;  // "main", or the pinned version
  bool pinned = false;
};

Result<Repository> OpenRepository(Database& db, const HubRequest& request, const std::string& id) {
  Repository repository;
  repository.id = id;
  repository.default_revision = "main";
  std::string name = id.find('/') == std::string::npos ? "library/" + id : id;
  if (const std::optional<PinnedName> pinned = ParsePinnedName(name)) {
    name = pinned->name;
    repository.pinned = true;
    repository.default_revision = VersionText(pinned->version);
  }
  LORRY_ASSIGN_OR_RETURN(repository.entry, FindName(db, name));
  if (repository.entry.is_private && !request.may_read_private) {
    return MakeError(ErrorCode::kNotAllowed, fmt::format("registry: {} not found", id));
  }
  if (repository.pinned) {
    const Result<VersionEntry> version = FindVersion(db, name, repository.default_revision);
    if (!version.ok()) return MakeError(ErrorCode::kNotFound, fmt::format("registry: {} not found", id));
  }
  return repository;
}

// A pinned repository knows main, its own version and that version's commit.
Result<VersionEntry> OpenRevision(Database& db, const Repository& repository, const std::string& revision) {
  if (!repository.pinned) return FindVersion(db, repository.entry.name, revision);
  LORRY_ASSIGN_OR_RETURN(VersionEntry version, FindVersion(db, repository.entry.name, repository.default_revision));
  const bool own = revision.empty() || revision == "main" || revision == "HEAD" || revision == repository.default_revision ||
                   revision == CommitOf(version.digest);
  if (own) return version;
  return MakeError(ErrorCode::kNotFound, fmt::format("registry: {} has no revision {}", repository.id, EscapeControl(revision)));
}

HubResponse AnswerInfo(Database& db, const HubRequest& request, const Repository& repository, const VersionEntry& version) {
  Instant newest = version.manifest.created;
  const Result<std::vector<VersionEntry>> versions = ListVersions(db, repository.entry.name);
  if (!versions.ok()) return FaultOf(versions.error(), "");
  if (!repository.pinned) newest = std::max(newest, versions->back().manifest.created);
  return JsonAnswer(
      ModelInfoJson(version, repository.id, repository.entry.is_private, newest, IsTrue(QueryValue(request, "blobs"))));
}

HubResponse AnswerRefs(Database& db, const Repository& repository, const VersionEntry& main) {
  const auto ref = [](const std::string& name, const std::string& kind, const VersionEntry& version) {
    return Json{{"name", name}, {"ref", fmt::format("refs/{}/{}", kind, name)}, {"targetCommit", CommitOf(version.digest)}};
  };
  Json branches = Json::array({ref("main", "heads", main)});
  Json tags = Json::array();
  if (repository.pinned) {
    tags.push_back(ref(repository.default_revision, "tags", main));
  } else {
    const Result<std::vector<VersionEntry>> versions = ListVersions(db, repository.entry.name);
    const Result<std::map<std::string, int64_t>> aliases = ListAliases(db, repository.entry.name);
    if (!versions.ok()) return FaultOf(versions.error(), "");
    if (!aliases.ok()) return FaultOf(aliases.error(), "");
    for (const VersionEntry& version : *versions) {
      tags.push_back(ref(VersionText(version.manifest.version), "tags", version));
      for (const auto& [alias, number] : *aliases) {
        if (number == version.manifest.version) branches.push_back(ref(alias, "heads", version));
      }
    }
  }
  return JsonAnswer({{"branches", branches}, {"tags", tags}, {"converts", Json::array()}, {"pullRequests", Json::array()}});
}

HubResponse WithCommit(HubResponse response, const VersionEntry& version) {
  response.headers.emplace_back("X-Repo-Commit", CommitOf(version.digest));
  return response;
}

HubResponse NoEntry(const VersionEntry& version, const std::string& path) {
  return WithCommit(Fault(404, "EntryNotFound", fmt::format("{} has no \"{}\"", version.Text(), EscapeControl(path))), version);
}

HubResponse AnswerTree(const HubRequest& request, const VersionEntry& version, const std::string& folder) {
  const Json tree = TreeJson(version.manifest, folder, IsTrue(QueryValue(request, "recursive")));
  if (tree.empty() && !folder.empty()) return NoEntry(version, folder);
  return WithCommit(JsonAnswer(tree), version);
}

// "a=1&a=2" -> pairs; '+' is a blank.
std::vector<std::pair<std::string, std::string>> FormPairs(const std::string& body) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (std::string part : Split(body, '&')) {
    std::replace(part.begin(), part.end(), '+', ' ');
    const size_t equals = part.find('=');
    const std::optional<std::string> key = PercentDecode(std::string_view(part).substr(0, equals));
    const std::optional<std::string> value =
        PercentDecode(equals == std::string::npos ? "" : std::string_view(part).substr(equals + 1));
    if (key && value) pairs.emplace_back(*key, *value);
  }
  return pairs;
}

HubResponse AnswerPathsInfo(const HubRequest& request, const VersionEntry& version) {
  std::vector<std::string> paths;
  bool expand = false;
  if (request.content_type.starts_with("application/json")) {
    const Result<Json> json = ParseJson(request.body);
    const bool good = json.ok() && json->is_object() && json->contains("paths") && (*json)["paths"].is_array();
    if (!good) return Fault(400, "", "paths-info wants {\"paths\": [...]}");
    for (const Json& path : (*json)["paths"]) {
      if (path.is_string()) paths.push_back(path.get<std::string>());
    }
    expand = json->contains("expand") && (*json)["expand"] == true;
  } else {
    for (const auto& [key, value] : FormPairs(request.body)) {
      if (key == "paths") paths.push_back(value);
      if (key == "expand") expand = IsTrue(value);
    }
  }
  if (paths.size() > kMaxPathsAsked) return Fault(413, "", fmt::format("at most {} paths at once", kMaxPathsAsked));
  return WithCommit(JsonAnswer(PathsInfoJson(version, paths, expand)), version);
}

// One range of a file, as RFC 9110 writes it. nullopt: not a range that is understood, the whole file is sent.
struct ByteRange {
  uint64_t first = 0, last = 0;  // inclusive
  bool satisfiable = true;
};
std::optional<ByteRange> ParseRange(std::string_view header, uint64_t size) {
  if (!header.starts_with("bytes=") || header.find(',') != header.npos) return std::nullopt;
  header.remove_prefix(6);
  const size_t dash = header.find('-');
  if (dash == header.npos) return std::nullopt;
  const auto number = [](std::string_view text) -> std::optional<uint64_t> {
    uint64_t value = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    return failed == std::errc() && end == text.data() + text.size() && !text.empty() ? std::optional<uint64_t>(value)
                                                                                      : std::nullopt;
  };
  const std::string_view first_text = header.substr(0, dash), last_text = header.substr(dash + 1);
  const std::optional<uint64_t> first = number(first_text), last = number(last_text);
  if (first_text.empty()) {  // the last so many bytes
    if (!last) return std::nullopt;
    return ByteRange{*last >= size ? 0 : size - *last, size - 1, *last > 0 && size > 0};
  }
  if (!first || (!last_text.empty() && !last) || (last && *last < *first)) return std::nullopt;
  return ByteRange{*first, last ? std::min(*last, size - 1) : size - 1, *first < size};
}

HubResponse AnswerFile(const BlobStore& blobs, const HubRequest& request, const VersionEntry& version, const std::string& path) {
  const ManifestFile* file = version.manifest.Find(path);
  if (file == nullptr) return NoEntry(version, path);
  HubResponse response;
  const bool json = path.ends_with(".json");
  response.headers = {
      {"Content-Type", json ? "application/json; charset=utf-8" : "application/octet-stream"},
      {"ETag", fmt::format("\"{}\"", file->large ? file->digest.hex() : file->git_oid)},
      {"X-Repo-Commit", CommitOf(version.digest)},
      {"Accept-Ranges", "bytes"},
      {"Content-Disposition", fmt::format("inline; filename*=UTF-8''{}", PercentEncode(path.substr(path.rfind('/') + 1)))}};
  response.file = FileStretch{blobs.PathOf(file->digest), 0, file->size};
  const std::optional<ByteRange> range = ParseRange(request.range, file->size);
  if (!range) return response;
  if (file->size == 0) {  // JavaScript clients ask for the first byte of empty files too, and take neither a 416 nor a plain 200
    response.headers.emplace_back("Content-Range", "bytes */0");
    return response;
  }
  if (!range->satisfiable) {
    HubResponse refused = Fault(416, "", "the range lies behind the end");
    refused.headers.emplace_back("Content-Range", fmt::format("bytes */{}", file->size));
    return refused;
  }
  response.status = 206;
  response.headers.emplace_back("Content-Range", fmt::format("bytes {}-{}/{}", range->first, range->last, file->size));
  response.file->offset = range->first;
  response.file->length = range->last - range->first + 1;
  return response;
}

HubResponse AnswerList(Database& db, const HubRequest& request) {
  const Result<std::vector<NameEntry>> names = ListNames(db, std::nullopt);
  if (!names.ok()) return FaultOf(names.error(), "");
  const std::string search = QueryValue(request, "search"), author = QueryValue(request, "author");
  Json list = Json::array();
  for (const NameEntry& name : *names) {
    if (name.is_private && !request.may_read_private) continue;
    if (name.name.find(search) == std::string::npos || (!author.empty() && !name.name.starts_with(author + "/"))) continue;
    const Result<VersionEntry> version = FindVersion(db, name.name, "main");
    if (version.ok()) list.push_back(ModelInfoJson(*version, name.name, name.is_private, version->manifest.created, false));
  }
  return JsonAnswer(list);
}

HubResponse AnswerWhoAmI(const HubRequest& request) {
  if (!request.user) return Fault(401, "", "no valid token was sent");
  return JsonAnswer({{"type", "user"},
                     {"name", *request.user},
                     {"fullname", *request.user},
                     {"orgs", Json::array()},
                     {"auth", {{"type", "access_token"}, {"accessToken", {{"displayName", *request.user}, {"role", "read"}}}}}});
}

}  // namespace

bool IsHubPath(std::string_view path) { return ParseHubPath(path).has_value(); }

HubResponse AnswerHub(Database& db, const BlobStore& blobs, const HubRequest& request) {
  const std::optional<HubRoute> route = ParseHubPath(request.path);
  if (!route) return Fault(404, "", "there is nothing here");
  const bool asks_paths = route->question == HubQuestion::kPathsInfo;
  const bool fits = asks_paths ? request.method == "POST" : request.method == "GET" || request.method == "HEAD";
  if (!fits) {
    HubResponse refused = Fault(405, "", "not with this method");
    refused.headers.emplace_back("Allow", asks_paths ? "POST" : "GET, HEAD");
    return refused;
  }
  if (route->question == HubQuestion::kWhoAmI) return AnswerWhoAmI(request);
  if (route->question == HubQuestion::kModelList) return AnswerList(db, request);
  const Result<Repository> repository = OpenRepository(db, request, route->repository);
  if (!repository.ok()) {
    if (repository.error().code == ErrorCode::kNotAllowed) return Fault(401, "RepoNotFound", repository.error().message);
    return FaultOf(repository.error(), "RepoNotFound");
  }
  if (route->question == HubQuestion::kAuthCheck) return {200, {}, "", std::nullopt};
  const Result<VersionEntry> version = OpenRevision(db, *repository, route->revision);
  if (!version.ok()) return FaultOf(version.error(), "RevisionNotFound");
  switch (route->question) {
    case HubQuestion::kTree:
      return AnswerTree(request, *version, route->path);
    case HubQuestion::kPathsInfo:
      return AnswerPathsInfo(request, *version);
    case HubQuestion::kRefs:
      return AnswerRefs(db, *repository, *version);
    case HubQuestion::kFile:
      return AnswerFile(blobs, request, *version, route->path);
    default:
      return AnswerInfo(db, request, *repository, *version);
  }
}

}  // namespace lorry
