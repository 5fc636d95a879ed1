// Blobs as clients and workers send and fetch them, piece by piece: HOME/blobs/sha256/ab/HEX, and HOME/blobs/uploads/HEX while one
// is on its way. A blob appears whole, under its digest, or not at all; an upload goes on where it stopped, after a restart too.
// Functions over files; any thread, but the pieces of one blob one after the other.
#pragma once

#include <mutex>
#include <string>

#include "base/result.h"
#include "base/wire_types.h"

namespace lorry {

class BlobDesk {
 public:
  explicit BlobDesk(std::string home) : home_(std::move(home)) {}

  bool Has(const Digest& digest) const;
  wire::BlobsPresent Answer(const wire::HasBlobs& question) const;
  // Errors: kData where the whole of what came has another digest (it is thrown away), kStorage.
  Result<wire::BlobStored> Put(const wire::PutBlob& piece);
  // Errors: kNotFound.
  Result<wire::BlobPiece> Get(const wire::GetBlob& question) const;

 private:
  std::string PathOf(const Digest& digest) const;
  std::string UploadPathOf(const Digest& digest) const;
  Result<wire::BlobStored> FinishUpload(const wire::PutBlob& piece);

  std::string home_;
  std::mutex uploads_;
};

}  // namespace lorry
