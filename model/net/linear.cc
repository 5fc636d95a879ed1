#include "model/net/linear.h"

#include <algorithm>
#include <array>

#include "model/net/nf4_panels.h"

namespace lorry {
namespace {

GemmTerm Term(const at::Tensor& x, const PanelMatrix& b) {
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

Linear::Linear(const std::vector<LinearPart>& parts, Precision precision, bool backward) : precision_(precision) {
  std::vector<at::Tensor> weights, biases;
  for (const LinearPart& part : parts) {
    AddPart(part.weight.size(0), part.weight.size(1));
    weights.push_back(part.weight.to(ToScalarType(precision)).contiguous());
    biases.push_back(part.bias);
  }
  SetBias(biases, parts[0].weight.device());
  const at::Tensor all = weights.size() == 1 ? weights[0] : at::cat(weights);
  if (!all.is_cpu()) {
    plain_weight_ = all;
    resident_bytes_ = static_cast<int64_t>(all.nbytes());
    return;
  }
  const auto pack = [&](const at::Tensor& weight, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride) {
    auto packed = std::make_unique<PackedMatrix>(precision, k, n);
    packed->Pack(weight.const_data_ptr(), row_stride, column_stride);
    resident_bytes_ += packed->Bytes();
    return packed;
  };
  for (const at::Tensor& weight : weights) forward_.push_back(pack(weight, in_, weight.size(0), 1, in_));
  if (backward) backward_ = pack(all, out_, in_, in_, 1);
}

Linear::Linear(const std::vector<Nf4LinearPart>& parts, Precision precision, bool backward, at::Device device)
    : precision_(precision) {
  std::vector<std::shared_ptr<const Nf4Tensor>> weights;
  std::vector<at::Tensor> biases;
  for (const Nf4LinearPart& part : parts) {
    AddPart(part.weight->shape[0], part.weight->shape[1]);
    weights.push_back(part.weight);
    biases.push_back(part.bias);
    resident_bytes_ += part.weight->Bytes();
  }
  SetBias(biases, device);
  for (const auto& weight : weights) {
    if (device.is_cpu()) {
      forward_.push_back(std::make_unique<Nf4Forward>(precision, weight));
    } else {
      plain_nf4_.emplace_back(*weight, device);
    }
  }
  if (device.is_cpu() && backward) backward_ = std::make_unique<Nf4Backward>(precision, std::move(weights));
}

void Linear::AddPart(int64_t out, int64_t in) {
  part_begin_.push_back(out_);
  part_out_.push_back(out);
  out_ += out;
  in_ = in;
}

void Linear::SetBias(const std::vector<at::Tensor>& biases, at::Device device) {
  const auto biased = std::find_if(biases.begin(), biases.end(), [](const at::Tensor& bias) { return bias.defined(); });
  if (biased == biases.end()) return;
  std::vector<at::Tensor> whole;
  for (size_t i = 0; i < biases.size(); ++i) {
    whole.push_back(biases[i].defined() ? biases[i] : at::zeros({part_out_[i]}, biased->options()));
  }
  bias_ = at::cat(whole).to(device.is_cpu() ? at::kFloat : ToScalarType(precision_)).contiguous();
}

at::Tensor Linear::PlainWeight() const {
  if (plain_weight_.defined()) return plain_weight_;
  std::vector<at::Tensor> weights;
  for (const Nf4OnDevice& weight : plain_nf4_) weights.push_back(weight.Dequantize(ToScalarType(precision_)));
  return weights.size() == 1 ? weights[0] : at::cat(weights);
}

at::Tensor Linear::Apply(const at::Tensor& x) const {
  if (forward_.empty()) return at::linear(x, PlainWeight(), bias_);
  at::Tensor y = at::empty({x.size(0), out_}, x.options());
  ApplyInto(x, {}, {}, y);
  return y;
}

at::Tensor Linear::ApplyWithoutBias(const at::Tensor& x) const {
  if (forward_.empty()) return at::matmul(x, PlainWeight().t()).to(at::kFloat);
  at::Tensor y = at::empty({x.size(0), out_}, x.options().dtype(at::kFloat));
  Multiply(x, {}, {}, nullptr, y);
  return y;
}

std::vector<double> Linear::RowSquares() const {
  std::vector<double> squares;
  if (forward_.empty()) {
    const at::Tensor sums = PlainWeight().to(at::kDouble).square().sum(1).cpu();
    squares.assign(sums.const_data_ptr<double>(), sums.const_data_ptr<double>() + sums.numel());
    return squares;
  }
  for (const auto& part : forward_) AppendColumnSquares(*part, squares);
  return squares;
}

at::Tensor Linear::ApplyTransposed(const at::Tensor& dy) const {
  if (forward_.empty()) return at::matmul(dy, PlainWeight());
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
    std::array<GemmTerm, 2> terms{Term(x, *forward_[i]), GemmTerm{}};
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
  std::array<GemmTerm, 2> terms{Term(dy, *backward_), GemmTerm{}};
  if (joined.b != nullptr) terms[1] = Term(joined.x, *joined.b);
  GemmResult result = Into(dx, precision_);
  result.accumulate = accumulate;
  Gemm({terms.data(), joined.b != nullptr ? 2u : 1u}, dy.size(0), result);
}

}  // namespace lorry
