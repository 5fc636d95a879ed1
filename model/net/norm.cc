#include "model/net/norm.h"

#include "model/net/row_kernels.h"
#include "model/net/tensor_rows.h"

namespace lorry {
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

}  // namespace lorry
