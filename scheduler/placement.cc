#include "scheduler/placement.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/device_kind.h"

namespace lorry {
namespace {

bool Suits(const wire::Device& device, const DeviceNeeds& needs) {
  if (!device.fault.empty() || device.gpu != needs.gpu) return false;
  return !needs.gpu || ((needs.kind.empty() || NamesDeviceKind(needs.kind, device.kind)) && device.memory >= needs.min_memory);
}

std::vector<DeviceId> SuitableDevices(const Worker& worker, const DeviceNeeds& needs, bool free_only) {
  std::vector<DeviceId> ids;
  for (const auto& [id, held] : worker.devices) {
    if (Suits(held.device, needs) && (!free_only || held.holder.empty())) ids.push_back(id);
  }
  return ids;
}

bool TakesWork(const Worker& worker) {
  return worker.health == Health::kHealthy && !worker.drained && !worker.leaving && worker.storage_ok;
}

// A batch goes on only where the rows that are committed can be read: their bytes lie in one home.
bool ReadsRowsOf(const Worker& worker, const Run& run) {
  if (run.rows_worker.empty() || worker.id == run.rows_worker) return true;
  return !run.rows_home.empty() && worker.home_id == run.rows_home;
}

// The most devices for this run that one worker has, free or not.
size_t LargestFor(const State& state, const Run& run) {
  size_t largest = 0;
  for (const auto& [id, worker] : state.workers) {
    if (worker.health == Health::kLost || !ReadsRowsOf(worker, run)) continue;
    largest = std::max(largest, SuitableDevices(worker, run.spec.needs, false).size());
  }
  return largest;
}

// How many devices a run takes of `free` suitable ones; 0: it does not fit.
size_t Share(const Run& run, size_t free) {
  const size_t count = run.spec.needs.count;
  if (free < count) return 0;
  if (!run.spec.needs.elastic) return count;
  const uint64_t left = std::max<uint64_t>(1, run.spec.array - run.book.done());
  return count * std::min<uint64_t>(free / count, left);
}

// A run that waits for something other than devices.
bool IsHeldBack(const State& state, const Run& run, Instant now) {
  if (run.wish != Wish::kNone || now < run.not_before) return true;
  return std::any_of(run.spec.after.begin(), run.spec.after.end(), [&](const RunId& id) {
    const Run* before = state.FindRun(id);
    return before != nullptr && before->state != RunState::kSucceeded;
  });
}

using FreeDevices = std::map<WorkerId, std::set<DeviceId>>;

// The worker that is left with the fewest free devices; ties go to the lower name.
std::optional<Placement> FindPlace(const State& state, const Run& run, const FreeDevices& taken) {
  std::optional<Placement> best;
  size_t best_left = 0;
  for (const auto& [id, worker] : state.workers) {
    if (!TakesWork(worker) || !ReadsRowsOf(worker, run)) continue;
    std::vector<DeviceId> free = SuitableDevices(worker, run.spec.needs, true);
    if (auto used = taken.find(id); used != taken.end()) {
      std::erase_if(free, [&](const DeviceId& device) { return used->second.contains(device); });
    }
    const size_t share = Share(run, free.size());
    if (share == 0) continue;
    const size_t left = free.size() - share;
    if (best.has_value() && left >= best_left) continue;
    free.resize(share);
    best = Placement{run.spec.id, id, std::move(free)};
    best_left = left;
  }
  return best;
}

}  // namespace

uint32_t LargestWorker(const State& state, const DeviceNeeds& needs) {
  size_t largest = 0;
  for (const auto& [id, worker] : state.workers) {
    if (worker.health != Health::kLost) largest = std::max(largest, SuitableDevices(worker, needs, false).size());
  }
  return static_cast<uint32_t>(largest);
}

std::set<std::string> GrantableKinds(const State& state, const DeviceNeeds& needs) {
  std::set<std::string> kinds;
  for (const auto& [id, worker] : state.workers) {
    const std::vector<DeviceId> suitable = SuitableDevices(worker, needs, false);
    if (worker.health == Health::kLost || suitable.size() < needs.count) continue;
    for (const DeviceId& device : suitable) kinds.insert(worker.devices.at(device).device.kind);
  }
  return kinds;
}

bool CouldEverFit(const State& state, const DeviceNeeds& needs) {
  const bool someone = std::any_of(state.workers.begin(), state.workers.end(),
                                   [](const auto& entry) { return entry.second.health != Health::kLost; });
  return !someone || LargestWorker(state, needs) >= needs.count;
}

std::vector<Placement> Place(const State& state, Instant now) {
  std::vector<Placement> placements;
  if (state.draining) return placements;
  FreeDevices taken;
  for (const State::Queue& queue : state.queues) {
    for (const auto& [priority, order, id] : queue) {
      const Run& run = *state.FindRun(id);
      if (IsHeldBack(state, run, now)) continue;
      std::optional<Placement> place = FindPlace(state, run, taken);
      if (place.has_value()) {
        taken[place->worker].insert(place->devices.begin(), place->devices.end());
        placements.push_back(std::move(*place));
      } else if (LargestFor(state, run) >= run.spec.needs.count) {
        break;  // all behind it wait for its sort of devices too
      }
    }
  }
  return placements;
}

std::vector<std::string> WhyWaiting(const State& state, const Run& run, Instant now) {
  std::vector<std::string> why;
  if (run.state == RunState::kPaused) why.push_back("paused; `lorry resume` lets it go on");
  for (const RunId& id : run.spec.after) {
    const Run* before = state.FindRun(id);
    if (before == nullptr || before->state == RunState::kSucceeded) continue;
    why.push_back(fmt::format("after {} ({}), which is {}", id, before->spec.name, RunStateName(before->state)));
  }
  if (now < run.not_before) {
    why.push_back(
        fmt::format("tries again in {} after {}", FormatDuration(run.not_before - now), EndReasonName(run.last_reason)));
  }
  if (state.draining) why.push_back("the scheduler is going down and starts nothing new");
  const DeviceNeeds& needs = run.spec.needs;
  const std::string wanted = fmt::format(
      "{} {}{}", needs.count, needs.gpu ? (needs.kind.empty() ? "GPU" : needs.kind) : "CPU slot", needs.count == 1 ? "" : "s");
  size_t free = 0;
  bool someone = false;
  for (const auto& [id, worker] : state.workers) {
    if (worker.health == Health::kLost) continue;
    someone = true;
    if (worker.health == Health::kUnreachable) why.push_back(fmt::format("worker {} does not answer", id));
    if (!worker.storage_ok) why.push_back(fmt::format("storage: worker {}: {}", id, worker.storage_problem));
    if (worker.drained) why.push_back(fmt::format("worker {} is drained", id));
    if (worker.leaving) why.push_back(fmt::format("worker {} is going down", id));
    if (TakesWork(worker) && ReadsRowsOf(worker, run)) free = std::max(free, SuitableDevices(worker, needs, true).size());
  }
  if (!run.rows_worker.empty() && free < needs.count) {
    why.push_back(fmt::format("waits for worker {}, whose disk holds its rows", run.rows_worker));
  }
  if (!someone) {
    why.push_back("no worker is connected");
  } else if (LargestWorker(state, needs) < needs.count) {
    why.push_back(fmt::format("no_capacity: it needs {} on one worker; the largest has {}", wanted, LargestWorker(state, needs)));
  } else if (free < needs.count) {
    why.push_back(fmt::format("it needs {}; {} free now", wanted, free));
  }
  for (const auto& key : state.QueueOf(run)) {
    if (key >= State::QueueKey(run)) break;
    const RunId& id = std::get<RunId>(key);
    const Run& ahead = *state.FindRun(id);
    if (IsHeldBack(state, ahead, now)) continue;
    why.push_back(fmt::format("{} ({}, priority {}) is ahead of it", id, ahead.spec.name, ahead.spec.priority));
    if (why.size() >= 8) break;
  }
  return why;
}

}  // namespace lorry
