// What a worker and the scheduler say to each other (base/wire.h holds the header around them).
//
// The worker speaks first: Hello with what it has and holds, Welcome with a session. Everything about an attempt carries the
// epoch of its grant; what comes with an older one is answered and leaves no trace. What the worker must not lose (row and
// element reports, checkpoints, Finished) it repeats, with the same request id, until the answer says that it is committed;
// a repeat changes nothing. Traffic of any kind is a sign of life.
#pragma once

#include <string>
#include <vector>

#include "base/end_reason.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/units.h"
#include "base/wire_codec.h"
#include "base/wire_types.h"

namespace lorry::wire {

struct Device {
  DeviceId id;       // "UUID" of a GPU, "WORKER/cpu-0" of a CPU slot
  std::string kind;  // as the price book calls it: "cpu", "H100", ...
  bool gpu = false;
  uint64_t memory = 0;     // bytes; 0 for a CPU slot
  std::string fault;       // why it takes no work; empty: well
  std::string about_json;  // model name, driver, instruction set: for people
  LORRY_WIRE_FIELDS(id, kind, gpu, memory, fault, about_json)
};

// Device time of one attempt as the worker measured it, spans [first_span, first_span + spans.size()) of the attempt. The last
// one of a device may still grow: a later message may carry it again with a later t1.
struct Metered {
  AttemptRef attempt;
  uint64_t first_span = 0;
  std::vector<Span> spans;
  LORRY_WIRE_FIELDS(attempt, first_span, spans)
};

struct Hello {
  static constexpr Type kType = Type::kHello;
  WorkerId worker;
  std::string incarnation;  // new at each start of the worker program; before Hello it has ended what an earlier one left
  std::string build;
  std::string host;
  std::string home_id;  // contents of HOME/home.id: the scheduler's own means one shared home
  std::vector<Device> devices;
  std::vector<AttemptRef> holds;  // attempts whose ranks run, or whose Finished has no answer yet
  LORRY_WIRE_FIELDS(worker, incarnation, build, host, home_id, devices, holds)
};
struct Welcome {
  static constexpr Type kType = Type::kWelcome;
  uint64_t session = 0;  // stands in the header of everything the worker sends from now on
  uint32_t heartbeat_ms = 0;
  uint32_t lease_ms = 0;
  bool shares_home = false;      // blobs, logs and checkpoints need not be sent
  std::vector<AttemptRef> stop;  // of those it holds: no longer its own; end them, report nothing but drop them
  LORRY_WIRE_FIELDS(session, heartbeat_ms, lease_ms, shares_home, stop)
};
// To a session that the scheduler does not know (it restarted, or the lease ran out): say Hello again.
struct WhoAreYou {
  static constexpr Type kType = Type::kWhoAreYou;
  LORRY_WIRE_FIELDS()
};

struct Heartbeat {
  static constexpr Type kType = Type::kHeartbeat;
  bool storage_ok = true;        // the worker's home takes writes and has room
  std::string storage_problem;   // for people, where it does not
  std::vector<Device> devices;   // only where something changed
  std::vector<Metered> metered;  // of every attempt that it holds
  bool leaving = false;          // it is going down: it takes no grant any more
  LORRY_WIRE_FIELDS(storage_ok, storage_problem, devices, metered, leaving)
};
// What the heartbeat with the same request id metered is committed.
struct HeartbeatAck {
  static constexpr Type kType = Type::kHeartbeatAck;
  LORRY_WIRE_FIELDS()
};

// The right to run one attempt on these devices until told otherwise or the lease ends. Answered by the first Metered.
struct Grant {
  static constexpr Type kType = Type::kGrant;
  AttemptRef attempt;
  std::string kind;  // finetune, batch, command, ...
  std::string name;
  std::string project;
  std::string job_json;           // the job, every default written out; what its names stood for is in `inputs`
  std::vector<DeviceId> devices;  // all of the attempt's; never more than the job asks for, but for an array
  std::vector<Input> inputs;
  std::vector<CheckpointRef> checkpoints;  // committed, newest first; resume from the first that is whole
  uint64_t array = 0;                      // elements of a `kind: command` array; 0: not an array
  uint64_t committed_rows = 0;             // of a batch run; ListRows has them
  Instant model_created;                   // the version's that answers: adapter, else model; 0: it came as a directory
  LORRY_WIRE_FIELDS(attempt, kind, name, project, job_json, devices, inputs, checkpoints, array, committed_rows, model_created)
};

enum class StopMode : uint8_t { kCheckpoint, kNow };
template <>
inline constexpr StopMode kLastOf<StopMode> = StopMode::kNow;

// The worker ends the attempt's ranks, in mode kCheckpoint after they have written one or grace_ms is over, and sends Finished
// with `reason` unless the work was done before.
struct Stop {
  static constexpr Type kType = Type::kStop;
  AttemptRef attempt;
  StopMode mode = StopMode::kCheckpoint;
  EndReason reason = EndReason::kCancelled;
  uint32_t grace_ms = 0;
  LORRY_WIRE_FIELDS(attempt, mode, reason, grace_ms)
};

// For people and pages; losing one loses nothing.
struct Progress {
  static constexpr Type kType = Type::kProgress;
  AttemptRef attempt;
  std::string phase;  // startup, productive, ...
  uint64_t done = 0;  // steps, rows or elements
  uint64_t total = 0;
  std::string lines;  // JSON lines for the run's metrics.jsonl, as the ranks wrote them
  LORRY_WIRE_FIELDS(attempt, phase, done, total, lines)
};

struct Checkpoint {
  static constexpr Type kType = Type::kCheckpoint;
  AttemptRef attempt;
  CheckpointRef checkpoint;
  LORRY_WIRE_FIELDS(attempt, checkpoint)
};
struct CheckpointCommitted {
  static constexpr Type kType = Type::kCheckpointCommitted;
  AttemptRef attempt;
  uint64_t step = 0;
  bool accepted = false;  // false: the epoch is over
  LORRY_WIRE_FIELDS(attempt, step, accepted)
};

// The attempt is over: no rank of it runs, its devices are free, its outputs are in the blob store.
struct Finished {
  static constexpr Type kType = Type::kFinished;
  AttemptRef attempt;
  EndReason reason = EndReason::kNone;
  ErrorDetail error;            // where the reason is a fault
  std::vector<Output> outputs;  // only with kDone
  uint64_t first_span = 0;      // the rest of the metering, see Metered
  std::vector<Span> spans;
  std::string facts_json;  // for the manifest: instruction set, library versions, seeds; canonical JSON
  LORRY_WIRE_FIELDS(attempt, reason, error, outputs, first_span, spans, facts_json)
};
struct FinishedAck {
  static constexpr Type kType = Type::kFinishedAck;
  AttemptRef attempt;
  bool accepted = false;  // false: the epoch is over, nothing was taken
  LORRY_WIRE_FIELDS(attempt, accepted)
};

// Batch rows. The answer is a RowLease, at once or when rows come free. One question at a time; one whose answer does not come is
// asked again under a new request number, and a late answer to the old number is dropped: `held` tells which leases arrived, the
// others are given again.
struct RowsWanted {
  static constexpr Type kType = Type::kRowsWanted;
  AttemptRef attempt;
  uint32_t count = 0;
  uint64_t total = 0;       // rows of the whole input, as the ranks counted them
  std::vector<Range> held;  // leased to this attempt and not yet known to be committed
  LORRY_WIRE_FIELDS(attempt, count, total, held)
};
struct RowLease {
  static constexpr Type kType = Type::kRowLease;
  AttemptRef attempt;
  std::vector<Range> ranges;
  bool no_more = false;  // every row of the run is committed
  LORRY_WIRE_FIELDS(attempt, ranges, no_more)
};
enum class RowState : uint8_t { kOk, kError };
template <>
inline constexpr RowState kLastOf<RowState> = RowState::kError;
struct RowReport {
  RowIndex row;
  RowState state = RowState::kOk;
  AttemptNumber attempt;  // whose shard it lies in
  std::string shard;      // relative to the run's directory; empty: no engine survived this row, it is an error row
  uint64_t offset = 0;
  uint64_t length = 0;
  Digest digest;  // of these bytes
  uint32_t prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  uint32_t millis = 0;
  LORRY_WIRE_FIELDS(row, state, attempt, shard, offset, length, digest, prompt_tokens, completion_tokens, millis)
};
struct RowReports {
  static constexpr Type kType = Type::kRowReports;
  AttemptRef attempt;
  std::vector<RowReport> rows;  // their bytes are durable
  LORRY_WIRE_FIELDS(attempt, rows)
};
struct RowsCommitted {
  static constexpr Type kType = Type::kRowsCommitted;
  AttemptRef attempt;
  uint64_t accepted = 0;  // the others were committed before, or the epoch is over
  uint64_t done = 0;      // rows of the run that are committed
  LORRY_WIRE_FIELDS(attempt, accepted, done)
};
// Committed rows from `from` on, in order, a page at a time.
struct ListRows {
  static constexpr Type kType = Type::kListRows;
  AttemptRef attempt;
  RowIndex from;
  uint32_t limit = 10000;
  LORRY_WIRE_FIELDS(attempt, from, limit)
};
struct RowPage {
  static constexpr Type kType = Type::kRowPage;
  std::vector<RowReport> rows;
  bool last = false;
  LORRY_WIRE_FIELDS(rows, last)
};

// Elements of a `kind: command` array, leased and reported like rows; each start and each end is durable.
struct ElementsWanted {
  static constexpr Type kType = Type::kElementsWanted;
  AttemptRef attempt;
  uint32_t count = 0;
  std::vector<Range> held;  // as in RowsWanted
  LORRY_WIRE_FIELDS(attempt, count, held)
};
struct ElementLease {
  static constexpr Type kType = Type::kElementLease;
  AttemptRef attempt;
  std::vector<Range> ranges;
  bool no_more = false;  // every element has ended
  LORRY_WIRE_FIELDS(attempt, ranges, no_more)
};
struct ElementStart {
  uint64_t element = 0;
  Instant at;
  LORRY_WIRE_FIELDS(element, at)
};
struct ElementEnd {
  uint64_t element = 0;
  Instant at;
  int32_t status = 0;  // exit status; 128 + signal where it was ended by one
  LORRY_WIRE_FIELDS(element, at, status)
};
struct ElementReports {
  static constexpr Type kType = Type::kElementReports;
  AttemptRef attempt;
  std::vector<ElementStart> started;
  std::vector<ElementEnd> ended;
  LORRY_WIRE_FIELDS(attempt, started, ended)
};
struct ElementsCommitted {
  static constexpr Type kType = Type::kElementsCommitted;
  AttemptRef attempt;
  uint64_t done = 0;  // elements of the run that have ended
  LORRY_WIRE_FIELDS(attempt, done)
};

// Log bytes of one rank, from a worker with a home of its own. At most a window of them is on its way (credit): the worker
// waits for LogAck, so that logs never hold up a heartbeat.
struct LogBytes {
  static constexpr Type kType = Type::kLogBytes;
  AttemptRef attempt;
  uint32_t rank = 0;
  uint64_t offset = 0;
  std::string bytes;
  LORRY_WIRE_FIELDS(attempt, rank, offset, bytes)
};
struct LogAck {
  static constexpr Type kType = Type::kLogAck;
  AttemptRef attempt;
  uint32_t rank = 0;
  uint64_t next_offset = 0;
  LORRY_WIRE_FIELDS(attempt, rank, next_offset)
};
inline constexpr uint64_t kLogWindowBytes = 256 << 10;

}  // namespace lorry::wire
