#include "trainers/held_out.h"

namespace lorry::trainers {

HeldOut::HeldOut(const Dataset& data, int64_t tokens_per_micro_batch) : data_(data) {
  int64_t tokens = 0;
  for (int64_t row = 0; row < data.rows(); ++row) {
    const RowSize size = data.SizeOf(row);
    if (size.loss_tokens == 0) continue;
    if (micro_batches_.empty() || tokens + size.tokens > tokens_per_micro_batch) {
      micro_batches_.emplace_back();
      tokens = 0;
    }
    micro_batches_.back().push_back(row);
    tokens += size.tokens;
  }
}

Result<EvaluationRecord> HeldOut::Evaluate(const TrainedModel& model, RankGroup& group, Lanes& lanes, int64_t step) const {
  if (micro_batches_.empty()) {
    return MakeError(ErrorCode::kData, data_.file + ": no row has a token that counts in the loss");
  }
  const auto count = static_cast<int64_t>(micro_batches_.size());
  const MicroBatchRange mine = MicroBatchesOfRank(count, group.rank(), group.size());
  std::vector<LossSum> sums(static_cast<size_t>(count));
  LORRY_TRY(lanes.ForEach(mine.first, mine.last, [&](int64_t i) -> Status {
    LORRY_ASSIGN_OR_RETURN(sums[i], model.EvalLoss(data_.Pack(micro_batches_[i])));
    return OkStatus();
  }));
  LORRY_ASSIGN_OR_RETURN(const LossSum total, AddInOrder(group, sums));
  return EvaluationRecord{step, total.loss / static_cast<double>(total.target_tokens), total.target_tokens};
}

}  // namespace lorry::trainers
