// AdamW as torch.optim.AdamW computes it, over one flat vector of all adapter values, and gradient clipping as
// torch.nn.utils.clip_grad_norm_ does it.
//
// Masters and moments are fp32. Every element is computed by itself with correctly rounded operations (no fused
// multiply-add), so the result does not depend on threads or vector width. On a GPU the same formula in tensor operations.
// Source: Loshchilov & Hutter, "Decoupled Weight Decay Regularization"; order of operations: torch/optim/adamw.py,
// _single_tensor_adam.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <span>

namespace lorry::trainers {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
};

// A part of the vector with a learning rate of its own: [first, last) * factor (LoRA+ gives B one of its own).
struct RateGroup {
  int64_t first = 0;
  int64_t last = 0;
  double factor = 1.0;
};

class AdamW {
 public:
  AdamW(AdamWOptions options, int64_t length, const at::Device& device);

  // One update of `values` in place. REQUIRES: fp32, contiguous, `length` values, all on the device.
  void Update(at::Tensor& values, const at::Tensor& gradient, double learning_rate, std::span<const RateGroup> groups = {});

  int64_t updates() const { return updates_; }
  const at::Tensor& first_moment() const { return first_moment_; }
  const at::Tensor& second_moment() const { return second_moment_; }
  void Restore(int64_t updates, const at::Tensor& first_moment, const at::Tensor& second_moment);

 private:
  struct Coefficients;
  void UpdateOnHost(at::Tensor& values, const at::Tensor& gradient, const Coefficients& c, RateGroup group);
  void UpdateOnDevice(at::Tensor& values, const at::Tensor& gradient, const Coefficients& c, RateGroup group);

  AdamWOptions options_;
  int64_t updates_ = 0;
  at::Tensor first_moment_;   // [length]
  at::Tensor second_moment_;  // [length]
};

// The L2 norm, with fp64 partial sums over blocks of fixed size, added in order: the same bits for any number of threads.
double OrderedNorm(const at::Tensor& values);

// Scales the gradient by min(1, max_norm / (norm + 1e-6)); max_norm <= 0 leaves it alone. Returns the norm before.
double ClipByNorm(at::Tensor& gradient, double max_norm);

}  // namespace lorry::trainers
