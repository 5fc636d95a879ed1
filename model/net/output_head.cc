#include "model/net/output_head.h"

#include <algorithm>

#include "model/net/row_kernels.h"

namespace lorry {
namespace {

constexpr int64_t kSliceWords = 4096;
constexpr int64_t kRowsAtOnce = 128;

OutputHead::Targets PlainRows(const at::Tensor& hidden_TM, const at::Tensor& weight_VM, const at::Tensor& targets_T,
                              bool gradient) {
  const at::Tensor log_probs = at::log_softmax(at::linear(hidden_TM, weight_VM).to(at::kFloat), -1);
  const at::Tensor index = targets_T.to(hidden_TM.device(), at::kLong).unsqueeze(1);
  OutputHead::Targets result{log_probs.gather(1, index).squeeze(1).cpu(), {}};
  if (gradient) {
    at::Tensor d_logits = at::exp(log_probs);
    d_logits.scatter_add_(1, index, at::full_like(index, -1, at::kFloat));
    result.d_hidden_TM = at::matmul(d_logits.to(hidden_TM.scalar_type()), weight_VM);
  }
  return result;
}

// Elsewhere than on the CPU: more rows at once, since there a small product does not fill the device.
OutputHead::Targets PlainTargets(const at::Tensor& hidden_TM, const at::Tensor& weight_VM, const at::Tensor& targets_T,
                                 bool gradient) {
  constexpr int64_t kPlainRowsAtOnce = 1024;
  std::vector<at::Tensor> log_probs, d_hidden;
  for (int64_t first = 0; first < hidden_TM.size(0); first += kPlainRowsAtOnce) {
    const int64_t here = std::min(kPlainRowsAtOnce, hidden_TM.size(0) - first);
    OutputHead::Targets part = PlainRows(hidden_TM.narrow(0, first, here), weight_VM, targets_T.narrow(0, first, here), gradient);
    log_probs.push_back(std::move(part.log_probs_T));
    if (gradient) d_hidden.push_back(std::move(part.d_hidden_TM));
  }
  if (log_probs.empty()) return PlainRows(hidden_TM, weight_VM, targets_T, gradient);
  return {at::cat(log_probs), gradient ? at::cat(d_hidden) : at::Tensor()};
}

}  // namespace

OutputHead::OutputHead(const at::Tensor& weight_VM, Precision precision, bool backward)
    : vocabulary_(weight_VM.size(0)), width_(weight_VM.size(1)), precision_(precision) {
  if (!weight_VM.is_cpu()) {
    plain_weight_ = weight_VM.to(ToScalarType(precision)).contiguous();
    return;
  }
  for (int64_t word = 0; word < vocabulary_; word += kSliceWords) {
    const at::Tensor slice = weight_VM.narrow(0, word, std::min(kSliceWords, vocabulary_ - word));
    slices_.emplace_back(std::vector<LinearPart>{{slice, {}}}, precision, backward);
  }
}

at::Tensor OutputHead::Apply(const at::Tensor& hidden_TM) const {
  if (plain_weight_.defined()) return at::linear(hidden_TM, plain_weight_).to(at::kFloat);
  at::Tensor logits = at::empty({hidden_TM.size(0), vocabulary_}, at::kFloat);
  int64_t word = 0;
  for (const Linear& slice : slices_) {
    slice.ApplyInto(hidden_TM, {}, {}, logits.narrow(1, word, slice.out()));
    word += slice.out();
  }
  return logits;
}

OutputHead::Targets OutputHead::TargetLogProbs(const at::Tensor& hidden_TM, const at::Tensor& targets_T, bool gradient) const {
  if (plain_weight_.defined()) return PlainTargets(hidden_TM, plain_weight_, targets_T, gradient);
  const int64_t rows = hidden_TM.size(0);
  Targets result{at::empty({rows}, at::kFloat), {}};
  if (gradient) result.d_hidden_TM = at::empty({rows, width_}, hidden_TM.options());
  for (int64_t first = 0; first < rows; first += kRowsAtOnce) {
    const int64_t here = std::min(kRowsAtOnce, rows - first);
    const at::Tensor logits = Apply(hidden_TM.narrow(0, first, here));
    const at::Tensor d_logits = gradient ? at::empty({here, vocabulary_}, hidden_TM.options()) : at::Tensor();
    RowsOut d_rows;
    if (gradient) d_rows = {static_cast<std::byte*>(d_logits.data_ptr()), vocabulary_};
    TargetLogProbRows(precision_, logits.const_data_ptr<float>(), vocabulary_, here, vocabulary_,
                      targets_T.const_data_ptr<int32_t>() + first, result.log_probs_T.data_ptr<float>() + first, d_rows);
    if (!gradient) continue;
    at::Tensor sum = at::zeros({here, width_}, at::kFloat);
    int64_t word = 0;
    for (const Linear& slice : slices_) {
      slice.ApplyTransposedInto(d_logits.narrow(1, word, slice.out()), {}, true, sum);
      word += slice.out();
    }
    result.d_hidden_TM.narrow(0, first, here).copy_(sum);
  }
  return result;
}

int64_t OutputHead::ResidentBytes() const {
  int64_t bytes = plain_weight_.defined() ? static_cast<int64_t>(plain_weight_.nbytes()) : 0;
  for (const Linear& slice : slices_) bytes += slice.ResidentBytes();
  return bytes;
}

}  // namespace lorry
