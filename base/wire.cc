#include "base/wire.h"

#include <algorithm>

#include <fmt/format.h>

namespace lorry::wire {
namespace {

constexpr size_t kBodyLengthAt = 12;

template <class Int>
void Append(Int value, std::string* out) {
  for (size_t i = 0; i < sizeof(Int); ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

template <class Int>
Int ReadAt(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(Int); ++i) value |= uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  return static_cast<Int>(value);
}

struct Named {
  Type type;
  std::string_view name;
};
constexpr Named kNames[] = {
    {Type::kPing, "ping"},
    {Type::kSubmit, "submit"},
    {Type::kPlan, "plan"},
    {Type::kListRuns, "list_runs"},
    {Type::kShowRun, "show_run"},
    {Type::kExplain, "explain"},
    {Type::kWatchRun, "watch_run"},
    {Type::kReadLog, "read_log"},
    {Type::kCancelRun, "cancel_run"},
    {Type::kPauseRun, "pause_run"},
    {Type::kResumeRun, "resume_run"},
    {Type::kQuery, "query"},
    {Type::kPong, "pong"},
    {Type::kErrorReply, "error_reply"},
    {Type::kSubmitted, "submitted"},
    {Type::kJsonReply, "json_reply"},
    {Type::kRunList, "run_list"},
    {Type::kRunEvents, "run_events"},
    {Type::kLogPiece, "log_piece"},
    {Type::kRunStands, "run_stands"},
    {Type::kHello, "hello"},
    {Type::kHeartbeat, "heartbeat"},
    {Type::kProgress, "progress"},
    {Type::kCheckpoint, "checkpoint"},
    {Type::kFinished, "finished"},
    {Type::kRowsWanted, "rows_wanted"},
    {Type::kRowReports, "row_reports"},
    {Type::kListRows, "list_rows"},
    {Type::kElementsWanted, "elements_wanted"},
    {Type::kElementReports, "element_reports"},
    {Type::kLogBytes, "log_bytes"},
    {Type::kWelcome, "welcome"},
    {Type::kHeartbeatAck, "heartbeat_ack"},
    {Type::kGrant, "grant"},
    {Type::kStop, "stop"},
    {Type::kCheckpointCommitted, "checkpoint_committed"},
    {Type::kFinishedAck, "finished_ack"},
    {Type::kRowLease, "row_lease"},
    {Type::kRowsCommitted, "rows_committed"},
    {Type::kRowPage, "row_page"},
    {Type::kElementLease, "element_lease"},
    {Type::kElementsCommitted, "elements_committed"},
    {Type::kLogAck, "log_ack"},
    {Type::kWhoAreYou, "who_are_you"},
    {Type::kHasBlobs, "has_blobs"},
    {Type::kBlobsPresent, "blobs_present"},
    {Type::kPutBlob, "put_blob"},
    {Type::kBlobStored, "blob_stored"},
    {Type::kGetBlob, "get_blob"},
    {Type::kBlobPiece, "blob_piece"},
};

}  // namespace

std::string_view TypeName(Type type) {
  const auto* named = std::find_if(std::begin(kNames), std::end(kNames), [&](const Named& row) { return row.type == type; });
  return named == std::end(kNames) ? "unknown" : named->name;
}

ErrorDetail ErrorDetail::Of(const Error& error) {
  return ErrorDetail{
      static_cast<uint8_t>(error.code), error.message, error.hint, error.file, error.line, error.column, error.key};
}

Error ErrorDetail::ToError() const {
  const bool known = code <= static_cast<uint8_t>(ErrorCode::kInternal);
  return Error{known ? static_cast<ErrorCode>(code) : ErrorCode::kInternal, message, hint, file, line, column, key};
}

void AppendHeader(const Header& header, std::string* out) {
  Append(kMagic, out);
  Append(header.major, out);
  Append(header.minor, out);
  Append(static_cast<uint16_t>(header.type), out);
  Append(header.flags, out);
  Append(uint32_t{0}, out);
  Append(header.session, out);
  Append(header.epoch, out);
  Append(header.sequence, out);
  Append(header.request, out);
}

void PatchBodyLength(std::string* message) {
  const auto length = static_cast<uint32_t>(message->size() - kHeaderBytes);
  for (size_t i = 0; i < sizeof(length); ++i) (*message)[kBodyLengthAt + i] = static_cast<char>(length >> (8 * i));
}

Error BodyError(Type expected, Type got, std::string_view problem) {
  if (expected != got) {
    return MakeError(ErrorCode::kData, fmt::format("expected a {} message, got {} (type {:#06x})", TypeName(expected),
                                                   TypeName(got), static_cast<unsigned>(got)));
  }
  return MakeError(ErrorCode::kData, fmt::format("malformed {} message: {}", TypeName(expected), problem));
}

Result<Message> ParseMessage(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes || ReadAt<uint32_t>(bytes, 0) != kMagic) {
    return MakeError(ErrorCode::kData, fmt::format("{} bytes that are not a message of Lorry's", bytes.size()));
  }
  Header header;
  header.major = ReadAt<uint16_t>(bytes, 4);
  header.minor = ReadAt<uint16_t>(bytes, 6);
  if (header.major != kMajor) {
    return MakeError(ErrorCode::kData,
                     fmt::format("the other side speaks version {}.{} of Lorry's messages, this program {}.{}", header.major,
                                 header.minor, kMajor, kMinor),
                     "install the same release of lorry, lorryd and lorry-worker");
  }
  header.type = static_cast<Type>(ReadAt<uint16_t>(bytes, 8));
  header.flags = ReadAt<uint16_t>(bytes, 10);
  header.session = ReadAt<uint64_t>(bytes, 16);
  header.epoch = ReadAt<uint64_t>(bytes, 24);
  header.sequence = ReadAt<uint64_t>(bytes, 32);
  header.request = ReadAt<uint64_t>(bytes, 40);
  if (bytes.size() > kMaxMessageBytes) {
    return MakeError(ErrorCode::kData,
                     fmt::format("a message of {} bytes; at most {} are taken", bytes.size(), kMaxMessageBytes));
  }
  if (ReadAt<uint32_t>(bytes, kBodyLengthAt) != bytes.size() - kHeaderBytes) {
    return MakeError(ErrorCode::kData, fmt::format("{} message says {} bytes of body and has {}", TypeName(header.type),
                                                   ReadAt<uint32_t>(bytes, kBodyLengthAt), bytes.size() - kHeaderBytes));
  }
  return Message{header, bytes.substr(kHeaderBytes)};
}

}  // namespace lorry::wire
