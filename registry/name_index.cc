#include "registry/name_index.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"

namespace lorry {
namespace {

constexpr const char* kSchema1 = R"sql(
CREATE TABLE registry_name(
  name TEXT PRIMARY KEY, lower_name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, private INTEGER NOT NULL, created_ms INTEGER NOT NULL) STRICT;
CREATE TABLE registry_version(
  name TEXT NOT NULL REFERENCES registry_name(name), version INTEGER NOT NULL, manifest_digest BLOB NOT NULL, commit_id TEXT NOT NULL,
  content BLOB NOT NULL, manifest TEXT NOT NULL, base_digest BLOB, created_ms INTEGER NOT NULL, removed_ms INTEGER,
  PRIMARY KEY(name, version)) STRICT;
CREATE INDEX registry_version_commit ON registry_version(name, commit_id);
CREATE INDEX registry_version_base ON registry_version(base_digest);
CREATE TABLE registry_alias(
  move INTEGER PRIMARY KEY, name TEXT NOT NULL, alias TEXT NOT NULL, version INTEGER NOT NULL, at_ms INTEGER NOT NULL,
  by TEXT NOT NULL, reason TEXT NOT NULL) STRICT;
CREATE INDEX registry_alias_of ON registry_alias(name, alias, move);
)sql";

constexpr const char* kVersionColumns = "SELECT manifest, manifest_digest FROM registry_version ";

Result<VersionEntry> EntryOf(const Rows& rows) {
  VersionEntry entry;
  entry.digest = rows.AsDigest(1);
  LORRY_ASSIGN_OR_RETURN(entry.manifest, ParseManifest(rows.Text(0)));
  return entry;
}

template <class... T>
Result<std::optional<VersionEntry>> OneVersion(Database& db, const std::string& condition, const T&... values) {
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask(kVersionColumns + condition, values...));
  LORRY_ASSIGN_OR_RETURN(const bool some, rows.Next());
  if (!some) return std::optional<VersionEntry>();
  LORRY_ASSIGN_OR_RETURN(VersionEntry entry, EntryOf(rows));
  return std::optional<VersionEntry>(std::move(entry));
}

Result<std::optional<VersionEntry>> ByNumber(Database& db, const std::string& name, int64_t version) {
  return OneVersion(db, "WHERE name = ? AND version = ? AND removed_ms IS NULL", name, version);
}

// Where an alias stands now; 0 where it does not.
Result<int64_t> CurrentOf(Database& db, const std::string& name, std::string_view alias) {
  LORRY_ASSIGN_OR_RETURN(
      const std::optional<int64_t> version,
      db.AskInteger("SELECT version FROM registry_alias WHERE name = ? AND alias = ? ORDER BY move DESC LIMIT 1", name, alias));
  return version.value_or(0);
}

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

Result<std::vector<int64_t>> VersionNumbers(Database& db, const std::string& name) {
  std::vector<int64_t> numbers;
  LORRY_ASSIGN_OR_RETURN(
      Rows rows, db.Ask("SELECT version FROM registry_version WHERE name = ? AND removed_ms IS NULL ORDER BY version", name));
  while (true) {
    LORRY_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) return numbers;
    numbers.push_back(rows.Integer(0));
  }
}

// "versions are v1..v3, alias prod is v3"
Error NoSuchVersion(Database& db, const std::string& name, std::string_view revision) {
  Error error = MakeError(ErrorCode::kNotFound,
                          fmt::format("registry: {}{}{} not found", name, revision.empty() ? "" : "@", EscapeControl(revision)));
  const Result<std::vector<int64_t>> numbers = VersionNumbers(db, name);
  const Result<std::map<std::string, int64_t>> aliases = ListAliases(db, name);
  if (!numbers.ok() || !aliases.ok()) return error;
  std::vector<std::string> texts;
  for (const int64_t number : *numbers) texts.push_back(VersionText(number));
  const bool dense = texts.size() > 2 && numbers->back() - numbers->front() + 1 == static_cast<int64_t>(texts.size());
  error.hint = texts.empty() ? "it has no version"
               : dense       ? fmt::format("versions are {}..{}", texts.front(), texts.back())
                             : fmt::format("versions are {}", fmt::join(texts, ", "));
  for (const auto& [alias, version] : *aliases) error.hint += fmt::format(", alias {} is {}", alias, VersionText(version));
  return error;
}

