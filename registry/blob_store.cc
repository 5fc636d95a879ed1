#include "registry/blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "base/files.h"
#include "base/text.h"

namespace lorry {
namespace {

constexpr size_t kCopyBytes = 1 << 20;
constexpr size_t kMaxPathBytes = 512;

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_;
};

Status WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError("cannot write", path);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return OkStatus();
}

// Reads at most buffer.size() bytes at `offset`; less only at the end of the file.
Result<size_t> ReadAt(int fd, std::string* buffer, uint64_t offset, const std::string& path) {
  size_t have = 0;
  while (have < buffer->size()) {
    const ssize_t got = pread(fd, buffer->data() + have, buffer->size() - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError("cannot read", path);
    if (got == 0) break;
    have += static_cast<size_t>(got);
  }
  return have;
}

Error Missing(const Digest& digest) {
  return MakeError(ErrorCode::kNotFound, fmt::format("blob {} is not in the store", digest.hex()));
}

// A file without a name in `folder`, or with a temporary one where the file system cannot do that.
struct NewFile {
  int fd = -1;
  std::string temporary;  // empty: it has no name
};
Result<NewFile> CreateUnnamed(const std::string& folder) {
  NewFile file;
  file.fd = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0400);
  if (file.fd >= 0) return file;
  file.temporary = folder + "/new.XXXXXX";
  file.fd = mkostemp(file.temporary.data(), O_CLOEXEC);
  if (file.fd < 0) return ErrnoError("cannot make a file in", folder);
  return file;
}

}  // namespace

bool IsSafePath(std::string_view path) {
  if (path.empty() || path.size() > kMaxPathBytes || !IsValidUtf8(path)) return false;
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\') return false;
  }
  for (const std::string& part : Split(path, '/')) {
    if (part.empty() || part[0] == '.') return false;
  }
  return true;
}

std::string BlobStore::PathOf(const Digest& digest) const {
  const std::string hex = digest.hex();
  return fmt::format("{}/sha256/{}/{}", root_, hex.substr(0, 2), hex);
}

std::string BlobStore::UploadPathOf(const Digest& digest) const { return fmt::format("{}/uploads/{}", root_, digest.hex()); }

bool BlobStore::Has(const Digest& digest) const { return FileExists(PathOf(digest)); }

Result<uint64_t> BlobStore::SizeOf(const Digest& digest) const {
  if (!Has(digest)) return Missing(digest);
  LORRY_ASSIGN_OR_RETURN(const Bytes size, FileSize(PathOf(digest)));
  return static_cast<uint64_t>(size.count());
}

// Gives the durable bytes of `fd` their name. That the name is taken already is success: the bytes are the same.
Status BlobStore::Link(int fd, const std::string& temporary, const Digest& digest) const {
  const std::string path = PathOf(digest);
  const std::string folder = path.substr(0, path.rfind('/'));
  if (fchmod(fd, 0444) != 0 || fsync(fd) != 0) return ErrnoError("cannot make durable", path);
  LORRY_TRY(MakeDirectories(folder));
  const std::string source = temporary.empty() ? fmt::format("/proc/self/fd/{}", fd) : temporary;
  const int linked = linkat(AT_FDCWD, source.c_str(), AT_FDCWD, path.c_str(), temporary.empty() ? AT_SYMLINK_FOLLOW : 0);
  const int reason = errno;
  if (!temporary.empty()) unlink(temporary.c_str());
  errno = reason;
  if (linked != 0 && reason != EEXIST) return ErrnoError("cannot store", path);
  return SyncDirectory(folder);
}

Result<StoredBlob> BlobStore::PutBytes(std::string_view bytes) const {
  const StoredBlob blob{Sha256Of(bytes), bytes.size()};
  if (Has(blob.digest)) return blob;
  LORRY_TRY(MakeDirectories(root_ + "/uploads"));
  LORRY_ASSIGN_OR_RETURN(const NewFile file, CreateUnnamed(root_ + "/uploads"));
  const Descriptor descriptor(file.fd);
  Status written = WriteAll(file.fd, bytes, root_);
  if (!written.ok()) {
    if (!file.temporary.empty()) unlink(file.temporary.c_str());
    return std::move(written).error();
  }
  LORRY_TRY(Link(file.fd, file.temporary, blob.digest));
  return blob;
}

