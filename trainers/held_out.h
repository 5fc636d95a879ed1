// The mean loss on rows that are not trained on. The rows are packed into micro-batches in the file's order, once and for all;
// each lane computes some, and the sums are added in the order of the micro-batches: the same bits on any number of ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "trainers/dataset.h"
#include "trainers/lanes.h"
#include "trainers/rank_group.h"
#include "trainers/step_log.h"
#include "trainers/trained_model.h"

namespace lorry::trainers {

class HeldOut {
 public:
  // REQUIRES: `data` outlives this.
  HeldOut(const Dataset& data, int64_t tokens_per_micro_batch);

  // Collective. kData where no row has a loss token.
  Result<EvaluationRecord> Evaluate(const TrainedModel& model, RankGroup& group, Lanes& lanes, int64_t step) const;

 private:
  const Dataset& data_;
  std::vector<std::vector<int64_t>> micro_batches_;
};

}  // namespace lorry::trainers
