// What several events have in common: granting, stopping, ending attempts and runs. The events themselves stand in core.cc.
#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "scheduler/core.h"
#include "scheduler/placement.h"

namespace lorry {

using nlohmann::json;

namespace {

// [[first, count], ...]
json RangesJson(const std::vector<wire::Range>& ranges) {
  json list = json::array();
  for (const wire::Range& range : ranges) list.push_back({range.first, range.count});
  return list;
}

}  // namespace

void Core::Say(const WorkerId& worker, ToWorker body, uint64_t request) {
  out_.sends.push_back(Send{worker, request, std::move(body)});
}

void Core::Note(const RunId& run, std::string kind, std::string json) {
  out_.events.push_back(Event{run, std::move(kind), std::move(json)});
}

Attempt* Core::AttemptOf(const WorkerId& worker, const wire::AttemptRef& ref) {
  Attempt* attempt = state_.FindAttempt(ref);
  return attempt != nullptr && attempt->worker == worker ? attempt : nullptr;
}

void Core::SetRunState(Run* run, RunState state) {
  state_.QueueOf(*run).erase(State::QueueKey(*run));
  run->state = state;
  if (state == RunState::kQueued) {
    state_.QueueOf(*run).insert(State::QueueKey(*run));
    look_at_queue_ = std::min(look_at_queue_, DueAt(*run));
    place_ = true;
  }
  out_.runs.insert(run->spec.id);
}

void Core::EndRun(Run* run, RunState state, EndReason reason, Moment now) {
  SetRunState(run, state);
  run->reason = reason;
  run->wish = Wish::kNone;
  run->ended = now;
  Note(run->spec.id, "ended",
       ShownJson(json{{"state", RunStateName(state)}, {"reason", EndReasonName(reason)}, {"message", run->error.message}}));
  FailDependents(run->spec.id, now);
  place_ = true;
}

// What waits for a run that did not succeed never starts.
void Core::FailDependents(const RunId& id, Moment now) {
  const Run& ended = state_.runs.at(id);
  if (ended.state == RunState::kSucceeded) return;
  std::vector<RunId> waiting;
  for (const State::Queue& queue : state_.queues) {
    for (const auto& [priority, order, other] : queue) {
      const auto& after = state_.runs.at(other).spec.after;
      if (std::find(after.begin(), after.end(), id) != after.end()) waiting.push_back(other);
    }
  }
  for (const RunId& other : waiting) {
    Run& run = state_.runs.at(other);
    if (HasEnded(run.state)) continue;
    run.error = wire::ErrorDetail::Of(
        MakeError(ErrorCode::kConflict, fmt::format("it was to run after {}, which ended {}", id, RunStateName(ended.state))));
    EndRun(&run, RunState::kCancelled, EndReason::kCancelled, now);
  }
}

void Core::GrantWhatFits(Moment now) {
  for (Placement& place : Place(state_, now)) {
    Run& run = state_.runs.at(place.run);
    Worker& worker = state_.workers.at(place.worker);
    SetRunState(&run, RunState::kRunning);
    if (run.started == Instant()) run.started = now;
    Attempt attempt;
    attempt.ref = wire::AttemptRef{place.run, AttemptNumber(++run.attempts), ++state_.last_epoch};
    attempt.worker = place.worker;
    attempt.devices = place.devices;
    attempt.granted = now;
    attempt.granted_at = now.steady;
    for (const DeviceId& device : place.devices) {
      worker.devices.at(device).holder = place.run;
      attempt.device_kinds.push_back(worker.devices.at(device).device.kind);
    }
    StoreAttempt(attempt);
    Note(place.run, "granted",
         ShownJson(json{{"attempt", run.attempts},
                        {"epoch", attempt.ref.epoch.value()},
                        {"worker", place.worker.str()},
                        {"devices", place.devices.size()}}));
    SayGrant(&state_.attempts.emplace(place.run, std::move(attempt)).first->second, now);
  }
}

void Core::SayGrant(Attempt* attempt, Moment now) {
  const Run& run = state_.runs.at(attempt->ref.run);
  attempt->last_said = now.steady;
  wire::Grant grant{
      attempt->ref,          run.spec.kind,   run.spec.name,   run.spec.project.str(), run.spec.job_json,
      attempt->devices,      run.spec.inputs, run.checkpoints, run.spec.array,         run.spec.array > 0 ? 0 : run.book.done(),
      run.spec.model_created};
  Say(attempt->worker, std::move(grant));
}

void Core::SayStop(Attempt* attempt, Moment now) {
  attempt->last_said = now.steady;
  Say(attempt->worker,
      wire::Stop{attempt->ref, attempt->stop_mode, attempt->stop_reason, static_cast<uint32_t>(options_.stop_grace.count())});
}

// A second stop may only be sharper than the first; the first one's reason stays unless a user cancels.
void Core::StopAttempt(Attempt* attempt, wire::StopMode mode, EndReason reason, Moment now, const wire::ErrorDetail& why) {
  if (!attempt->stopping || reason == EndReason::kCancelled) {
    attempt->stop_reason = reason;
    attempt->stop_error = why;
  }
  if (!attempt->stopping || mode == wire::StopMode::kNow) attempt->stop_mode = mode;
  attempt->stopping = true;
  StoreAttempt(*attempt);
  Note(attempt->ref.run, "stop",
       ShownJson(json{{"attempt", attempt->ref.attempt.value()}, {"reason", EndReasonName(attempt->stop_reason)}}));
  SayStop(attempt, now);
}

void Core::StoreAttempt(const Attempt& attempt) {
  out_.attempts.push_back({.ref = attempt.ref,
                           .worker = attempt.worker,
                           .devices = attempt.devices,
                           .device_kinds = attempt.device_kinds,
                           .granted = attempt.granted,
                           .ended = Instant(),
                           .reason = EndReason::kNone,
                           .error = attempt.stop_error,
                           .stopping = attempt.stopping,
                           .stop_mode = attempt.stop_mode,
                           .stop_reason = attempt.stop_reason});
}

// A worker that is going down names all that it holds and takes no more: a grant that it does not name never starts there.
void Core::TakeBackGrants(Worker* worker, Moment now) {
  worker->leaving = true;
  std::vector<RunId> never_taken;
  for (const auto& [id, attempt] : state_.attempts) {
    if (attempt.worker == worker->id && !attempt.accepted) never_taken.push_back(id);
  }
  for (const RunId& id : never_taken) EndAttempt(id, EndReason::kPreempted, {}, now);
}

// Messages to a worker can be lost with its connection; the state says what should have arrived.
void Core::RepeatWhatWasLost(const WorkerId& worker, Moment now) {
  for (auto& [id, attempt] : state_.attempts) {
    if (attempt.worker != worker || now.steady - attempt.last_said < options_.heartbeat + options_.heartbeat) continue;
    if (!attempt.accepted) {
      SayGrant(&attempt, now);
    } else if (attempt.stopping) {
      SayStop(&attempt, now);
    }
  }
}

// Only the last span of a device may grow, and none may go backwards or overlap: what a worker says otherwise is cut.
void Core::TakeSpans(Attempt* attempt, uint64_t first, const std::vector<wire::Span>& spans) {
  if (first > attempt->spans.size()) return;  // a gap: the worker sends them again from what was answered
  for (size_t i = 0; i < spans.size(); ++i) {
    wire::Span span = spans[i];
    const uint64_t index = first + i;
    auto at = std::find(attempt->devices.begin(), attempt->devices.end(), span.device);
    if (at == attempt->devices.end()) return;
    span.device_kind = attempt->device_kinds[at - attempt->devices.begin()];
    for (uint64_t before = std::min<uint64_t>(index, attempt->spans.size()); before-- > 0;) {
      if (attempt->spans[before].device != span.device) continue;
      span.t0 = std::max(span.t0, attempt->spans[before].t1);
      break;
    }
    span.t1 = std::max(span.t1, span.t0);
    if (index < attempt->spans.size()) {
      if (index + attempt->devices.size() < attempt->spans.size()) continue;  // closed long ago
      span.t1 = std::max(span.t1, attempt->spans[index].t1);
      attempt->spans[index] = span;
    } else {
      attempt->spans.push_back(span);
    }
    out_.spans.push_back(SpanRow{attempt->ref, index, span});
  }
}

// The worker that was told to stop knows the reason, not what there is to say of it.
void Core::EndAttempt(const RunId& id, EndReason reason, const wire::ErrorDetail& reported, Moment now) {
  Attempt attempt = std::move(state_.attempts.extract(id).mapped());
  const bool as_told = reason == attempt.stop_reason && reported.message.empty();
  const wire::ErrorDetail& error = as_told ? attempt.stop_error : reported;
  Run& run = state_.runs.at(id);
  auto worker = state_.workers.find(attempt.worker);
  if (worker != state_.workers.end()) {
    for (auto& [device, held] : worker->second.devices) {
      if (held.holder == id) held.holder = RunId();
    }
  }
  run.ran = run.ran + (now.steady - attempt.granted_at);
  run.last_reason = reason;
  run.error = error;
  StoreAttempt(attempt);
  AttemptRecord& record = out_.attempts.back();
  record.ended = now;
  record.reason = reason;
  record.error = error;
  out_.postings.push_back(PostingWish{id, attempt.ref.attempt, attempt.spans});
  out_.runs.insert(id);
  json ended{{"attempt", attempt.ref.attempt.value()}, {"reason", EndReasonName(reason)}, {"message", error.message}};
  if (run.spec.kind == "batch") ended["in_flight"] = RangesJson(run.book.LeasedRanges());
  Note(id, "attempt_ended", ShownJson(ended));
  bool held_against_row = false;
  ReturnWork(&run, reason, &held_against_row);
  DecideAfterAttempt(&run, reason, attempt, held_against_row, now);
  place_ = true;
}

// Rows that crashed their engine alone too often become error rows, so that the run can end. Whatever was leased and is done is
// no lease any more either.
void Core::ReturnWork(Run* run, EndReason reason, bool* held_against_row) {
  if (run->book.total() == 0) return;
  out_.leases.push_back(LeaseChange{run->spec.id, true, {}});
  if (run->book.leased() == 0) return;
  const bool by_rows = RetryRuleOf(reason).held_against_row && run->spec.kind == "batch";
  if (by_rows) {
    const AttemptNumber attempt(run->attempts);
    for (uint64_t row : run->book.ReturnCrashed(run->spec.row_max_attempts, held_against_row)) {
      run->book.Finish(row);
      wire::RowReport given_up;
      given_up.row = RowIndex(row);
      given_up.state = wire::RowState::kError;
      given_up.attempt = attempt;
      out_.rows.push_back(RowRow{run->spec.id, given_up});
      Note(run->spec.id, "row_given_up", ShownJson(json{{"row", row}, {"reason", EndReasonName(reason)}}));
    }
  } else {
    run->book.ReturnLeased();
  }
}

void Core::DecideAfterAttempt(Run* run, EndReason reason, const Attempt& ended, bool held_against_row, Moment now) {
  const RetryRule rule = RetryRuleOf(reason);
  if (reason == EndReason::kDone) return;  // OnPublished ends it
  if (run->wish == Wish::kCancel || run->wish == Wish::kCancelNow || reason == EndReason::kCancelled) {
    EndRun(run, RunState::kCancelled, EndReason::kCancelled, now);
  } else if (run->wish == Wish::kPause && (rule.retried || held_against_row)) {
    run->wish = Wish::kNone;
    SetRunState(run, RunState::kPaused);
    Note(run->spec.id, "paused", "{}");
  } else if (held_against_row) {
    Retry(run, reason, {.progressed = true, .counts = false}, now);
  } else if (rule.retried) {
    const auto worker = state_.workers.find(ended.worker);
    const bool unwell = worker != state_.workers.end() && !worker->second.storage_ok;
    Retry(run, reason, {.progressed = ended.progressed, .counts = rule.counts, .waits_for_storage = rule.when_mended && unwell},
          now);
  } else {
    EndRun(run, reason == EndReason::kExpired ? RunState::kExpired : RunState::kFailed, reason, now);
  }
}

// At once after the first failure; later and later while nothing comes of it. After a storage failure the worker's next
// heartbeats come first, which say how its storage is. Where it is not well the run waits for it (placement.cc); a failure on a
// worker that says that it is well is not one that waiting mends: after the second in a row the run ends in it.
void Core::Retry(Run* run, EndReason reason, const HowItEnded& ended, Moment now) {
  const bool of_storage = RetryRuleOf(reason).when_mended;
  if (!ended.waits_for_storage) run->fruitless = ended.progressed ? 0 : run->fruitless + 1;
  if (ended.counts) ++run->counted;
  const bool unmended = of_storage && !ended.waits_for_storage && run->fruitless >= 2;
  if (unmended || (ended.counts && run->counted >= run->spec.max_attempts)) {
    EndRun(run, RunState::kFailed, reason, now);
    return;
  }
  run->not_before = of_storage && !ended.waits_for_storage ? now + options_.heartbeat + options_.heartbeat : Instant();
  if (run->fruitless >= 2) {
    const uint32_t doublings = std::min(run->fruitless - 2, 16u);
    run->not_before = now + Millis(std::min(options_.longest_backoff.count(), options_.first_backoff.count() << doublings));
  }
  SetRunState(run, RunState::kQueued);
}

void Core::AnswerWaiting(Attempt* attempt, Run* run) {
  if (!attempt->waiting.has_value()) return;
  const Attempt::Waiting waiting = *attempt->waiting;
  const bool no_more = run->book.AllDone();
  std::vector<wire::Range> ranges = attempt->stopping ? std::vector<wire::Range>() : run->book.Lease(waiting.count);
  if (ranges.empty() && !no_more) return;
  attempt->waiting.reset();
  if (!ranges.empty()) out_.leases.push_back(LeaseChange{run->spec.id, false, ranges});
  if (run->spec.array > 0) {
    Say(attempt->worker, wire::ElementLease{attempt->ref, std::move(ranges), no_more}, waiting.request);
  } else {
    Say(attempt->worker, wire::RowLease{attempt->ref, std::move(ranges), no_more}, waiting.request);
  }
}

Actions Core::Take(Moment now) {
  if (place_) {
    place_ = false;
    GrantWhatFits(now);
  }
  return std::exchange(out_, Actions());
}

}  // namespace lorry
