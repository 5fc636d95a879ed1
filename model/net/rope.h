// Rotary positions, half-split as transformers' rotate_half: the pair (x[i], x[i + D/2]) is turned by position * f[i].
// Sources: "RoFormer", arXiv 2104.09864; the scaled types ("YaRN", arXiv 2309.00071, "LongRoPE", arXiv 2402.13753) as
// transformers' modeling_rope_utils.
#pragma once

#include <ATen/ATen.h>

#include "model/format/model_config.h"

namespace lorry {

// cos and sin, fp32 [rows, D / 2], the type's attention factor in them: row p is position p, for p below `positions`. longrope
// has as many rows again, for the positions of sequences longer than original_max_position_embeddings (FirstRopeRow).
//
// dynamic turns as default does: its stretch begins beyond max_position_embeddings, which is the longest sequence here.
struct RopeTables {
  at::Tensor cos, sin;
};
RopeTables MakeRopeTables(const RopeConfig& rope, int64_t head_dim, int64_t positions);

// The row of position 0 in a sequence of `length`, in the tables made for `positions`.
int64_t FirstRopeRow(const RopeConfig& rope, int64_t length, int64_t positions);

enum class RopeDirection { kForward, kBackward };  // backward turns the other way: the gradient

// In place on x [T, H, D] (strides free but for the last, which is 1), bf16 or fp32. positions [T] int32, each below
// the tables' rows.
void ApplyRope(at::Tensor x_THD, const at::Tensor& positions, const at::Tensor& cos, const at::Tensor& sin,
               RopeDirection direction = RopeDirection::kForward);
at::Tensor ApplyRopePlain(const at::Tensor& x_THD, const at::Tensor& positions, const at::Tensor& cos, const at::Tensor& sin,
                          RopeDirection direction = RopeDirection::kForward);

}  // namespace lorry
