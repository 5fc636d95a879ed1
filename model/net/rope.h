// Rotary positions, half-split as transformers' rotate_half: the pair (x[i], x[i + D/2]) is turned by position * f[i].
// Sources: "RoFormer", arXiv 2104.09864; the scaled types as transformers' modeling_rope_utils.
#pragma once

#include <ATen/ATen.h>

#include <utility>

#include "base/result.h"
#include "model/format/model_config.h"

namespace lorry {

// cos and sin, fp32 [positions, D / 2], the type's attention factor in them. kUnsupported for a type not built.
Result<std::pair<at::Tensor, at::Tensor>> RopeTables(const RopeConfig& rope, int64_t head_dim, int64_t positions);

enum class RopeDirection { kForward, kBackward };  // backward turns the other way: the gradient

// In place on x [T, H, D] (strides free but for the last, which is 1), bf16 or fp32. positions [T] int32, each below
// the tables' rows.
void ApplyRope(at::Tensor x_THD, const at::Tensor& positions, const at::Tensor& cos, const at::Tensor& sin,
               RopeDirection direction = RopeDirection::kForward);
at::Tensor ApplyRopePlain(const at::Tensor& x_THD, const at::Tensor& positions, const at::Tensor& cos, const at::Tensor& sin,
                          RopeDirection direction = RopeDirection::kForward);

}  // namespace lorry
