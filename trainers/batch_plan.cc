#include "trainers/batch_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <utility>

#include "base/random.h"

namespace lorry::trainers {

BatchPlan::BatchPlan(std::vector<RowSize> rows, BatchPlanOptions options) : rows_(std::move(rows)), options_(options) {}

void BatchPlan::OrderEpoch(int64_t epoch) {
  if (ordered_epoch_ == epoch) return;
  order_.resize(rows_.size());
  std::iota(order_.begin(), order_.end(), 0);
  if (options_.shuffle) {
    Random generator(options_.seed, "dataset.order", {static_cast<uint64_t>(epoch)});
    Shuffle(order_, generator);
  }
  ordered_epoch_ = epoch;
  last_with_loss_ = row_count() - 1;
  while (last_with_loss_ >= 0 && rows_[order_[last_with_loss_]].loss_tokens == 0) --last_with_loss_;
}

// The first position of the epoch's order that no longer belongs to the step that begins at `first`.
int64_t BatchPlan::EndOfStep(int64_t first) const {
  int64_t end = EndBySize(first);
  const auto has_loss = [this](int64_t row) { return rows_[row].loss_tokens > 0; };
  while (end <= last_with_loss_ && std::none_of(order_.begin() + first, order_.begin() + end, has_loss)) ++end;
  return end > last_with_loss_ ? row_count() : end;
}

int64_t BatchPlan::EndBySize(int64_t first) const {
  if (options_.tokens_per_step == 0) {
    return std::min(row_count(), first + options_.rows_per_micro_batch * options_.micro_batches_per_step);
  }
  int64_t end = first;
  int64_t tokens = 0;
  while (end < row_count()) {
    tokens += rows_[order_[end]].tokens;
    if (end > first && tokens > options_.tokens_per_step) break;
    ++end;
  }
  return end;
}

Result<PlannedStep> BatchPlan::StepAt(DataCursor cursor) {
  OrderEpoch(cursor.epoch);
  const int64_t end = EndOfStep(cursor.rows);
  PlannedStep step;
  std::vector<int64_t> computed;
  for (int64_t at = cursor.rows; at < end; ++at) {
    const int64_t row = order_[at];
    step.rows.push_back(row);
    if (rows_[row].loss_tokens == 0) continue;
    computed.push_back(row);
    step.tokens += rows_[row].tokens;
    step.loss_tokens += rows_[row].loss_tokens;
  }
  step.after = end < row_count() ? DataCursor{cursor.epoch, end} : DataCursor{cursor.epoch + 1, 0};
  if (computed.empty()) {
    return MakeError(ErrorCode::kData, "no row has a token that counts in the loss",
                     "raise max_length, or look at dataset.loss_on and the rows' completions");
  }
  step.micro_batches = Deal(computed, step.tokens);
  return step;
}

std::vector<std::vector<int64_t>> BatchPlan::Deal(const std::vector<int64_t>& rows, int64_t tokens) const {
  std::vector<std::vector<int64_t>> micro_batches;
  if (!options_.packing) {
    for (const int64_t row : rows) micro_batches.push_back({row});
    return micro_batches;
  }
  int64_t count = options_.micro_batches_per_step;
  int64_t most_rows = options_.rows_per_micro_batch;
  if (options_.tokens_per_step > 0) {
    // A power of two, at least two: an even share for two lanes and a full tree of sums.
    const auto wanted = static_cast<uint64_t>((tokens + options_.tokens_per_micro_batch - 1) / options_.tokens_per_micro_batch);
    count = static_cast<int64_t>(std::bit_ceil(std::max<uint64_t>(2, wanted)));
    most_rows = std::numeric_limits<int64_t>::max();
  }

  std::vector<size_t> longest_first(rows.size());
  std::iota(longest_first.begin(), longest_first.end(), 0);
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [&](size_t a, size_t b) { return rows_[rows[a]].tokens > rows_[rows[b]].tokens; });
  std::vector<std::vector<size_t>> places(static_cast<size_t>(count));
  std::vector<int64_t> load(static_cast<size_t>(count), 0);
  for (const size_t place : longest_first) {
    size_t least = places.size();
    for (size_t k = 0; k < places.size(); ++k) {
      const bool has_room = static_cast<int64_t>(places[k].size()) < most_rows;
      if (has_room && (least == places.size() || load[k] < load[least])) least = k;
    }
    places[least].push_back(place);
    load[least] += rows_[rows[place]].tokens;
  }
  for (std::vector<size_t>& mine : places) {
    if (mine.empty()) continue;
    std::sort(mine.begin(), mine.end());
    std::vector<int64_t>& micro_batch = micro_batches.emplace_back();
    for (const size_t place : mine) micro_batch.push_back(rows[place]);
  }
  return micro_batches;
}

int64_t BatchPlan::TotalSteps(std::optional<int64_t> epochs, std::optional<int64_t> max_steps) {
  if (!epochs) return *max_steps;
  int64_t steps = 0;
  for (int64_t epoch = 0; epoch < *epochs; ++epoch) {
    OrderEpoch(epoch);
    for (int64_t at = 0; at < row_count(); at = EndOfStep(at)) {
      if (++steps == max_steps) return steps;
    }
  }
  return steps;
}

}  // namespace lorry::trainers
