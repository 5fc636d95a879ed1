#include "scheduler/event_log.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/wire.h"
#include "scheduler/schema.h"

namespace lorry {
namespace {

// The parts of a run that only the scheduler reads, as one blob in the wire's form: fields may be appended.
struct FixedPart {
  std::vector<wire::Input> inputs;
  std::vector<RunId> after;
  bool gpu = false;
  std::string device_kind;
  uint64_t min_memory = 0;
  uint32_t devices = 1;
  bool elastic = false;
  uint32_t max_attempts = 3;
  uint32_t row_max_attempts = 3;
  uint64_t array = 0;
  int64_t max_duration_ms = 0;
  int64_t expires_after_ms = 0;
  wire::StopMode on_exceed = wire::StopMode::kCheckpoint;
  Instant model_created;
  std::string adapter;
  LORRY_WIRE_FIELDS(inputs, after, gpu, device_kind, min_memory, devices, elastic, max_attempts, row_max_attempts, array,
                    max_duration_ms, expires_after_ms, on_exceed, model_created, adapter)
};
struct MovingPart {
  wire::ErrorDetail error;
  uint8_t wish = 0;
  std::string why;
  int64_t ran_ms = 0;
  uint32_t counted = 0;
  uint32_t fruitless = 0;
  EndReason last_reason = EndReason::kNone;
  Instant not_before;
  std::vector<wire::CheckpointRef> checkpoints;
  uint64_t rows = 0;  // of a batch, once counted
  uint64_t done = 0;
  uint64_t total = 0;
  std::vector<wire::Output> outputs;
  uint64_t failed_elements = 0;
  WorkerId rows_worker;
  std::string rows_home;
  LORRY_WIRE_FIELDS(error, wish, why, ran_ms, counted, fruitless, last_reason, not_before, checkpoints, rows, done, total,
                    outputs, failed_elements, rows_worker, rows_home)
};
struct AttemptRest {
  std::vector<DeviceId> devices;
  std::vector<std::string> device_kinds;
  wire::ErrorDetail error;
  bool stopping = false;
  wire::StopMode stop_mode = wire::StopMode::kCheckpoint;
  EndReason stop_reason = EndReason::kNone;
  LORRY_WIRE_FIELDS(devices, device_kinds, error, stopping, stop_mode, stop_reason)
};

template <class Part>
std::string ToBlob(const Part& part) {
  std::string bytes;
  wire::Encoder encoder(&bytes);
  part.Fields(encoder);
  return bytes;
}

template <class Part>
Result<Part> FromBlob(const std::string& bytes, std::string_view what) {
  Part part;
  wire::Decoder decoder(bytes);
  part.Fields(decoder);
  if (!decoder.ok()) return MakeError(ErrorCode::kData, fmt::format("state.db: {}: {}", what, decoder.problem()));
  return part;
}

// What an event's hash covers.
struct Hashed {
  Digest previous;
  Sequence seq;
  Instant at;
  std::string run, kind, json;
  LORRY_WIRE_FIELDS(previous, seq, at, run, kind, json)
};

Digest ChainHash(const Digest& previous, Sequence seq, Instant at, const Event& event) {
  return Sha256Of(ToBlob(Hashed{previous, seq, at, event.run.str(), event.kind, event.json}));
}

Status StoreRun(Database& db, const Run& run) {
  const RunSpec& s = run.spec;
  const FixedPart fixed{
      s.inputs,        s.after,         s.needs.gpu,        s.needs.kind, s.needs.min_memory,     s.needs.count,
      s.needs.elastic, s.max_attempts,  s.row_max_attempts, s.array,      s.max_duration.count(), s.expires_after.count(),
      s.on_exceed,     s.model_created, s.adapter};
  const MovingPart moving{run.error,
                          static_cast<uint8_t>(run.wish),
                          run.why,
                          run.ran.count(),
                          run.counted,
                          run.fruitless,
                          run.last_reason,
                          run.not_before,
                          run.checkpoints,
                          run.book.total(),
                          run.book.total() > 0 ? run.book.done() : run.done,
                          run.book.total() > 0 ? run.book.total() : run.total,
                          run.outputs,
                          run.failed_elements,
                          run.rows_worker,
                          run.rows_home};
  const std::string fixed_bytes = ToBlob(fixed);
  const std::string moving_bytes = ToBlob(moving);
  return db.Run(
      "INSERT INTO run VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20) ON CONFLICT(run) DO UPDATE "
      "SET "
      "state=?10, reason=?11, started_ms=?14, ended_ms=?15, attempts=?16, result=?18, moving=?20",
      s.id, run.order, s.submission, s.submitted_digest, s.name, s.project, s.team, s.model, s.kind, RunStateName(run.state),
      EndReasonName(run.reason), s.priority, run.submitted, run.started, run.ended, run.attempts, s.job_json, run.result_json,
      BlobView{fixed_bytes}, BlobView{moving_bytes});
}

Status StoreAttempt(Database& db, const AttemptRecord& a) {
  const std::string rest = ToBlob(AttemptRest{a.devices, a.device_kinds, a.error, a.stopping, a.stop_mode, a.stop_reason});
  return db.Run(
      "INSERT INTO attempt VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT(run, attempt) DO UPDATE SET ended_ms=?6, reason=?7, "
      "message=?8, rest=?9",
      a.ref.run, a.ref.attempt, a.ref.epoch, a.worker, a.granted, a.ended, EndReasonName(a.reason), a.error.message,
      BlobView{rest});
}

Status StoreRow(Database& db, const RowRow& entry) {
  const wire::RowReport& r = entry.row;
  return db.Run("INSERT INTO batch_row VALUES(?,?,?,?,?,?,?,?,?,?,?)", entry.run, r.row, r.attempt,
                r.state == wire::RowState::kOk ? "ok" : "error", r.shard, r.offset, r.length, r.digest, r.prompt_tokens,
                r.completion_tokens, r.millis);
}

Status StoreElement(Database& db, const ElementRow& e) {
  return db.Run(
      "INSERT INTO element VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT(run, element) DO UPDATE SET attempt=?3, "
      "started_ms=CASE WHEN ?4=0 THEN started_ms ELSE ?4 END, ended_ms=?5, status=?6",
      e.run, e.element, e.attempt, e.started, e.ended, e.status);
}

Status StoreLeases(Database& db, const LeaseChange& change) {
  if (change.replace) LORRY_TRY(db.Run("DELETE FROM work_lease WHERE run=?", change.run));
  for (const wire::Range& range : change.ranges) {
    LORRY_TRY(db.Run("INSERT INTO work_lease VALUES(?,?,?)", change.run, range.first, range.count));
  }
  return OkStatus();
}

Status StoreDrain(Database& db, const DrainChange& change) {
  LORRY_TRY(db.Run("DELETE FROM drained_worker WHERE worker=?", change.worker));
  return change.drained ? db.Run("INSERT INTO drained_worker VALUES(?)", change.worker) : OkStatus();
}

RunState RunStateOf(const std::string& name) {
  for (uint8_t i = 0; i <= static_cast<uint8_t>(RunState::kExpired); ++i) {
    if (RunStateName(static_cast<RunState>(i)) == name) return static_cast<RunState>(i);
  }
  return RunState::kFailed;
}

Result<Run> RunFromRow(const Rows& rows) {
  Run run;
  RunSpec& s = run.spec;
  s.id = RunId(rows.Text(0));
  run.order = static_cast<uint64_t>(rows.Integer(1));
  s.submission = SubmissionId(rows.Text(2));
  s.submitted_digest = rows.AsDigest(3);
  s.name = rows.Text(4);
  s.project = ProjectName(rows.Text(5));
  s.team = rows.Text(6);
  s.model = rows.Text(7);
  s.kind = rows.Text(8);
  run.state = RunStateOf(rows.Text(9));
  LORRY_ASSIGN_OR_RETURN(run.reason, ParseEndReason(rows.Text(10)));
  s.priority = static_cast<int32_t>(rows.Integer(11));
  run.submitted = rows.Time(12);
  run.started = rows.Time(13);
  run.ended = rows.Time(14);
  run.attempts = static_cast<uint32_t>(rows.Integer(15));
  s.job_json = rows.Text(16);
  run.result_json = rows.Text(17);
  LORRY_ASSIGN_OR_RETURN(FixedPart f, FromBlob<FixedPart>(rows.Text(18), s.id.str()));
  s.inputs = std::move(f.inputs);
  s.after = std::move(f.after);
  s.needs = DeviceNeeds{f.gpu, f.device_kind, f.min_memory, f.devices, f.elastic};
  s.max_attempts = f.max_attempts;
  s.row_max_attempts = f.row_max_attempts;
  s.array = f.array;
  s.max_duration = Millis(f.max_duration_ms);
  s.expires_after = Millis(f.expires_after_ms);
  s.on_exceed = f.on_exceed;
  s.model_created = f.model_created;
  s.adapter = std::move(f.adapter);
  LORRY_ASSIGN_OR_RETURN(MovingPart m, FromBlob<MovingPart>(rows.Text(19), s.id.str()));
  run.error = std::move(m.error);
  run.wish = static_cast<Wish>(m.wish);
  run.why = std::move(m.why);
  run.ran = Millis(m.ran_ms);
  run.counted = m.counted;
  run.fruitless = m.fruitless;
  run.last_reason = m.last_reason;
  run.not_before = m.not_before;
  run.checkpoints = std::move(m.checkpoints);
  run.done = m.done;
  run.total = m.total;
  run.outputs = std::move(m.outputs);
  run.rows_worker = std::move(m.rows_worker);
  run.rows_home = std::move(m.rows_home);
  // A run that has ended keeps its counts, not its book.
  if (HasEnded(run.state)) {
    run.failed_elements = m.failed_elements;
  } else if (m.rows > 0) {
    run.book.SetTotal(m.rows);
  }
  return run;
}

Result<AttemptRecord> AttemptFromRow(const Rows& rows) {
  AttemptRecord record;
  record.ref = wire::AttemptRef{RunId(rows.Text(0)), AttemptNumber(rows.Integer(1)), Epoch(rows.Integer(2))};
  record.worker = WorkerId(rows.Text(3));
  record.granted = rows.Time(4);
  record.ended = rows.Time(5);
  LORRY_ASSIGN_OR_RETURN(record.reason, ParseEndReason(rows.Text(6)));
  LORRY_ASSIGN_OR_RETURN(AttemptRest rest, FromBlob<AttemptRest>(rows.Text(7), record.ref.run.str()));
  record.devices = std::move(rest.devices);
  record.device_kinds = std::move(rest.device_kinds);
  record.error = std::move(rest.error);
  record.stopping = rest.stopping;
  record.stop_mode = rest.stop_mode;
  record.stop_reason = rest.stop_reason;
  return record;
}
constexpr std::string_view kAttemptColumns =
    "SELECT run, attempt, epoch, worker, granted_ms, ended_ms, reason, rest FROM attempt";

// Calls `use` for every row of a question.
template <class Use, class... T>
Status ForEach(Database& db, std::string_view sql, const Use& use, const T&... values) {
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask(sql, values...));
  while (true) {
    LORRY_ASSIGN_OR_RETURN(bool more, rows.Next());
    if (!more) return OkStatus();
    LORRY_TRY(use(rows));
  }
}

Status LoadWork(Database& db, State* state) {
  LORRY_TRY(ForEach(db, "SELECT b.run, b.row FROM batch_row b JOIN run r ON r.run=b.run WHERE r.ended_ms=0",
                    [&](const Rows& rows) -> Status {
                      if (Run* run = state->FindRun(RunId(rows.Text(0)))) {
                        run->book.Finish(static_cast<uint64_t>(rows.Integer(1)));
                      }
                      return OkStatus();
                    }));
  LORRY_TRY(ForEach(
      db, "SELECT e.run, e.element, e.status FROM element e JOIN run r ON r.run=e.run WHERE r.ended_ms=0 AND e.ended_ms>0",
      [&](const Rows& rows) -> Status {
        Run* run = state->FindRun(RunId(rows.Text(0)));
        if (run != nullptr && run->book.Finish(static_cast<uint64_t>(rows.Integer(1)))) {
          run->failed_elements += rows.Integer(2) != 0;
        }
        return OkStatus();
      }));
  return ForEach(db, "SELECT run, first, count FROM work_lease", [&](const Rows& rows) -> Status {
    Run* run = state->FindRun(RunId(rows.Text(0)));
    if (run != nullptr) run->book.Restore({static_cast<uint64_t>(rows.Integer(1)), static_cast<uint64_t>(rows.Integer(2))});
    return OkStatus();
  });
}

// A worker that is drained is known before it says hello: as one that is not there.
Status LoadDrains(Database& db, State* state) {
  return ForEach(db, "SELECT worker FROM drained_worker", [&](const Rows& rows) -> Status {
    Worker& worker = state->workers[WorkerId(rows.Text(0))];
    worker.id = WorkerId(rows.Text(0));
    worker.drained = true;
    worker.health = Health::kLost;
    return OkStatus();
  });
}

Status LoadAttempts(Database& db, State* state, Moment now) {
  LORRY_TRY(ForEach(db, fmt::format("{} WHERE ended_ms=0", kAttemptColumns), [&](const Rows& rows) -> Status {
    LORRY_ASSIGN_OR_RETURN(AttemptRecord record, AttemptFromRow(rows));
    Attempt attempt;
    attempt.ref = record.ref;
    attempt.worker = record.worker;
    attempt.devices = std::move(record.devices);
    attempt.device_kinds = std::move(record.device_kinds);
    attempt.granted = record.granted;
    attempt.granted_at = now.steady - std::max(Millis(), now.utc - record.granted);
    attempt.stopping = record.stopping;
    attempt.stop_mode = record.stop_mode;
    attempt.stop_reason = record.stop_reason;
    attempt.stop_error = std::move(record.error);
    // Its worker may never have heard of it; what it says when it comes back decides.
    Worker& worker = state->workers[record.worker];
    worker.id = record.worker;
    worker.last_seen = now;
    worker.heard_at = now.steady;
    worker.health = Health::kUnreachable;
    state->attempts.emplace(record.ref.run, std::move(attempt));
    return OkStatus();
  }));
  for (auto& [id, attempt] : state->attempts) {
    const Wish wish = state->runs.at(id).wish;
    if (wish != Wish::kNone && !attempt.stopping) {  // a file of a version that did not store the stop itself
      attempt.stopping = true;
      attempt.stop_mode = wish == Wish::kCancelNow ? wire::StopMode::kNow : wire::StopMode::kCheckpoint;
      attempt.stop_reason = wish == Wish::kPause ? EndReason::kPreempted : EndReason::kCancelled;
    }
    Attempt* live = &attempt;
    LORRY_TRY(ForEach(
        db, "SELECT device, device_kind, class, t0_ms, t1_ms FROM usage_span WHERE run=? AND attempt=? ORDER BY span",
        [&](const Rows& rows) -> Status {
          LORRY_ASSIGN_OR_RETURN(UsageClass usage_class, ParseUsageClass(rows.Text(2)));
          live->spans.push_back(wire::Span{DeviceId(rows.Text(0)), rows.Text(1), usage_class, rows.Time(3), rows.Time(4)});
          return OkStatus();
        },
        id, attempt.ref.attempt));
    attempt.accepted = !attempt.spans.empty();
  }
  return OkStatus();
}

}  // namespace

