// The decoder of model/net as the engine's model on the CPU: keys and values kept per sequence, tokens of many sequences
// packed into one call without padding, an adapter either merged into the weights or computed beside them.
//
// Same bits for any mix (decode_model.h): a row of a linear depends on that row alone (model/net/gemm.h); attention takes
// 32 queries at a time, counted from the piece's start, which lies on the prefill grid; everything else works token by
// token.
//
// One object per lane and thread; weights and adapter are shared.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "base/result.h"
#include "batch/decode_model.h"
#include "lora/adapter.h"
#include "model/net/gemm.h"
#include "model/net/weights.h"

namespace lorry {

// An adapter's matrices beside the fused linears of one decoder: y += B (A x), scaling within B. Read-only once made.
class SeparateAdapter {
 public:
  // REQUIRES: an adapter without DoRA, whose scale of the base's own product has no place here.
  SeparateAdapter(const ModelConfig& config, const Adapter& adapter, Precision precision);

  // For one fused linear: the A matrices one above the other, and one B for each part that is adapted.
  struct LowRank {
    Linear a;                      // [sum of ranks, in]; not defined where nothing is adapted
    std::vector<PackedMatrix> b;   // one per part; k() == 0 where the part is not adapted
    std::vector<int64_t> a_begin;  // the part's first column in a's result
  };
  struct Expert {
    LowRank gate_up, down;
  };
  struct Layer {
    LowRank qkv, o, gate_up, down;
    LowRank router;               // fp32, as the router
    std::vector<Expert> experts;  // where the MLP is sparse
  };
  const Layer& layer(size_t index) const { return layers_[index]; }

 private:
  std::vector<Layer> layers_;
};

class TransformerModel : public DecodeModel {
 public:
  // `adapter` may be null: none, or merged into the weights. REQUIRES: weights on the CPU.
  TransformerModel(std::shared_ptr<const DecoderWeights> weights, std::shared_ptr<const SeparateAdapter> adapter);

  int64_t vocab_size() const override { return weights_->config().vocab_size; }
  int64_t max_positions() const override { return weights_->config().GenerationPositions(); }
  int64_t BytesPerToken() const override;
  std::unique_ptr<SequenceMemory> NewSequence(int64_t capacity) override;
  // kOutOfMemory, or kInternal with LibTorch's text.
  Result<std::vector<LogitsRow>> Read(std::span<const SequencePiece> pieces) override;
  void CopyPrefix(const SequenceMemory& from, SequenceMemory& to, int64_t tokens) override;

 private:
  class Memory;
  struct Plan;
  struct Workspace;
  Plan MakePlan(std::span<const SequencePiece> pieces) const;
  at::Tensor Hidden(const Plan& plan) const;  // at the N wanted rows, after the last norm: [N, M]; undefined where none is wanted
  void Attend(size_t layer, const Plan& plan, Workspace& work) const;
  void DenseMlp(size_t layer, Workspace& work) const;   // work.x_TM += the MLP of work.norm_TM
  void SparseMlp(size_t layer, Workspace& work) const;  // the same with experts
  std::vector<LogitsRow> Logits(const at::Tensor& hidden_NM);

  std::shared_ptr<const DecoderWeights> weights_;
  std::shared_ptr<const SeparateAdapter> adapter_;
  at::Tensor logits_NV_;  // of the last call
};

}  // namespace lorry
