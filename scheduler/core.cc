#include "scheduler/core.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"
#include "scheduler/placement.h"

// Every event in the same order: find what it is about, refuse it quietly where its epoch is over, change the state, note it,
// answer it. What follows for several events alike stands in core_steps.cc.
namespace lorry {

using nlohmann::json;

namespace {

constexpr uint64_t kMostRows = 100'000'000;  // a row takes a byte of memory here
constexpr size_t kLongestLiveLine = 4096;

// The last whole line of `lines`; empty where there is none, or it is too long to be shown.
std::string LastLine(std::string_view lines) {
  while (lines.ends_with('\n')) lines.remove_suffix(1);
  const std::string_view last = lines.substr(lines.rfind('\n') + 1);
  return last.size() <= kLongestLiveLine ? std::string(last) : std::string();
}

// A name or path that would leave the folder that a client brings it to; nullptr where none would.
const std::string* OutsidePath(const std::vector<wire::Output>& outputs) {
  for (const wire::Output& output : outputs) {
    if (!IsPathWithin(output.name)) return &output.name;
    for (const wire::BlobFile& file : output.files) {
      if (!IsPathWithin(file.path)) return &file.path;
    }
  }
  return nullptr;
}

}  // namespace

Core::Core(CoreOptions options, State state) : options_(options), state_(std::move(state)) {}

Actions Core::OnSubmit(RunSpec spec, Moment now) {
  Run run;
  run.spec = std::move(spec);
  run.order = ++state_.last_order;
  run.submitted = now;
  if (run.spec.array > 0) run.book.SetTotal(run.spec.array);
  const RunId id = run.spec.id;
  Note(id, "submitted",
       ShownJson(json{{"name", run.spec.name}, {"kind", run.spec.kind}, {"submission", run.spec.submission.str()}}));
  auto [entry, made] = state_.runs.emplace(id, std::move(run));
  state_.QueueOf(entry->second).insert(State::QueueKey(entry->second));
  look_at_queue_ = std::min(look_at_queue_, DueAt(entry->second));
  out_.runs.insert(id);
  for (const RunId& before : entry->second.spec.after) {
    const Run* other = state_.FindRun(before);
    if (other != nullptr && HasEnded(other->state)) FailDependents(before, now);
  }
  place_ = true;
  return Take(now);
}

Actions Core::OnCancel(const RunId& id, bool at_once, const std::string& why, Moment now) {
  Run* run = state_.FindRun(id);
  if (run == nullptr || HasEnded(run->state)) return Take(now);
  run->why = why;
  Note(id, "cancel_asked", ShownJson(json{{"now", at_once}, {"why", why}}));
  out_.runs.insert(id);
  auto live = state_.attempts.find(id);
  if (live == state_.attempts.end()) {
    EndRun(run, RunState::kCancelled, EndReason::kCancelled, now);
    return Take(now);
  }
  run->wish = at_once ? Wish::kCancelNow : Wish::kCancel;
  StopAttempt(&live->second, at_once ? wire::StopMode::kNow : wire::StopMode::kCheckpoint, EndReason::kCancelled, now);
  return Take(now);
}

Actions Core::OnPause(const RunId& id, Moment now) {
  Run* run = state_.FindRun(id);
  if (run == nullptr || HasEnded(run->state) || run->wish != Wish::kNone || run->state == RunState::kPaused) return Take(now);
  Note(id, "pause_asked", "{}");
  auto live = state_.attempts.find(id);
  if (live == state_.attempts.end()) {
    SetRunState(run, RunState::kPaused);
  } else {
    run->wish = Wish::kPause;
    out_.runs.insert(id);
    StopAttempt(&live->second, wire::StopMode::kCheckpoint, EndReason::kPreempted, now);
  }
  return Take(now);
}

Actions Core::OnResume(const RunId& id, Moment now) {
  Run* run = state_.FindRun(id);
  if (run == nullptr || HasEnded(run->state)) return Take(now);
  if (run->wish == Wish::kPause) run->wish = Wish::kNone;  // its attempt stops all the same, and is queued again
  if (run->state == RunState::kPaused) SetRunState(run, RunState::kQueued);
  Note(id, "resume_asked", "{}");
  out_.runs.insert(id);
  // What it waits for may have failed while it was not in the queue.
  const std::vector<RunId> after = run->spec.after;
  for (const RunId& before : after) {
    const Run* other = state_.FindRun(before);
    if (other != nullptr && HasEnded(other->state)) FailDependents(before, now);
  }
  place_ = true;
  return Take(now);
}

Actions Core::OnBudgetSpent(const RunId& id, const Error& why, Moment now) {
  auto live = state_.attempts.find(id);
  if (live != state_.attempts.end() && !live->second.stopping) {
    StopAttempt(&live->second, state_.runs.at(id).spec.on_exceed, EndReason::kBudget, now, wire::ErrorDetail::Of(why));
  }
  return Take(now);
}

Actions Core::OnDrain(bool drain, Moment now) {
  state_.draining = drain;
  place_ = !drain;
  if (drain) {
    for (auto& [id, attempt] : state_.attempts) {
      if (!attempt.stopping) StopAttempt(&attempt, wire::StopMode::kCheckpoint, EndReason::kPreempted, now);
    }
  }
  return Take(now);
}

Actions Core::OnDrainWorker(const WorkerId& id, bool drain, Moment now) {
  auto worker = state_.workers.find(id);
  if (worker == state_.workers.end() || worker->second.drained == drain) return Take(now);
  worker->second.drained = drain;
  out_.drains.push_back({id, drain});
  Note(RunId(), drain ? "worker_drained" : "worker_resumed", ShownJson(json{{"worker", id.str()}}));
  place_ = true;
  return Take(now);
}

// A worker with a new incarnation has ended whatever an earlier one left, so nothing of it needs to run out. Where the scheduler
// itself was started again it does not know the old one: what the worker holds decides.
Actions Core::OnHello(const wire::Hello& hello, Moment now) {
  Worker& worker = state_.workers[hello.worker];
  if (worker.incarnation != hello.incarnation) {
    if (!worker.incarnation.empty()) LoseWorker(&worker, now, now);
    worker.leaving = false;
  }
  worker.id = hello.worker;
  worker.incarnation = hello.incarnation;
  worker.host = hello.host;
  worker.build = hello.build;
  worker.home_id = hello.home_id;
  worker.last_seen = now;
  worker.heard_at = now.steady;
  worker.health = Health::kHealthy;
  std::map<DeviceId, DeviceState> devices;
  for (const wire::Device& device : hello.devices) devices[device.id] = DeviceState{device, RunId()};
  worker.devices = std::move(devices);
  for (const wire::AttemptRef& held : hello.holds) {
    if (AttemptOf(hello.worker, held) == nullptr) out_.stop.push_back(held);
  }
  std::vector<RunId> dropped;
  for (auto& [id, attempt] : state_.attempts) {
    if (attempt.worker != hello.worker) continue;
    for (const DeviceId& device : attempt.devices) {
      auto held = worker.devices.find(device);
      if (held != worker.devices.end()) held->second.holder = id;
    }
    const bool holds = std::find(hello.holds.begin(), hello.holds.end(), attempt.ref) != hello.holds.end();
    if (!holds && attempt.accepted) dropped.push_back(id);
    if (!holds && !attempt.accepted) SayGrant(&attempt, now);
    if (holds) attempt.accepted = true;
    if (holds && attempt.stopping) SayStop(&attempt, now);
  }
  for (const RunId& id : dropped) {
    AddDrain(&state_.attempts.at(id), now);
    EndAttempt(
        id, EndReason::kNodeLost,
        wire::ErrorDetail::Of(MakeError(ErrorCode::kUnreachable, fmt::format("worker {} came back without it", hello.worker))),
        now);
  }
  place_ = true;
  return Take(now);
}

Actions Core::OnSignOfLife(const WorkerId& id, Moment now) {
  auto worker = state_.workers.find(id);
  if (worker == state_.workers.end()) return Take(now);
  worker->second.last_seen = now;
  worker->second.heard_at = now.steady;
  if (worker->second.health == Health::kUnreachable) {
    worker->second.health = Health::kHealthy;
    place_ = true;
  }
  return Take(now);
}

Actions Core::OnHeartbeat(const WorkerId& id, uint64_t request, const wire::Heartbeat& beat, Moment now) {
  auto entry = state_.workers.find(id);
  if (entry == state_.workers.end()) return Take(now);
  Worker& worker = entry->second;
  place_ = place_ || worker.storage_ok != beat.storage_ok || !beat.devices.empty();
  worker.storage_ok = beat.storage_ok;
  worker.storage_problem = beat.storage_problem;
  for (const wire::Device& device : beat.devices) {
    auto known = worker.devices.find(device.id);
    if (known != worker.devices.end()) known->second.device = device;
  }
  for (const wire::Metered& metered : beat.metered) {
    Attempt* attempt = AttemptOf(id, metered.attempt);
    if (attempt == nullptr) continue;
    attempt->accepted = true;
    TakeSpans(attempt, metered.first_span, metered.spans);
  }
  if (beat.leaving) TakeBackGrants(&worker, now);
  RepeatWhatWasLost(id, now);
  Say(id, wire::HeartbeatAck{}, request);
  return Take(now);
}

Actions Core::OnProgress(const WorkerId& id, const wire::Progress& progress, Moment now) {
  Attempt* attempt = AttemptOf(id, progress.attempt);
  if (attempt == nullptr) return Take(now);
  attempt->accepted = true;
  attempt->phase = progress.phase;
  Run& run = state_.runs.at(progress.attempt.run);
  run.done = progress.done;
  run.total = progress.total;
  if (std::string line = LastLine(progress.lines); !line.empty()) run.live_json = std::move(line);
  return Take(now);
}

Actions Core::OnCheckpoint(const WorkerId& id, uint64_t request, const wire::Checkpoint& message, Moment now) {
  Attempt* attempt = AttemptOf(id, message.attempt);
  const wire::CheckpointRef& made = message.checkpoint;
  if (attempt != nullptr) {
    Run& run = state_.runs.at(message.attempt.run);
    attempt->accepted = true;
    const bool known = std::any_of(run.checkpoints.begin(), run.checkpoints.end(), [&](const wire::CheckpointRef& old) {
      return old.step == made.step && old.digest == made.digest;
    });
    if (!known) {
      attempt->progressed = true;
      std::erase_if(run.checkpoints, [&](const wire::CheckpointRef& old) { return old.step >= made.step; });
      run.checkpoints.insert(run.checkpoints.begin(), made);
      if (run.checkpoints.size() > 4) run.checkpoints.pop_back();
      out_.runs.insert(run.spec.id);
      Note(run.spec.id, "checkpoint",
           ShownJson(json{{"attempt", message.attempt.attempt.value()},
                          {"step", made.step},
                          {"path", made.path},
                          {"sha256", made.digest.hex()}}));
    }
  }
  Say(id, wire::CheckpointCommitted{message.attempt, made.step, attempt != nullptr}, request);
  return Take(now);
}

// The attempt ends, its outputs are published and its device time is posted in one transaction; a repeat finds no such attempt.
Actions Core::OnFinished(const WorkerId& id, uint64_t request, const wire::Finished& finished, Moment now) {
  Attempt* attempt = AttemptOf(id, finished.attempt);
  Say(id, wire::FinishedAck{finished.attempt, attempt != nullptr}, request);
  if (attempt == nullptr) return Take(now);
  attempt->accepted = true;
  TakeSpans(attempt, finished.first_span, finished.spans);
  Run& run = state_.runs.at(finished.attempt.run);
  EndReason reason = finished.reason == EndReason::kNone ? EndReason::kInternal : finished.reason;
  wire::ErrorDetail error = finished.error;
  if (reason == EndReason::kDone && run.book.total() > 0 && !run.book.AllDone()) {
    reason = EndReason::kInternal;
    error =
        wire::ErrorDetail::Of(MakeError(ErrorCode::kInternal, fmt::format("the attempt says done with {} of {} rows committed",
                                                                          run.book.done(), run.book.total())));
  }
  if (reason == EndReason::kDone && run.failed_elements > 0) {
    reason = EndReason::kUserError;
    error = wire::ErrorDetail::Of(
        MakeError(ErrorCode::kConflict,
                  fmt::format("{} of {} elements ended with a status other than 0", run.failed_elements, run.book.total()),
                  "`lorry show` lists them"));
  }
  if (const std::string* outside = OutsidePath(finished.outputs); reason == EndReason::kDone && outside != nullptr) {
    reason = EndReason::kInternal;
    error = wire::ErrorDetail::Of(MakeError(
        ErrorCode::kInternal, fmt::format("the worker names an output \"{}\" outside its folder", EscapeControl(*outside))));
  }
  if (reason == EndReason::kDone) {
    run.outputs = finished.outputs;
    out_.publish.push_back(PublishWish{finished.attempt.run, finished.attempt.attempt, finished.outputs, finished.facts_json});
  }
  EndAttempt(finished.attempt.run, reason, error, now);
  return Take(now);
}

Actions Core::OnRowsWanted(const WorkerId& id, uint64_t request, const wire::RowsWanted& wanted, Moment now) {
  Attempt* attempt = AttemptOf(id, wanted.attempt);
  if (attempt == nullptr) return Take(now);
  attempt->accepted = true;
  Run& run = state_.runs.at(wanted.attempt.run);
  if (wanted.total > kMostRows) {
    const Error error =
        MakeError(ErrorCode::kData, fmt::format("the input has {} rows; a run takes at most {}", wanted.total, kMostRows),
                  "split it over several runs");
    StopAttempt(attempt, wire::StopMode::kNow, EndReason::kDataError, now, wire::ErrorDetail::Of(error));
    return Take(now);
  }
  if (run.book.total() == 0 && wanted.total > 0) {
    run.book.SetTotal(wanted.total);
    out_.runs.insert(run.spec.id);
    Note(run.spec.id, "rows_counted", ShownJson(json{{"rows", wanted.total}}));
  }
  if (wanted.total > 0 && run.book.total() != wanted.total) {
    const Error error = MakeError(ErrorCode::kInternal, fmt::format("the attempt counts {} rows, and an earlier one counted {}",
                                                                    wanted.total, run.book.total()));
    StopAttempt(attempt, wire::StopMode::kNow, EndReason::kInternal, now, wire::ErrorDetail::Of(error));
    return Take(now);
  }
  if (run.book.KeepOnly(wanted.held)) out_.leases.push_back(LeaseChange{run.spec.id, true, run.book.LeasedRanges()});
  attempt->waiting = Attempt::Waiting{request, wanted.count};
  AnswerWaiting(attempt, &run);
  return Take(now);
}

Actions Core::OnRowReports(const WorkerId& id, uint64_t request, const wire::RowReports& reports, Moment now) {
  Attempt* attempt = AttemptOf(id, reports.attempt);
  wire::RowsCommitted answer{reports.attempt, 0, 0};
  if (attempt != nullptr) {
    attempt->accepted = true;
    Run& run = state_.runs.at(reports.attempt.run);
    for (const wire::RowReport& row : reports.rows) {
      if (!run.book.Finish(row.row.value())) continue;
      ++answer.accepted;
      out_.rows.push_back(RowRow{run.spec.id, row});
      if (!run.rows_worker.empty() || row.shard.empty()) continue;
      run.rows_worker = id;
      run.rows_home = state_.workers.at(id).home_id;
      out_.runs.insert(run.spec.id);
    }
    answer.done = run.book.done();
    if (answer.accepted > 0) {
      attempt->progressed = true;
      Note(run.spec.id, "rows",
           ShownJson(json{{"attempt", reports.attempt.attempt.value()}, {"committed", answer.accepted}, {"done", answer.done}}));
    }
    AnswerWaiting(attempt, &run);
  }
  Say(id, answer, request);
  return Take(now);
}

Actions Core::OnElementsWanted(const WorkerId& id, uint64_t request, const wire::ElementsWanted& wanted, Moment now) {
  Attempt* attempt = AttemptOf(id, wanted.attempt);
  if (attempt == nullptr) return Take(now);
  attempt->accepted = true;
  Run& run = state_.runs.at(wanted.attempt.run);
  if (run.book.KeepOnly(wanted.held)) out_.leases.push_back(LeaseChange{run.spec.id, true, run.book.LeasedRanges()});
  attempt->waiting = Attempt::Waiting{request, wanted.count};
  AnswerWaiting(attempt, &run);
  return Take(now);
}

Actions Core::OnElementReports(const WorkerId& id, uint64_t request, const wire::ElementReports& reports, Moment now) {
  Attempt* attempt = AttemptOf(id, reports.attempt);
  wire::ElementsCommitted answer{reports.attempt, 0};
  if (attempt != nullptr) {
    attempt->accepted = true;
    Run& run = state_.runs.at(reports.attempt.run);
    std::map<uint64_t, ElementRow> rows;
    for (const wire::ElementStart& start : reports.started) {
      if (start.element >= run.book.total() || run.book.IsDone(start.element)) continue;
      rows[start.element] = ElementRow{run.spec.id, start.element, reports.attempt.attempt, start.at, Instant(), 0};
    }
    uint64_t ended = 0;
    for (const wire::ElementEnd& end : reports.ended) {
      if (!run.book.Finish(end.element)) continue;
      ElementRow& row =
          rows.try_emplace(end.element, ElementRow{run.spec.id, end.element, reports.attempt.attempt, Instant(), Instant(), 0})
              .first->second;
      row.ended = end.at;
      row.status = end.status;
      run.failed_elements += end.status != 0;
      ++ended;
    }
    for (auto& [element, row] : rows) out_.elements.push_back(std::move(row));
    answer.done = run.book.done();
    if (!rows.empty()) {
      attempt->progressed = attempt->progressed || ended > 0;
      Note(run.spec.id, "elements",
           fmt::format(R"({{"started":{},"ended":{},"done":{}}})", reports.started.size(), ended, answer.done));
    }
    AnswerWaiting(attempt, &run);
  }
  Say(id, answer, request);
  return Take(now);
}

// The run stands as done; where publishing failed it ends in that error instead. A failure of storage does not come here: the
// reactor takes the whole step back.
Actions Core::OnPublished(const RunId& id, const Result<std::string>& result_json, Moment now) {
  Run& run = state_.runs.at(id);
  if (result_json.ok()) {
    run.result_json = *result_json;
    EndRun(&run, RunState::kSucceeded, EndReason::kDone, now);
  } else {
    run.error = wire::ErrorDetail::Of(result_json.error());
    const EndReason reason = result_json.error().code == ErrorCode::kInternal ? EndReason::kInternal : EndReason::kSpecError;
    EndRun(&run, RunState::kFailed, reason, now);
  }
  return Take(now);
}

}  // namespace lorry
