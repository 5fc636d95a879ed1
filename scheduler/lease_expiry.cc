// Where time ends something: the lease of a worker that is silent, a run's time limit, the date after which it is of no use.
#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "scheduler/core.h"

namespace lorry {
namespace {
constexpr Instant kNever(INT64_MAX);

wire::ErrorDetail LimitReached(const char* key, std::string message) {
  Error error = MakeError(ErrorCode::kTimeout, std::move(message), "submit the job again with a longer one");
  error.key = key;
  return wire::ErrorDetail::Of(error);
}

wire::ErrorDetail DurationReached(const Run& run, Millis ran) {
  return LimitReached("limits.max_duration",
                      fmt::format("{} was reached: the run had taken {} in {} attempt{}", FormatDuration(run.spec.max_duration),
                                  FormatDuration(ran), run.attempts, run.attempts == 1 ? "" : "s"));
}

wire::ErrorDetail ExpiryReached(const Run& run) {
  return LimitReached("expires_after",
                      fmt::format("{} after its submission the run had not ended", FormatDuration(run.spec.expires_after)));
}

}  // namespace

// Signs of life first, so that a lease that ran out frees its run in the same step; then the clocks of the runs themselves.
Actions Core::OnTick(Moment now) {
  for (auto& [id, worker] : state_.workers) {
    if (worker.health == Health::kLost) continue;
    const Millis silent = now.steady - worker.heard_at;
    if (silent >= options_.lease) {
      LoseWorker(&worker, now.utc - (silent - options_.lease), now);
      worker.health = Health::kLost;
    } else if (silent >= options_.unreachable_after) {
      worker.health = Health::kUnreachable;
    }
  }
  for (auto& [id, attempt] : state_.attempts) {
    const Run& run = state_.runs.at(id);
    const RunSpec& spec = run.spec;
    if (attempt.stopping) continue;
    const Millis ran = run.ran + (now.steady - attempt.granted_at);
    if (spec.max_duration.count() > 0 && ran >= spec.max_duration) {
      StopAttempt(&attempt, spec.on_exceed, EndReason::kWalltime, now, DurationReached(run, ran));
    } else if (spec.expires_after.count() > 0 && now >= run.submitted + spec.expires_after) {
      StopAttempt(&attempt, spec.on_exceed, EndReason::kExpired, now, ExpiryReached(run));
    }
  }
  if (now.utc >= look_at_queue_) LookAtQueue(now);
  return Take(now);
}

// When time alone changes something for a queued run.
Instant Core::DueAt(const Run& run) {
  Instant due = kNever;
  if (run.spec.expires_after.count() > 0) due = run.submitted + run.spec.expires_after;
  return run.not_before == Instant() ? due : std::min(due, run.not_before);
}

void Core::LookAtQueue(Moment now) {
  look_at_queue_ = kNever;
  std::vector<RunId> expired;
  for (const State::Queue& queue : state_.queues) {
    for (const auto& [priority, order, id] : queue) {
      Run& run = state_.runs.at(id);
      if (run.not_before != Instant() && now >= run.not_before) {
        run.not_before = Instant();  // it has waited, whatever the wall clock is set to from here on
        place_ = true;
      }
      if (run.spec.expires_after.count() > 0 && now >= run.submitted + run.spec.expires_after) {
        expired.push_back(id);
      } else {
        look_at_queue_ = std::min(look_at_queue_, DueAt(run));
      }
    }
  }
  for (const RunId& id : expired) {
    Run& run = state_.runs.at(id);
    if (!HasEnded(run.state)) {
      run.error = ExpiryReached(run);
      EndRun(&run, RunState::kExpired, EndReason::kExpired, now);  // else: it was to run after one before it
    }
  }
}

void Core::LoseWorker(Worker* worker, Instant until, Moment now) {
  std::vector<RunId> held;
  for (auto& [id, attempt] : state_.attempts) {
    if (attempt.worker == worker->id) held.push_back(id);
  }
  for (const RunId& id : held) {
    AddDrain(&state_.attempts.at(id), until);
    EndAttempt(id, EndReason::kNodeLost,
               wire::ErrorDetail::Of(MakeError(ErrorCode::kUnreachable, fmt::format("worker {} was lost", worker->id))), now);
  }
}

// From the last sign of life on each device to the end of its lease: to `until`, but never longer than a lease is. What was down
// for a night has not held its devices for a night.
void Core::AddDrain(Attempt* attempt, Instant until) {
  for (size_t i = 0; i < attempt->devices.size(); ++i) {
    Instant from = attempt->granted;
    for (const wire::Span& span : attempt->spans) {
      if (span.device == attempt->devices[i]) from = span.t1;
    }
    const Instant end = std::min(until, from + options_.lease);
    if (from >= end) continue;
    wire::Span drain{attempt->devices[i], attempt->device_kinds[i], UsageClass::kDrain, from, end};
    out_.spans.push_back(SpanRow{attempt->ref, attempt->spans.size(), drain});
    attempt->spans.push_back(std::move(drain));
  }
}

}  // namespace lorry
