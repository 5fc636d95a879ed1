// RMSNorm as transformers' LlamaRMSNorm: x / sqrt(mean(x^2) + eps) * w, the mean in fp32, one rounding at the end.
// Source: "Root Mean Square Layer Normalization", arXiv 1910.07467.
//
// CPU tensors take a vector kernel; tensors elsewhere, and RmsNormPlain, plain ATen operations.
#pragma once

#include <ATen/ATen.h>

namespace lorry {

// x [..., M] bf16 or fp32, contiguous in its last dimension; weight_M fp32; result like x, contiguous.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight_M, double eps);
at::Tensor RmsNormPlain(const at::Tensor& x, const at::Tensor& weight_M, double eps);

// d loss / d x for dy like x, plus `passing` (like x, may be undefined): the gradient that reaches x past the norm. The
// weight is frozen and has no gradient.
at::Tensor RmsNormBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_M, double eps,
                           const at::Tensor& passing = {});
at::Tensor RmsNormBackwardPlain(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_M, double eps);

// The same over the last dimension of each head, in place on x [T, H, D] (strides free but for the last, which is 1): what
// Qwen3 does to q and k before their positions. weight_D fp32.
void RmsNormHeads(at::Tensor x_THD, const at::Tensor& weight_D, double eps);
// In place on dy [T, H, D]: from the gradient by the norm's result to that by x, which is as it came in.
void RmsNormHeadsBackward(at::Tensor dy_THD, const at::Tensor& x_THD, const at::Tensor& weight_D, double eps);

}  // namespace lorry
