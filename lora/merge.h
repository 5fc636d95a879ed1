// Base weights with an adapter folded in: W + scaling * B A, computed in fp32 (lora/merge_kernel.h: bit-equal to PEFT's merge in
// fp32, on every CPU and with any number of threads), its rows turned to DoRA's lengths where it has them, and rounded once to
// the type that is asked for.
#pragma once

#include <ATen/ATen.h>

#include <span>

#include "lora/adapter.h"
#include "model/format/model_directory.h"
#include "model/net/weights.h"

namespace lorry {

// A new tensor like `weight` ([out, in], any float dtype).
at::Tensor MergedWeight(const at::Tensor& weight, const AdaptedLinear& linear, const at::Tensor& adapter_values);

// A patch for DecoderWeights::Load that folds `adapter` into each weight it adapts; the sum stays in fp32 and is rounded once, to
// what the model computes in. The adapter must outlive the load.
WeightPatch MergePatch(const Adapter& adapter);

// The same for files that are written anew: the merged numbers in fp32, not rounded. The adapter must outlive it.
ReadWeight MergedRead(const Adapter& adapter);

// kData, naming the tensor, where a value is not finite: training went astray, and a merged model would answer nothing.
Status CheckFinite(const Adapter& adapter);

}  // namespace lorry
