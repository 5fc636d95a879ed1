// Which rows make up which step, and which of them one micro-batch: fixed by the job alone, whatever the ranks or lanes.
//
// Rows are taken in the epoch's order (a shuffle keyed by seed and epoch, or the file's order). A step takes rows
//   - of rows_per_micro_batch * micro_batches_per_step, or
//   - until the next one would bring it over tokens_per_step (at least one row).
// A step never reaches over the end of an epoch: each row is used exactly once in it. The rows of a step are then dealt to its
// micro-batches, longest first, each to the one with the fewest tokens, so that lanes have about equal work; within a
// micro-batch they stand in the epoch's order. Rows without loss tokens are used up but not computed: they add nothing. A step
// that would have no others goes on to the next row that has some, and one behind which no others are left takes the rest along.
//
// Pure: no clock, no files. A cursor is all that a checkpoint needs to keep.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"

namespace lorry::trainers {

// Rows already used: `rows` of the order of `epoch`.
struct DataCursor {
  int64_t epoch = 0;
  int64_t rows = 0;
  bool operator==(const DataCursor&) const = default;
};

// What the plan knows of a row.
struct RowSize {
  int32_t tokens = 0;
  int32_t loss_tokens = 0;
};

struct BatchPlanOptions {
  // Either tokens_per_step, or the two others.
  int64_t tokens_per_step = 0;
  int64_t rows_per_micro_batch = 0;
  int64_t micro_batches_per_step = 0;

  int64_t tokens_per_micro_batch = 1024;  // aimed at; only with tokens_per_step
  bool packing = true;                    // false: each row is a micro-batch of its own
  bool shuffle = true;
  uint64_t seed = 0;
};

struct PlannedStep {
  std::vector<std::vector<int64_t>> micro_batches;  // row numbers; none is empty, all have loss tokens
  std::vector<int64_t> rows;                        // all rows that the step uses up, in the epoch's order
  int64_t tokens = 0;                               // of the rows that are computed
  int64_t loss_tokens = 0;
  DataCursor after;
};

class BatchPlan {
 public:
  BatchPlan(std::vector<RowSize> rows, BatchPlanOptions options);

  // The step that begins at `cursor`. kData if no row at all has a loss token.
  Result<PlannedStep> StepAt(DataCursor cursor);

  // Steps until `epochs` are over or `max_steps` are done, whichever is first. REQUIRES: one of them is given.
  int64_t TotalSteps(std::optional<int64_t> epochs, std::optional<int64_t> max_steps);

  int64_t row_count() const { return static_cast<int64_t>(rows_.size()); }

 private:
  void OrderEpoch(int64_t epoch);
  int64_t EndOfStep(int64_t first) const;
  int64_t EndBySize(int64_t first) const;
  std::vector<std::vector<int64_t>> Deal(const std::vector<int64_t>& rows, int64_t tokens) const;

  const std::vector<RowSize> rows_;
  const BatchPlanOptions options_;
  int64_t ordered_epoch_ = -1;
  std::vector<int64_t> order_;   // of ordered_epoch_
  int64_t last_with_loss_ = -1;  // position in order_ of the last row with loss tokens
};

}  // namespace lorry::trainers
