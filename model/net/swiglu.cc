#include "model/net/swiglu.h"

#include "model/net/row_kernels.h"
#include "model/net/tensor_rows.h"

namespace lorry {
at::Tensor SwiGluPlain(const at::Tensor& gate_up) {
  const std::vector<at::Tensor> halves = Widen(gate_up).chunk(2, -1);
  return (at::silu(halves[0]) * halves[1]).to(gate_up.scalar_type());
}

SwiGluGradients SwiGluBackwardPlain(const at::Tensor& dy, const at::Tensor& gate_up) {
  const std::vector<at::Tensor> halves = Widen(gate_up).chunk(2, -1);
  const at::Tensor d = Widen(dy), sigmoid = at::sigmoid(halves[0]), silu = halves[0] * sigmoid;
  const at::Tensor d_gate = d * halves[1] * (sigmoid + silu * (1 - sigmoid));
  return {at::cat({d_gate, d * silu}, -1).to(gate_up.scalar_type()), (silu * halves[1]).to(gate_up.scalar_type())};
}

at::Tensor SwiGlu(const at::Tensor& gate_up) {
  if (!HasKernel(gate_up)) return SwiGluPlain(gate_up);
  const at::Tensor rows = gate_up.contiguous();
  const int64_t width = rows.size(-1) / 2;
  at::Tensor y = at::empty({rows.size(0), width}, rows.options());
  SwiGluRows(PrecisionOf(rows), RowsOf(rows), rows.size(0), width, MutableRowsOf(y));
  return y;
}

SwiGluGradients SwiGluBackward(const at::Tensor& dy, const at::Tensor& gate_up) {
  if (!HasKernel(gate_up)) return SwiGluBackwardPlain(dy, gate_up);
  const at::Tensor rows = gate_up.contiguous(), d_rows = dy.contiguous();
  SwiGluGradients gradients{at::empty_like(rows), at::empty_like(d_rows)};
  SwiGluRowsBackward(PrecisionOf(rows), RowsOf(d_rows), RowsOf(rows), rows.size(0), rows.size(-1) / 2,
                     MutableRowsOf(gradients.d_gate_up), MutableRowsOf(gradients.y));
  return gradients;
}

}  // namespace lorry
