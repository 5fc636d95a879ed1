#include "batch/row_shard.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>

#include "base/files.h"

namespace lorry {
namespace {

constexpr int64_t kFileHeadBytes = 8;
constexpr int64_t kRecordHeadBytes = 8;  // length and CRC
constexpr uint8_t kRowVersion = 1;
// version u8, state u8, u16 zero, prompt tokens u32, completion tokens u32, millis u32, index u64, epoch u64; little-endian.
constexpr size_t kRowHeadBytes = 32;

template <class T>
void Put(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(static_cast<uint64_t>(value) >> (8 * i));
}

template <class T>
T Get(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
  return static_cast<T>(value);
}

Error Broken(const std::string& path, int64_t offset, const char* why) {
  Error error = MakeError(ErrorCode::kData, std::string(why) + " at byte " + std::to_string(offset));
  error.file = path;
  return error;
}

}  // namespace

const char* RowStateName(RowState state) { return state == RowState::kOk ? "ok" : "error"; }

std::string EncodeShardRow(const ShardRow& row) {
  std::string payload;
  payload.reserve(kRowHeadBytes + row.line.size());
  Put<uint8_t>(payload, kRowVersion);
  Put<uint8_t>(payload, static_cast<uint8_t>(row.state));
  Put<uint16_t>(payload, 0);
  Put<uint32_t>(payload, row.prompt_tokens);
  Put<uint32_t>(payload, row.completion_tokens);
  Put<uint32_t>(payload, row.millis);
  Put<uint64_t>(payload, static_cast<uint64_t>(row.index));
  Put<uint64_t>(payload, row.epoch);
  return payload + row.line;
}

Result<ShardRow> DecodeShardRow(std::string_view payload) {
  if (payload.size() < kRowHeadBytes) return MakeError(ErrorCode::kData, "a row record is too short");
  if (Get<uint8_t>(payload, 0) != kRowVersion) return MakeError(ErrorCode::kData, "a row record of another version");
  const auto state = Get<uint8_t>(payload, 1);
  const auto index = Get<uint64_t>(payload, 16);
  if (state > 1 || Get<uint16_t>(payload, 2) != 0 || index > uint64_t{1} << 62) {
    return MakeError(ErrorCode::kData, "a row record with impossible values");
  }
  return ShardRow{.index = static_cast<int64_t>(index),
                  .epoch = Get<uint64_t>(payload, 24),
                  .state = static_cast<RowState>(state),
                  .prompt_tokens = Get<uint32_t>(payload, 4),
                  .completion_tokens = Get<uint32_t>(payload, 8),
                  .millis = Get<uint32_t>(payload, 12),
                  .line = std::string(payload.substr(kRowHeadBytes))};
}

Result<ShardWriter> ShardWriter::Create(const std::string& path) {
  if (FileExists(path)) return MakeError(ErrorCode::kConflict, "the shard " + path + " exists already");
  LORRY_ASSIGN_OR_RETURN(auto journal, JournalWriter::Open(path));
  ShardWriter writer(std::move(journal), path);
  writer.offset_ = kFileHeadBytes;
  return writer;
}

Result<RowPlace> ShardWriter::Append(const ShardRow& row) {
  const std::string payload = EncodeShardRow(row);
  if (payload.size() > kMaxJournalRecordBytes) return MakeError(ErrorCode::kData, "the row's line is longer than 64 MiB");
  LORRY_TRY(journal_.Append(payload));
  RowPlace place{path_, offset_ + kRecordHeadBytes + static_cast<int64_t>(kRowHeadBytes), static_cast<int64_t>(row.line.size()),
                 Sha256Of(row.line)};
  offset_ += kRecordHeadBytes + static_cast<int64_t>(payload.size());
  return place;
}

Status ScanShard(const std::string& path, const std::function<Status(const ShardRow&, const RowPlace&)>& each) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return ErrnoError("cannot open", path);
  std::array<char, kFileHeadBytes> head{};
  if (!in.read(head.data(), head.size())) return OkStatus();  // torn before its first row
  if (std::string_view(head.data(), 4) != "LRYJ" || Get<uint32_t>({head.data(), head.size()}, 4) != 1) {
    return Broken(path, 0, "not a shard");
  }
  std::string payload;
  for (int64_t offset = kFileHeadBytes;;) {
    if (!in.read(head.data(), head.size())) return OkStatus();
    const std::string_view record(head.data(), head.size());
    const auto length = Get<uint32_t>(record, 0);
    if (length == 0 || length > kMaxJournalRecordBytes) return OkStatus();  // zeros after a power cut are torn, too
    payload.resize(length);
    if (!in.read(payload.data(), length) || Crc32c(payload) != Get<uint32_t>(record, 4)) return OkStatus();
    auto row = DecodeShardRow(payload);
    if (!row.ok()) return Broken(path, offset, row.error().message.c_str());
    const RowPlace place{path, offset + kRecordHeadBytes + static_cast<int64_t>(kRowHeadBytes),
                         static_cast<int64_t>(row->line.size()), Sha256Of(row->line)};
    LORRY_TRY(each(*row, place));
    offset += kRecordHeadBytes + static_cast<int64_t>(length);
  }
}

Result<std::string> ReadRowLine(const RowPlace& place) {
  std::ifstream in(place.shard, std::ios::binary);
  if (!in) return MakeError(ErrorCode::kStorage, "cannot open " + place.shard + ", which holds rows that are committed");
  if (place.offset < 0 || place.length < 0 || place.length > kMaxJournalRecordBytes) {
    return Broken(place.shard, place.offset, "no row can lie");
  }
  std::string line(static_cast<size_t>(place.length), '\0');
  in.seekg(place.offset);
  if (!in.read(line.data(), place.length) || Sha256Of(line) != place.sha256) {
    return Broken(place.shard, place.offset, "the row's bytes are not those that were committed");
  }
  return line;
}

Status SyncShard(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoError("cannot open", path);
  const bool synced = ::fsync(fd) == 0;
  Status status = synced ? OkStatus() : Status(ErrnoError("cannot make durable", path));
  ::close(fd);
  return status;
}

}  // namespace lorry