std::vector<Migration> SchedulerMigrations() {
  return {Migration{"scheduler", 1, std::string(kSchedulerSchema1)}, Migration{"scheduler", 2, std::string(kSchedulerSchema2)}};
}

Result<EventLog> EventLog::Open(Database& db) {
  EventLog log;
  LORRY_TRY(ForEach(db, "SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1", [&](const Rows& rows) -> Status {
    log.last_ = Sequence(static_cast<uint64_t>(rows.Integer(0)));
    log.hash_ = rows.AsDigest(1);
    return OkStatus();
  }));
  return log;
}

Status EventLog::AppendEvent(Database& db, const Event& event, Instant now) {
  ++last_;
  hash_ = ChainHash(hash_, last_, now, event);
  return db.Run("INSERT INTO event VALUES(?,?,?,?,?,?)", last_, now, event.run, event.kind, event.json, hash_);
}

Status EventLog::Append(Database& db, const Actions& actions, const State& state, Instant now) {
  for (const Event& event : actions.events) LORRY_TRY(AppendEvent(db, event, now));
  for (const RunId& id : actions.runs) LORRY_TRY(StoreRun(db, state.runs.at(id)));
  for (const AttemptRecord& attempt : actions.attempts) LORRY_TRY(StoreAttempt(db, attempt));
  for (const SpanRow& row : actions.spans) {
    LORRY_TRY(
        db.Run("INSERT INTO usage_span VALUES(?1,?2,?3,?4,?5,?6,?7,?8) ON CONFLICT DO UPDATE SET class=?6, t0_ms=?7, t1_ms=?8",
               row.attempt.run, row.attempt.attempt, row.index, row.span.device, row.span.device_kind,
               UsageClassName(row.span.usage_class), row.span.t0, row.span.t1));
  }
  for (const RowRow& row : actions.rows) LORRY_TRY(StoreRow(db, row));
  for (const ElementRow& element : actions.elements) LORRY_TRY(StoreElement(db, element));
  for (const LeaseChange& change : actions.leases) LORRY_TRY(StoreLeases(db, change));
  for (const DrainChange& change : actions.drains) LORRY_TRY(StoreDrain(db, change));
  return OkStatus();
}

