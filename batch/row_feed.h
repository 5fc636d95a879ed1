// Prepared rows on their way to the engines. Any thread may push and take.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "batch/sampling.h"
#include "model/format/rows.h"

namespace lorry {

// What a row's line in the output is written from.
struct RowHead {
  int64_t line = 0;  // of the input file, from 1
  BatchForm form = BatchForm::kTemplate;
  std::string model;  // as the row named it (OpenAI lines)
};

// A row, ready to compute.
struct EngineRow {
  int64_t index = 0;   // of the input's rows, from 0
  uint64_t epoch = 0;  // of its lease; 0 where rows are not leased
  std::string id;      // unique in the batch; keys the row's random numbers
  std::vector<TokenId> prompt;
  SamplingParams sampling;
  RowHead head;
};

class RowFeed {
 public:
  // Push waits while `capacity` rows are here; 0: never.
  explicit RowFeed(size_t capacity = 0) : capacity_(capacity) {}
  void Push(EngineRow row);
  // No more rows will come; those that are here may still be taken.
  void Close();
  // Drops what is here and closes: the engines finish what they hold.
  void Abandon();

  // The next row; nullopt if none is here now.
  std::optional<EngineRow> TryTake();
  // Waits for one; nullopt once the feed is closed and empty.
  std::optional<EngineRow> Take();

 private:
  EngineRow PopFront();  // REQUIRES: mutex_ is held, rows_ is not empty

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<EngineRow> rows_;
  size_t capacity_;
  bool closed_ = false;
};

}  // namespace lorry
