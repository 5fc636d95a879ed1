#include "lora/merge_kernel.h"

#include <algorithm>
#include <cmath>

#include "model/net/vector_build.h"

namespace lorry {
namespace {

constexpr int64_t kColumns = 1024;  // of one pass: sums and a piece of a row of A stay in the L1 cache

}  // namespace

static LORRY_INLINE void AddLowRankRowBody(float* w, const float* b, const LowRankProduct& product) {
  float sums[kColumns];
  for (int64_t begin = 0; begin < product.in; begin += kColumns) {
    const int64_t columns = std::min(kColumns, product.in - begin);
    for (int64_t i = 0; i < columns; ++i) sums[i] = 0.0f;
    for (int64_t k = 0; k < product.r; ++k) {
      const float* const a = product.a + k * product.in + begin;
      const float bk = b[k];
      for (int64_t i = 0; i < columns; ++i) sums[i] = std::fma(bk, a[i], sums[i]);
    }
    for (int64_t i = 0; i < columns; ++i) w[begin + i] += sums[i] * product.scaling;
  }
}

LORRY_VECTOR_KERNEL(AddLowRankRow, AddLowRankRowBody, (float* w, const float* b, const LowRankProduct& product), (w, b, product))

}  // namespace lorry
