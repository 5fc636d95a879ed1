#include "base/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

namespace lorry {
namespace fs = std::filesystem;

Error ErrnoError(std::string_view what, const std::string& path) {
  const int code = errno;
  ErrorCode kind = ErrorCode::kStorage;
  std::string hint;
  if (code == ENOENT || code == ENOTDIR) kind = ErrorCode::kNotFound;
  if (code == EACCES || code == EPERM || code == EROFS) {
    kind = ErrorCode::kNotAllowed, hint = "check the owner and mode of the file and its folders";
  }
  if (code == ENOSPC || code == EDQUOT) hint = "free space on that file system";
  return MakeError(kind, fmt::format("{} {}: {}", what, path, std::strerror(code)), hint);
}

Result<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoError("cannot open", path);
  std::string bytes;
  struct stat info = {};
  Status status;
  if (::fstat(fd, &info) != 0) {
    status = ErrnoError("cannot read", path);
  } else if (S_ISDIR(info.st_mode)) {
    errno = EISDIR;
    status = ErrnoError("cannot read", path);
  } else if (info.st_size > max_bytes) {
    status = MakeError(ErrorCode::kData, fmt::format("{} has {} bytes; at most {} are read", path, info.st_size, max_bytes));
  } else {
    // Files of /proc say 0 bytes, so the end is where read() says it is.
    char buffer[1 << 16];
    ssize_t got;
    bytes.reserve(static_cast<size_t>(info.st_size));
    while ((got = ::read(fd, buffer, sizeof(buffer))) > 0 && static_cast<int64_t>(bytes.size()) <= max_bytes) {
      bytes.append(buffer, got);
    }
    if (got < 0) {
      status = ErrnoError("cannot read", path);
    } else if (static_cast<int64_t>(bytes.size()) > max_bytes) {
      status = MakeError(ErrorCode::kData, fmt::format("{} has more than {} bytes", path, max_bytes));
    }
  }
  ::close(fd);
  if (!status.ok()) return status.error();
  return bytes;
}

Status WriteFileAtomically(const std::string& path, std::string_view bytes, int mode) {
  LORRY_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path, mode));
  LORRY_TRY(file.Write(bytes));
  return file.Commit();
}

Result<AtomicFile> AtomicFile::Create(const std::string& path, int mode) {
  static std::atomic<uint64_t> counter{0};
  std::string temporary = fmt::format("{}.tmp-{}-{}", path, ::getpid(), counter++);
  const int fd = ::open(temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
  if (fd < 0) return ErrnoError("cannot create", path);
  return AtomicFile(fd, std::move(temporary), path);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), temporary_(std::move(other.temporary_)), path_(std::move(other.path_)) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

Status AtomicFile::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError("cannot write", path_);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return OkStatus();
}

Status AtomicFile::Write(std::span<const std::byte> bytes) {
  return Write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

Status AtomicFile::Commit() {
  const bool durable = ::fsync(fd_) == 0;
  if (!durable) return ErrnoError("cannot write", path_);
  ::close(std::exchange(fd_, -1));
  Status renamed = RenameDurably(temporary_, path_);
  if (!renamed.ok()) ::unlink(temporary_.c_str());
  return renamed;
}

Result<MappedFile> MappedFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoError("cannot open", path);
  struct stat info = {};
  void* address = nullptr;
  Status status;
  if (::fstat(fd, &info) != 0) {
    status = ErrnoError("cannot read", path);
  } else if (S_ISDIR(info.st_mode)) {
    errno = EISDIR;
    status = ErrnoError("cannot read", path);
  } else if (info.st_size > 0) {
    address = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (address == MAP_FAILED) status = ErrnoError("cannot map", path);
  }
  ::close(fd);
  if (!status.ok()) return status.error();
  return MappedFile(address, static_cast<size_t>(info.st_size));
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (address_ != nullptr) ::munmap(address_, size_);
}

namespace {

Result<std::string> MakeTempFolder() {
  const char* root = std::getenv("TMPDIR");
  std::string path = std::string(root != nullptr && *root != '\0' ? root : "/tmp") + "/lorry-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) {
    Error error = ErrnoError("cannot make a temporary folder", path);
    error.code = ErrorCode::kStorage;
    error.hint = "make room there, or let TMPDIR name another place";
    return error;
  }
  return path;
}

}  // namespace

Result<std::unique_ptr<TempDirectory>> TempDirectory::Make() {
  LORRY_ASSIGN_OR_RETURN(std::string path, MakeTempFolder());
  return std::unique_ptr<TempDirectory>(new TempDirectory(std::move(path)));
}

TempDirectory::TempDirectory() {
  Result<std::string> made = MakeTempFolder();
  if (!made.ok()) std::abort();
  path_ = std::move(*made);
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

bool FileExists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

Result<Bytes> FileSize(const std::string& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) return ErrnoError("cannot read", path);
  return Bytes(info.st_size);
}

Status MakeDirectories(const std::string& path, int mode) {
  std::string so_far;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t slash = std::min(path.find('/', begin), path.size());
    so_far = path.substr(0, slash);
    begin = slash + 1;
    if (so_far.empty()) continue;
    if (::mkdir(so_far.c_str(), mode) != 0 && errno != EEXIST) return ErrnoError("cannot create folder", so_far);
  }
  std::error_code code;
  if (!fs::is_directory(path, code)) {
    errno = code ? code.value() : ENOTDIR;
    return ErrnoError("cannot create folder", path);
  }
  return OkStatus();
}

Status RemoveTree(const std::string& path) {
  std::error_code code;
  fs::remove_all(path, code);
  if (!code) return OkStatus();
  errno = code.value();
  return ErrnoError("cannot remove", path);
}

Result<std::vector<std::string>> ListDirectory(const std::string& path) {
  std::error_code code;
  std::vector<std::string> names;
  for (fs::directory_iterator it(path, code), end; !code && it != end; it.increment(code)) {
    names.push_back(it->path().filename().string());
  }
  if (code) {
    errno = code.value();
    return ErrnoError("cannot list", path);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<Bytes> FreeBytes(const std::string& path) {
  struct statvfs info = {};
  if (::statvfs(path.c_str(), &info) != 0) return ErrnoError("cannot look at the file system of", path);
  return Bytes(static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize));
}

Status SyncDirectory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoError("cannot open folder", path);
  const bool synced = ::fsync(fd) == 0;
  Status status = synced ? OkStatus() : Status(ErrnoError("cannot sync folder", path));
  ::close(fd);
  return status;
}

Status RenameDurably(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return ErrnoError("cannot rename to", to);
  const std::string folder = fs::path(to).parent_path().string();
  return SyncDirectory(folder.empty() ? "." : folder);
}

}  // namespace lorry
