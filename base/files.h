// Files that appear whole: a temporary name in the same folder, fsync, rename, fsync of the folder. A reader sees the old bytes
// or the new ones, whatever the writer died of.
//
// Errors: kNotFound, kNotAllowed (permission), kStorage (disk full, input/output), each naming the path. Functions are safe for
// any thread; the classes are for one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace lorry {

// The error of the C library's last failure: "cannot open PATH: No such file or directory".
Error ErrnoError(std::string_view what, const std::string& path);

constexpr int64_t kDefaultReadLimit = int64_t{1} << 30;

// The whole file. A file larger than `max_bytes` is kData, so that a hostile input cannot fill the memory.
Result<std::string> ReadFile(const std::string& path, int64_t max_bytes = kDefaultReadLimit);

// Replaces or makes `path` with exactly these bytes, durably. Nothing is left behind on failure.
Status WriteFileAtomically(const std::string& path, std::string_view bytes, int mode = 0644);

// The same for a file written piece by piece. Without Commit() nothing appears.
class AtomicFile {
 public:
  static Result<AtomicFile> Create(const std::string& path, int mode = 0644);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();
  Status Write(std::string_view bytes);
  Status Write(std::span<const std::byte> bytes);
  // Makes the file durable and gives it its name. Call once, last.
  Status Commit();
  // The name it has until Commit(), for a library that writes the file by itself.
  const std::string& temporary_path() const { return temporary_; }

 private:
  AtomicFile(int fd, std::string temporary, std::string path)
      : fd_(fd), temporary_(std::move(temporary)), path_(std::move(path)) {}
  int fd_;
  std::string temporary_;
  std::string path_;
};

// A read-only mapping of a whole file; the span lives as long as the object. A file that another process shortens meanwhile is
// undefined: map only files that appear whole.
class MappedFile {
 public:
  static Result<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), size_}; }
  std::string_view text() const { return {static_cast<const char*>(address_), size_}; }

 private:
  MappedFile(void* address, size_t size) : address_(address), size_(size) {}
  void* address_ = nullptr;
  size_t size_ = 0;
};

// A folder of its own under $TMPDIR (else /tmp), removed with all it holds.
class TempDirectory {
 public:
  // kStorage where there is no room or no such place.
  static Result<std::unique_ptr<TempDirectory>> Make();
  // For tests: ends the process where none can be made.
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  explicit TempDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

bool FileExists(const std::string& path);
Result<Bytes> FileSize(const std::string& path);
Status MakeDirectories(const std::string& path, int mode = 0755);
Status RemoveTree(const std::string& path);
// Names (not paths) in sorted order.
Result<std::vector<std::string>> ListDirectory(const std::string& path);
Result<Bytes> FreeBytes(const std::string& path);
// fsync of a folder: makes the names in it durable.
Status SyncDirectory(const std::string& path);
// Renames durably: fsync of the target's folder after it.
Status RenameDurably(const std::string& from, const std::string& to);

}  // namespace lorry
