// Standing beside a run: its progress until it ends, its log, its outputs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "base/wire_client.h"
#include "cli/session.h"
#include "configs/job_spec.h"

namespace lorry {

// Shows progress on standard error until the run has ended, and says why where it did not succeed.
Result<wire::RunSummary> FollowRun(Session& session, const RunId& run);

// lorry watch: the same, with the outcome on standard output. 0 where the run succeeded, else 1.
Result<int> RunWatch(Session& session, const RunId& run);

struct LogOptions {
  RunId run;
  bool follow = false;
  int rank = 0;
};
// lorry logs: the log of the latest attempt; with `follow` of every later one too, until the run ends.
Result<int> RunLogs(Session& session, const LogOptions& options);

// lorry pull: the run's outputs into a folder.
Result<int> RunPull(Session& session, const RunId& run, const std::string& folder);

// After `submit --wait`: the outputs of a batch into the folder that its job names, where they are not there already.
Status BringOutputs(Session& session, const RunId& run, const JobSpec& job);

// The stable keys of `ps --json`, and those of one run.
nlohmann::json RunJson(const wire::RunSummary& run);

}  // namespace lorry
