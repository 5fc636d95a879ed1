// Why an attempt ended, from what can be seen of its processes: docs/formats/task-contract.md, "Exit status". Pure.
#pragma once

#include <optional>
#include <vector>

#include "base/end_reason.h"
#include "base/process.h"
#include "base/wire_types.h"

namespace lorry {

// An `error` line that a rank sent.
struct ReportedFault {
  EndReason reason = EndReason::kInternal;
  wire::ErrorDetail detail;
};

struct EndEvidence {
  bool command = false;                    // a user's program: its exit status is its own affair
  std::vector<ProcessEnd> processes;       // all that were started, in the order of their end
  std::optional<ReportedFault> fault;      // the first one
  std::optional<EndReason> asked_to_stop;  // for this reason; a command: its signal was sent before the end was seen
  bool done = false;                       // rank 0 said so
  bool out_of_memory_kills = false;        // the cgroup counted some while the attempt ran
};

struct EndVerdict {
  EndReason reason = EndReason::kNone;
  wire::ErrorDetail detail;  // says what happened, for people; empty with kDone
};

EndVerdict JudgeEnd(const EndEvidence& evidence);

// A signal that a process gets for its own fault (SEGV, ABRT, ...), rather than from outside (KILL, TERM, ...).
bool IsOwnSignal(int signal);

// mpirun and shells report a rank's signal as exit status 128 + signal: turned back into a signal.
ProcessEnd Unwrapped(ProcessEnd end);

}  // namespace lorry
