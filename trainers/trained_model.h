// What the loop trains: a vector of values, and the loss of a micro-batch with its gradient by them. The loop knows no more.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "lora/lora_model.h"
#include "model/net/packed_batch.h"
#include "trainers/adamw.h"

namespace lorry::trainers {

// Threads: ForwardBackward and EvalLoss from any number of lanes at once; the others need all lanes to be outside.
class TrainedModel {
 public:
  virtual ~TrainedModel() = default;
  virtual at::Tensor& values() = 0;  // fp32, one-dimensional, contiguous; on the device that computes
  // To be called after each change of values().
  virtual void ValuesChanged() = 0;
  // Writes the gradient of LossSum::loss into `gradient`, of values()' layout; what it held is overwritten. `draw` names the
  // micro-batch, for what is drawn at random in it.
  virtual Result<LossSum> ForwardBackward(const PackedBatch& batch, at::Tensor gradient, const DropoutKey& draw) const = 0;
  virtual Result<LossSum> EvalLoss(const PackedBatch& batch) const = 0;
  // LoRA+ (arXiv 2402.12354): all of values() in order, with factor `b_factor` where it is a B and 1 where it is an A.
  virtual std::vector<RateGroup> RateGroups(double b_factor) const = 0;
  virtual Status WriteAdapter(const std::string& directory) const = 0;
};

std::unique_ptr<TrainedModel> TrainLora(std::unique_ptr<LoraModel> model);

}  // namespace lorry::trainers
