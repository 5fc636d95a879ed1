// What `lorry`, the pages and tests say to the scheduler, and what it answers (base/wire.h holds the header around them).
//
// Every request may be sent again after a lost answer: Submit is known by its submission id, blobs by their digest, Query by
// its key where it changes something; the others say what shall be, not what to do. Times are UTC milliseconds.
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

struct Ping {
  static constexpr Type kType = Type::kPing;
  LORRY_WIRE_FIELDS()
};
struct Pong {
  static constexpr Type kType = Type::kPong;
  std::string build;
  std::string home;
  Instant started;
  uint32_t workers = 0;  // that are there and well
  uint32_t running = 0;  // attempts
  LORRY_WIRE_FIELDS(build, home, started, workers, running)
};

// The answer to any request that was refused.
struct ErrorReply {
  static constexpr Type kType = Type::kErrorReply;
  ErrorDetail error;
  LORRY_WIRE_FIELDS(error)
};

// Inputs lie in the blob store before Submit: "train", "validation", "input", and a directory that was given by path.
struct Submit {
  static constexpr Type kType = Type::kSubmit;
  SubmissionId submission;
  std::string job_json;  // canonical JSON of the job, keys as in the YAML
  std::vector<Input> inputs;
  LORRY_WIRE_FIELDS(submission, job_json, inputs)
};
struct Submitted {
  static constexpr Type kType = Type::kSubmitted;
  RunId run;
  bool existing = false;  // the same submission had been made before
  std::string quote_json;
  LORRY_WIRE_FIELDS(run, existing, quote_json)
};

// The same checks and quote as Submit, and nothing made.
struct Plan {
  static constexpr Type kType = Type::kPlan;
  std::string job_json;
  std::vector<Input> inputs;
  LORRY_WIRE_FIELDS(job_json, inputs)
};

// The answer of Plan, ShowRun, Explain and Query: one JSON document.
struct JsonReply {
  static constexpr Type kType = Type::kJsonReply;
  std::string json;
  LORRY_WIRE_FIELDS(json)
};

struct ListRuns {
  static constexpr Type kType = Type::kListRuns;
  bool all = false;     // also those that ended more than a day ago
  std::string project;  // empty: every project
  uint32_t limit = 1000;
  LORRY_WIRE_FIELDS(all, project, limit)
};
struct RunSummary {
  RunId run;
  std::string name;
  ProjectName project;
  std::string kind;
  std::string state;   // queued, running, paused, succeeded, failed, cancelled, expired
  std::string reason;  // EndReasonName, empty while it has not ended
  uint32_t attempts = 0;
  int32_t priority = 0;
  Instant submitted;
  Instant started;        // 0: not yet
  Instant ended;          // 0: not yet
  uint64_t done = 0;      // steps, rows or elements
  uint64_t total = 0;     // 0: not known yet
  std::string detail;     // one line: what it waits for, or the error it ended with
  std::string live_json;  // the newest line of its metrics, as a rank said it (docs/formats/task-contract.md); empty: none yet
  std::string usd;        // what its device time costs so far; empty: not asked for, or no price
  LORRY_WIRE_FIELDS(run, name, project, kind, state, reason, attempts, priority, submitted, started, ended, done, total, detail,
                    live_json, usd)
};
struct RunList {
  static constexpr Type kType = Type::kRunList;
  std::vector<RunSummary> runs;  // newest first
  LORRY_WIRE_FIELDS(runs)
};
struct ShowRun {
  static constexpr Type kType = Type::kShowRun;
  RunId run;
  LORRY_WIRE_FIELDS(run)
};
struct Explain {
  static constexpr Type kType = Type::kExplain;
  RunId run;
  LORRY_WIRE_FIELDS(run)
};

// Long poll: answered when there is an event after `after`, when the run has ended, or after wait_ms. Ask again with `next`.
struct WatchRun {
  static constexpr Type kType = Type::kWatchRun;
  RunId run;  // empty: all runs
  Sequence after;
  uint32_t wait_ms = 0;
  uint32_t limit = 1000;
  LORRY_WIRE_FIELDS(run, after, wait_ms, limit)
};
struct RunEvent {
  Sequence sequence;
  Instant at;
  RunId run;
  std::string kind;  // "submitted", "granted", "checkpoint", "ended", ...
  std::string json;
  LORRY_WIRE_FIELDS(sequence, at, run, kind, json)
};
struct RunEvents {
  static constexpr Type kType = Type::kRunEvents;
  std::vector<RunEvent> events;
  Sequence next;
  RunSummary summary;  // of the run as it is now; empty when all runs were asked for
  bool ended = false;
  LORRY_WIRE_FIELDS(events, next, summary, ended)
};

// Long poll over one rank's log. A later attempt has its own log: start again at offset 0 with `next_attempt`.
struct ReadLog {
  static constexpr Type kType = Type::kReadLog;
  RunId run;
  AttemptNumber attempt;  // 0: the latest
  uint32_t rank = 0;
  uint64_t offset = 0;
  uint32_t max_bytes = 64 << 10;
  uint32_t wait_ms = 0;
  LORRY_WIRE_FIELDS(run, attempt, rank, offset, max_bytes, wait_ms)
};
struct LogPiece {
  static constexpr Type kType = Type::kLogPiece;
  AttemptNumber attempt;
  uint64_t offset = 0;  // of the first byte
  std::string bytes;
  bool attempt_ended = false;  // and no byte comes after these
  AttemptNumber next_attempt;  // 0: none yet
  bool run_ended = false;
  LORRY_WIRE_FIELDS(attempt, offset, bytes, attempt_ended, next_attempt, run_ended)
};

struct CancelRun {
  static constexpr Type kType = Type::kCancelRun;
  RunId run;
  bool now = false;  // false: a checkpoint is written first
  std::string why;
  LORRY_WIRE_FIELDS(run, now, why)
};
struct PauseRun {
  static constexpr Type kType = Type::kPauseRun;
  RunId run;
  LORRY_WIRE_FIELDS(run)
};
struct ResumeRun {
  static constexpr Type kType = Type::kResumeRun;
  RunId run;
  LORRY_WIRE_FIELDS(run)
};
// The answer of CancelRun, PauseRun and ResumeRun, once the wish is durable (the run may take a while to follow it).
struct RunStands {
  static constexpr Type kType = Type::kRunStands;
  RunSummary summary;
  LORRY_WIRE_FIELDS(summary)
};

// The open door for registry, costs, workers and prices: a name, JSON in, JSON out (JsonReply), so that a new question needs
// no new message. `key`: an idempotency key; with one, a repeat gets the stored answer and nothing is done twice.
struct Query {
  static constexpr Type kType = Type::kQuery;
  std::string name;  // "cost.report", "registry.alias", ...
  std::string json;
  std::string key;
  LORRY_WIRE_FIELDS(name, json, key)
};

}  // namespace lorry::wire
