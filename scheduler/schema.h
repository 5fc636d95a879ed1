// The scheduler's tables in the state file (docs/formats/state.md). A schema that was released is never edited: the next version
// is a migration.
#pragma once

#include <string_view>

namespace lorry {

inline constexpr std::string_view kSchedulerSchema1 = R"sql(
CREATE TABLE event(
  seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, run TEXT NOT NULL, kind TEXT NOT NULL, json TEXT NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE INDEX event_of_run ON event(run, seq);
CREATE TABLE run(
  run TEXT PRIMARY KEY, seq_no INTEGER NOT NULL, submission TEXT NOT NULL UNIQUE, submitted_digest BLOB NOT NULL, name TEXT NOT NULL,
  project TEXT NOT NULL, team TEXT NOT NULL, model TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
  priority INTEGER NOT NULL, submitted_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL, job TEXT NOT NULL, result TEXT NOT NULL, fixed BLOB NOT NULL, moving BLOB NOT NULL) STRICT;
CREATE INDEX run_by_name ON run(project, name, seq_no);
CREATE TABLE attempt(
  run TEXT NOT NULL, attempt INTEGER NOT NULL, epoch INTEGER NOT NULL UNIQUE, worker TEXT NOT NULL, granted_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL, rest BLOB NOT NULL, PRIMARY KEY(run, attempt)) STRICT, WITHOUT ROWID;
CREATE INDEX attempt_live ON attempt(ended_ms) WHERE ended_ms = 0;
CREATE TABLE usage_span(
  run TEXT NOT NULL, attempt INTEGER NOT NULL, span INTEGER NOT NULL, device TEXT NOT NULL, device_kind TEXT NOT NULL,
  class TEXT NOT NULL, t0_ms INTEGER NOT NULL, t1_ms INTEGER NOT NULL, PRIMARY KEY(run, attempt, span)) STRICT, WITHOUT ROWID;
CREATE TABLE batch_row(
  run TEXT NOT NULL, row INTEGER NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL, shard TEXT NOT NULL, offset INTEGER NOT NULL,
  length INTEGER NOT NULL, sha256 BLOB NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
  millis INTEGER NOT NULL, PRIMARY KEY(run, row)) STRICT, WITHOUT ROWID;
CREATE TABLE element(
  run TEXT NOT NULL, element INTEGER NOT NULL, attempt INTEGER NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL,
  status INTEGER NOT NULL, PRIMARY KEY(run, element)) STRICT, WITHOUT ROWID;
CREATE TABLE work_lease(run TEXT NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL) STRICT;
CREATE INDEX work_lease_of_run ON work_lease(run);
CREATE TABLE answered(key TEXT PRIMARY KEY, digest BLOB NOT NULL, at_ms INTEGER NOT NULL, json TEXT NOT NULL) STRICT;
)sql";

// Version 1 forgot drains at a restart, and left the leases of runs that had ended.
inline constexpr std::string_view kSchedulerSchema2 = R"sql(
CREATE TABLE drained_worker(worker TEXT PRIMARY KEY) STRICT;
DELETE FROM work_lease WHERE run IN (SELECT run FROM run WHERE ended_ms<>0);
)sql";

}  // namespace lorry
