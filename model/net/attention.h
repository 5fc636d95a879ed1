// Causal attention over segments of different length, blocked, with grouped query heads (H query heads share KH key
// heads; query head h reads key head h / (H / KH)) and softmax in fp32. On the CPU no T x T matrix is ever whole in memory;
// elsewhere ATen's own operations do the same, and hold one document's scores of all heads at a time.
//
// A segment's result depends on that segment alone. Scores are scaled by 1 / sqrt(D).
//
// Shapes: T tokens, L keys, H query heads, KH key heads, D head size. All tensors bf16 or all fp32, last stride 1.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace lorry {

// Queries at rows [query_start, query_start + queries) of q, which stand at the last `queries` positions of the keys.
// Training: k and v are the document's own rows (L == queries). Inference: a sequence's cache (L >= queries).
struct AttentionSegment {
  int64_t query_start = 0;
  int64_t queries = 0;
  at::Tensor k_LHD, v_LHD;
};

// One segment per document of a packed batch: document_starts as in PackedBatch, k and v [T, KH, D].
std::vector<AttentionSegment> DocumentSegments(const std::vector<int32_t>& document_starts, const at::Tensor& k_THD,
                                               const at::Tensor& v_THD);

// out [T, H, D] like q, contiguous; rows of no segment are zero. `window`: how many positions back a query sees, itself included;
// 0 = all. With `log_sum_exp` (fp32 [T, H]), also the logarithm of each softmax's denominator, for the backward pass.
at::Tensor CausalAttention(const at::Tensor& q_THD, const std::vector<AttentionSegment>& segments, int64_t window = 0,
                           at::Tensor* log_sum_exp = nullptr);
at::Tensor CausalAttentionPlain(const at::Tensor& q_THD, const std::vector<AttentionSegment>& segments, int64_t window = 0);

// Segments are the documents of one packed batch: k and v of each are rows [start, next start).
struct AttentionGradientInputs {
  at::Tensor d_out_THD, q_THD, k_THD, v_THD, out_THD;
  at::Tensor log_sum_exp_TH;  // from CausalAttention
  std::vector<int32_t> document_starts;
  int64_t window = 0;
};
// Written into tensors of yours: dq [T, H, D], dk and dv [T, KH, D], any strides but the last.
struct AttentionGradients {
  at::Tensor dq_THD, dk_THD, dv_THD;
};
void CausalAttentionBackward(const AttentionGradientInputs& in, AttentionGradients& gradients);
void CausalAttentionBackwardPlain(const AttentionGradientInputs& in, AttentionGradients& gradients);

}  // namespace lorry
