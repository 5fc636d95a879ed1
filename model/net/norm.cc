#include "model/net/norm.h"

#include "model/net/row_kernels.h"
#include "model/net/tensor_rows.h"

namespace lorry {
namespace {

// One head of all rows.
RowsIn HeadIn(const at::Tensor& x_THD, int64_t head) {
  return {static_cast<const std::byte*>(x_THD.const_data_ptr()) + head * x_THD.stride(1) * x_THD.element_size(), x_THD.stride(0)};
}
RowsOut HeadOut(const at::Tensor& x_THD, int64_t head) {
  return {static_cast<std::byte*>(x_THD.data_ptr()) + head * x_THD.stride(1) * x_THD.element_size(), x_THD.stride(0)};
}

}  // namespace

at::Tensor RmsNormPlain(const at::Tensor& x, const at::Tensor& weight_M, double eps) {
  const at::Tensor wide = Widen(x);
  const at::Tensor inverse = at::rsqrt(wide.square().mean(-1, true) + eps);
  return (wide * inverse * weight_M).to(x.scalar_type());
}

at::Tensor RmsNormBackwardPlain(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_M, double eps) {
  const at::Tensor wide = Widen(x), scaled = Widen(dy) * weight_M;
  const at::Tensor inverse = at::rsqrt(wide.square().mean(-1, true) + eps);
  const at::Tensor along = (scaled * wide).mean(-1, true) * inverse.square();
  return (inverse * (scaled - wide * along)).to(x.scalar_type());
}

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight_M, double eps) {
  if (!HasKernel(x)) return RmsNormPlain(x, weight_M, eps);
  const at::Tensor rows = x.contiguous();
  at::Tensor y = at::empty_like(rows);
  NormRows(PrecisionOf(x), RowsOf(rows), weight_M.const_data_ptr<float>(), eps, rows.numel() / rows.size(-1), rows.size(-1),
           MutableRowsOf(y));
  return y;
}

at::Tensor RmsNormBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_M, double eps,
                           const at::Tensor& passing) {
  if (!HasKernel(x)) {
    const at::Tensor dx = RmsNormBackwardPlain(dy, x, weight_M, eps);
    return passing.defined() ? dx + passing : dx;
  }
  const at::Tensor rows = x.contiguous(), d_rows = dy.contiguous();
  at::Tensor dx = at::empty_like(rows);
  NormRowsBackward(PrecisionOf(x), RowsOf(d_rows), RowsOf(rows), weight_M.const_data_ptr<float>(), eps,
                   passing.defined() ? RowsOf(passing) : RowsIn{}, rows.numel() / rows.size(-1), rows.size(-1),
                   MutableRowsOf(dx));
  return dx;
}

void RmsNormHeads(at::Tensor x_THD, const at::Tensor& weight_D, double eps) {
  if (!HasKernel(x_THD)) {
    x_THD.copy_(RmsNormPlain(x_THD, weight_D, eps));
    return;
  }
  for (int64_t head = 0; head < x_THD.size(1); ++head) {
    NormRows(PrecisionOf(x_THD), HeadIn(x_THD, head), weight_D.const_data_ptr<float>(), eps, x_THD.size(0), x_THD.size(2),
             HeadOut(x_THD, head));
  }
}

void RmsNormHeadsBackward(at::Tensor dy_THD, const at::Tensor& x_THD, const at::Tensor& weight_D, double eps) {
  if (!HasKernel(dy_THD)) {
    dy_THD.copy_(RmsNormBackwardPlain(dy_THD, x_THD, weight_D, eps));
    return;
  }
  for (int64_t head = 0; head < dy_THD.size(1); ++head) {
    NormRowsBackward(PrecisionOf(dy_THD), HeadIn(dy_THD, head), HeadIn(x_THD, head), weight_D.const_data_ptr<float>(), eps, {},
                     dy_THD.size(0), dy_THD.size(2), HeadOut(dy_THD, head));
  }
}

}  // namespace lorry