std::string_view PrivacyWord(bool is_private) { return is_private ? "private" : "public"; }

// Whether strangers may not see one of the versions that this one was made of.
Result<bool> IsMadeOfPrivate(Database& db, const Manifest& manifest) {
  std::vector<VersionLink> above = manifest.parents;
  if (manifest.base) above.push_back(*manifest.base);
  for (const VersionLink& link : above) {
    LORRY_ASSIGN_OR_RETURN(const NameEntry name, FindName(db, link.name));
    if (name.is_private) return true;
  }
  return false;
}

Status AddName(Database& db, const Manifest& manifest, std::optional<bool> is_private, Instant now) {
  LORRY_TRY(CheckNameFor(db, manifest.name, manifest.kind));
  const Result<NameEntry> there = FindName(db, manifest.name);
  if (there.ok()) {
    if (!is_private || *is_private == there->is_private) return OkStatus();
    return MakeError(ErrorCode::kConflict, fmt::format("registry: {} is {}", manifest.name, PrivacyWord(there->is_private)),
                     fmt::format("change the name and all its versions first: lorry {} visibility {} {}", NameOf(manifest.kind),
                                 manifest.name, PrivacyWord(*is_private)));
  }
  if (!is_private) {
    LORRY_ASSIGN_OR_RETURN(is_private, IsMadeOfPrivate(db, manifest));
  }
  return db.Run("INSERT INTO registry_name(name, lower_name, kind, private, created_ms) VALUES(?, ?, ?, ?, ?)", manifest.name,
                Lower(manifest.name), NameOf(manifest.kind), is_private.value_or(false) ? 1 : 0, now);
}

}  // namespace

std::vector<Migration> RegistryMigrations() { return {{"registry", 1, kSchema1}}; }

Status CheckNameFor(Database& db, const std::string& name, ItemKind kind) {
  Result<NameEntry> there = FindName(db, name);
  if (there.ok()) {
    if (there->kind == kind) return OkStatus();
    return MakeError(ErrorCode::kConflict, fmt::format("registry: {} is a name of a {}", name, NameOf(there->kind)));
  }
  if (there.error().code != ErrorCode::kNotFound) return std::move(there).error();
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT name FROM registry_name WHERE lower_name = ?", Lower(name)));
  LORRY_ASSIGN_OR_RETURN(const bool clash, rows.Next());
  if (clash) return MakeError(ErrorCode::kConflict, fmt::format("registry: {} differs from {} in case only", name, rows.Text(0)));
  return OkStatus();
}

Result<AddedVersion> AddVersion(Database& db, Manifest manifest, std::optional<bool> is_private, Instant now) {
  LORRY_TRY(AddName(db, manifest, is_private, now));
  const Digest content = ContentDigest(manifest);
  LORRY_ASSIGN_OR_RETURN(
      std::optional<VersionEntry> there,
      OneVersion(db, "WHERE name = ? AND content = ? AND removed_ms IS NULL ORDER BY version LIMIT 1", manifest.name, content));
  if (there) return AddedVersion{std::move(*there), true};
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> newest,
                         db.AskInteger("SELECT max(version) FROM registry_version WHERE name = ?", manifest.name));
  manifest.version = newest.value_or(0) + 1;
  manifest.created = now;
  const std::string json = ManifestJson(manifest);
  const Digest digest = Sha256Of(json);
  const std::optional<Digest> base = manifest.base ? std::optional<Digest>(manifest.base->digest) : std::nullopt;
  LORRY_TRY(
      db.Run("INSERT INTO registry_version(name, version, manifest_digest, commit_id, content, manifest, base_digest, "
             "created_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
             manifest.name, manifest.version, digest, CommitOf(digest), content, json, base, now));
  return AddedVersion{{std::move(manifest), digest}, false};
}

