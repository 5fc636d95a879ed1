// The kinds of messages, and the small structs that clients and workers both use. See base/wire.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/end_reason.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/usage.h"
#include "base/wire_codec.h"

namespace lorry::wire {

// Numbers are for ever: a retired one is not given again.
enum class Type : uint16_t {
  kNone = 0,
  // client -> scheduler
  kPing = 0x0101,
  kSubmit = 0x0102,
  kPlan = 0x0103,
  kListRuns = 0x0104,
  kShowRun = 0x0105,
  kExplain = 0x0106,
  kWatchRun = 0x0107,
  kReadLog = 0x0108,
  kCancelRun = 0x0109,
  kPauseRun = 0x010a,
  kResumeRun = 0x010b,
  kQuery = 0x010c,
  // scheduler -> client
  kPong = 0x0201,
  kErrorReply = 0x0202,
  kSubmitted = 0x0203,
  kJsonReply = 0x0204,
  kRunList = 0x0205,
  kRunEvents = 0x0206,
  kLogPiece = 0x0207,
  kRunStands = 0x0208,
  // worker -> scheduler
  kHello = 0x0301,
  kHeartbeat = 0x0302,
  kProgress = 0x0303,
  kCheckpoint = 0x0304,
  kFinished = 0x0305,
  kRowsWanted = 0x0306,
  kRowReports = 0x0307,
  kListRows = 0x0308,
  kElementsWanted = 0x0309,
  kElementReports = 0x030a,
  kLogBytes = 0x030b,
  // scheduler -> worker
  kWelcome = 0x0401,
  kHeartbeatAck = 0x0402,
  kGrant = 0x0403,
  kStop = 0x0404,
  kCheckpointCommitted = 0x0405,
  kFinishedAck = 0x0406,
  kRowLease = 0x0407,
  kRowsCommitted = 0x0408,
  kRowPage = 0x0409,
  kElementLease = 0x040a,
  kElementsCommitted = 0x040b,
  kLogAck = 0x040c,
  kWhoAreYou = 0x040d,
  // blobs, from clients and workers alike
  kHasBlobs = 0x0501,
  kBlobsPresent = 0x0502,
  kPutBlob = 0x0503,
  kBlobStored = 0x0504,
  kGetBlob = 0x0505,
  kBlobPiece = 0x0506,
};
// "submit", "heartbeat", ... for logs and error texts; "unknown" for a number that is none.
std::string_view TypeName(Type type);

template <>
inline constexpr UsageClass kLastOf<UsageClass> = UsageClass::kIdlePool;
template <>
inline constexpr EndReason kLastOf<EndReason> = kLastEndReason;

// One file in the blob store and where it lies under its input or output.
struct BlobFile {
  std::string path;  // relative, '/' between parts, no "..", e.g. "config.json"
  Digest digest;
  uint64_t size = 0;
  LORRY_WIRE_FIELDS(path, digest, size)
};
// A named input or output of a run: one file, or a directory of files.
struct Input {
  std::string name;  // "base_model", "adapter", "train", "validation", "input"; as output "adapter", "output", "errors", ...
  bool directory = false;
  std::vector<BlobFile> files;
  LORRY_WIRE_FIELDS(name, directory, files)
};
using Output = Input;

// One attempt of a run, fenced: every message about it carries the epoch of its grant.
struct AttemptRef {
  RunId run;
  AttemptNumber attempt;
  Epoch epoch;
  LORRY_WIRE_FIELDS(run, attempt, epoch)
  friend bool operator==(const AttemptRef&, const AttemptRef&) = default;
};

// A committed checkpoint. `path` is relative to the run's directory: "checkpoints/step-00000020".
struct CheckpointRef {
  uint64_t step = 0;
  std::string path;
  Digest digest;
  std::vector<BlobFile> files;  // where the worker does not share the scheduler's home
  LORRY_WIRE_FIELDS(step, path, digest, files)
};

// An Error (base/result.h) on the wire.
struct ErrorDetail {
  uint8_t code = 0;  // ErrorCode
  std::string message;
  std::string hint;
  std::string file;
  int32_t line = 0;
  int32_t column = 0;
  std::string key;
  LORRY_WIRE_FIELDS(code, message, hint, file, line, column, key)

  static ErrorDetail Of(const Error& error);
  Error ToError() const;
};

// Consecutive batch rows or array elements: [first, first + count).
struct Range {
  uint64_t first = 0;
  uint64_t count = 0;
  LORRY_WIRE_FIELDS(first, count)
  friend bool operator==(const Range&, const Range&) = default;
};

// A UsageSpan (base/usage.h) on the wire.
struct Span {
  DeviceId device;
  std::string device_kind;
  UsageClass usage_class = UsageClass::kStartup;
  Instant t0;
  Instant t1;
  LORRY_WIRE_FIELDS(device, device_kind, usage_class, t0, t1)
};

// At most this much of a blob in one message.
inline constexpr uint32_t kBlobPieceBytes = 1 << 20;

// Which of these the store holds; the answer has one flag for each, in order.
struct HasBlobs {
  static constexpr Type kType = Type::kHasBlobs;
  std::vector<Digest> digests;
  LORRY_WIRE_FIELDS(digests)
};
struct BlobsPresent {
  static constexpr Type kType = Type::kBlobsPresent;
  std::vector<uint8_t> present;
  LORRY_WIRE_FIELDS(present)
};
// One piece of a blob. Pieces come in order; the answer says where to go on, which after a lost answer or a restart is not
// always behind the last piece. The blob appears when all of it is there and has the digest it is named by.
struct PutBlob {
  static constexpr Type kType = Type::kPutBlob;
  Digest digest;
  uint64_t size = 0;    // of the whole blob
  uint64_t offset = 0;  // of this piece
  std::string bytes;    // at most kBlobPieceBytes; empty: just ask
  LORRY_WIRE_FIELDS(digest, size, offset, bytes)
};
struct BlobStored {
  static constexpr Type kType = Type::kBlobStored;
  uint64_t next_offset = 0;
  bool complete = false;
  LORRY_WIRE_FIELDS(next_offset, complete)
};
struct GetBlob {
  static constexpr Type kType = Type::kGetBlob;
  Digest digest;
  uint64_t offset = 0;
  uint32_t max_bytes = kBlobPieceBytes;
  LORRY_WIRE_FIELDS(digest, offset, max_bytes)
};
struct BlobPiece {
  static constexpr Type kType = Type::kBlobPiece;
  uint64_t size = 0;  // of the whole blob
  uint64_t offset = 0;
  std::string bytes;
  LORRY_WIRE_FIELDS(size, offset, bytes)
};

}  // namespace lorry::wire
