// lorry up and lorry down: scheduler, worker and pages of one home on this machine, watched by one process.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/session.h"

namespace lorry {

struct UpOptions {
  std::string devices;  // "cpu:2", "gpu:all"; empty: cluster.yaml's, else what the worker finds
  int port = 0;         // of the pages; +1 for clients, +2 for workers. 0: cluster.yaml's, else 8600
  bool detach = false;
};

// Without --detach it watches until SIGTERM or SIGINT. On a running home it prints its addresses. Errors: kConflict where a port
// is taken, kSpec of cluster.yaml and what lorryd reads, kNotAllowed where lorryd may not listen beyond loopback, kUnreachable
// where a daemon does not come up (its log is named). The same with --detach as without.
Result<int> RunUp(Session& session, const UpOptions& options);

// Ends the home's daemons; what runs is told to stop first, and is queued again. A home that is not up is no error.
Result<int> RunDown(Session& session);

}  // namespace lorry
