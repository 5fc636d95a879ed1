// A frozen linear with the adapter's matrices on its parts: forward, gradient by the input, gradient by the matrices.
//
// On the CPU the low-rank products join the base's in one pass (gemm.h): u = x A^T is computed for all parts at once, and
// y = x W^T + u (scaling B)^T is written once; a part has as many columns of u as a product's inner size takes. Elsewhere ATen
// does the same in plain steps.
//
// Shapes: T tokens, U columns of u.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "lora/adapter.h"
#include "model/net/linear.h"

namespace lorry {

class AdaptedProjection {
 public:
  // `parts`: one entry per part of `base`, null where it has no adapter. `base` outlives this.
  AdaptedProjection(const Linear& base, std::vector<const AdaptedLinear*> parts, Precision precision, at::Device device);

  // Takes over the adapter's values. No lane may be inside.
  void Refresh(const at::Tensor& values);

  struct Output {
    at::Tensor y;  // [T, out]
    at::Tensor u;  // [T, U], kept for the gradient; undefined without an adapter
  };
  // `residual` ([T, out], may be undefined) is added.
  Output Forward(const at::Tensor& x, const at::Tensor& residual) const;

  struct InputGradient {
    at::Tensor dx;  // [T, in]; undefined where not wanted
    at::Tensor du;  // [T, U]
  };
  InputGradient BackwardInput(const at::Tensor& dy, bool want_dx) const;

  // Writes the gradients of A and B into their places in the flat `gradient`. x, u and dy as in Forward, du of BackwardInput.
  void BackwardMatrices(const at::Tensor& x, const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du,
                        at::Tensor& gradient) const;

 private:
  struct Part {
    const AdaptedLinear* linear = nullptr;
    int64_t u_begin = 0, u_columns = 0;  // its columns of u; r of them are used
    PackedMatrix b_forward;              // [u_columns, out], scaled
    PackedMatrix b_backward;             // [out, u_columns], scaled
    at::Tensor a, b;                     // elsewhere: plain, b scaled
  };
  Output ForwardPlain(const at::Tensor& x, const at::Tensor& residual) const;
  InputGradient BackwardInputPlain(const at::Tensor& dy, bool want_dx) const;

  const Linear* base_;
  Precision precision_;
  at::Device device_;
  std::vector<Part> parts_;
  int64_t u_columns_ = 0;
  PackedMatrix a_forward_;   // [in, U]
  PackedMatrix a_backward_;  // [U, in]
};

}  // namespace lorry
