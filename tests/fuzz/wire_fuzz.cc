// Any bytes as a message, and its body as whatever its type says: an Error or a value that is written again to the same bytes.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/wire.h"

namespace {

using namespace lorry::wire;

template <class Body>
bool Try(const Message& message) {
  if (message.header.type != Body::kType) return false;
  auto body = DecodeBody<Body>(message);
  if (!body.ok()) return true;
  // What was read can be written, and reads as the same again.
  const std::string once = EncodeMessage(message.header, *body);
  auto parsed = ParseMessage(once);
  if (!parsed.ok()) abort();
  auto again = DecodeBody<Body>(*parsed);
  if (!again.ok() || EncodeMessage(message.header, *again) != once) abort();
  return true;
}

template <class... Body>
void TryAll(const Message& message) {
  (void)(Try<Body>(message) || ...);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto message = ParseMessage(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!message.ok()) return 0;
  TryAll<Ping, Pong, ErrorReply, Submit, Submitted, Plan, JsonReply, ListRuns, RunList, ShowRun, Explain, WatchRun, RunEvents,
         ReadLog, LogPiece, CancelRun, PauseRun, ResumeRun, RunStands, Query, Hello, Welcome, WhoAreYou, Heartbeat, HeartbeatAck,
         Grant, Stop, Progress, Checkpoint, CheckpointCommitted, Finished, FinishedAck, RowsWanted, RowLease, RowReports,
         RowsCommitted, ListRows, RowPage, ElementsWanted, ElementLease, ElementReports, ElementsCommitted, LogBytes, LogAck,
         HasBlobs, BlobsPresent, PutBlob, BlobStored, GetBlob, BlobPiece>(*message);
  return 0;
}
