// SwiGLU: silu(gate) * up, and its gradient. Source: "GLU Variants Improve Transformer", arXiv 2002.05202.
//
// CPU tensors take a vector kernel; tensors elsewhere, and the Plain forms, ATen operations.
#pragma once

#include <ATen/ATen.h>

namespace lorry {

// gate_up [T, 2 I] (gate columns, then up columns), contiguous, bf16 or fp32 -> [T, I].
at::Tensor SwiGlu(const at::Tensor& gate_up);
at::Tensor SwiGluPlain(const at::Tensor& gate_up);

struct SwiGluGradients {
  at::Tensor d_gate_up;  // [T, 2 I]
  at::Tensor y;          // [T, I]: the forward result once more; the next gradient needs it, and it is not kept
};
SwiGluGradients SwiGluBackward(const at::Tensor& dy, const at::Tensor& gate_up);
SwiGluGradients SwiGluBackwardPlain(const at::Tensor& dy, const at::Tensor& gate_up);

}  // namespace lorry
