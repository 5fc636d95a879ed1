#include "scheduler/blob_desk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/files.h"
#include "base/hash.h"

namespace lorry {
namespace {

// A file descriptor that closes itself.
struct Descriptor {
  explicit Descriptor(int fd) : fd(fd) {}
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int fd;
};

Status WriteAt(const std::string& path, uint64_t offset, const std::string& bytes) {
  Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (file.fd < 0) return ErrnoError("cannot write", path);
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t n = pwrite(file.fd, bytes.data() + written, bytes.size() - written, static_cast<off_t>(offset + written));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError("cannot write", path);
    written += static_cast<size_t>(n);
  }
  return OkStatus();
}

Status Sync(const std::string& path) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0 || fchmod(file.fd, 0444) != 0 || fsync(file.fd) != 0) return ErrnoError("cannot make durable", path);
  return OkStatus();
}

uint64_t SizeOrZero(const std::string& path) {
  auto size = FileSize(path);
  return size.ok() ? static_cast<uint64_t>(size->count()) : 0;
}

}  // namespace

std::string BlobDesk::PathOf(const Digest& digest) const {
  const std::string hex = digest.hex();
  return fmt::format("{}/blobs/sha256/{}/{}", home_, hex.substr(0, 2), hex);
}

std::string BlobDesk::UploadPathOf(const Digest& digest) const { return fmt::format("{}/blobs/uploads/{}", home_, digest.hex()); }

bool BlobDesk::Has(const Digest& digest) const { return FileExists(PathOf(digest)); }

wire::BlobsPresent BlobDesk::Answer(const wire::HasBlobs& question) const {
  wire::BlobsPresent answer;
  for (const Digest& digest : question.digests) answer.present.push_back(Has(digest) ? 1 : 0);
  return answer;
}

Result<wire::BlobStored> BlobDesk::Put(const wire::PutBlob& piece) {
  std::lock_guard lock(uploads_);
  if (Has(piece.digest)) return wire::BlobStored{piece.size, true};
  LORRY_TRY(MakeDirectories(home_ + "/blobs/uploads"));
  const std::string upload = UploadPathOf(piece.digest);
  const uint64_t have = SizeOrZero(upload);
  if (piece.offset != have && !piece.bytes.empty()) return wire::BlobStored{have, false};
  if (have + piece.bytes.size() > piece.size) {
    (void)RemoveTree(upload);
    return MakeError(ErrorCode::kData, fmt::format("blob {} is said to have {} bytes and has more", piece.digest.hex(), piece.size));
  }
  if (!piece.bytes.empty() || piece.size == 0) LORRY_TRY(WriteAt(upload, have, piece.bytes));
  if (have + piece.bytes.size() < piece.size) return wire::BlobStored{have + piece.bytes.size(), false};
  return FinishUpload(piece);
}

Result<wire::BlobStored> BlobDesk::FinishUpload(const wire::PutBlob& piece) {
  const std::string upload = UploadPathOf(piece.digest);
  const std::string path = PathOf(piece.digest);
  LORRY_ASSIGN_OR_RETURN(Digest digest, Sha256OfFile(upload));
  if (digest != piece.digest) {
    (void)RemoveTree(upload);
    return MakeError(ErrorCode::kData, fmt::format("what came for blob {} has the digest {}", piece.digest.hex(), digest.hex()), "send it again");
  }
  LORRY_TRY(Sync(upload));
  LORRY_TRY(MakeDirectories(path.substr(0, path.rfind('/'))));
  LORRY_TRY(RenameDurably(upload, path));
  return wire::BlobStored{piece.size, true};
}

Result<wire::BlobPiece> BlobDesk::Get(const wire::GetBlob& question) const {
  const std::string path = PathOf(question.digest);
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd < 0) return MakeError(ErrorCode::kNotFound, fmt::format("blob {} is not here", question.digest.hex()));
  wire::BlobPiece piece{SizeOrZero(path), question.offset, ""};
  if (question.offset >= piece.size) return piece;
  piece.bytes.resize(std::min<uint64_t>({question.max_bytes, wire::kBlobPieceBytes, piece.size - question.offset}));
  const ssize_t n = pread(file.fd, piece.bytes.data(), piece.bytes.size(), static_cast<off_t>(question.offset));
  if (n < 0) return ErrnoError("cannot read", path);
  piece.bytes.resize(static_cast<size_t>(n));
  return piece;
}

}  // namespace lorry
