#include "base/usage.h"

#include <fmt/format.h>

namespace lorry {

std::string_view UsageClassName(UsageClass usage_class) {
  switch (usage_class) {
    case UsageClass::kStartup:
      return "startup";
    case UsageClass::kProductive:
      return "productive";
    case UsageClass::kRecomputed:
      return "recomputed";
    case UsageClass::kCheckpoint:
      return "checkpoint";
    case UsageClass::kGangWait:
      return "gang_wait";
    case UsageClass::kDrain:
      return "drain";
    case UsageClass::kIdleLease:
      return "idle_lease";
    case UsageClass::kIdlePool:
      return "idle_pool";
  }
  return "unknown";
}

Result<UsageClass> ParseUsageClass(std::string_view name) {
  for (UsageClass usage_class : kUsageClasses) {
    if (UsageClassName(usage_class) == name) return usage_class;
  }
  return MakeError(ErrorCode::kData, fmt::format("\"{}\" is not a class of device time", name),
                   "classes are startup, productive, recomputed, checkpoint, gang_wait, drain, idle_lease, idle_pool");
}

}  // namespace lorry
