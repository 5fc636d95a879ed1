#include "lora/adapted_projection.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "model/net/row_kernels.h"
#include "model/net/tensor_rows.h"

namespace lorry {
namespace {

GemmResult Into(const at::Tensor& y) {
  GemmResult result;
  result.y = y.data_ptr();
  result.y_stride = y.stride(0);
  result.fp32 = y.scalar_type() == at::kFloat;
  return result;
}

void Multiply(const at::Tensor& x, const PackedMatrix& b, const at::Tensor& y) {
  const std::array<GemmTerm, 1> term{GemmTerm{x.const_data_ptr(), x.stride(0), &b}};
  Gemm(term, x.size(0), Into(y));
}

}  // namespace

AdaptedProjection::AdaptedProjection(const Linear& base, std::vector<const AdaptedLinear*> parts, double dropout,
                                     Precision precision, at::Device device)
    : base_(&base), dropout_(dropout), precision_(precision), device_(device) {
  for (const AdaptedLinear* linear : parts) {
    Part part;
    part.linear = linear;
    if (linear != nullptr) {
      if (linear->dora && weight_squares_.empty()) weight_squares_ = base.RowSquares();
      part.u_begin = u_columns_;
      part.u_columns = RoundUp(linear->r, InnerMultiple(precision));
      u_columns_ += part.u_columns;
      if (device.is_cpu()) {
        part.b_forward = PackedMatrix(precision, part.u_columns, linear->out);
        part.b_backward = PackedMatrix(precision, linear->out, part.u_columns);
        if (dropout > 0.0) {
          part.a_forward = PackedMatrix(precision, base.in(), part.u_columns);
          part.a_backward = PackedMatrix(precision, part.u_columns, base.in());
        }
      }
    }
    parts_.push_back(std::move(part));
  }
  if (u_columns_ == 0 || !device.is_cpu()) return;
  a_forward_ = PackedMatrix(precision, base.in(), u_columns_);
  a_backward_ = PackedMatrix(precision, u_columns_, base.in());
}

void AdaptedProjection::Refresh(const at::Tensor& values) {
  if (!weight_squares_.empty()) RefreshScale(values);
  for (Part& part : parts_) {
    if (part.linear == nullptr) continue;
    const AdaptedLinear& l = *part.linear;
    const auto scaling = static_cast<float>(l.scaling);
    if (!device_.is_cpu()) {
      part.a = Adapter::ViewA(l, values).to(device_, ToScalarType(precision_), false, true);
      part.b = (Adapter::ViewB(l, values) * scaling).to(device_, ToScalarType(precision_));
      continue;
    }
    const float* a = values.const_data_ptr<float>() + l.a_offset;
    const float* b = values.const_data_ptr<float>() + l.b_offset;
    if (dropout_ > 0.0) {
      part.a_forward.PackFloats(a, {0, 0, l.in, l.r, 1, l.in}, 1.0f);
      part.a_backward.PackFloats(a, {0, 0, l.r, l.in, l.in, 1}, 1.0f);
    }
    a_forward_.PackFloats(a, {0, part.u_begin, l.in, l.r, 1, l.in}, 1.0f);
    a_backward_.PackFloats(a, {part.u_begin, 0, l.r, l.in, l.in, 1}, 1.0f);
    part.b_forward.PackFloats(b, {0, 0, l.r, l.out, 1, l.r}, scaling);
    part.b_backward.PackFloats(b, {0, 0, l.out, l.r, l.r, 1}, scaling);
  }
}

// |W_j + s B_j A|^2 = |W_j|^2 + B_j (2 s A W_j^T + s^2 (A A^T) B_j^T): no matrix of W's size is made. Sums in fp64 and in one
// order, whatever the threads.
std::vector<double> AdaptedProjection::RowLengths(const at::Tensor& values) const {
  std::vector<double> lengths(static_cast<size_t>(base_->out()), 1.0);
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i].linear == nullptr) continue;
    const AdaptedLinear& l = *parts_[i].linear;
    const at::Tensor a_Ri = Adapter::ViewA(l, values).cpu(), b_oR = Adapter::ViewB(l, values).cpu();
    const at::Tensor products_Ro = base_->ApplyWithoutBias(a_Ri.to(device_, ToScalarType(precision_))).to(at::kCPU, at::kFloat);
    const auto *a = a_Ri.const_data_ptr<float>(), *b = b_oR.const_data_ptr<float>();
    const float* p = products_Ro.const_data_ptr<float>() + base_->part_begin(i);
    std::vector<double> gram(static_cast<size_t>(l.r * l.r), 0.0);
    for (int64_t k = 0; k < l.r; ++k)
      for (int64_t m = 0; m < l.r; ++m)
        for (int64_t j = 0; j < l.in; ++j) gram[k * l.r + m] += static_cast<double>(a[k * l.in + j]) * a[m * l.in + j];
    for (int64_t o = 0; o < l.out; ++o) {
      double square = weight_squares_[static_cast<size_t>(base_->part_begin(i) + o)];
      for (int64_t k = 0; k < l.r; ++k) {
        double along = 2 * l.scaling * p[k * base_->out() + o];
        for (int64_t m = 0; m < l.r; ++m) along += l.scaling * l.scaling * gram[k * l.r + m] * b[o * l.r + m];
        square += b[o * l.r + k] * along;
      }
      lengths[static_cast<size_t>(base_->part_begin(i) + o)] = std::sqrt(std::max(square, 0.0));
    }
  }
  return lengths;
}

