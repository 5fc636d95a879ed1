// Child processes in a group of their own, which die with their parent.
//
// A ChildProcess is for one thread; the child gets SIGKILL when the thread that started it ends (PR_SET_PDEATHSIG), so start
// children from a thread that lives as long as they may.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace lorry {

struct SpawnOptions {
  std::vector<std::string> argv;           // argv[0] is looked up in PATH where it has no slash
  std::map<std::string, std::string> env;  // added to, or replacing, the parent's
  std::string cwd;                         // empty: the parent's
  std::string stdin_path = "/dev/null";    // empty: the parent's
  std::string stdout_path;                 // appended to; empty: the parent's
  std::string stderr_path;                 // appended to; empty: the parent's; may be the same as stdout_path
  bool die_with_parent = true;
  bool own_group = true;
};

// How a process ended: by itself with an exit status, or by a signal.
struct ProcessEnd {
  int exit_status = 0;  // where signal == 0
  int signal = 0;       // 0: it ended by itself
};

class ChildProcess {
 public:
  // Errors: kNotFound or kNotAllowed where the program cannot be executed; kBudget where the machine has no process, descriptor
  // or memory to spare; kStorage where a file or folder of `options` cannot be had, which the text names.
  static Result<ChildProcess> Start(const SpawnOptions& options);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  // A child that still runs gets SIGKILL with its group, and is waited for.
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  // nullopt while it runs.
  std::optional<ProcessEnd> Poll();
  // Waits until it ends or `timeout` is over (nullopt).
  std::optional<ProcessEnd> Wait(std::optional<Millis> timeout = std::nullopt);
  // Lets it live on: it is neither ended nor waited for any more. Call last.
  void Release() { pid_ = -1; }
  // To the whole group (or to the child alone where it has none). Harmless once it has ended.
  void Signal(int signal);

 private:
  ChildProcess(pid_t pid, bool own_group) : pid_(pid), own_group_(own_group) {}
  pid_t pid_ = -1;
  bool own_group_ = false;
  std::optional<ProcessEnd> end_;
};

// When the process `pid` began, in clock ticks since boot (field 22 of /proc/PID/stat): with the pid it names a process for good.
// nullopt where there is no such process.
std::optional<uint64_t> ProcessStartTicks(pid_t pid);

// The folder of the running program: its sibling programs lie there.
std::string ProgramDirectory();

}  // namespace lorry
