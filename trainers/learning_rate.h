// The learning rate of each step: warm-up, then linear, cosine or constant.
//
// The same values as transformers' get_scheduler: the rate of step s (0-based) is peak * f(s), with f rising from 0 over the
// warm-up steps (so the very first step of a warm-up has rate 0), then falling to 0 at the last step (linear, half a cosine)
// or staying at 1. Source: transformers optimization.py, _get_{linear,cosine,constant}_schedule_with_warmup_lr_lambda.
#pragma once

#include <cstdint>

namespace lorry::trainers {

enum class ScheduleKind { kLinear, kCosine, kConstant };

struct LearningRateSchedule {
  ScheduleKind kind = ScheduleKind::kLinear;
  double peak = 2e-4;
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;

  double AtStep(int64_t step) const;  // step counts from 0
};

// ceil(ratio * total), as transformers rounds it.
int64_t WarmupSteps(double ratio, int64_t total_steps);

}  // namespace lorry::trainers
