#include "cli/supervisor.h"

#include <signal.h>
#include <time.h>

#include <algorithm>

#include <fmt/format.h>

#include "base/clock.h"

namespace lorry {
namespace {

constexpr int64_t kSettledMs = 10'000;  // a daemon that lived this long died for a new reason
constexpr int64_t kFirstPauseMs = 100;
constexpr int64_t kLongestPauseMs = 1'500;

sigset_t WatchedSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&set, signal);
  return set;
}

int64_t PauseAfter(int quick_deaths) {
  if (quick_deaths <= 1) return 0;
  return std::min(kLongestPauseMs, kFirstPauseMs << std::min(quick_deaths - 2, 8));
}

}  // namespace

Supervisor::Supervisor(std::vector<DaemonSpec> daemons) {
  for (DaemonSpec& spec : daemons) {
    daemons_.emplace_back();
    daemons_.back().spec = std::move(spec);
  }
}

Status Supervisor::StartOne(Daemon& daemon) {
  LORRY_ASSIGN_OR_RETURN(ChildProcess child, ChildProcess::Start(daemon.spec.spawn));
  daemon.child.emplace(std::move(child));
  daemon.started_ms = SystemClock().MonotonicMillis();
  return OkStatus();
}

Status Supervisor::Start() {
  const sigset_t set = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  for (Daemon& daemon : daemons_) {
    if (const Status started = StartOne(daemon); !started.ok()) {
      EndAll();
      return Because("cannot start " + daemon.spec.name, started.error());
    }
  }
  return OkStatus();
}

void Supervisor::LookAfter(Daemon& daemon) {
  const int64_t now = SystemClock().MonotonicMillis();
  if (daemon.child) {
    const std::optional<ProcessEnd> end = daemon.child->Poll();
    if (!end) return;
    daemon.child.reset();
    daemon.last_status = end->signal == 0 ? std::optional<int>(end->exit_status) : std::nullopt;
    daemon.quick_deaths = now - daemon.started_ms < kSettledMs ? daemon.quick_deaths + 1 : 1;
    daemon.due_ms = now + PauseAfter(daemon.quick_deaths);
    const std::string how = end->signal != 0 ? fmt::format("signal {}", end->signal) : fmt::format("status {}", end->exit_status);
    if (note_) {
      note_(fmt::format("{} ended with {}; starting it again (log: {})", daemon.spec.name, how, daemon.spec.spawn.stderr_path));
    }
  }
  if (daemon.due_ms > now) return;
  ++restarts_;
  if (const Status started = StartOne(daemon); !started.ok()) {
    daemon.due_ms = now + kLongestPauseMs;
    if (note_) note_(fmt::format("cannot start {}: {}", daemon.spec.name, started.error().Format()));
  }
}

bool Supervisor::Step(Millis timeout) {
  const int64_t now = SystemClock().MonotonicMillis();
  int64_t wait = timeout.count();
  for (const Daemon& daemon : daemons_) {
    if (!daemon.child) wait = std::min(wait, std::max<int64_t>(0, daemon.due_ms - now));
  }
  const sigset_t set = WatchedSignals();
  const timespec limit = {static_cast<time_t>(wait / 1000), static_cast<long>(wait % 1000) * 1'000'000};
  const int signal = sigtimedwait(&set, nullptr, &limit);
  if (signal == SIGTERM || signal == SIGINT) return true;
  for (Daemon& daemon : daemons_) LookAfter(daemon);
  return false;
}

std::optional<int> Supervisor::LastStatusOf(std::string_view name) const {
  for (const Daemon& daemon : daemons_) {
    if (daemon.spec.name == name) return daemon.last_status;
  }
  return std::nullopt;
}

void Supervisor::Watch(const std::function<void(const std::string&)>& note) {
  note_ = note;
  while (!Step(Millis(1'000))) {
  }
  EndAll();
}

void Supervisor::EndAll() {
  for (auto daemon = daemons_.rbegin(); daemon != daemons_.rend(); ++daemon) {
    if (!daemon->child) continue;
    daemon->child->Signal(SIGTERM);
    if (!daemon->child->Wait(daemon->spec.grace)) {
      daemon->child->Signal(SIGKILL);
      daemon->child->Wait();
    }
    daemon->child.reset();
  }
}

}  // namespace lorry
