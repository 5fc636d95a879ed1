// lorry plan: everything that can be known of a job before it runs, and nothing written.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/session.h"

namespace lorry {

struct PlanOptions {
  std::string file;
  std::vector<std::string> overrides;  // --set
};

// Devices, memory, steps or rows, device-hours and dollars (p50, p90) with what they stand on, and, where a scheduler answers,
// what the job would wait for. Spec errors need no scheduler.
Result<int> RunPlan(Session& session, const PlanOptions& options);

}  // namespace lorry