namespace {

// Copies `from` to `to`, hashing on the way.
Result<StoredBlob> CopyHashing(int from, int to, const std::string& path) {
  Sha256 hash;
  StoredBlob blob;
  std::string buffer(kCopyBytes, '\0');
  while (true) {
    LORRY_ASSIGN_OR_RETURN(const size_t got, ReadAt(from, &buffer, blob.size, path));
    const std::string_view piece(buffer.data(), got);
    hash.Update(piece);
    LORRY_TRY(WriteAll(to, piece, path));
    blob.size += got;
    if (got < buffer.size()) break;
  }
  blob.digest = hash.Finish();
  return blob;
}

}  // namespace

Result<StoredBlob> BlobStore::PutFile(const std::filesystem::path& path) const {
  const Descriptor source(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!source.ok()) return ErrnoError("cannot open", path.string());
  struct stat status {};
  if (fstat(source.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return MakeError(ErrorCode::kData, fmt::format("{} is not a file", path.string()));
  }
  LORRY_TRY(MakeDirectories(root_ + "/uploads"));
  LORRY_ASSIGN_OR_RETURN(const NewFile file, CreateUnnamed(root_ + "/uploads"));
  const Descriptor descriptor(file.fd);
  Result<StoredBlob> blob = CopyHashing(source.get(), file.fd, path.string());
  if (!blob.ok() || Has(blob->digest)) {
    if (!file.temporary.empty()) unlink(file.temporary.c_str());
    return blob;
  }
  LORRY_TRY(Link(file.fd, file.temporary, blob->digest));
  return blob;
}

Result<UploadState> BlobStore::PutPiece(const Digest& digest, uint64_t size, uint64_t offset, std::string_view bytes) {
  const std::lock_guard lock(uploads_);
  if (Has(digest)) return UploadState{size, true};
  LORRY_TRY(MakeDirectories(root_ + "/uploads"));
  const std::string upload = UploadPathOf(digest);
  const Descriptor file(open(upload.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!file.ok()) return ErrnoError("cannot write", upload);
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return ErrnoError("cannot read", upload);
  const auto have = static_cast<uint64_t>(status.st_size);
  if (offset != have && !bytes.empty()) return UploadState{have, false};
  if (have > size || bytes.size() > size - have) {
    unlink(upload.c_str());
    return MakeError(ErrorCode::kData, fmt::format("blob {} was announced with {} bytes and has more", digest.hex(), size),
                     "send it again");
  }
  const Status written = WriteAll(file.get(), bytes, upload);
  if (!written.ok()) {
    (void)ftruncate(file.get(), status.st_size);  // a piece counts whole or not at all
    return written.error();
  }
  if (have + bytes.size() < size) return UploadState{have + bytes.size(), false};
  return FinishUpload(digest, upload);
}

Result<UploadState> BlobStore::FinishUpload(const Digest& digest, const std::string& upload) const {
  LORRY_ASSIGN_OR_RETURN(const Digest found, Sha256OfFile(upload));
  if (found != digest) {
    unlink(upload.c_str());
    return MakeError(ErrorCode::kData, fmt::format("what came for blob {} has the digest {}", digest.hex(), found.hex()),
                     "send it again");
  }
  const Descriptor file(open(upload.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.ok()) return ErrnoError("cannot open", upload);
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return ErrnoError("cannot read", upload);
  LORRY_TRY(Link(file.get(), upload, digest));
  return UploadState{static_cast<uint64_t>(status.st_size), true};
}

Result<std::string> BlobStore::ReadPiece(const Digest& digest, uint64_t offset, uint64_t max_bytes) const {
  const std::string path = PathOf(digest);
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.ok()) return Missing(digest);
  LORRY_ASSIGN_OR_RETURN(const uint64_t size, SizeOf(digest));
  std::string piece(offset >= size ? 0 : std::min(max_bytes, size - offset), '\0');
  LORRY_ASSIGN_OR_RETURN(const size_t got, ReadAt(file.get(), &piece, offset, path));
  piece.resize(got);
  return piece;
}

Result<std::string> BlobStore::ReadBytes(const Digest& digest, uint64_t max_bytes) const {
  if (!Has(digest)) return Missing(digest);
  return ReadFile(PathOf(digest), static_cast<int64_t>(max_bytes));
}

Status BlobStore::Verify(const Digest& digest) const {
  if (!Has(digest)) return Missing(digest);
  LORRY_ASSIGN_OR_RETURN(const Digest found, Sha256OfFile(PathOf(digest)));
  if (found == digest) return OkStatus();
  return MakeError(ErrorCode::kData, fmt::format("blob {} is damaged: its bytes have the digest {}", digest.hex(), found.hex()),
                   "bring it back from a backup");
}

}  // namespace lorry
