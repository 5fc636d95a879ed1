#include "model/net/packed_batch.h"

#include <fmt/format.h>

namespace lorry {

void PackedBatch::Append(const std::vector<int32_t>& document_ids, const std::vector<uint8_t>& document_loss) {
  if (document_starts.empty()) document_starts.push_back(0);
  ids.insert(ids.end(), document_ids.begin(), document_ids.end());
  loss.insert(loss.end(), document_loss.begin(), document_loss.end());
  document_starts.push_back(static_cast<int32_t>(ids.size()));
}

std::vector<int32_t> PackedBatch::PredictingPositions() const {
  std::vector<int32_t> positions;
  for (size_t d = 0; d + 1 < document_starts.size(); ++d)
    for (int32_t t = document_starts[d] + 1; t < document_starts[d + 1]; ++t)
      if (loss[static_cast<size_t>(t)] != 0) positions.push_back(t - 1);
  return positions;
}

int64_t PackedBatch::LossTokens() const {
  int64_t count = 0;
  for (size_t d = 0; d + 1 < document_starts.size(); ++d)
    for (int32_t t = document_starts[d] + 1; t < document_starts[d + 1]; ++t) count += loss[static_cast<size_t>(t)] != 0;
  return count;
}

Status CheckPackedBatch(const PackedBatch& batch, int64_t vocab_size, int64_t max_positions) {
  const auto broken = [](std::string message) { return MakeError(ErrorCode::kData, "micro-batch: " + std::move(message)); };
  const auto tokens = static_cast<int64_t>(batch.ids.size());
  if (batch.loss.size() != batch.ids.size()) {
    return broken(fmt::format("{} ids and {} loss marks", batch.ids.size(), batch.loss.size()));
  }
  if (batch.document_starts.size() < 2 || batch.document_starts.front() != 0 || batch.document_starts.back() != tokens) {
    return broken("the document starts do not span the ids");
  }
  for (size_t d = 0; d + 1 < batch.document_starts.size(); ++d) {
    const int64_t length = int64_t{batch.document_starts[d + 1]} - batch.document_starts[d];
    if (length <= 0) return broken(fmt::format("document {} is empty", d));
    if (length > max_positions) {
      return broken(fmt::format("document {} has {} tokens, the model's context is {}", d, length, max_positions));
    }
  }
  for (size_t t = 0; t < batch.ids.size(); ++t)
    if (batch.ids[t] < 0 || batch.ids[t] >= vocab_size) {
      return broken(fmt::format("token id {} at position {} is outside the vocabulary of {}", batch.ids[t], t, vocab_size));
    }
  return OkStatus();
}

}  // namespace lorry
