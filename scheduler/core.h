// The scheduler's decisions: state, an event and `now` go in, actions come out. Nothing here opens, sends, stores or reads a
// clock (scheduler/moment.h: which of the two times is for what).
//
// One On... function per event, in core.cc; OnTick, with what ends by time, in lease_expiry.cc. The reactor stores what an
// Actions says in one transaction and only then sends what it says; where storing fails, the core is thrown away and built again
// from the state file. One thread.
#pragma once

#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/wire_worker.h"
#include "scheduler/state.h"

namespace lorry {

struct CoreOptions {
  Millis heartbeat{1000};
  Millis unreachable_after{5000};  // without a sign of life: nothing new goes there
  Millis lease{20000};             // without a sign of life: lost, what it held is given again
  Millis stop_grace{60000};        // for the checkpoint before a stop
  Millis first_backoff{1000};      // after the second fruitless attempt in a row, doubling
  Millis longest_backoff{60000};
};

using ToWorker =
    std::variant<wire::Welcome, wire::Grant, wire::Stop, wire::HeartbeatAck, wire::CheckpointCommitted, wire::FinishedAck,
                 wire::RowLease, wire::RowsCommitted, wire::ElementLease, wire::ElementsCommitted>;
struct Send {
  WorkerId worker;
  uint64_t request = 0;  // that it answers; 0: it is no answer
  ToWorker body;
};

// A line of the event log. `json` is one object.
struct Event {
  RunId run;
  std::string kind;
  std::string json;
};

// An attempt as it stands in the state file.
struct AttemptRecord {
  wire::AttemptRef ref;
  WorkerId worker;
  std::vector<DeviceId> devices;
  std::vector<std::string> device_kinds;
  Instant granted;
  Instant ended;  // 0: it runs
  EndReason reason = EndReason::kNone;
  wire::ErrorDetail error;  // that it ended in; while it runs: what there is to say of stop_reason
  bool stopping = false;
  wire::StopMode stop_mode = wire::StopMode::kCheckpoint;
  EndReason stop_reason = EndReason::kNone;
};

struct SpanRow {
  wire::AttemptRef attempt;
  uint64_t index = 0;
  wire::Span span;
};
struct RowRow {
  RunId run;
  wire::RowReport row;
};
struct ElementRow {
  RunId run;
  uint64_t element = 0;
  AttemptNumber attempt;
  Instant started;  // 0: not in this report
  Instant ended;    // 0: not in this report
  int32_t status = 0;
};
// The leases of a run's rows or elements: more of them, or exactly these.
struct LeaseChange {
  RunId run;
  bool replace = false;
  std::vector<wire::Range> ranges;
};
// A user drained a worker, or took that back.
struct DrainChange {
  WorkerId worker;
  bool drained = false;
};
// Outputs to publish in this very transaction; OnPublished tells how it went.
struct PublishWish {
  RunId run;
  AttemptNumber attempt;
  std::vector<wire::Output> outputs;
  std::string facts_json;
};
// Device time to post in this very transaction.
struct PostingWish {
  RunId run;
  AttemptNumber attempt;
  std::vector<wire::Span> spans;
};

struct Actions {
  std::vector<Send> sends;
  std::vector<Event> events;
  std::set<RunId> runs;  // that changed
  std::vector<AttemptRecord> attempts;
  std::vector<SpanRow> spans;
  std::vector<RowRow> rows;
  std::vector<ElementRow> elements;
  std::vector<LeaseChange> leases;
  std::vector<DrainChange> drains;
  std::vector<PublishWish> publish;
  std::vector<PostingWish> postings;
  std::vector<wire::AttemptRef> stop;  // OnHello: what the worker holds and must end

  bool ChangesState() const {
    return !events.empty() || !runs.empty() || !attempts.empty() || !spans.empty() || !rows.empty() || !elements.empty() ||
           !leases.empty() || !drains.empty();
  }
};

class Core {
 public:
  Core(CoreOptions options, State state);
  const State& state() const { return state_; }

