// Blobs: files named by the SHA-256 of their bytes, in HOME/blobs/sha256/ab/HEX, mode 0444.
//
// A blob appears whole or not at all: bytes go to an unnamed file (O_TMPFILE; a temporary name where the file system has none)
// or to HOME/blobs/uploads/HEX while they come in pieces, are hashed on the way, made durable, and only then linked. A blob
// that is there is never written again. docs/formats/registry.md describes the layout.
// Any thread may call; the pieces of one upload come one after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/result.h"

namespace lorry {

// A file of a version or of an upload: what it is called there, and which blob it is.
struct BlobEntry {
  std::string path;  // relative, '/' between parts; IsSafePath() holds
  Digest digest;
  uint64_t size = 0;  // bytes
};

struct StoredBlob {
  Digest digest;
  uint64_t size = 0;  // bytes
};

// How far an upload is. `next_offset` is where the next piece belongs.
struct UploadState {
  uint64_t next_offset = 0;
  bool complete = false;
};

class BlobStore {
 public:
  // `home` is $LORRY_HOME; its folders are made when the first blob comes.
  explicit BlobStore(std::string home) : root_(std::move(home) + "/blobs") {}
  BlobStore(const BlobStore&) = delete;
  BlobStore& operator=(const BlobStore&) = delete;

  std::string PathOf(const Digest& digest) const;
  bool Has(const Digest& digest) const;
  Result<uint64_t> SizeOf(const Digest& digest) const;  // kNotFound

  Result<StoredBlob> PutBytes(std::string_view bytes) const;
  Result<StoredBlob> PutFile(const std::filesystem::path& path) const;  // copies; the source stays

  // One piece of an upload of `size` bytes named `digest`. A piece at another offset than the store is at is not taken; the
  // answer says where it is, also after a restart. kData where the whole has another digest or length: it is thrown away.
  Result<UploadState> PutPiece(const Digest& digest, uint64_t size, uint64_t offset, std::string_view bytes);
  // At most `max_bytes` from `offset`; empty at the end. kNotFound.
  Result<std::string> ReadPiece(const Digest& digest, uint64_t offset, uint64_t max_bytes) const;

  // The whole blob, up to `max_bytes`. kNotFound, kData where it is larger.
  Result<std::string> ReadBytes(const Digest& digest, uint64_t max_bytes) const;
  // Reads every byte: kData where the bytes are no longer those of the name, kNotFound.
  Status Verify(const Digest& digest) const;

 private:
  std::string UploadPathOf(const Digest& digest) const;
  Result<UploadState> FinishUpload(const Digest& digest, const std::string& upload) const;
  Status Link(int fd, const std::string& temporary, const Digest& digest) const;

  std::string root_;
  std::mutex uploads_;
};

// Relative, at most 512 bytes of UTF-8 without control characters or '\', no part empty or beginning with '.'.
bool IsSafePath(std::string_view path);

}  // namespace lorry
