// lorry plan: everything that can be known of a job before it runs, and nothing written.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/input_checks.h"
#include "cli/session.h"

namespace lorry {

struct PlanOptions {
  std::string file;
  std::vector<std::string> overrides;  // --set
};

// Devices, memory, steps or rows, device-hours and dollars (p50, p90) with what they stand on, and, where a scheduler answers,
// what the job would wait for. Spec errors need no scheduler.
Result<int> RunPlan(Session& session, const PlanOptions& options);

// Leaves with a run what was expected of it, so that plans of like runs learn from it. A plan is only worse without: no error.
void RecordExpectation(Session& session, const RunId& run, const JobSpec& job, const CheckedInputs& checked);

}  // namespace lorry
