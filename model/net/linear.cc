#include "model/net/linear.h"

#include <array>

namespace lorry {
namespace {

GemmTerm Term(const at::Tensor& x, const PackedMatrix& b) {
  TORCH_CHECK(x.dim() == 2 && x.stride(1) == 1 && x.size(1) == b.k() && x.element_size() == ElementBytes(b.precision()),
              "a linear of ", b.k(), " inputs got ", x.sizes(), " of ", x.scalar_type());
  return {x.const_data_ptr(), x.stride(0), &b};
}

GemmResult Into(const at::Tensor& y, Precision precision) {
  TORCH_CHECK(y.dim() == 2 && y.stride(1) == 1, "a linear writes rows, got ", y.sizes());
  GemmResult result;
  result.y = y.data_ptr();
  result.y_stride = y.stride(0);
  result.fp32 = y.scalar_type() == at::kFloat;
  TORCH_CHECK(result.fp32 || y.scalar_type() == ToScalarType(precision), "a linear of another precision");
  return result;
}

}  // namespace

at::ScalarType ToScalarType(Precision precision) { return precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat; }

Linear::Linear(const std::vector<LinearPart>& parts, Precision precision, bool backward)
    : in_(parts[0].weight.size(1)), precision_(precision) {
  std::vector<at::Tensor> weights, biases;
  bool biased = false;
  for (const LinearPart& part : parts) biased = biased || part.bias.defined();
  const bool cpu = parts[0].weight.is_cpu();
  const at::ScalarType dtype = ToScalarType(precision);
  for (const LinearPart& part : parts) {
    part_begin_.push_back(out_);
    part_out_.push_back(part.weight.size(0));
    out_ += part.weight.size(0);
    weights.push_back(part.weight.to(dtype).contiguous());
    if (biased) biases.push_back(part.bias.defined() ? part.bias : at::zeros({part.weight.size(0)}, part.weight.options()));
  }
  if (biased) bias_ = at::cat(biases).to(cpu ? at::kFloat : dtype).contiguous();
  const at::Tensor all = weights.size() == 1 ? weights[0] : at::cat(weights);
  if (!cpu) {
    plain_weight_ = all;
    return;
  }
  for (const at::Tensor& weight : weights) {
    forward_.emplace_back(precision, in_, weight.size(0)).Pack(weight.const_data_ptr(), 1, in_);
  }
  if (!backward) return;
  backward_ = PackedMatrix(precision, out_, in_);
  backward_.Pack(all.const_data_ptr(), in_, 1);
}

at::Tensor Linear::Apply(const at::Tensor& x) const {
  if (plain_weight_.defined()) return at::linear(x, plain_weight_, bias_);
  at::Tensor y = at::empty({x.size(0), out_}, x.options());
  ApplyInto(x, {}, {}, y);
  return y;
}

at::Tensor Linear::ApplyWithoutBias(const at::Tensor& x) const {
  if (plain_weight_.defined()) return at::matmul(x, plain_weight_.t()).to(at::kFloat);
  at::Tensor y = at::empty({x.size(0), out_}, x.options().dtype(at::kFloat));
  Multiply(x, {}, {}, nullptr, y);
  return y;
}

std::vector<double> Linear::RowSquares() const {
  std::vector<double> squares;
  if (plain_weight_.defined()) {
    const at::Tensor sums = plain_weight_.to(at::kDouble).square().sum(1).cpu();
    squares.assign(sums.const_data_ptr<double>(), sums.const_data_ptr<double>() + sums.numel());
    return squares;
  }
  for (const PackedMatrix& part : forward_) AppendColumnSquares(part, squares);
  return squares;
}

at::Tensor Linear::ApplyTransposed(const at::Tensor& dy) const {
  if (plain_weight_.defined()) return at::matmul(dy, plain_weight_);
  at::Tensor dx = at::empty({dy.size(0), in_}, dy.options());
  ApplyTransposedInto(dy, {}, false, dx);
  return dx;
}

void Linear::ApplyInto(const at::Tensor& x, std::span<const JoinedTerm> joined, const at::Tensor& residual, at::Tensor y) const {
  Multiply(x, joined, residual, bias_.defined() ? bias_.const_data_ptr<float>() : nullptr, y);
}

void Linear::Multiply(const at::Tensor& x, std::span<const JoinedTerm> joined, const at::Tensor& residual, const float* bias,
                      const at::Tensor& y) const {
  const int64_t element = y.element_size();
  for (size_t i = 0; i < forward_.size(); ++i) {
    std::array<GemmTerm, 2> terms{Term(x, forward_[i]), GemmTerm{}};
    const bool joins = !joined.empty() && joined[i].b != nullptr;
    if (joins) terms[1] = Term(joined[i].x, *joined[i].b);
    GemmResult result = Into(y, precision_);
    result.y = static_cast<std::byte*>(result.y) + part_begin_[i] * element;
    if (bias != nullptr) result.bias = bias + part_begin_[i];
    if (residual.defined()) {
      TORCH_CHECK(residual.scalar_type() == y.scalar_type() && residual.stride(1) == 1, "the residual is not like y");
      result.residual = static_cast<const std::byte*>(residual.const_data_ptr()) + part_begin_[i] * element;
      result.residual_stride = residual.stride(0);
    }
    Gemm({terms.data(), joins ? 2u : 1u}, x.size(0), result);
  }
}

void Linear::ApplyTransposedInto(const at::Tensor& dy, const JoinedTerm& joined, bool accumulate, at::Tensor dx) const {
  std::array<GemmTerm, 2> terms{Term(dy, backward_), GemmTerm{}};
  if (joined.b != nullptr) terms[1] = Term(joined.x, *joined.b);
  GemmResult result = Into(dx, precision_);
  result.accumulate = accumulate;
  Gemm({terms.data(), joined.b != nullptr ? 2u : 1u}, dy.size(0), result);
}

int64_t Linear::ResidentBytes() const {
  int64_t bytes = backward_.Bytes();
  for (const PackedMatrix& part : forward_) bytes += part.Bytes();
  if (plain_weight_.defined()) bytes += static_cast<int64_t>(plain_weight_.nbytes());
  return bytes;
}

}  // namespace lorry
