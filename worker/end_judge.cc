#include "worker/end_judge.h"

#include <csignal>
#include <cstring>

#include <fmt/format.h>

#include "base/task_contract.h"

namespace lorry {
namespace {

EndVerdict Verdict(EndReason reason, ErrorCode code, std::string message, std::string hint = "") {
  return {reason, wire::ErrorDetail::Of(MakeError(code, std::move(message), std::move(hint)))};
}

EndVerdict OfSignal(int signal, bool out_of_memory_kills) {
  const char* name = sigabbrev_np(signal);
  const std::string text = name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
  if (signal == SIGKILL && out_of_memory_kills) {
    return Verdict(EndReason::kOutOfMemory, ErrorCode::kOutOfMemory, "the system ended a rank for want of memory",
                   "use shorter rows, fewer lanes, or a machine with more memory");
  }
  if (IsOwnSignal(signal)) {
    return Verdict(EndReason::kRankCrash, ErrorCode::kInternal, fmt::format("a rank ended by its own {}", text));
  }
  return Verdict(EndReason::kRankLost, ErrorCode::kInternal, fmt::format("a rank was ended from outside by {}", text));
}

EndVerdict OfExitStatus(int status, bool command) {
  if (command) {
    return Verdict(EndReason::kUserError, ErrorCode::kData, fmt::format("the program ended with exit status {}", status));
  }
  switch (static_cast<TaskExit>(status)) {
    case TaskExit::kOutOfMemory:
      return Verdict(EndReason::kOutOfMemory, ErrorCode::kOutOfMemory, "a rank ran out of memory");
    case TaskExit::kSpecError:
      return Verdict(EndReason::kSpecError, ErrorCode::kSpec, "a rank refused the job");
    case TaskExit::kDataError:
      return Verdict(EndReason::kDataError, ErrorCode::kData, "a rank refused the data");
    case TaskExit::kInternal:
      return Verdict(EndReason::kInternal, ErrorCode::kInternal, "a rank ended with a fault of Lorry's own");
    case TaskExit::kStorage:
      return Verdict(EndReason::kStorage, ErrorCode::kStorage, "a rank could not write");
    default:
      return Verdict(EndReason::kRankCrash, ErrorCode::kInternal, fmt::format("a rank ended with exit status {}", status));
  }
}

bool IsGood(const ProcessEnd& end) { return end.signal == 0 && end.exit_status == 0; }

// The end that tells most: a rank's own fault before a signal from outside, since one rank's fault ends the others by signals.
const ProcessEnd* Telling(const std::vector<ProcessEnd>& ends, bool command) {
  const ProcessEnd* telling = nullptr;
  for (const ProcessEnd& end : ends) {
    const bool stopped = !command && end.signal == 0 && end.exit_status == static_cast<int>(TaskExit::kStopped);
    if (IsGood(end) || stopped) continue;
    const bool own = end.signal == 0 || IsOwnSignal(end.signal);
    if (telling == nullptr || (own && telling->signal != 0 && !IsOwnSignal(telling->signal))) telling = &end;
  }
  return telling;
}

}  // namespace

bool IsOwnSignal(int signal) {
  switch (signal) {
    case SIGSEGV:
    case SIGABRT:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGSYS:
    case SIGTRAP:
    case SIGPIPE:
    case SIGALRM:
    case SIGVTALRM:
    case SIGPROF:
    case SIGXCPU:
    case SIGXFSZ:
      return true;
    default:
      return false;
  }
}

ProcessEnd Unwrapped(ProcessEnd end) {
  if (end.signal == 0 && end.exit_status > 128 && end.exit_status < 128 + NSIG) return {0, end.exit_status - 128};
  return end;
}

EndVerdict JudgeEnd(const EndEvidence& evidence) {
  std::vector<ProcessEnd> ends;
  bool all_good = !evidence.processes.empty();
  for (const ProcessEnd& end : evidence.processes) {
    // A command is the worker's own child: its signal is seen as one, and 128 + n is a status that it chose.
    ends.push_back(evidence.command ? end : Unwrapped(end));
    all_good = all_good && IsGood(end);
  }
  // A rank says that it is done, a command only ends: one that was told to end has not shown that its work is.
  if (all_good && (evidence.command ? !evidence.asked_to_stop : evidence.done)) return {EndReason::kDone, {}};
  // What the worker was told to end did not fail, whatever its processes made of the signals.
  if (evidence.asked_to_stop) return {*evidence.asked_to_stop, {}};
  if (evidence.fault) return {evidence.fault->reason, evidence.fault->detail};
  const ProcessEnd* telling = Telling(ends, evidence.command);
  if (telling == nullptr) return Verdict(EndReason::kRankCrash, ErrorCode::kInternal, "the ranks ended before the work was done");
  if (telling->signal != 0) return OfSignal(telling->signal, evidence.out_of_memory_kills);
  return OfExitStatus(telling->exit_status, evidence.command);
}

}  // namespace lorry
