#include "trainers/learning_rate.h"

#include <algorithm>
#include <cmath>

namespace lorry::trainers {

double LearningRateSchedule::AtStep(int64_t step) const {
  if (step < warmup_steps) return peak * (static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup_steps)));
  const double span = static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  switch (kind) {
    case ScheduleKind::kConstant:
      return peak;
    case ScheduleKind::kLinear:
      return peak * std::max(0.0, static_cast<double>(total_steps - step) / span);
    case ScheduleKind::kCosine: {
      const double progress = static_cast<double>(step - warmup_steps) / span;
      return peak * std::max(0.0, 0.5 * (1.0 + std::cos(M_PI * progress)));
    }
  }
  return peak;
}

int64_t WarmupSteps(double ratio, int64_t total_steps) {
  return static_cast<int64_t>(std::ceil(ratio * static_cast<double>(total_steps)));
}

}  // namespace lorry::trainers