Result<State> LoadState(Database& db, Moment now) {
  State state;
  LORRY_TRY(ForEach(db, "SELECT * FROM run ORDER BY seq_no", [&](const Rows& rows) -> Status {
    LORRY_ASSIGN_OR_RETURN(Run run, RunFromRow(rows));
    state.last_order = std::max(state.last_order, run.order);
    if (run.state == RunState::kQueued) state.QueueOf(run).insert(State::QueueKey(run));
    state.runs.emplace(run.spec.id, std::move(run));
    return OkStatus();
  }));
  LORRY_TRY(LoadWork(db, &state));
  LORRY_TRY(LoadDrains(db, &state));
  LORRY_TRY(LoadAttempts(db, &state, now));
  LORRY_ASSIGN_OR_RETURN(std::optional<int64_t> epoch, db.AskInteger("SELECT max(epoch) FROM attempt"));
  state.last_epoch = Epoch(static_cast<uint64_t>(epoch.value_or(0)));
  return state;
}

Status VerifyEvents(Database& db) {
  Digest hash;
  uint64_t expected = 0;
  return ForEach(db, "SELECT seq, at_ms, run, kind, json, hash FROM event ORDER BY seq", [&](const Rows& rows) -> Status {
    const Sequence seq(static_cast<uint64_t>(rows.Integer(0)));
    hash = ChainHash(hash, seq, rows.Time(1), Event{RunId(rows.Text(2)), rows.Text(3), rows.Text(4)});
    if (seq.value() != ++expected || hash != rows.AsDigest(5)) {
      return MakeError(ErrorCode::kData, fmt::format("state.db: event {} does not follow from the one before it", seq),
                       "bring back a backup with `lorry restore FROM`");
    }
    return OkStatus();
  });
}

