#include "model/net/attention.h"

#include <cmath>

#include "model/net/attention_kernel.h"
#include "model/net/tensor_rows.h"

namespace lorry {
namespace {

HeadRows Heads(const at::Tensor& x_THD, int64_t first_row = 0) {
  TORCH_CHECK(x_THD.dim() == 3 && x_THD.stride(2) == 1, "attention reads [rows, heads, head size], got ", x_THD.sizes());
  auto* start = static_cast<std::byte*>(const_cast<void*>(x_THD.const_data_ptr()));
  return {start + first_row * x_THD.stride(0) * x_THD.element_size(), x_THD.stride(0), x_THD.stride(1)};
}

AttentionShape ShapeOf(const at::Tensor& q_THD, int64_t kv_heads, int64_t window) {
  const int64_t d = q_THD.size(2);
  return {PrecisionOf(q_THD), q_THD.size(1), kv_heads, d, window, 1.0f / std::sqrt(static_cast<float>(d))};
}

std::vector<AttentionSpan> Spans(const at::Tensor& q_THD, const std::vector<AttentionSegment>& segments,
                                 const at::Tensor& out_THD, float* log_sum_exp) {
  std::vector<AttentionSpan> spans;
  spans.reserve(segments.size());
  for (const AttentionSegment& s : segments) {
    AttentionSpan span;
    span.queries = s.queries, span.keys = s.k_LHD.size(0);
    span.q = Heads(q_THD, s.query_start), span.out = Heads(out_THD, s.query_start);
    span.k = Heads(s.k_LHD), span.v = Heads(s.v_LHD);
    if (log_sum_exp != nullptr) span.log_sum_exp = log_sum_exp + s.query_start * q_THD.size(1);
    spans.push_back(span);
  }
  return spans;
}

// [L, KH, D] -> [H, L, D]: each query head with its key head.
at::Tensor PerQueryHead(const at::Tensor& x_LHD, int64_t heads) {
  return x_LHD.to(WideType(x_LHD)).repeat_interleave(heads / x_LHD.size(1), 1).transpose(0, 1);
}

// True where a query may not look: [queries, keys].
at::Tensor Hidden(int64_t queries, int64_t keys, int64_t window, const at::Device& device) {
  const at::Tensor key = at::arange(keys, at::TensorOptions(at::kLong).device(device)).unsqueeze(0);
  const at::Tensor position = at::arange(keys - queries, keys, at::TensorOptions(at::kLong).device(device)).unsqueeze(1);
  const at::Tensor later = key > position;
  return window > 0 ? at::logical_or(later, key <= position - window) : later;
}

struct PlainSegment {
  at::Tensor out;          // [queries, H, D]
  at::Tensor log_sum_exp;  // [queries, H]
};

PlainSegment AttendPlain(const at::Tensor& q_QHD, const at::Tensor& k_LHD, const at::Tensor& v_LHD, int64_t window) {
  const int64_t heads = q_QHD.size(1), queries = q_QHD.size(0), keys = k_LHD.size(0);
  const double scale = 1.0 / std::sqrt(static_cast<double>(q_QHD.size(2)));
  const at::Tensor q = q_QHD.to(WideType(q_QHD)).transpose(0, 1);
  at::Tensor scores = at::matmul(q, PerQueryHead(k_LHD, heads).transpose(1, 2)) * scale;
  scores = scores.masked_fill(Hidden(queries, keys, window, q.device()), -INFINITY);
  const at::Tensor out = at::matmul(at::softmax(scores, -1), PerQueryHead(v_LHD, heads));
  return {out.transpose(0, 1).to(q_QHD.scalar_type()), at::logsumexp(scores, {-1}).transpose(0, 1)};
}

at::Tensor ForwardPlain(const at::Tensor& q_THD, const std::vector<AttentionSegment>& segments, int64_t window,
                        at::Tensor* log_sum_exp) {
  at::Tensor out = at::zeros_like(q_THD, at::MemoryFormat::Contiguous);
  if (log_sum_exp != nullptr) *log_sum_exp = at::zeros({q_THD.size(0), q_THD.size(1)}, q_THD.options().dtype(WideType(q_THD)));
  for (const AttentionSegment& s : segments) {
    const PlainSegment plain = AttendPlain(q_THD.narrow(0, s.query_start, s.queries), s.k_LHD, s.v_LHD, window);
    out.narrow(0, s.query_start, s.queries).copy_(plain.out);
    if (log_sum_exp != nullptr) log_sum_exp->narrow(0, s.query_start, s.queries).copy_(plain.log_sum_exp);
  }
  return out;
}

// One document, by the formulas of softmax's gradient.
void BackwardPlain(const AttentionGradientInputs& in, int64_t start, int64_t rows, AttentionGradients& gradients) {
  const int64_t heads = in.q_THD.size(1), kv_heads = in.k_THD.size(1), d = in.q_THD.size(2);
  const double scale = 1.0 / std::sqrt(static_cast<double>(d));
  const auto part = [&](const at::Tensor& x) { return x.narrow(0, start, rows); };
  const at::ScalarType wide = WideType(in.q_THD);
  const at::Tensor q = part(in.q_THD).to(wide).transpose(0, 1), d_out = part(in.d_out_THD).to(wide).transpose(0, 1);
  const at::Tensor k = PerQueryHead(part(in.k_THD), heads), v = PerQueryHead(part(in.v_THD), heads);
  at::Tensor scores = at::matmul(q, k.transpose(1, 2)) * scale;
  scores = scores.masked_fill(Hidden(rows, rows, in.window, q.device()), -INFINITY);
  const at::Tensor weights = at::softmax(scores, -1);
  const at::Tensor d_weights = at::matmul(d_out, v.transpose(1, 2));
  const at::Tensor delta = (d_out * part(in.out_THD).to(wide).transpose(0, 1)).sum(-1, true);
  const at::Tensor d_scores = weights * (d_weights - delta) * scale;
  const auto per_key_head = [&](const at::Tensor& x_HLD) {
    return x_HLD.reshape({kv_heads, heads / kv_heads, rows, d}).sum(1).transpose(0, 1);
  };
  part(gradients.dq_THD).copy_(at::matmul(d_scores, k).transpose(0, 1));
  part(gradients.dk_THD).copy_(per_key_head(at::matmul(d_scores.transpose(1, 2), q)));
  part(gradients.dv_THD).copy_(per_key_head(at::matmul(weights.transpose(1, 2), d_out)));
}

}  // namespace

std::vector<AttentionSegment> DocumentSegments(const std::vector<int32_t>& document_starts, const at::Tensor& k_THD,
                                               const at::Tensor& v_THD) {
  std::vector<AttentionSegment> segments;
  for (size_t d = 0; d + 1 < document_starts.size(); ++d) {
    const int64_t start = document_starts[d], rows = document_starts[d + 1] - start;
    segments.push_back({start, rows, k_THD.narrow(0, start, rows), v_THD.narrow(0, start, rows)});
  }
  return segments;
}

at::Tensor CausalAttention(const at::Tensor& q_THD, const std::vector<AttentionSegment>& segments, int64_t window,
                           at::Tensor* log_sum_exp) {
  if (segments.empty() || !HasKernel(q_THD)) return ForwardPlain(q_THD, segments, window, log_sum_exp);
  int64_t covered = 0;
  for (const AttentionSegment& s : segments) covered += s.queries;
  at::Tensor out = covered == q_THD.size(0) ? at::empty_like(q_THD, at::MemoryFormat::Contiguous)
                                            : at::zeros_like(q_THD, at::MemoryFormat::Contiguous);
  if (log_sum_exp != nullptr) *log_sum_exp = at::zeros({q_THD.size(0), q_THD.size(1)}, q_THD.options().dtype(at::kFloat));
  AttentionForward(ShapeOf(q_THD, segments[0].k_LHD.size(1), window),
                   Spans(q_THD, segments, out, log_sum_exp == nullptr ? nullptr : log_sum_exp->data_ptr<float>()));
  return out;
}

at::Tensor CausalAttentionPlain(const at::Tensor& q_THD, const std::vector<AttentionSegment>& segments, int64_t window) {
  return ForwardPlain(q_THD, segments, window, nullptr);
}

void CausalAttentionBackward(const AttentionGradientInputs& in, AttentionGradients& gradients) {
  const auto documents = in.document_starts.size() - 1;
  if (!HasKernel(in.q_THD)) return CausalAttentionBackwardPlain(in, gradients);
  std::vector<AttentionSpan> spans;
  for (size_t d = 0; d < documents; ++d) {
    const int64_t start = in.document_starts[d], rows = in.document_starts[d + 1] - start;
    AttentionSpan span;
    span.queries = span.keys = rows;
    span.q = Heads(in.q_THD, start), span.k = Heads(in.k_THD, start), span.v = Heads(in.v_THD, start);
    span.out = Heads(in.out_THD, start), span.d_out = Heads(in.d_out_THD, start);
    span.dq = Heads(gradients.dq_THD, start), span.dk = Heads(gradients.dk_THD, start), span.dv = Heads(gradients.dv_THD, start);
    span.log_sum_exp = in.log_sum_exp_TH.data_ptr<float>() + start * in.q_THD.size(1);
    spans.push_back(span);
  }
  AttentionBackward(ShapeOf(in.q_THD, in.k_THD.size(1), in.window), spans);
}

void CausalAttentionBackwardPlain(const AttentionGradientInputs& in, AttentionGradients& gradients) {
  for (size_t d = 0; d + 1 < in.document_starts.size(); ++d) {
    BackwardPlain(in, in.document_starts[d], in.document_starts[d + 1] - in.document_starts[d], gradients);
  }
}

}  // namespace lorry
