// An append-only file of records that survives a crash at any byte: each record is
//   u32 payload length, u32 CRC-32C of the payload, the payload      (little-endian)
// after a head of 8 bytes: "LRYJ", u32 version 1. A torn or flipped record and all after it are cut by the reader, which says
// where. No record is empty, so that zeros at the end, which some file systems leave after a power cut, are torn too. Rejected:
// HDF5 for what grows (unreadable after a crash), SQLite per attempt (one fsync too many a record).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry {

constexpr uint32_t kMaxJournalRecordBytes = 64u << 20;

struct JournalContents {
  std::vector<std::string> records;
  int64_t good_bytes = 0;  // the file is whole up to here
  bool torn = false;       // something after good_bytes is not a whole record
};

// Reads all whole records. A missing file is kNotFound; a file that is not a journal, or of another version, is kData.
Result<JournalContents> ReadJournal(const std::string& path);

// One writer; one thread.
class JournalWriter {
 public:
  // Opens or makes `path`, first cutting what ReadJournal would cut.
  static Result<JournalWriter> Open(const std::string& path);
  JournalWriter(JournalWriter&& other) noexcept;
  JournalWriter& operator=(JournalWriter&&) = delete;
  ~JournalWriter();

  // In the file, not yet durable. REQUIRES: 0 < payload.size() <= kMaxJournalRecordBytes.
  Status Append(std::string_view payload);
  // All that was appended is durable.
  Status Sync();

 private:
  JournalWriter(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;
};

}  // namespace lorry
