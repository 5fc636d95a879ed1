// Base weights with an adapter folded in: W + scaling * B A (its rows turned to DoRA's lengths), computed in fp32 and rounded
// once to the dtype of W.
#pragma once

#include <ATen/ATen.h>

#include "lora/adapter.h"
#include "model/net/weights.h"

namespace lorry {

// A new tensor like `weight` ([out, in], any float dtype).
at::Tensor MergedWeight(const at::Tensor& weight, const AdaptedLinear& linear, const at::Tensor& adapter_values);

// A patch for DecoderWeights::Load that folds `adapter` into each weight it adapts; the sum stays in fp32 and is rounded once, to
// what the model computes in. The adapter must outlive the load.
WeightPatch MergePatch(const Adapter& adapter);

}  // namespace lorry
