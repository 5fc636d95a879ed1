// What clients are told about runs and workers, made from the state and the tables: nothing is decided here. The reactor's
// thread.
#pragma once

#include <string>

#include "base/result.h"
#include "base/store/database.h"
#include "base/wire_client.h"
#include "scheduler/state.h"

namespace lorry {

// Errors: kNotFound, with the ranks that there are.
Status CheckRank(const RunSpec& run, uint32_t rank);

wire::RunSummary Summarize(const State& state, const Run& run, Instant now);
wire::RunList ListRunsFor(const State& state, const wire::ListRuns& question, Instant now);
// {run, name, project, kind, state, reason, error, attempts: [...], checkpoints, result, job, ...}
Result<std::string> ShowRunJson(const State& state, Database& db, const Run& run, Instant now);
// {run, state, reason, lines: [...]}: why it waits, or why it ended. `unstored`: why what happens cannot be stored now; empty: it
// can.
std::string ExplainJson(const State& state, const Run& run, const std::string& unstored, Instant now);
Error NoSuchRun(const RunId& run);

}  // namespace lorry
