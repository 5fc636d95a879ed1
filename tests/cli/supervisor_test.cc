// A daemon that dies is back within two seconds; all end together.
#include <catch2/catch.hpp>

#include <signal.h>

#include <set>
#include <thread>

#include "base/clock.h"
#include "base/files.h"
#include "base/process.h"
#include "base/text.h"
#include "cli/supervisor.h"

namespace lorry {
namespace {

// A daemon that writes its pid on a line of its own and then waits.
DaemonSpec Waiter(const std::string& pids) {
  DaemonSpec daemon;
  daemon.name = "waiter";
  daemon.spawn.argv = {"/bin/sh", "-c", "echo $$ >> " + pids + "; exec sleep 600"};
  return daemon;
}

std::vector<pid_t> PidsIn(const std::string& path) {
  std::vector<pid_t> pids;
  const Result<std::string> text = ReadFile(path);
  if (!text.ok()) return pids;
  for (const std::string& line : Split(*text, '\n')) {
    if (!line.empty()) pids.push_back(std::stoi(line));
  }
  return pids;
}

TEST_CASE("a daemon that dies is back within two seconds, five times in a row", "[supervisor]") {
  std::thread watch([] {
    const TempDirectory folder;
    const std::string pids = folder.path() + "/pids";
    Supervisor supervisor({Waiter(pids)});
    REQUIRE(supervisor.Start().ok());
    for (size_t deaths = 0; deaths < 5; ++deaths) {
      while (PidsIn(pids).size() <= deaths) supervisor.Step(Millis(20));
      const int64_t killed = SystemClock().MonotonicMillis();
      kill(PidsIn(pids).back(), SIGKILL);
      while (PidsIn(pids).size() == deaths + 1) supervisor.Step(Millis(20));
      CHECK(SystemClock().MonotonicMillis() - killed < 2'000);
    }
    supervisor.EndAll();
    for (const pid_t pid : PidsIn(pids)) CHECK_FALSE(ProcessStartTicks(pid).has_value());
  });
  watch.join();
}

TEST_CASE("a daemon that cannot be started ends the others", "[supervisor]") {
  std::thread watch([] {
    const TempDirectory folder;
    DaemonSpec missing;
    missing.name = "missing";
    missing.spawn.argv = {"/no/such/program"};
    Supervisor supervisor({Waiter(folder.path() + "/pids"), missing});
    const Status started = supervisor.Start();
    REQUIRE_FALSE(started.ok());
    CHECK(started.error().message.starts_with("cannot start missing"));
    for (const pid_t pid : PidsIn(folder.path() + "/pids")) CHECK_FALSE(ProcessStartTicks(pid).has_value());
  });
  watch.join();
}

}  // namespace
}  // namespace lorry