void AdaptedProjection::WriteMagnitudes(at::Tensor& values) const {
  if (weight_squares_.empty()) return;
  const std::vector<double> lengths = RowLengths(values);
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i].linear == nullptr) continue;
    const at::Tensor magnitudes = at::empty({base_->part_out(i)}, at::kFloat);
    std::copy_n(lengths.begin() + base_->part_begin(i), base_->part_out(i), magnitudes.data_ptr<float>());
    Adapter::ViewMagnitude(*parts_[i].linear, values).copy_(magnitudes);
  }
}

void AdaptedProjection::RefreshScale(const at::Tensor& values) {
  const std::vector<double> lengths = RowLengths(values);
  const at::Tensor scale = at::ones({base_->out()}, at::kFloat), inverse = at::ones({base_->out()}, at::kFloat);
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i].linear == nullptr) continue;
    const at::Tensor magnitudes = Adapter::ViewMagnitude(*parts_[i].linear, values).cpu();
    for (int64_t o = 0; o < base_->part_out(i); ++o) {
      const int64_t row = base_->part_begin(i) + o;
      const double length = lengths[static_cast<size_t>(row)];
      scale.data_ptr<float>()[row] = static_cast<float>(magnitudes.const_data_ptr<float>()[o] / length);
      inverse.data_ptr<float>()[row] = static_cast<float>(1.0 / length);
    }
  }
  scale_ = scale.to(device_), inverse_length_ = inverse.to(device_);
  if (base_->bias().defined()) shift_ = (1.0 - scale_) * base_->bias().to(at::kFloat);
}

at::Tensor AdaptedProjection::Scaled(const at::Tensor& raw, const at::Tensor& residual) const {
  if (!device_.is_cpu()) {
    at::Tensor y = raw * scale_;
    if (shift_.defined()) y = y + shift_;
    if (residual.defined()) y = y + residual;
    return y.to(raw.scalar_type());
  }
  const at::Tensor y = at::empty_like(raw);
  ScaleRows(precision_, RowsOf(raw), scale_.const_data_ptr<float>(), shift_.defined() ? shift_.const_data_ptr<float>() : nullptr,
            residual.defined() ? RowsOf(residual) : RowsIn{}, raw.size(0), raw.size(1), MutableRowsOf(y));
  return y;
}

at::Tensor AdaptedProjection::BackwardScale(const at::Tensor& dy, const at::Tensor& raw, at::Tensor& gradient) const {
  if (weight_squares_.empty()) return dy;
  // Without the bias, which no magnitude scales.
  const at::Tensor bare = base_->bias().defined() ? (raw - base_->bias()).to(raw.scalar_type()) : raw;
  const at::Tensor dy_rows = dy.contiguous();
  at::Tensor sums;
  if (device_.is_cpu()) {
    sums = at::empty({raw.size(1)}, at::kFloat);
    ColumnDots(precision_, RowsOf(dy_rows), RowsOf(bare), raw.size(0), raw.size(1), sums.data_ptr<float>());
  } else {
    sums = (dy_rows.to(at::kFloat) * bare.to(at::kFloat)).sum(0);
  }
  sums.mul_(inverse_length_);
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i].linear == nullptr) continue;
    Adapter::ViewMagnitude(*parts_[i].linear, gradient).copy_(sums.narrow(0, base_->part_begin(i), base_->part_out(i)));
  }
  if (!device_.is_cpu()) return (dy_rows * scale_).to(dy.scalar_type());
  const at::Tensor d_raw = at::empty_like(dy_rows);
  ScaleRows(precision_, RowsOf(dy_rows), scale_.const_data_ptr<float>(), nullptr, {}, dy.size(0), dy.size(1),
            MutableRowsOf(d_raw));
  return d_raw;
}

