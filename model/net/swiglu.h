// SwiGLU: silu(gate) * up, and its gradient. Source: "GLU Variants Improve Transformer", arXiv 2002.05202.
#pragma once

#include <ATen/ATen.h>

namespace lorry {

// gate_up [T, 2 I] (gate columns, then up columns), contiguous, bf16 or fp32 -> [T, I].
at::Tensor SwiGlu(const at::Tensor& gate_up);
at::Tensor SwiGluPlain(const at::Tensor& gate_up);

// d loss / d gate_up [T, 2 I] for dy [T, I].
at::Tensor SwiGluBackward(const at::Tensor& dy, const at::Tensor& gate_up);
at::Tensor SwiGluBackwardPlain(const at::Tensor& dy, const at::Tensor& gate_up);

}  // namespace lorry
