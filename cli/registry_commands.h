// lorry model ... and lorry adapter ...: what lies in the registry, and what goes in and out of it.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/session.h"

namespace lorry {

enum class ItemKind { kModel, kAdapter };

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
