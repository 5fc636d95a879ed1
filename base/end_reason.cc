#include "base/end_reason.h"

#include <array>

#include <fmt/format.h>

namespace lorry {
namespace {

struct Row {
  EndReason reason;
  std::string_view name;
  RetryRule rule;
};

constexpr std::array kTable = {
    // reason                     name             retried counts mended row
    Row{EndReason::kNone, "", {false, false, false, false}},
    Row{EndReason::kDone, "done", {false, false, false, false}},
    Row{EndReason::kNodeLost, "node_lost", {true, false, false, false}},
    Row{EndReason::kPreempted, "preempted", {true, false, false, false}},
    Row{EndReason::kRankLost, "rank_lost", {true, false, false, false}},
    Row{EndReason::kNoCapacity, "no_capacity", {true, false, false, false}},
    Row{EndReason::kRankCrash, "rank_crash", {true, true, false, true}},
    Row{EndReason::kRankHang, "rank_hang", {true, true, false, true}},
    Row{EndReason::kGpuFault, "gpu_fault", {true, true, false, true}},
    Row{EndReason::kStorage, "storage", {true, false, true, false}},
    Row{EndReason::kUserError, "user_error", {false, false, false, false}},
    Row{EndReason::kOutOfMemory, "out_of_memory", {false, false, false, true}},
    Row{EndReason::kDataError, "data_error", {false, false, false, false}},
    Row{EndReason::kSpecError, "spec_error", {false, false, false, false}},
    Row{EndReason::kWalltime, "walltime", {false, false, false, false}},
    Row{EndReason::kBudget, "budget", {false, false, false, false}},
    Row{EndReason::kCancelled, "cancelled", {false, false, false, false}},
    Row{EndReason::kExpired, "expired", {false, false, false, false}},
    Row{EndReason::kInternal, "internal", {false, false, false, false}},
};
static_assert(kTable.size() == static_cast<size_t>(kLastEndReason) + 1);

}  // namespace

std::string_view EndReasonName(EndReason reason) { return kTable[static_cast<size_t>(reason)].name; }

RetryRule RetryRuleOf(EndReason reason) { return kTable[static_cast<size_t>(reason)].rule; }

Result<EndReason> ParseEndReason(std::string_view name) {
  for (const Row& row : kTable) {
    if (row.name == name) return row.reason;
  }
  return MakeError(ErrorCode::kData, fmt::format("\"{}\" is not a reason for an end", name));
}

}  // namespace lorry
