// A frozen linear with the adapter's matrices on its parts: forward, gradient by the input, gradient by the matrices.
//
// On the CPU the low-rank products join the base's in one pass (gemm.h): u = x A^T is computed for all parts at once, and
// y = x W^T + u (scaling B)^T is written once; a part has as many columns of u as a product's inner size takes. Elsewhere ATen
// does the same in plain steps.
//
// With dropout each part's A reads an input of its own, some elements of which are zero (model/net/dropout.h), as in PEFT; such
// inputs are made again in the backward pass.
//
// With DoRA what the products give, `raw`, is scaled column by column once they are done; bias and residual stay as they are.
//
// Shapes: T tokens, U columns of u.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "lora/adapter.h"
#include "model/net/dropout.h"
#include "model/net/linear.h"

namespace lorry {

class AdaptedProjection {
 public:
  // `parts`: one entry per part of `base`, null where it has no adapter. `base` outlives this. `dropout`: of the inputs, where a
  // pass has a key.
  AdaptedProjection(const Linear& base, std::vector<const AdaptedLinear*> parts, double dropout, Precision precision,
                    at::Device device);

  // Takes over the adapter's values. No lane may be inside.
  void Refresh(const at::Tensor& values);

  // Sets DoRA's magnitudes in `values` to the rows' present lengths, so that they change nothing yet: as PEFT begins.
  void WriteMagnitudes(at::Tensor& values) const;

  struct Output {
    at::Tensor y;    // [T, out]
    at::Tensor u;    // [T, U], kept for the gradient; undefined without an adapter
    at::Tensor raw;  // [T, out] before DoRA's scale (with the bias), kept for the gradient; undefined without DoRA
  };
  // `residual` ([T, out], may be undefined) is added. `key`: whose masks drop inputs; null: nothing is dropped. The same in all
  // three calls.
  Output Forward(const at::Tensor& x, const at::Tensor& residual, const DropoutKey* key) const;

  // From the gradient by y to that by the products, and the magnitudes' own gradient into its place in `gradient`. dy itself
  // without DoRA. What follows takes its result.
  at::Tensor BackwardScale(const at::Tensor& dy, const at::Tensor& raw, at::Tensor& gradient) const;

  struct InputGradient {
    at::Tensor dx;  // [T, in]; undefined where not wanted
    at::Tensor du;  // [T, U]
  };
  InputGradient BackwardInput(const at::Tensor& dy, bool want_dx, const DropoutKey* key) const;

  // Writes the gradients of A and B into their places in the flat `gradient`. x, u and dy as in Forward, du of BackwardInput.
  void BackwardMatrices(const at::Tensor& x, const at::Tensor& u, const at::Tensor& dy, const at::Tensor& du,
                        at::Tensor& gradient, const DropoutKey* key) const;

 private:
  struct Part {
    const AdaptedLinear* linear = nullptr;
    int64_t u_begin = 0, u_columns = 0;  // its columns of u; r of them are used
    PackedMatrix b_forward;              // [u_columns, out], scaled
    PackedMatrix b_backward;             // [out, u_columns], scaled
    PackedMatrix a_forward, a_backward;  // with dropout: [in, u_columns], [u_columns, in]
    at::Tensor a, b;                     // elsewhere: plain, b scaled
  };
  // Of each row of W + scaling B A, [out] fp64, by values; 1 where the part has no adapter.
  std::vector<double> RowLengths(const at::Tensor& values) const;
  void RefreshScale(const at::Tensor& values);
  at::Tensor Scaled(const at::Tensor& raw, const at::Tensor& residual) const;
  bool Drops(const DropoutKey* key) const { return key != nullptr && dropout_ > 0.0 && u_columns_ > 0; }
  // `x` as the part's A reads it, plus `add` where that is defined.
  at::Tensor Dropped(const Part& part, const at::Tensor& x, const DropoutKey& key, const at::Tensor& add) const;
  void ForwardLowRank(const at::Tensor& x, const DropoutKey* key, const at::Tensor& u) const;
  void BackwardMatrix(const Part& part, const at::Tensor& x, const at::Tensor& du, at::Tensor& gradient) const;
  Output ForwardPlain(const at::Tensor& x, const at::Tensor& residual, const DropoutKey* key) const;
  InputGradient BackwardInputPlain(const at::Tensor& dy, bool want_dx, const DropoutKey* key) const;

  const Linear* base_;
  double dropout_;
  Precision precision_;
  at::Device device_;
  std::vector<Part> parts_;
  int64_t u_columns_ = 0;
  PackedMatrix a_forward_;   // [in, U]
  PackedMatrix a_backward_;  // [U, in]
  // DoRA: not defined without. fp32 [out].
  at::Tensor scale_;  // m / length
  at::Tensor inverse_length_;
  at::Tensor shift_;                    // what undoes the scale on the bias, where there is one
  std::vector<double> weight_squares_;  // of each row of W
};

}  // namespace lorry
