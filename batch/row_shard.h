// The file in which a rank keeps the rows that it has finished: docs/formats/batch-shards.md.
//
// A shard is a journal (base/journal.h) with one record per row: a head of fixed size and the row's line as it will
// stand in output.jsonl or errors.jsonl, without the newline. One attempt's rank writes one shard; it is never changed
// afterwards. A row may stand in several shards, of attempts that did not know of each other; what was committed
// decides, and the bytes are equal anyway.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "base/journal.h"
#include "base/result.h"

namespace lorry {

enum class RowState : uint8_t { kOk = 0, kError = 1 };
const char* RowStateName(RowState state);  // "ok", "error"

struct ShardRow {
  int64_t index = 0;   // of the input's rows, from 0
  uint64_t epoch = 0;  // of the lease that it was computed under
  RowState state = RowState::kOk;
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  uint32_t millis = 0;
  std::string line;
};

// Where a row's line lies, and what it must be.
struct RowPlace {
  std::string shard;   // path
  int64_t offset = 0;  // of the line's first byte in the file
  int64_t length = 0;  // bytes
  Digest sha256;       // of the line
};

// The bytes of a record's payload, and back. kData for a payload that is not one.
std::string EncodeShardRow(const ShardRow& row);
Result<ShardRow> DecodeShardRow(std::string_view payload);

// One writer, one thread.
class ShardWriter {
 public:
  static Result<ShardWriter> Create(const std::string& path);
  // In the file, not yet durable.
  Result<RowPlace> Append(const ShardRow& row);
  Status Sync() { return journal_.Sync(); }
  const std::string& path() const { return path_; }

 private:
  ShardWriter(JournalWriter journal, std::string path) : journal_(std::move(journal)), path_(std::move(path)) {}
  JournalWriter journal_;
  std::string path_;
  int64_t offset_ = 0;  // of the next record
};

// Calls `each` for every whole row in the order of writing; stops in silence where the file is torn. One row in memory at
// a time. kNotFound, kStorage, and kData where the file is not a shard or a whole record is not a row.
Status ScanShard(const std::string& path, const std::function<Status(const ShardRow&, const RowPlace&)>& each);

// The line at `place`; kStorage where the shard cannot be opened, kData where its bytes are not those of the digest.
Result<std::string> ReadRowLine(const RowPlace& place);

// Makes what another process wrote into the shard durable.
Status SyncShard(const std::string& path);

}  // namespace lorry
