// The manifest of a version: everything that the version is, in canonical JSON. Its SHA-256 is the version's digest, and the
// first 40 hex digits of that its commit for Hugging Face clients. docs/formats/registry.md describes the fields.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "registry/blob_store.h"

namespace lorry {

enum class ItemKind { kModel, kAdapter };
std::string_view NameOf(ItemKind kind);  // "model", "adapter"
Result<ItemKind> ItemKindFromName(std::string_view name);

// A file of a version. `git_oid` is what Hugging Face clients know it by: of a large file, that of its pointer.
struct ManifestFile : BlobEntry {
  std::string git_oid;  // 40 hex digits
  bool large = false;   // known by its SHA-256 (Git LFS in Hugging Face's words)
};

struct VersionLink {
  std::string name;
  int64_t version = 0;
  Digest digest;  // of the manifest
};

struct AdapterFacts {
  std::string peft_type;  // "LORA"
  int64_t r = 0;
  double alpha = 0;
  std::vector<std::string> target_modules;  // sorted
  int64_t parameters = 0;
};

// What made the version. Empty fields are not known.
struct Origin {
  RunId run;
  std::string source;                    // what was imported, in words
  std::map<std::string, Digest> inputs;  // "train", "validation", "base_model", ... : digest of the file or manifest
  std::string job_json;                  // the resolved job
  std::string facts_json;                // the ranks' instruction set, library versions, seeds
  std::string cost_usd;                  // 18 decimals
  std::string creator;
};

struct Manifest {
  ItemKind kind = ItemKind::kModel;
  std::string name;  // full
  int64_t version = 0;
  Instant created;
  std::vector<ManifestFile> files;  // sorted by path
  std::optional<VersionLink> base;  // of an adapter
  std::optional<AdapterFacts> adapter;
  std::vector<VersionLink> parents;  // what it was started from
  Origin origin;

  const ManifestFile* Find(std::string_view path) const;
  uint64_t TotalBytes() const;
};

std::string ManifestJson(const Manifest& manifest);  // canonical
Result<Manifest> ParseManifest(std::string_view json);

// Two versions of one name with the same content digest are the same version: kind, files and base.
Digest ContentDigest(const Manifest& manifest);

// The commit of a manifest's digest.
std::string CommitOf(const Digest& digest);

// Fills git_oid and large. Small files are read.
Result<ManifestFile> DescribeFile(const BlobStore& blobs, const BlobEntry& entry);

}  // namespace lorry
