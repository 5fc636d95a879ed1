// Blobs as clients and workers send and fetch them, piece by piece: the wire's side of the registry's blob store
// (registry/blob_store.h). Any thread, but the pieces of one blob one after the other.
#pragma once

#include <string>

#include "base/result.h"
#include "base/wire_types.h"
#include "registry/blob_store.h"

namespace lorry {

class BlobDesk {
 public:
  explicit BlobDesk(const std::string& home) : store_(home) {}

  bool Has(const Digest& digest) const { return store_.Has(digest); }
  wire::BlobsPresent Answer(const wire::HasBlobs& question) const;
  // Errors: kData where the whole of what came has another digest (it is thrown away), kStorage.
  Result<wire::BlobStored> Put(const wire::PutBlob& piece);
  // Errors: kNotFound.
  Result<wire::BlobPiece> Get(const wire::GetBlob& question) const;

 private:
  BlobStore store_;
};

}  // namespace lorry
