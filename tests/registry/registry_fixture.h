// A registry in a folder of its own, with verbs that tests read as sentences.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/store/store.h"
#include "registry/blob_store.h"
#include "registry/name_index.h"
#include "registry/publication.h"

namespace lorry {

class RegistryFixture {
 public:
  explicit RegistryFixture(std::string home);

  Store& store() { return *store_; }
  BlobStore& blobs() { return blobs_; }

  // Puts the bytes into the store and names them.
  BlobEntry File(const std::string& path, const std::string& bytes);
  // A tiny llama (hidden 4, 2 layers) whose weights depend on `seed`, and an adapter of rank 2 on its q_proj.
  std::vector<BlobEntry> ModelFiles(int seed);
  std::vector<BlobEntry> AdapterFiles(int seed);

  // In a transaction of its own.
  Result<Published> TryPublish(const Publication& publication);
  Published Model(const std::string& name, int seed, bool is_private = false);
  Published Adapter(const std::string& name, const std::string& base, int seed);
  Result<int64_t> Alias(const AliasChange& change);

  Instant now{1'700'000'000'000};

 private:
  std::string home_;
  BlobStore blobs_;
  std::unique_ptr<Store> store_;
};

}  // namespace lorry
