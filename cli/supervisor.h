// Watches the daemons of a home: a daemon that dies is started again, and all end together.
//
// The loop: wait for a signal or the next due restart; look at every child; start what is down, the first time at once and
// then with a growing pause of at most 1.5 s, so that a daemon that dies is back within 2 s. SIGTERM or SIGINT ends it: the
// children are told in reverse order of their start, each is waited for, and what does not end in its time is killed.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/process.h"
#include "base/result.h"

namespace lorry {

struct DaemonSpec {
  std::string name;  // "lorryd"
  SpawnOptions spawn;
  Millis grace{10'000};  // between SIGTERM and SIGKILL
};

class Supervisor {
 public:
  explicit Supervisor(std::vector<DaemonSpec> daemons);

  // Blocks SIGTERM, SIGINT, SIGHUP and SIGCHLD for this thread and starts every daemon in order, from the calling thread, which
  // must be the one that calls Watch(). Errors: of the first daemon that cannot be started; the others are ended again.
  Status Start();

  // Called while Start() waits for readiness and by Watch(): carries out what is due, waits at most `timeout` for something to
  // happen. True once a signal asked to end.
  bool Step(Millis timeout);

  // Runs until asked to end, then ends all daemons. `note` gets a line for each death and restart.
  void Watch(const std::function<void(const std::string&)>& note);
  void EndAll();

  // How often a daemon was started again.
  int restarts() const { return restarts_; }
  // The exit status that a daemon last ended with; nullopt where it has not ended by itself.
  std::optional<int> LastStatusOf(std::string_view daemon) const;

 private:
  struct Daemon {
    DaemonSpec spec;
    std::optional<ChildProcess> child;
    int64_t started_ms = 0;  // monotonic
    int64_t due_ms = 0;      // of the next start, where it is down
    int quick_deaths = 0;    // in a row
    std::optional<int> last_status;
  };

  Status StartOne(Daemon& daemon);
  void LookAfter(Daemon& daemon);

  std::vector<Daemon> daemons_;
  std::function<void(const std::string&)> note_;
  int restarts_ = 0;
};

}  // namespace lorry
