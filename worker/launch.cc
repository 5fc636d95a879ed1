#include "worker/launch.h"

#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/files.h"

namespace lorry {
namespace {

// Each rank's output goes to its own file; mpirun itself would mix them.
constexpr const char* kRankShell = R"(exec "$@" >>"$LORRY_LOG_DIR/rank-$OMPI_COMM_WORLD_RANK.log" 2>&1)";

std::map<std::string, std::string> Environment(const RankLaunch& launch) {
  return {{"OMP_NUM_THREADS", std::to_string(launch.threads_per_lane)},
          {"CUDA_VISIBLE_DEVICES", fmt::format("{}", fmt::join(launch.gpus, ","))}};
}

SpawnOptions OneRank(const RankLaunch& launch, int rank) {
  SpawnOptions options;
  options.argv = {launch.program, "--task", launch.task_path};
  options.env = Environment(launch);
  options.stdout_path = options.stderr_path = fmt::format("{}/rank-{}.log", launch.log_dir, rank);
  if (launch.ranks == 1) return options;
  options.env["OMPI_COMM_WORLD_RANK"] = std::to_string(rank);
  if (!launch.gpus.empty()) {
    const size_t all = launch.gpus.size();
    const size_t begin = all * static_cast<size_t>(rank) / static_cast<size_t>(launch.ranks);
    const size_t end = all * static_cast<size_t>(rank + 1) / static_cast<size_t>(launch.ranks);
    options.env["CUDA_VISIBLE_DEVICES"] = fmt::format("{}", fmt::join(launch.gpus.begin() + static_cast<ptrdiff_t>(begin),
                                                                      launch.gpus.begin() + static_cast<ptrdiff_t>(end), ","));
  }
  return options;
}

SpawnOptions UnderMpi(const RankLaunch& launch) {
  SpawnOptions options;
  // Without these mpirun refuses root and more ranks than cores, binds every rank to the first core, and spins where it waits.
  options.argv = {"mpirun",
                  "-n",
                  std::to_string(launch.ranks),
                  "--oversubscribe",
                  "--bind-to",
                  "none",
                  "--mca",
                  "mpi_yield_when_idle",
                  "1",
                  "/bin/sh",
                  "-c",
                  kRankShell,
                  "sh",
                  launch.program,
                  "--task",
                  launch.task_path};
  options.env = Environment(launch);
  options.env["OMPI_ALLOW_RUN_AS_ROOT"] = "1";
  options.env["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1";
  options.env["LORRY_LOG_DIR"] = launch.log_dir;
  options.stdout_path = options.stderr_path = launch.log_dir + "/mpirun.log";
  return options;
}

uint64_t CounterIn(const std::string& path) {
  const auto text = ReadFile(path, 1 << 16);
  if (!text.ok()) return 0;
  std::istringstream words(*text);
  std::string name;
  uint64_t value = 0;
  while (words >> name >> value) {
    if (name == "oom_kill") return value;
  }
  return 0;
}

}  // namespace

std::vector<SpawnOptions> PlanLaunch(const RankLaunch& launch) {
  if (launch.mpi && launch.ranks > 1) return {UnderMpi(launch)};
  std::vector<SpawnOptions> processes;
  processes.reserve(static_cast<size_t>(launch.ranks));
  for (int rank = 0; rank < launch.ranks; ++rank) processes.push_back(OneRank(launch, rank));
  return processes;
}

uint64_t OutOfMemoryKills() {
  const auto own = ReadFile("/proc/self/cgroup", 1 << 16);
  if (!own.ok()) return 0;
  std::istringstream lines(*own);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("0::")) return CounterIn("/sys/fs/cgroup" + line.substr(3) + "/memory.events");
    if (const size_t at = line.find(":memory:"); at != std::string::npos) {
      return CounterIn("/sys/fs/cgroup/memory" + line.substr(at + 8) + "/memory.oom_control");
    }
  }
  return 0;
}

}  // namespace lorry
