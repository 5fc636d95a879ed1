// What is decided becomes durable here: events in a chain of hashes, and beside them, in the same transaction, the tables that
// say how things stand now. From those tables the state is loaded after a restart; the events are the history that people watch
// and that an audit follows.
//
// hash = SHA-256(previous hash, seq, at, run, kind, json), each number as 8 bytes little-endian, each text with its length before
// it. Functions work on the Database they are given, on its thread.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/store/store.h"
#include "base/wire_client.h"
#include "scheduler/core.h"
#include "scheduler/state.h"

namespace lorry {

std::vector<Migration> SchedulerMigrations();

class EventLog {
 public:
  // Reads where the log stands. Errors: kData where the last events' hashes do not follow from one another.
  static Result<EventLog> Open(Database& db);

  // Everything that `actions` changed, as the state has it now. Within the caller's transaction; after a rollback make a new
  // EventLog.
  Status Append(Database& db, const Actions& actions, const State& state, Instant now);
  Sequence last() const { return last_; }

 private:
  Status AppendEvent(Database& db, const Event& event, Instant now);
  Sequence last_;
  Digest hash_;
};

// The state as the tables have it; attempts that run are taken to have given a sign of life at `now`.
Result<State> LoadState(Database& db, Moment now);

// Checks the whole chain. Errors: kData with the first event that does not follow.
Status VerifyEvents(Database& db);

// Questions that desks ask of the tables.
Result<std::vector<wire::RunEvent>> EventsAfter(Database& db, const RunId& run, Sequence after, uint32_t limit);
Result<wire::RowPage> CommittedRows(Database& db, const RunId& run, RowIndex from, uint32_t limit);
// Fine-tuning and batch runs that have not ended, in no order.
struct UnfinishedRun {
  RunId run;
  std::string kind;
  std::string model;  // "org/name@v3"; empty where the base came as a directory
  std::string job_json;
};
Result<std::vector<UnfinishedRun>> UnfinishedModelRuns(Database& db);
Result<std::vector<AttemptRecord>> AttemptsOf(Database& db, const RunId& run);
// Milliseconds by class over all devices of an attempt.
Result<std::map<std::string, int64_t>> ClassMillis(Database& db, const RunId& run, AttemptNumber attempt);

}  // namespace lorry
