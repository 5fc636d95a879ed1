#include "registry/registry_queries.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"
#include "registry/name_index.h"
#include "registry/publication.h"
#include "registry/version_reports.h"

namespace lorry {
namespace {

using Json = nlohmann::json;
using Answer = Result<std::string>;

// The fields of a question; what is missing or of another type is a usage error that names the key.
class Question {
 public:
  static Result<Question> Parse(const std::string& text) {
    LORRY_ASSIGN_OR_RETURN(Json json, ParseJson(text.empty() ? "{}" : text));
    if (!json.is_object()) return MakeError(ErrorCode::kUsage, "a question is a JSON object");
    return Question(std::move(json));
  }

  Result<std::string> Text(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end() || !found->is_string()) return Fault(key, "is missing or no text");
    return found->get<std::string>();
  }
  Result<std::string> TextOr(const char* key, const char* otherwise) const {
    const auto found = json_.find(key);
    if (found == json_.end() || found->is_null()) return std::string(otherwise);
    return Text(key);
  }
  Result<std::optional<bool>> Flag(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end() || found->is_null()) return std::optional<bool>();
    if (!found->is_boolean()) return Fault(key, "is neither true nor false");
    return std::optional<bool>(found->get<bool>());
  }
  // "v3" -> 3; 0 where the key is absent.
  Result<int64_t> Version(const char* key) const {
    LORRY_ASSIGN_OR_RETURN(const std::string text, TextOr(key, ""));
    if (text.empty()) return int64_t{0};
    const std::optional<int64_t> version = ParseVersion(text);
    if (!version) return Fault(key, fmt::format("\"{}\" is no version", EscapeControl(text)));
    return *version;
  }
  Result<std::vector<BlobEntry>> Files() const {
    const auto found = json_.find("files");
    if (found == json_.end() || !found->is_array()) return Fault("files", "is missing or no list");
    std::vector<BlobEntry> files;
    for (const Json& file : *found) {
      const bool good = file.is_object() && file.contains("path") && file["path"].is_string() && file.contains("digest") &&
                        file["digest"].is_string() && file.contains("size") && file["size"].is_number_unsigned();
      if (!good) return Fault("files", "wants {path, digest, size}");
      LORRY_ASSIGN_OR_RETURN(const Digest digest, Digest::FromHex(file["digest"].get_ref<const std::string&>()));
      files.push_back({file["path"].get<std::string>(), digest, file["size"].get<uint64_t>()});
    }
    return files;
  }

  // A list of texts; empty where the key is absent.
  Result<std::vector<std::string>> Texts(const char* key) const {
    const auto found = json_.find(key);
    std::vector<std::string> texts;
    if (found == json_.end() || found->is_null()) return texts;
    if (!found->is_array()) return Fault(key, "is no list");
    for (const Json& text : *found) {
      if (!text.is_string()) return Fault(key, "is no list of texts");
      texts.push_back(text.get<std::string>());
    }
    return texts;
  }

  static Error Fault(const char* key, std::string message) {
    Error error = MakeError(ErrorCode::kUsage, std::move(message));
    error.key = key;
    return error;
  }

 private:
  explicit Question(Json json) : json_(std::move(json)) {}
  Json json_;
};

std::string Reply(const Json& json) { return json.dump(); }

Json AliasesJson(const std::map<std::string, int64_t>& aliases) {
  Json json = Json::object();
  for (const auto& [alias, version] : aliases) json[alias] = VersionText(version);
  return json;
}

// Who asks for adapters is not to get, or to take away, a model.
Status CheckKind(const std::string& text, const std::string& kind, ItemKind found) {
  if (kind.empty() || NameOf(found) == kind) return OkStatus();
  return MakeError(ErrorCode::kNotFound, fmt::format("registry: {} is no {} but a {}", text, kind, NameOf(found)));
}

// The name as the questioner meant it: of this kind, full or bare.
Result<NameEntry> Named(Database& db, const Question& question) {
  LORRY_ASSIGN_OR_RETURN(const std::string text, question.Text("name"));
  LORRY_ASSIGN_OR_RETURN(const std::string kind, question.TextOr("kind", ""));
  LORRY_ASSIGN_OR_RETURN(const std::string name, FullName(text));
  LORRY_ASSIGN_OR_RETURN(NameEntry entry, FindName(db, name));
  LORRY_TRY(CheckKind(name, kind, entry.kind));
  return entry;
}

