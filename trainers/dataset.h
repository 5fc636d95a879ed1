// A data file as token ids: what training and evaluation read.
//
// Loading encodes each row (model/format/rows.h) on several threads and keeps the result in a cache that is named by the
// SHA-256 of everything that decides about it, so the same file under the same job is encoded once:
//   CACHE_DIR/tokens/KEY.h5    docs/formats/checkpoint.md describes the file
// A cache that is damaged is made anew. Rows keep the file's order.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "model/format/chat_template.h"
#include "model/format/rows.h"
#include "model/format/tokenizer.h"
#include "model/net/packed_batch.h"
#include "trainers/batch_plan.h"

namespace lorry::trainers {

struct Dataset {
  std::string file;                       // for messages
  std::vector<int32_t> ids;               // all rows, one behind the other
  std::vector<uint8_t> loss;              // as PackedBatch::loss
  std::vector<int64_t> row_starts = {0};  // [rows + 1]
  std::vector<int64_t> lines;             // [rows] line in the file, from 1
  int64_t dropped = 0;                    // rows left out: too long
  int64_t truncated = 0;

  int64_t rows() const { return static_cast<int64_t>(lines.size()); }
  RowSize SizeOf(int64_t row) const;
  std::vector<RowSize> Sizes() const;
  // Of rows that were cut before their first token that counts.
  std::vector<int64_t> LinesWithoutLoss() const;
  void AppendRow(int64_t line, const std::vector<int32_t>& row_ids, const std::vector<uint8_t>& row_loss);
  PackedBatch Pack(const std::vector<int64_t>& rows) const;
};

struct DatasetRequest {
  std::string path;
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // null: the model has none
  EncodeRowOptions encode;
  std::string cache_dir;  // empty: no cache
  int threads = 1;
  std::function<void(int64_t rows_done)> progress;  // may be empty; called from the loading thread
};

struct LoadedDataset {
  Dataset data;
  Digest file_digest;
  bool from_cache = false;
};

// kData with file and line: a row that cannot be used; a file without rows.
Result<LoadedDataset> LoadDataset(const DatasetRequest& request);

// Takes a part of the rows for validation: max(1, round(fraction * rows)) of them, drawn by the seed, both parts in the file's
// order. kData where that leaves nothing to train on.
Result<std::pair<Dataset, Dataset>> SplitForValidation(const Dataset& data, double fraction, uint64_t seed);

}  // namespace lorry::trainers
