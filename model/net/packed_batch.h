// A micro-batch: whole documents laid end to end, none of which sees another, with no padding between them.
//
// It is the unit of work of a lane: what is computed from it depends on nothing but itself, the weights and the
// number of threads of the lane.
//
// No LibTorch here: whoever packs documents needs none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"

namespace lorry {

struct PackedBatch {
  std::vector<int32_t> ids;              // [T] token ids
  std::vector<uint8_t> loss;             // [T] 1 where ids[t] is a target to be predicted. The first token of a
                                         // document has nothing before it: a 1 there counts nothing (transformers
                                         // shifts labels in the same way)
  std::vector<int32_t> document_starts;  // [D + 1] rising, first 0, last T; document d is [starts[d], starts[d + 1])

  int64_t Tokens() const { return static_cast<int64_t>(ids.size()); }
  int64_t Documents() const { return document_starts.empty() ? 0 : static_cast<int64_t>(document_starts.size()) - 1; }

  // Adds one document. REQUIRES: document_ids.size() == document_loss.size(), not empty.
  void Append(const std::vector<int32_t>& document_ids, const std::vector<uint8_t>& document_loss);

  // The positions t whose hidden state predicts a target: loss[t + 1] is 1 and t + 1 is in t's document. Rising.
  std::vector<int32_t> PredictingPositions() const;

  // How many targets count: the size of PredictingPositions().
  int64_t LossTokens() const;
};

// kData where the three vectors do not fit together, an id is outside [0, vocab_size), a document is empty, or one is
// longer than `max_positions`.
Status CheckPackedBatch(const PackedBatch& batch, int64_t vocab_size, int64_t max_positions);

}  // namespace lorry
