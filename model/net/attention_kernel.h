// Attention on raw rows for the CPU: what attention.h does for tensors. No LibTorch here.
//
// Forward: for 32 queries at a time, all scores up to the diagonal, one softmax, one product with the values; scores of
// 32 rows are all that is ever held. Backward: scores again from log_sum_exp, 32 queries by 32 keys at a time ("Flash
// Attention", arXiv 2205.14135, without its running maximum). One key head of one span is one task, taken in a fixed
// order inside, so that neither threads nor other spans change a bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "model/net/precision.h"

namespace lorry {

// [rows, heads, head_dim] with strides in elements; the last is 1.
struct HeadRows {
  std::byte* start = nullptr;
  int64_t row_stride = 0, head_stride = 0;
};

struct AttentionShape {
  Precision precision = Precision::kFp32;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t window = 0;  // 0 = all
  float scale = 1.0f;
};

// Queries stand at the last `queries` of `keys` positions.
struct AttentionSpan {
  int64_t queries = 0, keys = 0;
  HeadRows q, k, v, out;
  float* log_sum_exp = nullptr;  // [queries, heads], row stride `heads`; written forward unless null, read backward
  HeadRows d_out, dq, dk, dv;    // backward only; there queries == keys
};

void AttentionForward(const AttentionShape& shape, std::span<const AttentionSpan> spans);
// REQUIRES: queries == 1 in each span.
void AttentionDecode(const AttentionShape& shape, std::span<const AttentionSpan> spans);
void AttentionBackward(const AttentionShape& shape, std::span<const AttentionSpan> spans);

}  // namespace lorry
