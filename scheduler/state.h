// Everything the scheduler knows, as plain data: runs, the attempts that hold devices now, workers. The core (core.h) alone
// changes it; the event log (event_log.h) stores and loads it. Times are the scheduler's clocks unless said otherwise.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/end_reason.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/units.h"
#include "base/wire_worker.h"
#include "scheduler/moment.h"
#include "scheduler/work_book.h"

namespace lorry {

enum class RunState : uint8_t { kQueued, kRunning, kPaused, kSucceeded, kFailed, kCancelled, kExpired };
std::string_view RunStateName(RunState state);
inline bool HasEnded(RunState state) { return state >= RunState::kSucceeded; }

// What a user asked of a run that has not followed it yet.
enum class Wish : uint8_t { kNone, kPause, kCancel, kCancelNow };

struct DeviceNeeds {
  bool gpu = false;
  std::string kind;         // of GPU, or its first words (base/device_kind.h); empty: any
  uint64_t min_memory = 0;  // bytes of each GPU
  uint32_t count = 1;
  bool elastic = false;  // an array: any multiple of `count` up to one per element
};

// What does not change after admission.
struct RunSpec {
  RunId id;
  SubmissionId submission;
  Digest submitted_digest;  // of job and inputs as the client sent them
  std::string name;
  ProjectName project;
  std::string team;
  std::string model;      // for the books: the base model's name@version
  std::string adapter;    // of a batch: its name@version; empty: none, or it came as a directory
  Instant model_created;  // the adapter's version, without one the model's; 0: that came as a directory
  std::string kind;
  std::string job_json;  // every default written out; names as they were submitted (job_lock.h: as resolved)
  std::vector<wire::Input> inputs;
  std::vector<RunId> after;
  DeviceNeeds needs;
  int32_t priority = 50;
  uint32_t max_attempts = 3;
  uint32_t row_max_attempts = 3;
  uint64_t array = 0;    // elements; 0: not an array
  Millis max_duration;   // of all attempts together; 0: none
  Millis expires_after;  // from submission; 0: never
  wire::StopMode on_exceed = wire::StopMode::kCheckpoint;
};

struct Run {
  RunSpec spec;
  uint64_t order = 0;  // of submission
  RunState state = RunState::kQueued;
  EndReason reason = EndReason::kNone;
  wire::ErrorDetail error;  // of the end, or of the last attempt
  Wish wish = Wish::kNone;
  std::string why;  // what the user said
  Instant submitted;
  Instant started;  // 0: not yet
  Instant ended;    // 0: not yet
  Millis ran;       // in attempts that have ended
  uint32_t attempts = 0;
  uint32_t counted = 0;                          // against max_attempts
  uint32_t fruitless = 0;                        // in a row, without a checkpoint, row or element
  EndReason last_reason = EndReason::kNone;      // of the last attempt
  Instant not_before;                            // a retry waits
  std::vector<wire::CheckpointRef> checkpoints;  // committed, newest first
  std::string result_json;                       // what was published
  std::vector<wire::Output> outputs;
  // Of a batch with committed rows: who wrote the first of them, and in which home their shards lie. Empty home: the worker's
  // own.
  WorkerId rows_worker;
  std::string rows_home;
  uint64_t failed_elements = 0;
  WorkBook book;      // rows or elements
  uint64_t done = 0;  // steps, for people
  uint64_t total = 0;
  std::string live_json;  // the newest line of its metrics, for people; not stored
};

// An attempt that holds devices.
struct Attempt {
  wire::AttemptRef ref;
  WorkerId worker;
  std::vector<DeviceId> devices;
  std::vector<std::string> device_kinds;  // of `devices`
  Instant granted;
  Steady granted_at;        // the same, for the run's time limit
  bool accepted = false;    // the worker has spoken of it
  bool progressed = false;  // a checkpoint, row or element was committed
  bool stopping = false;
  wire::StopMode stop_mode = wire::StopMode::kCheckpoint;
  EndReason stop_reason = EndReason::kNone;
  wire::ErrorDetail stop_error;   // what there is to say of it; empty: the reason says all
  Steady last_said;               // when Grant or Stop was last sent
  std::vector<wire::Span> spans;  // worker's clock
  std::string phase;
  // A question for rows or elements that has no answer yet.
  struct Waiting {
    uint64_t request = 0;
    uint64_t count = 0;
  };
  std::optional<Waiting> waiting;
};

struct DeviceState {
  wire::Device device;
  RunId holder;  // empty: free
};

enum class Health : uint8_t { kHealthy, kUnreachable, kLost };

struct Worker {
  WorkerId id;
  std::string incarnation;
  std::string host;
  std::string build;
  std::string home_id;  // of its home; empty: one that never was a scheduler's
  std::map<DeviceId, DeviceState> devices;
  Instant last_seen;  // for people
  Steady heard_at;    // the same, for its lease
  Health health = Health::kHealthy;
  bool storage_ok = true;
  std::string storage_problem;
  bool drained = false;  // takes nothing new, as a user asked
  bool leaving = false;  // it says that it is going down: this incarnation takes nothing new
};

struct State {
  std::map<RunId, Run> runs;
  std::map<RunId, Attempt> attempts;  // at most one of a run
  std::map<WorkerId, Worker> workers;
  // Queued runs, those for CPU slots apart from those for GPUs, which never wait for each other: higher priority first, then in
  // order of submission.
  using Queue = std::set<std::tuple<int64_t, uint64_t, RunId>>;
  std::array<Queue, 2> queues;
  Epoch last_epoch;
  uint64_t last_order = 0;
  bool draining = false;  // nothing new is granted

  Run* FindRun(const RunId& id);
  const Run* FindRun(const RunId& id) const;
  // The live attempt that this names, run, number and epoch; null where it is over.
  Attempt* FindAttempt(const wire::AttemptRef& ref);
  static Queue::key_type QueueKey(const Run& run) { return {-int64_t{run.spec.priority}, run.order, run.spec.id}; }
  Queue& QueueOf(const Run& run) { return queues[run.spec.needs.gpu]; }
  const Queue& QueueOf(const Run& run) const { return queues[run.spec.needs.gpu]; }
};

// Every rule that must hold after each step; empty where all do. Tests call it after every event, the reactor in debug builds.
std::vector<std::string> SanityCheck(const State& state);

}  // namespace lorry
