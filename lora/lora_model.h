// A frozen decoder with a trainable adapter: the loss of one packed micro-batch and its gradient by the adapter.
//
// Forward and backward are written out layer by layer (no autograd): a layer keeps its input and what is dear to
// compute again, the rest is computed twice; head and loss run only where there are loss tokens, in pieces, and their
// gradient is found in the forward pass. model_test holds it against an autograd twin.
//
// Determinism: the result of a micro-batch depends on it, the weights, the adapter and the thread count of the calling
// thread (at::set_num_threads, once, before its first operation); never on what another lane does. Call it from a
// std::thread that lives as long as the run, never inside an `omp parallel` region.
//
// Ownership: the base weights are shared by all models and lanes on them; the adapter is the model's own.
// Threads: any number of lanes may be inside ForwardBackward and EvalLoss at once, each with its own gradient.
// AdapterChanged and writes to adapter().values() need all lanes to be outside.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "base/result.h"
#include "lora/adapter.h"
#include "model/net/dropout.h"
#include "model/net/packed_batch.h"
#include "model/net/weights.h"

namespace lorry {

struct LossSum {
  double loss = 0.0;          // sum of -log p(target) in nats over the targets, not divided
  int64_t target_tokens = 0;  // == PackedBatch::LossTokens()
};

class LoraModel {
 public:
  // kSpec if the adapter was made for other shapes.
  static Result<std::unique_ptr<LoraModel>> Create(std::shared_ptr<const DecoderWeights> base, Adapter adapter);
  ~LoraModel();

  Adapter& adapter();
  const Adapter& adapter() const;
  const DecoderWeights& base() const;

  // Takes over the adapter's present values (casts and packs them for the lanes). Call after each optimizer step.
  void AdapterChanged();

  // DoRA: sets the magnitudes to the present lengths of the rows of W + scaling B A, as PEFT begins. Nothing without DoRA.
  void InitMagnitudes();

  // Writes d(LossSum::loss)/d(adapter values) into `gradient` (fp32, contiguous, adapter().ParameterCount() long; what
  // it held is overwritten). The caller divides by the step's target tokens. kData if the batch does not fit the model.
  // `dropout`: which masks an adapter with dropout takes; without dropout it means nothing.
  Result<LossSum> ForwardBackward(const PackedBatch& batch, at::Tensor gradient, const DropoutKey& dropout) const;

  // The same loss, bit for bit but for dropout, which there is none of here, without the gradient.
  Result<LossSum> EvalLoss(const PackedBatch& batch) const;

  // log p(target) of each target, in the order of PackedBatch::PredictingPositions(). [LossTokens()] fp32, CPU.
  Result<at::Tensor> TargetLogProbs(const PackedBatch& batch) const;

  // Logits of each position, fp32 [T, vocabulary]. For tests and `logits`: all of them at once in memory.
  Result<at::Tensor> Logits(const PackedBatch& batch) const;

 private:
  struct State;
  explicit LoraModel(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace lorry
