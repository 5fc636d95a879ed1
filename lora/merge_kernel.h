// One row of a weight with an adapter folded in: w + scaling * (b A). The same bits on every CPU, and those that PEFT's merge
// gives in fp32: the products of one element are added in the order of the rank, each with one rounding (fused multiply-add), and
// only then scaled and added to the weight. No LibTorch here; a function of its arguments alone.
#pragma once

#include <cstdint>

namespace lorry {

struct LowRankProduct {
  const float* a = nullptr;  // A [r, in], row-major
  int64_t r = 0;
  int64_t in = 0;
  float scaling = 1.0f;
};

// w [in] += product.scaling * b [r] A.
void AddLowRankRow(float* w, const float* b, const LowRankProduct& product);

}  // namespace lorry