Result<std::vector<wire::RunEvent>> EventsAfter(Database& db, const RunId& run, Sequence after, uint32_t limit) {
  std::vector<wire::RunEvent> events;
  const std::string_view sql =
      run.empty() ? "SELECT seq, at_ms, run, kind, json FROM event WHERE ?1='' AND seq>?2 ORDER BY seq LIMIT ?3"
                  : "SELECT seq, at_ms, run, kind, json FROM event WHERE run=?1 AND seq>?2 ORDER BY seq LIMIT ?3";
  LORRY_TRY(ForEach(
      db, sql,
      [&](const Rows& rows) -> Status {
        events.push_back(
            {Sequence(static_cast<uint64_t>(rows.Integer(0))), rows.Time(1), RunId(rows.Text(2)), rows.Text(3), rows.Text(4)});
        return OkStatus();
      },
      run, after, limit));
  return events;
}

Result<wire::RowPage> CommittedRows(Database& db, const RunId& run, RowIndex from, uint32_t limit) {
  wire::RowPage page;
  LORRY_TRY(ForEach(
      db,
      "SELECT row, attempt, state, shard, offset, length, sha256, prompt_tokens, completion_tokens, millis FROM batch_row "
      "WHERE run=? AND row>=? ORDER BY row LIMIT ?",
      [&](const Rows& rows) -> Status {
        page.rows.push_back(
            wire::RowReport{RowIndex(rows.Integer(0)), rows.Text(2) == "ok" ? wire::RowState::kOk : wire::RowState::kError,
                            AttemptNumber(rows.Integer(1)), rows.Text(3), static_cast<uint64_t>(rows.Integer(4)),
                            static_cast<uint64_t>(rows.Integer(5)), rows.AsDigest(6), static_cast<uint32_t>(rows.Integer(7)),
                            static_cast<uint32_t>(rows.Integer(8)), static_cast<uint32_t>(rows.Integer(9))});
        return OkStatus();
      },
      run, from, limit));
  page.last = page.rows.size() < limit;
  return page;
}

