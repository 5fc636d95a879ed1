// lorry model ... and lorry adapter ...: what lies in the registry, and what goes in and out of it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/session.h"
#include "registry/manifest.h"

namespace lorry {

struct ImportOptions {
  ItemKind kind = ItemKind::kModel;
  std::string path;               // a Hugging Face directory, a .gguf, or a PEFT directory
  std::string name;               // ORG/NAME
  std::string base;               // adapters: NAME@vN
  std::string dtype = "float32";  // of a converted .gguf
  bool is_private = false;        // false: as the name is, or as an adapter's base where the name is new
};
// Checks the files, pushes them by digest and makes a version of them. The same files again give the version they are already.
Result<int> RunImport(Session& session, const ImportOptions& options);

// The folder's files, pushed by digest, become a version: `question` is that of `registry.import` without `files` and `by`. Its
// answer, with `files` ([{path, digest, size}]).
Result<nlohmann::json> ImportFolder(Session& session, const std::string& folder, nlohmann::json question);
// Paths of the regular files of a folder and of its folders, sorted; names that begin with a dot are passed over.
Result<std::vector<std::string>> VisibleFiles(const std::string& folder);

Result<int> RunRegistryList(Session& session, ItemKind kind);
Result<int> RunRegistryShow(Session& session, ItemKind kind, const std::string& name);
// The version's files into a folder (its name, where none is given).
Result<int> RunRegistryPull(Session& session, ItemKind kind, const std::string& reference, const std::string& folder);

struct AliasOptions {
  ItemKind kind = ItemKind::kModel;
  std::string name;  // "org/name@v3" to set, "org/name" with `at`
  std::string alias;
  std::string if_current;  // a version; empty: whatever it is
  std::string reason;
  std::string at;  // what the alias was at this UTC time
};
Result<int> RunAlias(Session& session, const AliasOptions& options);

// Of a name and all its versions: may strangers see it?
Result<int> RunVisibility(Session& session, ItemKind kind, const std::string& name, bool is_private);

// verify, lineage, rm: one reference in, one document out. Verify answers 1 where a file is not whole.
Result<int> RunVerify(Session& session, ItemKind kind, const std::string& reference);
Result<int> RunLineage(Session& session, ItemKind kind, const std::string& reference);
Result<int> RunRemove(Session& session, ItemKind kind, const std::string& reference);
Result<int> RunDiff(Session& session, ItemKind kind, const std::string& from, const std::string& to);

}  // namespace lorry