at::Tensor AdaptedProjection::Dropped(const Part& part, const at::Tensor& x, const DropoutKey& key, const at::Tensor& add) const {
  const DropoutMask mask =
      MakeDropoutMask(dropout_, key, static_cast<uint64_t>(part.linear->layer), static_cast<uint64_t>(part.linear->kind));
  if (device_.is_cpu()) {
    const at::Tensor rows = x.contiguous(), y = at::empty_like(rows);
    DropRows(precision_, RowsOf(rows), mask, add.defined() ? RowsOf(add) : RowsIn{}, x.size(0), x.size(1), MutableRowsOf(y));
    return y;
  }
  const at::Tensor kept = at::ones({x.size(0), x.size(1)}, at::kFloat);
  DropRows(Precision::kFp32, RowsOf(kept), mask, {}, x.size(0), x.size(1), MutableRowsOf(kept));
  const at::Tensor y = x * kept.to(device_, x.scalar_type());
  return add.defined() ? y + add : y;
}

void AdaptedProjection::ForwardLowRank(const at::Tensor& x, const DropoutKey* key, const at::Tensor& u) const {
  if (!Drops(key)) return Multiply(x, a_forward_, u);
  for (const Part& part : parts_) {
    if (part.linear == nullptr) continue;
    Multiply(Dropped(part, x, *key, {}), part.a_forward, u.narrow(1, part.u_begin, part.u_columns));
  }
}

AdaptedProjection::Output AdaptedProjection::Forward(const at::Tensor& x, const at::Tensor& residual,
                                                     const DropoutKey* key) const {
  if (!device_.is_cpu()) return ForwardPlain(x, residual, key);
  const bool dora = !weight_squares_.empty();
  Output output{at::empty({x.size(0), base_->out()}, x.options()), {}, {}};
  std::vector<JoinedTerm> joined;
  if (u_columns_ > 0) {
    output.u = at::empty({x.size(0), u_columns_}, x.options());
    ForwardLowRank(x, key, output.u);
    for (const Part& part : parts_) {
      joined.push_back(part.linear == nullptr ? JoinedTerm{}
                                              : JoinedTerm{output.u.narrow(1, part.u_begin, part.u_columns), &part.b_forward});
    }
  }
  base_->ApplyInto(x, joined, dora ? at::Tensor() : residual, output.y);
  if (dora) output.y = Scaled(output.raw = output.y, residual);
  return output;
}

AdaptedProjection::InputGradient AdaptedProjection::BackwardInput(const at::Tensor& dy, bool want_dx,
                                                                  const DropoutKey* key) const {
  if (!device_.is_cpu()) return BackwardInputPlain(dy, want_dx, key);
  InputGradient gradient;
  if (u_columns_ > 0) {
    gradient.du = at::empty({dy.size(0), u_columns_}, dy.options());
    for (size_t i = 0; i < parts_.size(); ++i) {
      const Part& part = parts_[i];
      if (part.linear == nullptr) continue;
      Multiply(dy.narrow(1, base_->part_begin(i), base_->part_out(i)), part.b_backward,
               gradient.du.narrow(1, part.u_begin, part.u_columns));
    }
  }
  if (!want_dx) return gradient;
  gradient.dx = at::empty({dy.size(0), base_->in()}, dy.options());
  const bool joins = u_columns_ > 0 && !Drops(key);
  base_->ApplyTransposedInto(dy, joins ? JoinedTerm{gradient.du, &a_backward_} : JoinedTerm{}, false, gradient.dx);
  if (!Drops(key)) return gradient;
  const at::Tensor through = at::empty_like(gradient.dx);
  for (const Part& part : parts_) {
    if (part.linear == nullptr) continue;
    Multiply(gradient.du.narrow(1, part.u_begin, part.u_columns), part.a_backward, through);
    gradient.dx = Dropped(part, through, *key, gradient.dx);
  }
  return gradient;
}

