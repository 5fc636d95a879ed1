#include "base/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/files.h"
#include "base/hash.h"

namespace lorry {
namespace {

constexpr char kMagic[4] = {'L', 'R', 'Y', 'J'};
constexpr uint32_t kVersion = 1;
constexpr size_t kHeadBytes = 8;

void PutU32(std::string& out, uint32_t value) {
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

uint32_t GetU32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

std::string Head() {
  std::string head(kMagic, sizeof(kMagic));
  PutU32(head, kVersion);
  return head;
}

}  // namespace

Result<JournalContents> ReadJournal(const std::string& path) {
  LORRY_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const std::string_view bytes = file.text();
  JournalContents contents;
  if (bytes.size() < kHeadBytes) {  // the crash came before the head was whole
    contents.torn = !bytes.empty();
    return contents;
  }
  if (bytes.substr(0, sizeof(kMagic)) != std::string_view(kMagic, sizeof(kMagic))) {
    return MakeError(ErrorCode::kData, fmt::format("{} is not a journal", path));
  }
  if (const uint32_t version = GetU32(bytes, 4); version != kVersion) {
    return MakeError(ErrorCode::kData,
                     fmt::format("{} is a journal of version {}; this program reads version {}", path, version, kVersion));
  }
  size_t at = kHeadBytes;
  while (at + 8 <= bytes.size()) {
    const uint32_t length = GetU32(bytes, at);
    if (length == 0 || length > kMaxJournalRecordBytes || at + 8 + length > bytes.size()) break;
    const std::string_view payload = bytes.substr(at + 8, length);
    if (Crc32c(payload) != GetU32(bytes, at + 4)) break;
    contents.records.emplace_back(payload);
    at += 8 + length;
  }
  contents.good_bytes = static_cast<int64_t>(at);
  contents.torn = at != bytes.size();
  return contents;
}

Result<JournalWriter> JournalWriter::Open(const std::string& path) {
  int64_t good_bytes = 0;
  if (FileExists(path)) {
    LORRY_ASSIGN_OR_RETURN(const JournalContents contents, ReadJournal(path));
    good_bytes = contents.good_bytes;
  }
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoError("cannot open", path);
  JournalWriter writer(fd, path);
  if (::ftruncate(fd, good_bytes) != 0 || ::lseek(fd, 0, SEEK_END) < 0) return ErrnoError("cannot write", path);
  if (good_bytes == 0) {
    const std::string head = Head();
    if (::write(fd, head.data(), head.size()) != static_cast<ssize_t>(head.size())) return ErrnoError("cannot write", path);
  }
  LORRY_TRY(writer.Sync());
  const std::string folder = std::filesystem::path(path).parent_path().string();
  LORRY_TRY(SyncDirectory(folder.empty() ? "." : folder));
  return writer;
}

JournalWriter::JournalWriter(JournalWriter&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

JournalWriter::~JournalWriter() {
  if (fd_ >= 0) ::close(fd_);
}

Status JournalWriter::Append(std::string_view payload) {
  std::string record;
  record.reserve(payload.size() + 8);
  PutU32(record, static_cast<uint32_t>(payload.size()));
  PutU32(record, Crc32c(payload));
  record += payload;
  std::string_view rest = record;
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError("cannot write", path_);
    rest.remove_prefix(static_cast<size_t>(written));
  }
  return OkStatus();
}

Status JournalWriter::Sync() {
  if (::fdatasync(fd_) != 0) return ErrnoError("cannot write", path_);
  return OkStatus();
}

}  // namespace lorry