Answer Import(Database& db, const BlobStore& blobs, const Question& question, Instant now) {
  Publication publication;
  LORRY_ASSIGN_OR_RETURN(const std::string kind, question.Text("kind"));
  LORRY_ASSIGN_OR_RETURN(publication.kind, ItemKindFromName(kind));
  LORRY_ASSIGN_OR_RETURN(publication.name, question.Text("name"));
  LORRY_ASSIGN_OR_RETURN(publication.is_private, question.Flag("private"));
  LORRY_ASSIGN_OR_RETURN(publication.base, question.TextOr("base", ""));
  LORRY_ASSIGN_OR_RETURN(publication.alias, question.TextOr("alias", ""));
  LORRY_ASSIGN_OR_RETURN(publication.files, question.Files());
  LORRY_ASSIGN_OR_RETURN(publication.parents, question.Texts("parents"));
  LORRY_ASSIGN_OR_RETURN(publication.origin.source, question.TextOr("source", ""));
  LORRY_ASSIGN_OR_RETURN(publication.origin.creator, question.TextOr("by", ""));
  LORRY_ASSIGN_OR_RETURN(const Published published, Publish(db, blobs, publication, now));
  const VersionEntry& entry = published.entry;
  return Reply({{"name", entry.manifest.name},
                {"version", VersionText(entry.manifest.version)},
                {"reference", entry.Text()},
                {"digest", entry.digest.hex()},
                {"existing", published.existing}});
}

Answer List(Database& db, const Question& question) {
  LORRY_ASSIGN_OR_RETURN(const std::string kind_text, question.TextOr("kind", ""));
  std::optional<ItemKind> kind;
  if (!kind_text.empty()) {
    LORRY_ASSIGN_OR_RETURN(kind, ItemKindFromName(kind_text));
  }
  LORRY_ASSIGN_OR_RETURN(const std::vector<NameEntry> names, ListNames(db, kind));
  Json items = Json::array();
  for (const NameEntry& name : names) {
    LORRY_ASSIGN_OR_RETURN(const std::vector<VersionEntry> versions, ListVersions(db, name.name));
    LORRY_ASSIGN_OR_RETURN(const auto aliases, ListAliases(db, name.name));
    items.push_back({{"name", name.name},
                     {"kind", NameOf(name.kind)},
                     {"versions", versions.size()},
                     {"private", name.is_private},
                     {"aliases", AliasesJson(aliases)},
                     {"latest", versions.empty() ? Json() : Json(VersionText(versions.back().manifest.version))}});
  }
  return Reply({{"items", std::move(items)}});
}

Answer Show(Database& db, const Question& question) {
  LORRY_ASSIGN_OR_RETURN(const NameEntry name, Named(db, question));
  LORRY_ASSIGN_OR_RETURN(const std::vector<VersionEntry> versions, ListVersions(db, name.name));
  LORRY_ASSIGN_OR_RETURN(const auto aliases, ListAliases(db, name.name));
  LORRY_ASSIGN_OR_RETURN(const std::vector<AliasMove> moves, AliasHistory(db, name.name));
  Json log = Json::array();
  for (const AliasMove& move : moves) {
    log.push_back({{"alias", move.alias},
                   {"version", move.version == 0 ? Json() : Json(VersionText(move.version))},
                   {"at", FormatUtc(move.at)},
                   {"by", move.by},
                   {"reason", move.reason}});
  }
  Json list = Json::array();
  for (const VersionEntry& version : versions) list.push_back(VersionJson(version));
  return Reply({{"name", name.name},
                {"kind", NameOf(name.kind)},
                {"private", name.is_private},
                {"versions", std::move(list)},
                {"aliases", AliasesJson(aliases)},
                {"alias_log", std::move(log)}});
}

Result<VersionEntry> Referred(Database& db, const Question& question, const char* key) {
  LORRY_ASSIGN_OR_RETURN(const std::string reference, question.Text(key));
  LORRY_ASSIGN_OR_RETURN(const std::string kind, question.TextOr("kind", ""));
  LORRY_ASSIGN_OR_RETURN(VersionEntry version, ResolveReference(db, reference));
  LORRY_TRY(CheckKind(version.manifest.name, kind, version.manifest.kind));
  return version;
}

Answer Resolve(Database& db, const Question& question) {
  LORRY_ASSIGN_OR_RETURN(const VersionEntry version, Referred(db, question, "reference"));
  const Json json = VersionJson(version);
  return Reply({{"kind", NameOf(version.manifest.kind)},
                {"name", version.manifest.name},
                {"version", json["version"]},
                {"reference", version.Text()},
                {"digest", json["digest"]},
                {"files", json["files"]},
                {"base", json["base"]}});
}

Answer MoveAlias(Database& db, const Question& question, Instant now) {
  AliasChange change;
  LORRY_ASSIGN_OR_RETURN(change.alias, question.Text("alias"));
  LORRY_ASSIGN_OR_RETURN(change.version, question.Version("version"));
  LORRY_ASSIGN_OR_RETURN(const int64_t current, question.Version("if_current"));
  if (current != 0) change.if_current = current;
  LORRY_ASSIGN_OR_RETURN(change.reason, question.TextOr("reason", ""));
  LORRY_ASSIGN_OR_RETURN(change.by, question.TextOr("by", ""));
  LORRY_ASSIGN_OR_RETURN(const NameEntry name, Named(db, question));
  change.name = name.name;
  LORRY_ASSIGN_OR_RETURN(const int64_t previous, SetAlias(db, change, now));
  return Reply({{"name", change.name},
                {"alias", change.alias},
                {"version", change.version == 0 ? Json() : Json(VersionText(change.version))},
                {"previous", previous == 0 ? Json() : Json(VersionText(previous))}});
}

