#include "worker/held_processes.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <sstream>
#include <utility>

#include <fmt/format.h>

#include "base/files.h"
#include "base/process.h"

namespace lorry {
namespace {

constexpr size_t kHeadBytes = 64;
constexpr size_t kLineBytes = 32;
constexpr int kGoneWithinMillis = 10'000;

std::string Folder(const std::string& home) { return home + "/worker/held"; }

std::string BootId() {
  const auto id = ReadFile("/proc/sys/kernel/random/boot_id", 256);
  return id.ok() ? id->substr(0, id->find('\n')) : "unknown";
}

bool EndAndWait(pid_t pid) {
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  KillTree(pid);
  if (fd < 0) return true;
  pollfd item{fd, POLLIN, 0};
  const bool gone = ::poll(&item, 1, kGoneWithinMillis) == 1;
  ::close(fd);
  return gone;
}

}  // namespace

void KillTree(pid_t pid) {
  ::kill(-pid, SIGKILL);
  ::kill(pid, SIGKILL);
}

Result<HeldProcesses> HeldProcesses::Open(const std::string& home, const RunId& run, AttemptNumber attempt) {
  LORRY_TRY(MakeDirectories(Folder(home)));
  std::string path = fmt::format("{}/{}-{}", Folder(home), run, attempt);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoError("cannot write", path);
  HeldProcesses held(fd, std::move(path));
  const std::string head = fmt::format("{:<63}\n", BootId());
  if (::pwrite(fd, head.data(), head.size(), 0) != static_cast<ssize_t>(head.size())) {
    return ErrnoError("cannot write", held.path_);
  }
  return held;
}

HeldProcesses::HeldProcesses(HeldProcesses&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

HeldProcesses::~HeldProcesses() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(path_.c_str());
}

void HeldProcesses::Put(size_t slot, pid_t pid) {
  const auto ticks = ProcessStartTicks(pid);
  if (!ticks) return;
  const std::string line = fmt::format("{:>10} {:>20}\n", pid, *ticks);
  // A record that cannot be written costs nothing but the next worker's knowledge of a process that dies with this one anyway.
  (void)!::pwrite(fd_, line.data(), line.size(), static_cast<off_t>(kHeadBytes + slot * kLineBytes));
}

Result<int> HeldProcesses::EndLeftovers(const std::string& home) {
  LORRY_TRY(MakeDirectories(Folder(home)));
  LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(Folder(home)));
  int ended = 0;
  for (const std::string& name : names) {
    const std::string path = Folder(home) + "/" + name;
    LORRY_ASSIGN_OR_RETURN(std::string text, ReadFile(path));
    std::replace(text.begin(), text.end(), '\0', ' ');  // slots that were never used
    std::istringstream lines(text);
    std::string boot;
    lines >> boot;
    pid_t pid = 0;
    uint64_t ticks = 0;
    while (boot == BootId() && lines >> pid >> ticks) {
      if (pid <= 1 || ProcessStartTicks(pid) != ticks) continue;
      if (!EndAndWait(pid)) return MakeError(ErrorCode::kInternal, fmt::format("process {} of {} does not end", pid, name));
      ++ended;
    }
    ::unlink(path.c_str());
  }
  return ended;
}

}  // namespace lorry
