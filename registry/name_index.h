// Names, versions and aliases in the state file. Versions never change; only aliases move, and every move stays in a log.
//
// Every function works on the Database it is given: writes are part of the caller's transaction (the scheduler's; lorryd is the
// only writer), reads see the moment of the caller's view. Errors: kNotFound with what there is, kConflict where the state is not
// the one that the caller expected, kUsage for names that are not possible.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/name_rules.h"
#include "base/result.h"
#include "base/store/store.h"
#include "base/units.h"
#include "registry/manifest.h"

namespace lorry {

// The registry's tables, for Store::Open.
std::vector<Migration> RegistryMigrations();

// A version as the index knows it.
struct VersionEntry {
  Manifest manifest;
  Digest digest;  // of the manifest
  std::string Text() const { return manifest.name + "@" + VersionText(manifest.version); }
  VersionLink Link() const { return {manifest.name, manifest.version, digest}; }
};

struct AddedVersion {
  VersionEntry entry;
  bool existing = false;  // the name had a version of this content already: that one
};
// What AddVersion says of the name: kConflict where it is of the other kind, or differs from another in case only.
Status CheckNameFor(Database& db, const std::string& name, ItemKind kind);
// Gives the manifest the next version of its name and stores it. A new name is made as `is_private` says; where that says
// nothing, private where the base or a parent is. kConflict where the name is of the other kind, differs from another in case
// only, or is there and private or public otherwise than `is_private` says.
Result<AddedVersion> AddVersion(Database& db, Manifest manifest, std::optional<bool> is_private, Instant now);
// Strangers see the versions of a public name, those there are and those to come. Returns what it was before.
Result<bool> SetPrivate(Database& db, const std::string& name, bool is_private);

// "v3", an alias, 40 hex digits, "main" or "HEAD" or "" (the alias prod, else the newest version).
Result<VersionEntry> FindVersion(Database& db, const std::string& name, std::string_view revision);
// The same for "org/name", "org/name@revision".
Result<VersionEntry> ResolveReference(Database& db, std::string_view reference);

struct NameEntry {
  std::string name;
  ItemKind kind = ItemKind::kModel;
  bool is_private = false;
  Instant created;
};
Result<NameEntry> FindName(Database& db, const std::string& name);
Result<std::vector<NameEntry>> ListNames(Database& db, std::optional<ItemKind> kind);
Result<std::vector<VersionEntry>> ListVersions(Database& db, const std::string& name);  // oldest first
Result<std::map<std::string, int64_t>> ListAliases(Database& db, const std::string& name);

struct AliasChange {
  std::string name;
  std::string alias;
  int64_t version = 0;                // 0 takes the alias away
  std::optional<int64_t> if_current;  // kConflict where it stands at another; 0: where it stands anywhere
  std::string by, reason;
};
// Appends to the log and returns the version it stood at before (0: none). Setting what is so already adds no line.
Result<int64_t> SetAlias(Database& db, const AliasChange& change, Instant now);

struct AliasMove {
  std::string alias;
  int64_t version = 0;  // 0: taken away
  Instant at;
  std::string by, reason;
};
// Where an alias stood at an instant. kNotFound where it did not exist then.
Result<AliasMove> AliasAt(Database& db, const std::string& name, const std::string& alias, Instant at);
// Every move of every alias of the name, oldest first.
Result<std::vector<AliasMove>> AliasHistory(Database& db, const std::string& name);

// Takes a version out of the index; its number is never given again. kConflict where an alias stands at it or another version
// is built on it. Blobs stay.
Status RemoveVersion(Database& db, const VersionEntry& version, Instant now);

}  // namespace lorry