Result<std::vector<UnfinishedRun>> UnfinishedModelRuns(Database& db) {
  std::vector<UnfinishedRun> runs;
  LORRY_TRY(ForEach(db, "SELECT run, kind, model, job FROM run WHERE ended_ms=0 AND kind IN ('finetune', 'batch')",
                    [&](const Rows& rows) -> Status {
                      runs.push_back({RunId(rows.Text(0)), rows.Text(1), rows.Text(2), rows.Text(3)});
                      return OkStatus();
                    }));
  return runs;
}

Result<std::vector<AttemptRecord>> AttemptsOf(Database& db, const RunId& run) {
  std::vector<AttemptRecord> records;
  LORRY_TRY(ForEach(
      db, fmt::format("{} WHERE run=? ORDER BY attempt", kAttemptColumns),
      [&](const Rows& rows) -> Status {
        LORRY_ASSIGN_OR_RETURN(AttemptRecord record, AttemptFromRow(rows));
        records.push_back(std::move(record));
        return OkStatus();
      },
      run));
  return records;
}

Result<std::map<std::string, int64_t>> ClassMillis(Database& db, const RunId& run, AttemptNumber attempt) {
  std::map<std::string, int64_t> millis;
  LORRY_TRY(ForEach(
      db, "SELECT class, sum(t1_ms - t0_ms) FROM usage_span WHERE run=? AND attempt=? GROUP BY class",
      [&](const Rows& rows) -> Status {
        millis[rows.Text(0)] = rows.Integer(1);
        return OkStatus();
      },
      run, attempt));
  return millis;
}

}  // namespace lorry