// A's gradient of one part whose input is its own.
void AdaptedProjection::BackwardMatrix(const Part& part, const at::Tensor& x, const at::Tensor& du, at::Tensor& gradient) const {
  const AdaptedLinear& l = *part.linear;
  const at::Tensor du_part = du.narrow(1, part.u_begin, l.r);
  GemmTransposed({precision_, du_part.const_data_ptr(), du.stride(0), l.r, x.const_data_ptr(), x.stride(0), base_->in(),
                  x.size(0), 1.0f, gradient.data_ptr<float>() + l.a_offset, base_->in(), false});
}

void AdaptedProjection::BackwardMatrices(const at::Tensor& x, const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du,
                                         at::Tensor& gradient, const DropoutKey* key) const {
  if (u_columns_ == 0) return;
  at::Tensor da;  // [U, in], all parts at once where they read one input: x is packed once
  if (device_.is_cpu() && !Drops(key)) {
    da = at::empty({u_columns_, base_->in()}, at::kFloat);
    GemmTransposed({precision_, du.const_data_ptr(), du.stride(0), u_columns_, x.const_data_ptr(), x.stride(0), base_->in(),
                    x.size(0), 1.0f, da.data_ptr<float>(), base_->in(), false});
  }
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    if (part.linear == nullptr) continue;
    const AdaptedLinear& l = *part.linear;
    const at::Tensor dy_part = dy.narrow(1, base_->part_begin(i), base_->part_out(i));
    const at::Tensor x_part = Drops(key) ? Dropped(part, x, *key, {}) : x;
    if (device_.is_cpu()) {
      if (da.defined()) {
        Adapter::ViewA(l, gradient).copy_(da.narrow(0, part.u_begin, l.r));
      } else {
        BackwardMatrix(part, x_part, du, gradient);
      }
      const at::Tensor u_part = u.narrow(1, part.u_begin, l.r);
      GemmTransposed({precision_, u_part.const_data_ptr(), u.stride(0), l.r, dy_part.const_data_ptr(), dy.stride(0), l.out,
                      dy.size(0), static_cast<float>(l.scaling), gradient.data_ptr<float>() + l.b_offset, l.r, true});
    } else {
      const at::Tensor du_part = du.narrow(1, part.u_begin, l.r), u_part = u.narrow(1, part.u_begin, l.r);
      Adapter::ViewA(l, gradient).copy_(at::matmul(du_part.t(), x_part));
      Adapter::ViewB(l, gradient).copy_(at::matmul(dy_part.t(), u_part).to(at::kFloat) * l.scaling);
    }
  }
}

AdaptedProjection::Output AdaptedProjection::ForwardPlain(const at::Tensor& x, const at::Tensor& residual,
                                                          const DropoutKey* key) const {
  Output output{base_->Apply(x), {}, {}};
  if (u_columns_ > 0) output.u = at::zeros({x.size(0), u_columns_}, x.options());
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    if (part.linear == nullptr) continue;
    at::Tensor u = output.u.narrow(1, part.u_begin, part.linear->r);
    u.copy_(at::matmul(Drops(key) ? Dropped(part, x, *key, {}) : x, part.a.t()));
    output.y.narrow(1, base_->part_begin(i), base_->part_out(i)).add_(at::matmul(u, part.b.t()));
  }
  if (!weight_squares_.empty()) {
    output.y = Scaled(output.raw = output.y, residual);
  } else if (residual.defined()) {
    output.y.add_(residual);
  }
  return output;
}

AdaptedProjection::InputGradient AdaptedProjection::BackwardInputPlain(const at::Tensor& dy, bool want_dx,
                                                                       const DropoutKey* key) const {
  InputGradient gradient;
  if (want_dx) gradient.dx = base_->ApplyTransposed(dy);
  if (u_columns_ > 0) gradient.du = at::zeros({dy.size(0), u_columns_}, dy.options());
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    if (part.linear == nullptr) continue;
    at::Tensor du = gradient.du.narrow(1, part.u_begin, part.linear->r);
    du.copy_(at::matmul(dy.narrow(1, base_->part_begin(i), base_->part_out(i)), part.b));
    if (!want_dx) continue;
    const at::Tensor through = at::matmul(du, part.a);
    gradient.dx = Drops(key) ? Dropped(part, through, *key, gradient.dx) : gradient.dx + through;
  }
  return gradient;
}

}  // namespace lorry
