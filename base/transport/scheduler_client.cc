#include "base/transport/scheduler_client.h"

#include <algorithm>
#include <fstream>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/hash.h"

namespace lorry {
namespace {

constexpr Millis kStep{200};
constexpr int64_t kPingAfterMillis = 1000;
constexpr int64_t kAfreshAfterMillis = 2500;

// Pings carry no request number, so that their answers are told from the one that is waited for.
std::string PingBytes() { return wire::EncodeMessage(wire::Header{}, wire::Ping{}); }

Error Unreachable(const std::string& address, Millis patience) {
  return MakeError(ErrorCode::kUnreachable,
                   fmt::format("no scheduler answers at {} (tried for {} s)", address, patience.count() / 1000),
                   "start one with `lorry up`, or give its address with --address");
}

}  // namespace

Result<SchedulerClientOptions> SchedulerClientOptions::ForHome(const std::string& home, const std::string& address) {
  SchedulerClientOptions options;
  options.address = address;
  LORRY_ASSIGN_OR_RETURN(options.server_public_key, ReadPublicKey(KeysDirectory(home) + "/scheduler.public"));
  LORRY_ASSIGN_OR_RETURN(options.keys, ReadKeyPair(KeysDirectory(home), "client"));
  return options;
}

Result<SchedulerClient> SchedulerClient::Connect(SchedulerClientOptions options) {
  auto context = TransportContext::Make();
  LORRY_ASSIGN_OR_RETURN(std::unique_ptr<DealerLink> link,
                         DealerLink::Connect(context, {options.address, options.server_public_key, options.keys}));
  return SchedulerClient(std::move(options), std::move(context), std::move(link));
}

// Sends the request; waits for its answer, and pings meanwhile; sends it again when the connection was a new one since. Only the
// time without any sign of life counts against the patience.
Result<std::string> SchedulerClient::Exchange(uint64_t request, const std::string& bytes) {
  const Clock& clock = SystemClock();
  int64_t last_sign = clock.MonotonicMillis();
  int64_t last_ping = last_sign;
  std::optional<uint64_t> sent_on;  // the connection that carries the request
  while (clock.MonotonicMillis() - last_sign < options_.patience.count()) {
    if (auto refusal = link_->Refusal()) return *refusal;
    if (sent_on != link_->connections()) {
      sent_on.reset();
      if (!link_->Send(bytes, kStep).ok()) continue;
      sent_on = link_->connections();
    }
    std::optional<std::string> answer = link_->Receive(kStep);
    const int64_t now = clock.MonotonicMillis();
    if (answer.has_value()) {
      last_sign = now;
      LORRY_ASSIGN_OR_RETURN(wire::Message message, wire::ParseMessage(*answer));
      if (message.header.request == request) return std::move(*answer);
    } else if (now - last_sign > kAfreshAfterMillis && now - last_ping > kAfreshAfterMillis) {
      LORRY_TRY(link_->Reconnect());
      sent_on.reset();
      last_ping = now;
    } else if (now - std::max(last_sign, last_ping) > kPingAfterMillis) {
      (void)link_->Send(PingBytes());
      last_ping = now;
    }
  }
  return Unreachable(options_.address, options_.patience);
}

Result<std::vector<wire::RunSummary>> SchedulerClient::List(const wire::ListRuns& request) {
  LORRY_ASSIGN_OR_RETURN(wire::RunList list, Call<wire::RunList>(request));
  return std::move(list.runs);
}

Result<wire::RunSummary> SchedulerClient::Cancel(const RunId& run, bool now, const std::string& why) {
  LORRY_ASSIGN_OR_RETURN(wire::RunStands stands, Call<wire::RunStands>(wire::CancelRun{run, now, why}));
  return std::move(stands.summary);
}

Result<wire::RunSummary> SchedulerClient::Pause(const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(wire::RunStands stands, Call<wire::RunStands>(wire::PauseRun{run}));
  return std::move(stands.summary);
}

Result<wire::RunSummary> SchedulerClient::Resume(const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(wire::RunStands stands, Call<wire::RunStands>(wire::ResumeRun{run}));
  return std::move(stands.summary);
}

Result<std::string> SchedulerClient::Query(const std::string& name, const std::string& json, const std::string& key) {
  return Json(wire::Query{name, json, key});
}

Result<std::vector<bool>> SchedulerClient::HasBlobs(const std::vector<Digest>& digests) {
  LORRY_ASSIGN_OR_RETURN(wire::BlobsPresent answer, Call<wire::BlobsPresent>(wire::HasBlobs{digests}));
  if (answer.present.size() != digests.size()) return MakeError(ErrorCode::kData, "the scheduler answered about other blobs");
  std::vector<bool> present;
  present.reserve(answer.present.size());
  for (uint8_t flag : answer.present) present.push_back(flag != 0);
  return present;
}

Status SchedulerClient::PutFile(const std::string& path, const Digest& digest, const ByteProgress& progress) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return ErrnoError("cannot open", path);
  LORRY_ASSIGN_OR_RETURN(const Bytes whole, FileSize(path));
  const auto size = static_cast<uint64_t>(whole.count());
  wire::PutBlob piece{digest, size, 0, ""};
  while (true) {
    LORRY_ASSIGN_OR_RETURN(wire::BlobStored stored, Call<wire::BlobStored>(piece));
    if (progress) progress(stored.complete ? size : stored.next_offset, size);
    if (stored.complete) return OkStatus();
    if (stored.next_offset > size || (stored.next_offset == size && !piece.bytes.empty())) {
      return MakeError(ErrorCode::kData, fmt::format("{} changed while it was sent", path), "submit again");
    }
    piece.offset = stored.next_offset;
    // Read, not mapped: a file that is cut short meanwhile ends in an error, not in a signal.
    piece.bytes.resize(std::min<uint64_t>(size - piece.offset, wire::kBlobPieceBytes));
    file.seekg(static_cast<std::streamoff>(piece.offset));
    if (!file.read(piece.bytes.data(), static_cast<std::streamsize>(piece.bytes.size()))) {
      return MakeError(ErrorCode::kData, fmt::format("{} changed while it was sent", path), "submit again");
    }
  }
}

Status SchedulerClient::GetFile(const Digest& digest, const std::string& path, const ByteProgress& progress) {
  LORRY_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  Sha256 hash;
  uint64_t offset = 0;
  while (true) {
    LORRY_ASSIGN_OR_RETURN(wire::BlobPiece piece, GetPiece(digest, offset));
    LORRY_TRY(file.Write(piece.bytes));
    hash.Update(piece.bytes);
    offset += piece.bytes.size();
    if (progress) progress(offset, piece.size);
    if (offset >= piece.size) break;
    if (piece.bytes.empty()) return MakeError(ErrorCode::kData, fmt::format("blob {} ends early", digest.hex()));
  }
  if (hash.Finish() != digest) {
    return MakeError(ErrorCode::kData, fmt::format("{}: what came is not what {} names", path, digest.hex()));
  }
  return file.Commit();
}

}  // namespace lorry