Result<bool> SetPrivate(Database& db, const std::string& name, bool is_private) {
  LORRY_ASSIGN_OR_RETURN(const NameEntry known, FindName(db, name));
  LORRY_TRY(db.Run("UPDATE registry_name SET private = ? WHERE name = ?", is_private ? 1 : 0, known.name));
  return known.is_private;
}

Result<VersionEntry> FindVersion(Database& db, const std::string& name, std::string_view revision) {
  LORRY_ASSIGN_OR_RETURN(const NameEntry known, FindName(db, name));
  std::optional<VersionEntry> found;
  if (const std::optional<int64_t> number = ParseVersion(revision)) {
    LORRY_ASSIGN_OR_RETURN(found, ByNumber(db, known.name, *number));
  } else if (IsCommit(revision)) {
    LORRY_ASSIGN_OR_RETURN(found,
                           OneVersion(db, "WHERE name = ? AND commit_id = ? AND removed_ms IS NULL", known.name, revision));
  } else {
    const bool by_default = revision.empty() || revision == "main" || revision == "HEAD";
    LORRY_ASSIGN_OR_RETURN(const int64_t number, CurrentOf(db, known.name, by_default ? "prod" : revision));
    if (number > 0) {
      LORRY_ASSIGN_OR_RETURN(found, ByNumber(db, known.name, number));
    } else if (by_default) {
      LORRY_ASSIGN_OR_RETURN(found,
                             OneVersion(db, "WHERE name = ? AND removed_ms IS NULL ORDER BY version DESC LIMIT 1", known.name));
    }
  }
  if (!found) return NoSuchVersion(db, known.name, revision);
  return std::move(*found);
}

Result<VersionEntry> ResolveReference(Database& db, std::string_view text) {
  LORRY_ASSIGN_OR_RETURN(const NameReference reference, ParseReference(text));
  return FindVersion(db, reference.name, reference.revision);
}

Result<NameEntry> FindName(Database& db, const std::string& name) {
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT name, kind, private, created_ms FROM registry_name WHERE name = ?", name));
  LORRY_ASSIGN_OR_RETURN(const bool some, rows.Next());
  if (!some) return MakeError(ErrorCode::kNotFound, fmt::format("registry: {} not found", name));
  LORRY_ASSIGN_OR_RETURN(const ItemKind kind, ItemKindFromName(rows.Text(1)));
  return NameEntry{rows.Text(0), kind, rows.Integer(2) != 0, rows.Time(3)};
}

Result<std::vector<NameEntry>> ListNames(Database& db, std::optional<ItemKind> kind) {
  std::vector<NameEntry> names;
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT name, kind, private, created_ms FROM registry_name ORDER BY name"));
  while (true) {
    LORRY_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) return names;
    LORRY_ASSIGN_OR_RETURN(const ItemKind found, ItemKindFromName(rows.Text(1)));
    if (!kind || found == *kind) names.push_back({rows.Text(0), found, rows.Integer(2) != 0, rows.Time(3)});
  }
}

Result<std::vector<VersionEntry>> ListVersions(Database& db, const std::string& name) {
  std::vector<VersionEntry> versions;
  LORRY_ASSIGN_OR_RETURN(Rows rows,
                         db.Ask(fmt::format("{}WHERE name = ? AND removed_ms IS NULL ORDER BY version", kVersionColumns), name));
  while (true) {
    LORRY_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) return versions;
    LORRY_ASSIGN_OR_RETURN(VersionEntry entry, EntryOf(rows));
    versions.push_back(std::move(entry));
  }
}