Answer SetVisibility(Database& db, const Question& question) {
  LORRY_ASSIGN_OR_RETURN(const NameEntry name, Named(db, question));
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> is_private, question.Flag("private"));
  if (!is_private) return Question::Fault("private", "is missing");
  LORRY_ASSIGN_OR_RETURN(const bool before, SetPrivate(db, name.name, *is_private));
  return Reply({{"name", name.name}, {"private", *is_private}, {"previous", before}});
}

Answer AliasThen(Database& db, const Question& question) {
  LORRY_ASSIGN_OR_RETURN(const NameEntry name, Named(db, question));
  LORRY_ASSIGN_OR_RETURN(const std::string alias, question.Text("alias"));
  LORRY_ASSIGN_OR_RETURN(const std::string at_text, question.Text("at"));
  LORRY_ASSIGN_OR_RETURN(const Instant at, ParseUtc(at_text));
  LORRY_ASSIGN_OR_RETURN(const AliasMove move, AliasAt(db, name.name, alias, at));
  return Reply({{"name", name.name},
                {"alias", alias},
                {"version", VersionText(move.version)},
                {"since", FormatUtc(move.at)},
                {"by", move.by},
                {"reason", move.reason}});
}

Answer Verify(Database& db, const BlobStore& blobs, const Question& question) {
  LORRY_ASSIGN_OR_RETURN(const VersionEntry version, Referred(db, question, "reference"));
  LORRY_ASSIGN_OR_RETURN(const Json report, VerifyVersion(blobs, version));
  return Reply(report);
}

Answer Lineage(Database& db, const Question& question) {
  LORRY_ASSIGN_OR_RETURN(const VersionEntry version, Referred(db, question, "reference"));
  LORRY_ASSIGN_OR_RETURN(const Json lineage, LineageOf(db, version));
  return Reply(lineage);
}

Answer Diff(Database& db, const Question& question) {
  LORRY_ASSIGN_OR_RETURN(const VersionEntry from, Referred(db, question, "from"));
  LORRY_ASSIGN_OR_RETURN(const VersionEntry to, Referred(db, question, "to"));
  return Reply(DiffVersions(from, to));
}

Answer Remove(Database& db, const Question& question, Instant now) {
  LORRY_ASSIGN_OR_RETURN(const std::string text, question.Text("reference"));
  LORRY_ASSIGN_OR_RETURN(const NameReference reference, ParseReference(text));
  if (!ParseVersion(reference.revision)) {
    return MakeError(ErrorCode::kUsage, "only a version can be removed", "name it: ORG/NAME@vN");
  }
  LORRY_ASSIGN_OR_RETURN(const VersionEntry version, Referred(db, question, "reference"));
  LORRY_TRY(RemoveVersion(db, version, now));
  return Reply({{"reference", version.Text()}, {"removed", true}});
}

}  // namespace

std::vector<RegistryQuery> RegistryQueries(const BlobStore& blobs) {
  const auto on_question = [](auto answer) {
    return [answer](Database& db, const std::string& json, Instant now) -> Answer {
      LORRY_ASSIGN_OR_RETURN(const Question question, Question::Parse(json));
      return answer(db, question, now);
    };
  };
  const BlobStore* store = &blobs;
  return {
      {"registry.import", true,
       on_question([store](Database& db, const Question& q, Instant now) { return Import(db, *store, q, now); })},
      {"registry.list", false, on_question([](Database& db, const Question& q, Instant) { return List(db, q); })},
      {"registry.show", false, on_question([](Database& db, const Question& q, Instant) { return Show(db, q); })},
      {"registry.resolve", false, on_question([](Database& db, const Question& q, Instant) { return Resolve(db, q); })},
      {"registry.alias", true, on_question([](Database& db, const Question& q, Instant now) { return MoveAlias(db, q, now); })},
      {"registry.visibility", true, on_question([](Database& db, const Question& q, Instant) { return SetVisibility(db, q); })},
      {"registry.alias_at", false, on_question([](Database& db, const Question& q, Instant) { return AliasThen(db, q); })},
      {"registry.verify", false,
       on_question([store](Database& db, const Question& q, Instant) { return Verify(db, *store, q); })},
      {"registry.lineage", false, on_question([](Database& db, const Question& q, Instant) { return Lineage(db, q); })},
      {"registry.diff", false, on_question([](Database& db, const Question& q, Instant) { return Diff(db, q); })},
      {"registry.remove", true, on_question([](Database& db, const Question& q, Instant now) { return Remove(db, q, now); })},
  };
}

}  // namespace lorry
