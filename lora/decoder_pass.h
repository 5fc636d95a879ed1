// One micro-batch through the decoder, forward and backward, written out layer by layer.
//
// A layer keeps its input, what attention made and the MLP's gate and up; norms and SwiGLU are computed again. In backward
// the layers are freed from the last to the first. Where only targets are wanted, the last layer goes on from its attention with
// the positions that predict one: completions are often a tenth of their rows. No state is shared between passes: one object, one
// micro-batch, one thread.
//
// Shapes: T tokens, M model width, N targets, W wanted positions: T or N.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "lora/adapted_projection.h"
#include "lora/expert_mlp.h"
#include "model/net/packed_batch.h"
#include "model/net/rope.h"
#include "model/net/weights.h"

namespace lorry {

// One decoder layer's weights with the adapter on them.
struct AdaptedLayer {
  AdaptedProjection qkv, o, gate_up, down;  // the last two with nothing in them where the MLP is sparse
  std::optional<AdaptedExperts> experts;    // where it is
};

enum class WantedPositions { kAll, kPredicting };  // all, or those that predict a target

class DecoderPass {
 public:
  // `base`, `layers`, `batch` and `dropout` (null: none) outlive the pass. REQUIRES: the batch fits the model.
  DecoderPass(const DecoderWeights& base, const std::vector<AdaptedLayer>& layers, const PackedBatch& batch,
              WantedPositions wanted, const DropoutKey* dropout);

  // Through all layers. With `keep` what Backward needs is kept.
  void Forward(bool keep);
  // The last norm's output at the wanted positions [W, M].
  at::Tensor FinalHidden() const;
  at::Tensor TargetIds() const;  // [N] int32: the tokens that the predicting positions predict

  // REQUIRES: kPredicting, Forward(true). d_hidden [N, M]: gradient by FinalHidden(). Every place of `gradient` is written.
  void Backward(const at::Tensor& d_hidden_NM, at::Tensor& gradient);

 private:
  struct Tape {
    at::Tensor x, x_middle;  // residual stream before attention [T, M], before the MLP [T, M], in the last layer [W, M]
    at::Tensor qkv;          // after rotary positions; before the heads' norms where the family has them
    at::Tensor attended, log_sum_exp;
    at::Tensor gate_up;
    at::Tensor u_qkv, u_o, u_gate_up, u_down;
    at::Tensor raw_qkv, raw_o, raw_gate_up, raw_down;  // with DoRA
    AdaptedExperts::Tape experts;                      // in place of gate_up where the MLP is sparse
  };
  struct Heads {
    at::Tensor q, k, v;  // views of one [T, (heads + 2 kv_heads) D]
  };
  Heads Split(const at::Tensor& qkv) const;
  void Rope(const at::Tensor& qkv, RopeDirection direction) const;
  // q and k as attention reads them: normed head by head where the family does, then turned to their positions. In place.
  void Place(size_t index, const at::Tensor& qkv) const;
  // From the gradient by placed q, k and v to that by the projection's result. In place.
  void Unplace(size_t index, const at::Tensor& d_qkv, const at::Tensor& qkv) const;
  at::Tensor LayerForward(size_t index, const at::Tensor& x, Tape& tape) const;
  at::Tensor LayerBackward(size_t index, const at::Tensor& dx, Tape tape, at::Tensor& gradient) const;
  at::Tensor MlpForward(size_t index, Tape& tape) const;
  at::Tensor MlpBackward(size_t index, const at::Tensor& dx, const Tape& tape, at::Tensor& gradient) const;
  int64_t Window(size_t layer) const;
  // From the last layer's attention on: the wanted rows of x, and a gradient by them as one by all rows. Else x and dx.
  bool Narrows(size_t index) const;
  at::Tensor Narrow(size_t index, const at::Tensor& x) const;
  at::Tensor Widen(size_t index, const at::Tensor& dx) const;

  const DecoderWeights& base_;
  const ModelConfig& config_;
  const std::vector<AdaptedLayer>& layers_;
  const PackedBatch& batch_;
  const WantedPositions wanted_;
  const DropoutKey* dropout_;
  at::Tensor positions_;   // [T] int32: each token's row of the rotary tables
  at::Tensor predicting_;  // [N] int64
  at::Tensor x_;           // the residual stream [T, M], at the end [W, M]
  std::vector<Tape> tapes_;
};

}  // namespace lorry
