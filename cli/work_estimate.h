// How much a job is: steps, tokens, FLOPs, memory. From the job, its inputs and the model's shape; no clock, no device.
//
// A training token costs 4 FLOPs for each weight of the layers (forward, and the gradient of the activations; the frozen base
// has no weight gradient), 6 for each weight of the adapter, and 4 x width x vocabulary where it carries loss. A token of
// inference costs 2 for each weight.
#pragma once

#include <cstdint>

#include "cli/input_checks.h"
#include "configs/job_spec.h"

namespace lorry {

struct WorkEstimate {
  int64_t steps = 0;         // finetune; 0: not known. Of a sweep: of the longest of its points
  int64_t points = 0;        // of a sweep, which the rest counts together
  int64_t rows = 0;          // batch
  int64_t elements = 0;      // command
  int64_t tokens = 0;        // to be computed; 0: not known
  double flops = 0;          // 0: not known
  int64_t memory_bytes = 0;  // of one rank at its peak; 0: not known
  int64_t adapter_parameters = 0;
};

// `fast_bf16`: the ranks' CPUs compute bf16 at full rate; others compute in fp32 instead.
WorkEstimate EstimateWork(const JobSpec& job, const InputFacts& facts, bool fast_bf16);

}  // namespace lorry
