#include "trainers/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <optional>
#include <thread>

#include "base/random.h"
#include "trainers/token_cache.h"

namespace lorry::trainers {
namespace {

constexpr size_t kRowsAtOnce = 2048;

// Reads up to kRowsAtOnce rows; fewer only at the end of the file.
Result<std::vector<TrainRow>> ReadSome(RowReader& reader) {
  std::vector<TrainRow> rows;
  while (rows.size() < kRowsAtOnce) {
    LORRY_ASSIGN_OR_RETURN(std::optional<TrainRow> row, reader.Next());
    if (!row) break;
    rows.push_back(std::move(*row));
  }
  return rows;
}

// Encodes rows on several threads; the result does not depend on how many.
std::vector<std::optional<Result<EncodedRow>>> EncodeAll(const std::vector<TrainRow>& rows, const DatasetRequest& request) {
  std::vector<std::optional<Result<EncodedRow>>> encoded(rows.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < rows.size(); i = next++) {
      encoded[i] = EncodeTrainRow(rows[i], *request.tokenizer, request.chat_template, request.encode);
    }
  };
  std::vector<std::thread> threads;
  for (int t = 1; t < request.threads; ++t) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  return encoded;
}

Error NothingToLearn(const DatasetRequest& request, int64_t line) {
  Error error =
      MakeError(ErrorCode::kData, "no token of the row counts in the loss", "look at dataset.loss_on and the row's completion");
  error.file = request.path;
  error.line = static_cast<int>(line);
  return error;
}

Result<Dataset> EncodeFile(const DatasetRequest& request) {
  LORRY_ASSIGN_OR_RETURN(RowReader reader, RowReader::Open(request.path));
  Dataset data;
  int64_t seen = 0;
  while (true) {
    LORRY_ASSIGN_OR_RETURN(const std::vector<TrainRow> rows, ReadSome(reader));
    if (rows.empty()) break;
    std::vector<std::optional<Result<EncodedRow>>> encoded = EncodeAll(rows, request);
    for (size_t i = 0; i < rows.size(); ++i) {
      LORRY_ASSIGN_OR_RETURN(const EncodedRow row, std::move(*encoded[i]));
      if (row.dropped) {
        ++data.dropped;
        continue;
      }
      const bool truncated = row.full_length > static_cast<int64_t>(row.ids.size());
      if (truncated) ++data.truncated;
      if (!truncated && std::find(row.loss_mask.begin(), row.loss_mask.end(), 1) == row.loss_mask.end()) {
        return NothingToLearn(request, rows[i].line);
      }
      data.AppendRow(rows[i].line, row.ids, row.loss_mask);
    }
    seen += static_cast<int64_t>(rows.size());
    if (request.progress) request.progress(seen);
  }
  if (seen == 0) return MakeError(ErrorCode::kData, request.path + ": no rows", "a data file has one JSON object per line");
  if (data.rows() == 0) {
    return MakeError(ErrorCode::kData,
                     fmt::format("{}: all {} rows are longer than max_length {}", request.path, seen, request.encode.max_length),
                     "raise dataset.max_length, or set dataset.too_long: truncate");
  }
  return data;
}

}  // namespace

RowSize Dataset::SizeOf(int64_t row) const {
  RowSize size{static_cast<int32_t>(row_starts[row + 1] - row_starts[row]), 0};
  for (int64_t at = row_starts[row] + 1; at < row_starts[row + 1]; ++at) size.loss_tokens += loss[at] != 0;
  return size;
}

std::vector<int64_t> Dataset::LinesWithoutLoss() const {
  std::vector<int64_t> found;
  for (int64_t row = 0; row < rows(); ++row) {
    if (SizeOf(row).loss_tokens == 0) found.push_back(lines[row]);
  }
  return found;
}

std::vector<RowSize> Dataset::Sizes() const {
  std::vector<RowSize> sizes;
  for (int64_t row = 0; row < rows(); ++row) sizes.push_back(SizeOf(row));
  return sizes;
}

void Dataset::AppendRow(int64_t line, const std::vector<int32_t>& row_ids, const std::vector<uint8_t>& row_loss) {
  ids.insert(ids.end(), row_ids.begin(), row_ids.end());
  loss.insert(loss.end(), row_loss.begin(), row_loss.end());
  row_starts.push_back(static_cast<int64_t>(ids.size()));
  lines.push_back(line);
}

PackedBatch Dataset::Pack(const std::vector<int64_t>& rows) const {
  PackedBatch batch;
  for (const int64_t row : rows) {
    batch.Append({ids.begin() + row_starts[row], ids.begin() + row_starts[row + 1]},
                 {loss.begin() + row_starts[row], loss.begin() + row_starts[row + 1]});
  }
  return batch;
}

Result<LoadedDataset> LoadDataset(const DatasetRequest& request) {
  LoadedDataset loaded;
  LORRY_ASSIGN_OR_RETURN(loaded.file_digest, Sha256OfFile(request.path));
  const Digest key = TokenCacheKey(request, loaded.file_digest);
  const std::string cache = request.cache_dir.empty() ? std::string() : TokenCachePath(request.cache_dir, key);
  if (!cache.empty()) {
    if (std::optional<Dataset> cached = ReadTokenCache(cache, key)) {
      loaded.data = std::move(*cached);
      loaded.data.file = request.path;
      loaded.from_cache = true;
      return loaded;
    }
  }
  LORRY_ASSIGN_OR_RETURN(loaded.data, EncodeFile(request));
  loaded.data.file = request.path;
  if (!cache.empty()) LORRY_TRY(WriteTokenCache(cache, key, loaded.data));
  return loaded;
}

Result<std::pair<Dataset, Dataset>> SplitForValidation(const Dataset& data, double fraction, uint64_t seed) {
  const int64_t count = std::max<int64_t>(1, std::llround(fraction * static_cast<double>(data.rows())));
  if (count >= data.rows()) {
    return MakeError(ErrorCode::kData, fmt::format("{}: val_fraction {} takes all {} rows", data.file, fraction, data.rows()),
                     "lower dataset.val_fraction or give dataset.validation");
  }
  std::vector<int64_t> order(static_cast<size_t>(data.rows()));
  std::iota(order.begin(), order.end(), 0);
  Random generator(seed, "dataset.validation");
  Shuffle(order, generator);
  std::vector<bool> held_out(order.size(), false);
  for (int64_t i = 0; i < count; ++i) held_out[order[i]] = true;
  std::pair<Dataset, Dataset> parts;
  parts.first.file = parts.second.file = data.file;
  for (int64_t row = 0; row < data.rows(); ++row) {
    Dataset& part = held_out[row] ? parts.second : parts.first;
    part.AppendRow(data.lines[row], {data.ids.begin() + data.row_starts[row], data.ids.begin() + data.row_starts[row + 1]},
                   {data.loss.begin() + data.row_starts[row], data.loss.begin() + data.row_starts[row + 1]});
  }
  return parts;
}

}  // namespace lorry::trainers
