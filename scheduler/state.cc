#include "scheduler/state.h"

#include <fmt/format.h>

namespace lorry {

std::string_view RunStateName(RunState state) {
  switch (state) {
    case RunState::kQueued:
      return "queued";
    case RunState::kRunning:
      return "running";
    case RunState::kPaused:
      return "paused";
    case RunState::kSucceeded:
      return "succeeded";
    case RunState::kFailed:
      return "failed";
    case RunState::kCancelled:
      return "cancelled";
    case RunState::kExpired:
      return "expired";
  }
  return "unknown";
}

Run* State::FindRun(const RunId& id) {
  auto found = runs.find(id);
  return found == runs.end() ? nullptr : &found->second;
}

const Run* State::FindRun(const RunId& id) const {
  auto found = runs.find(id);
  return found == runs.end() ? nullptr : &found->second;
}

Attempt* State::FindAttempt(const wire::AttemptRef& ref) {
  auto found = attempts.find(ref.run);
  return found == attempts.end() || !(found->second.ref == ref) ? nullptr : &found->second;
}

namespace {

void CheckRun(const State& state, const Run& run, std::vector<std::string>* broken) {
  const bool live = state.attempts.contains(run.spec.id);
  const std::string& id = run.spec.id.str();
  if (live != (run.state == RunState::kRunning)) {
    broken->push_back(fmt::format("{}: {} and {} attempt", id, RunStateName(run.state), live ? "an" : "no"));
  }
  if (state.QueueOf(run).contains(State::QueueKey(run)) != (run.state == RunState::kQueued)) {
    broken->push_back(id + ": queue and state disagree");
  }
  if (!run.book.IsConsistent()) broken->push_back(id + ": the counts of its work book are wrong");
  if (!live && run.book.leased() > 0) broken->push_back(id + ": work is leased and nobody holds it");
  if (HasEnded(run.state) != (run.reason != EndReason::kNone)) broken->push_back(id + ": end and reason disagree");
  if (HasEnded(run.state) && run.wish != Wish::kNone) broken->push_back(id + ": ended with a wish left");
  if (run.state == RunState::kSucceeded && run.book.total() > 0 && !run.book.AllDone()) {
    broken->push_back(id + ": succeeded with work left");
  }
  if (run.counted > run.attempts) broken->push_back(id + ": more attempts counted than made");
}

void CheckSpans(const Attempt& attempt, std::vector<std::string>* broken) {
  std::map<DeviceId, Instant> end;
  for (const wire::Span& span : attempt.spans) {
    auto [at, first] = end.try_emplace(span.device, span.t0);
    if (span.t1 < span.t0 || span.t0 < at->second) {
      broken->push_back(fmt::format("{}: device time overlaps on {}", attempt.ref.run, span.device));
    }
    at->second = span.t1;
  }
}

void CheckAttempt(const State& state, const Attempt& attempt, std::vector<std::string>* broken) {
  const std::string& id = attempt.ref.run.str();
  const Run* run = state.FindRun(attempt.ref.run);
  if (run == nullptr || attempt.ref.attempt.value() != run->attempts) {
    broken->push_back(id + ": an attempt that is not the run's latest");
  }
  if (attempt.ref.epoch > state.last_epoch) broken->push_back(id + ": an epoch from the future");
  auto worker = state.workers.find(attempt.worker);
  if (worker == state.workers.end() || worker->second.health == Health::kLost) {
    return broken->push_back(id + ": held by a lost worker");
  }
  for (const DeviceId& device : attempt.devices) {
    auto held = worker->second.devices.find(device);
    if (held != worker->second.devices.end() && held->second.holder != attempt.ref.run) {
      broken->push_back(fmt::format("{}: its device {} is held by \"{}\"", id, device, held->second.holder));
    }
  }
  CheckSpans(attempt, broken);
}

}  // namespace

std::vector<std::string> SanityCheck(const State& state) {
  std::vector<std::string> broken;
  for (const auto& [id, run] : state.runs) CheckRun(state, run, &broken);
  std::set<Epoch> epochs;
  std::set<DeviceId> granted;
  for (const auto& [id, attempt] : state.attempts) {
    CheckAttempt(state, attempt, &broken);
    if (!epochs.insert(attempt.ref.epoch).second) broken.push_back(id.str() + ": its epoch was given twice");
    for (const DeviceId& device : attempt.devices) {
      if (!granted.insert(device).second) broken.push_back(fmt::format("{} is granted twice", device));
    }
  }
  for (const auto& [id, worker] : state.workers) {
    for (const auto& [device, held] : worker.devices) {
      if (!held.holder.empty() && !granted.contains(device)) {
        broken.push_back(fmt::format("{} is held by {} without an attempt", device, held.holder));
      }
    }
  }
  return broken;
}

}  // namespace lorry
