// Blobs as clients and workers send and fetch them, piece by piece: the wire's words over registry/blob_store.h.
// Any thread; the pieces of one blob come one after the other.
#pragma once

#include <string>

#include "base/result.h"
#include "base/wire_types.h"
#include "registry/blob_store.h"

namespace lorry {

class BlobDesk {
 public:
  explicit BlobDesk(std::string home) : store_(std::move(home)) {}

  bool Has(const Digest& digest) const;
  wire::BlobsPresent Answer(const wire::HasBlobs& question) const;
  // Errors: kData where the whole of what came has another digest (it is thrown away), kStorage.
  Result<wire::BlobStored> Put(const wire::PutBlob& piece);
  // Errors: kNotFound.
  Result<wire::BlobPiece> Get(const wire::GetBlob& question) const;

 private:
  BlobStore store_;
};

}  // namespace lorry
