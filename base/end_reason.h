// Why an attempt or a run ended, and what follows from it: whether it is tried again, and whether the try counts.
//
// The table is the one that users read in the documentation; scheduler, worker and reports all ask it here.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace lorry {

enum class EndReason : uint8_t {
  kNone,         // not ended
  kDone,         // all of the work is there
  kNodeLost,     // the worker went silent until its lease ran out, or came back without the attempt
  kPreempted,    // stopped for something else, or for `lorry down`
  kRankLost,     // a rank was ended by a signal from outside
  kNoCapacity,   // the devices were gone when the worker came to use them
  kRankCrash,    // a rank ended by its own signal or assertion
  kRankHang,     // no sign of progress for too long
  kGpuFault,     // the device itself failed; the node is set aside
  kStorage,      // disk full, or no permission, while running
  kUserError,    // the program's own exit status
  kOutOfMemory,  // with proof: the cgroup's counter, CUDA's or the allocator's error
  kDataError,
  kSpecError,
  kWalltime,
  kBudget,
  kCancelled,
  kExpired,
  kInternal,  // Lorry's own fault
};

inline constexpr EndReason kLastEndReason = EndReason::kInternal;

// "node_lost", ...: as on the wire, in the state and in every report. kNone is the empty string.
std::string_view EndReasonName(EndReason reason);
Result<EndReason> ParseEndReason(std::string_view name);

struct RetryRule {
  bool retried = false;
  bool counts = false;            // against retry.max_attempts
  bool when_mended = false;       // only once the worker's storage takes writes again
  bool held_against_row = false;  // against a batch row that was alone in flight
};
RetryRule RetryRuleOf(EndReason reason);

}  // namespace lorry