Result<std::map<std::string, int64_t>> ListAliases(Database& db, const std::string& name) {
  std::map<std::string, int64_t> aliases;
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT alias, version FROM registry_alias WHERE name = ? ORDER BY move", name));
  while (true) {
    LORRY_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) break;
    aliases[rows.Text(0)] = rows.Integer(1);
  }
  std::erase_if(aliases, [](const auto& entry) { return entry.second == 0; });
  return aliases;
}

Result<int64_t> SetAlias(Database& db, const AliasChange& change, Instant now) {
  LORRY_TRY(CheckAlias(change.alias));
  LORRY_ASSIGN_OR_RETURN(const NameEntry known, FindName(db, change.name));
  if (change.version != 0) {
    LORRY_ASSIGN_OR_RETURN(const std::optional<VersionEntry> target, ByNumber(db, known.name, change.version));
    if (!target) return NoSuchVersion(db, known.name, VersionText(change.version));
  }
  LORRY_ASSIGN_OR_RETURN(const int64_t current, CurrentOf(db, known.name, change.alias));
  if (change.if_current && *change.if_current != current) {
    return MakeError(ErrorCode::kConflict, fmt::format("registry: alias {} of {} stands at {}, not at {}", change.alias,
                                                       known.name, current == 0 ? "no version" : VersionText(current),
                                                       *change.if_current == 0 ? "no version" : VersionText(*change.if_current)));
  }
  if (current == change.version) return current;
  LORRY_TRY(db.Run("INSERT INTO registry_alias(name, alias, version, at_ms, by, reason) VALUES(?, ?, ?, ?, ?, ?)", known.name,
                   change.alias, change.version, now, change.by, change.reason));
  return current;
}

Result<AliasMove> AliasAt(Database& db, const std::string& name, const std::string& alias, Instant at) {
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT version, at_ms, by, reason FROM registry_alias WHERE name = ? AND alias = ? "
                                           "AND at_ms <= ? ORDER BY move DESC LIMIT 1",
                                           name, alias, at));
  LORRY_ASSIGN_OR_RETURN(const bool some, rows.Next());
  if (!some || rows.Integer(0) == 0) {
    return MakeError(ErrorCode::kNotFound,
                     fmt::format("registry: {} had no alias {} at {}", name, EscapeControl(alias), FormatUtc(at)));
  }
  return AliasMove{alias, rows.Integer(0), rows.Time(1), rows.Text(2), rows.Text(3)};
}

Result<std::vector<AliasMove>> AliasHistory(Database& db, const std::string& name) {
  std::vector<AliasMove> moves;
  LORRY_ASSIGN_OR_RETURN(
      Rows rows, db.Ask("SELECT alias, version, at_ms, by, reason FROM registry_alias WHERE name = ? ORDER BY move", name));
  while (true) {
    LORRY_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) return moves;
    moves.push_back({rows.Text(0), rows.Integer(1), rows.Time(2), rows.Text(3), rows.Text(4)});
  }
}

Status RemoveVersion(Database& db, const VersionEntry& version, Instant now) {
  LORRY_ASSIGN_OR_RETURN(const auto aliases, ListAliases(db, version.manifest.name));
  for (const auto& [alias, number] : aliases) {
    if (number == version.manifest.version) {
      return MakeError(ErrorCode::kConflict, fmt::format("registry: alias {} stands at {}", alias, version.Text()),
                       "move the alias first");
    }
  }
  LORRY_ASSIGN_OR_RETURN(const auto user, OneVersion(db, "WHERE base_digest = ? AND removed_ms IS NULL LIMIT 1", version.digest));
  if (user) return MakeError(ErrorCode::kConflict, fmt::format("registry: {} is built on {}", user->Text(), version.Text()));
  return db.Run("UPDATE registry_version SET removed_ms = ? WHERE name = ? AND version = ?", now, version.manifest.name,
                version.manifest.version);
}

}  // namespace lorry
