// How the ranks of an attempt are started: which processes, with which arguments and environment. Pure but for the paths.
#pragma once

#include <string>
#include <vector>

#include "base/process.h"
#include "base/wire_worker.h"

namespace lorry {

struct RankLaunch {
  std::string program;    // lorry-train or lorry-batch
  std::string task_path;  // task.json
  std::string log_dir;    // rank-K.log are appended to here
  int ranks = 1;
  int threads_per_lane = 1;
  bool mpi = false;               // one mpirun for all ranks, rather than a process each
  std::vector<std::string> gpus;  // UUIDs; a process of its own gets its share of them, mpirun's ranks see all
};

// One entry for each process that the worker starts.
std::vector<SpawnOptions> PlanLaunch(const RankLaunch& launch);

// How often the kernel has killed for want of memory in this program's cgroup; 0 where it does not say.
uint64_t OutOfMemoryKills();

}  // namespace lorry
