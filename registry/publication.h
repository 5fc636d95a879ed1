// What is checked and completed before files become a version: a model directory, or an adapter with its base.
//
// Refused: files that are no safe names, empty weights, pickled weights, files above the 50 GB that Hugging Face clients fetch,
// tensors that do not fit the configuration, an adapter whose shapes do not fit its base. An adapter's adapter_config.json is
// rewritten so that it names its base by registry name and version. The blobs are in the store before any of these is called.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/store/database.h"
#include "base/units.h"
#include "registry/blob_store.h"
#include "registry/manifest.h"
#include "registry/name_index.h"

namespace lorry {

// What shall become a version.
struct Publication {
  ItemKind kind = ItemKind::kModel;
  std::string name;                // "org/name", or a bare name
  std::optional<bool> is_private;  // nullopt: as the name is; a new one as what it is made of
  std::vector<BlobEntry> files;
  std::string base;                  // of an adapter: a reference
  std::vector<std::string> parents;  // references that it was started from
  std::string alias;                 // set to the version; empty: none
  Origin origin;
};

struct Published {
  VersionEntry entry;
  bool existing = false;  // the name had this content already
};

// Checks, completes, and stores the version in the caller's transaction. Reads headers and small files, never whole weights.
// Errors: kData naming file and key, kNotFound (a blob, the base), kUsage (a name), kConflict.
Result<Published> Publish(Database& db, const BlobStore& blobs, const Publication& publication, Instant now);

// What can be said of files from their names and sizes alone. kData naming the file.
Status CheckFileList(const std::vector<BlobEntry>& files);

// The checks alone. `base_files` are those of the adapter's base.
Status CheckModelFiles(const BlobStore& blobs, const std::vector<BlobEntry>& files);
Result<AdapterFacts> CheckAdapterFiles(const BlobStore& blobs, const std::vector<BlobEntry>& files,
                                       const std::vector<BlobEntry>& base_files);

}  // namespace lorry