  // From clients. The run must not be there yet.
  Actions OnSubmit(RunSpec spec, Moment now);
  Actions OnCancel(const RunId& run, bool at_once, const std::string& why, Moment now);
  Actions OnPause(const RunId& run, Moment now);
  Actions OnResume(const RunId& run, Moment now);
  Actions OnBudgetSpent(const RunId& run, const Error& why, Moment now);
  Actions OnDrain(bool drain, Moment now);  // true: every attempt writes a checkpoint and stops, nothing starts
  Actions OnDrainWorker(const WorkerId& worker, bool drain, Moment now);

  // From workers.
  Actions OnHello(const wire::Hello& hello, Moment now);
  Actions OnSignOfLife(const WorkerId& worker, Moment now);
  Actions OnHeartbeat(const WorkerId& worker, uint64_t request, const wire::Heartbeat& beat, Moment now);
  Actions OnProgress(const WorkerId& worker, const wire::Progress& progress, Moment now);
  Actions OnCheckpoint(const WorkerId& worker, uint64_t request, const wire::Checkpoint& checkpoint, Moment now);
  Actions OnFinished(const WorkerId& worker, uint64_t request, const wire::Finished& finished, Moment now);
  Actions OnRowsWanted(const WorkerId& worker, uint64_t request, const wire::RowsWanted& wanted, Moment now);
  Actions OnRowReports(const WorkerId& worker, uint64_t request, const wire::RowReports& reports, Moment now);
  Actions OnElementsWanted(const WorkerId& worker, uint64_t request, const wire::ElementsWanted& wanted, Moment now);
  Actions OnElementReports(const WorkerId& worker, uint64_t request, const wire::ElementReports& reports, Moment now);

  // From the reactor itself.
  Actions OnTick(Moment now);
  Actions OnPublished(const RunId& run, const Result<std::string>& result_json, Moment now);

 private:
  // core_steps.cc: what several events have in common.
  void Say(const WorkerId& worker, ToWorker body, uint64_t request = 0);
  void Note(const RunId& run, std::string kind, std::string json);
  Attempt* AttemptOf(const WorkerId& worker, const wire::AttemptRef& ref);
  void SetRunState(Run* run, RunState state);
  void EndRun(Run* run, RunState state, EndReason reason, Moment now);
  void GrantWhatFits(Moment now);
  void SayGrant(Attempt* attempt, Moment now);
  void SayStop(Attempt* attempt, Moment now);
  void StoreAttempt(const Attempt& attempt);
  void StopAttempt(Attempt* attempt, wire::StopMode mode, EndReason reason, Moment now, const wire::ErrorDetail& why = {});
  void TakeBackGrants(Worker* worker, Moment now);
  void RepeatWhatWasLost(const WorkerId& worker, Moment now);
  void TakeSpans(Attempt* attempt, uint64_t first, const std::vector<wire::Span>& spans);
  void EndAttempt(const RunId& run, EndReason reason, const wire::ErrorDetail& reported, Moment now);
  void ReturnWork(Run* run, EndReason reason, bool* held_against_row);
  void DecideAfterAttempt(Run* run, EndReason reason, const Attempt& ended, bool held_against_row, Moment now);
  struct HowItEnded {
    bool progressed = false;         // something of it was committed
    bool counts = false;             // against retry.max_attempts
    bool waits_for_storage = false;  // its worker says that its storage takes no writes
  };
  void Retry(Run* run, EndReason reason, const HowItEnded& ended, Moment now);
  void AnswerWaiting(Attempt* attempt, Run* run);
  void FailDependents(const RunId& run, Moment now);
  Actions Take(Moment now);  // places what can be placed, and hands out what was collected
  // lease_expiry.cc
  static Instant DueAt(const Run& run);
  void LookAtQueue(Moment now);
  void LoseWorker(Worker* worker, Instant until, Moment now);
  void AddDrain(Attempt* attempt, Instant until);

  CoreOptions options_;
  State state_;
  Actions out_;
  Instant look_at_queue_;  // no queued run is due before
  bool place_ = false;     // something changed that placement depends on
};

}  // namespace lorry
