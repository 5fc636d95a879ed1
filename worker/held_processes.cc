#include "worker/held_processes.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/files.h"
#include "base/process.h"

namespace lorry {
namespace {

constexpr size_t kHeadBytes = 64;
constexpr size_t kLineBytes = 32;
constexpr int kGoneWithinMillis = 10'000;
constexpr int kLookEveryMillis = 5;

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

// The process group of a process that still runs; 0 where there is none.
pid_t GroupOf(const std::string& process) {
  const auto stat = ReadFile(process + "/stat", 4096);
  if (!stat.ok()) return 0;
  const size_t after_name = stat->rfind(')');  // the name may hold blanks and brackets
  if (after_name == std::string::npos) return 0;
  std::istringstream fields(stat->substr(after_name + 1));
  char state = 0;
  pid_t parent = 0;
  pid_t group = 0;
  fields >> state >> parent >> group;
  return state == 'Z' || state == 'X' ? 0 : group;
}

bool HasInEnvironment(const std::string& process, const std::string& entry) {
  const auto environment = ReadFile(process + "/environ", 1 << 22);
  return environment.ok() && ('\0' + *environment).find('\0' + entry + '\0') != std::string::npos;
}

// Running processes of these groups that this attempt started, with their groups: a group's number may be another's by now.
std::map<pid_t, pid_t> MembersOf(const std::set<pid_t>& groups, const std::string& run, const std::string& attempt) {
  std::map<pid_t, pid_t> members;
  const auto names = ListDirectory("/proc");
  if (!names.ok()) return members;
  for (const std::string& name : *names) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string process = "/proc/" + name;
    const pid_t group = GroupOf(process);
    if (!groups.contains(group) || !HasInEnvironment(process, "LORRY_RUN=" + run)) continue;
    if (HasInEnvironment(process, "LORRY_ATTEMPT=" + attempt)) members[std::stoi(name)] = group;
  }
  return members;
}

// Kills what the attempt's programs left in their groups, and waits. A program itself, which led its group, may be gone: it died
// with its worker, and what it had started went on. Returns how many were ended; nullopt where something does not end.
std::optional<int> EndGroups(const std::set<pid_t>& groups, const std::string& run, const std::string& attempt) {
  std::set<pid_t> ended;
  for (int waited = 0; waited <= kGoneWithinMillis; waited += kLookEveryMillis) {
    const std::map<pid_t, pid_t> members = MembersOf(groups, run, attempt);
    if (members.empty()) return static_cast<int>(ended.size());
    for (const auto& [pid, group] : members) {
      ended.insert(pid);
      ::kill(-group, SIGKILL);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kLookEveryMillis));
  }
  return std::nullopt;
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
    const size_t dash = name.rfind('-');
    const bool of_this_boot = boot == BootId() && dash != std::string::npos;
    std::set<pid_t> groups;
    while (of_this_boot && lines >> pid >> ticks) {
      if (pid <= 1) continue;
      groups.insert(pid);
      if (ProcessStartTicks(pid) != ticks) continue;
      if (!EndAndWait(pid)) return MakeError(ErrorCode::kInternal, fmt::format("process {} of {} does not end", pid, name));
      ++ended;
    }
    if (!groups.empty()) {
      const std::optional<int> others = EndGroups(groups, name.substr(0, dash), name.substr(dash + 1));
      if (!others) return MakeError(ErrorCode::kInternal, fmt::format("a process that {} started does not end", name));
      ended += *others;
    }
    ::unlink(path.c_str());
  }
  return ended;
}

}  // namespace lorry
