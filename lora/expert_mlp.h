// The sparse MLP of one layer with the adapter on its router and experts: forward and gradient (model/net/experts.h has the
// rules).
//
// Kept from forward to backward: the routing, and of each expert its gate and up and what its adapter made; the rest is computed
// again. An expert's result itself is not needed: its product with the gradient, by which the router learns, is that of the
// expert's inner activations with theirs. No load-balancing loss: PEFT has none either unless output_router_logits is set.
//
// The weights outlive it. Threads: as AdaptedProjection.
//
// Shapes: T tokens, M model width, E experts, S tokens by expert, n those of one.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "lora/adapted_projection.h"
#include "model/net/experts.h"
#include "model/net/weights.h"

namespace lorry {

class AdaptedExperts {
 public:
  // REQUIRES: layer `index` of `base` is sparse.
  AdaptedExperts(const DecoderWeights& base, const Adapter& adapter, int64_t index);

  // Takes over the adapter's values. No lane may be inside.
  void Refresh(const at::Tensor& values);

  struct Tape {
    struct Expert {
      at::Tensor gate_up, u_gate_up, u_down;
    };
    Routing routing;
    at::Tensor u_router;
    std::vector<Expert> experts;  // those without tokens have nothing
  };
  // residual [T, M] + what the experts make of x [T, M] (normed) -> [T, M].
  at::Tensor Forward(const at::Tensor& x_TM, const at::Tensor& residual_TM, Tape& tape) const;

  // d_y [T, M]: gradient by the result -> that by x. Every place of `gradient` that is the router's or an expert's is written.
  at::Tensor Backward(const at::Tensor& d_y_TM, const at::Tensor& x_TM, const Tape& tape, at::Tensor& gradient) const;

 private:
  struct Expert {
    AdaptedProjection gate_up, down;
    std::vector<const AdaptedLinear*> adapted;
  };
  // One expert's rows: adds to d_x, and writes their products with the gradient (Routing) into `weighted_n`.
  void ExpertBackward(size_t index, const at::Tensor& d_y_TM, const at::Tensor& x_TM, const Tape& tape, at::Tensor& d_x_TM,
                      at::Tensor weighted_n, at::Tensor& gradient) const;

  int64_t per_token_;
  bool renormalize_;
  AdaptedProjection router_;
  std::vector<Expert> experts_;
};

}  // namespace lorry
