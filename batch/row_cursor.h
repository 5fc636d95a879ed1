// The rows of a batch input by their number. Leases ask for rising ranges mostly, so the file is read onward and begun
// anew only when an earlier row is asked for; one row is in memory at a time, whatever the file's size. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "model/format/rows.h"

namespace lorry {

class RowCursor {
 public:
  // Faults of the whole file: as BatchRowReader::Open.
  static Result<RowCursor> Open(const std::string& path, const std::string& prompt_template);

  // Row `index`; nullopt behind the last one.
  Result<std::optional<BatchRow>> At(int64_t index);
  // How many rows the input has. Reads it through once.
  Result<int64_t> Count();

 private:
  RowCursor(std::string path, std::string prompt_template, BatchRowReader reader)
      : path_(std::move(path)), prompt_template_(std::move(prompt_template)), reader_(std::move(reader)) {}

  std::string path_, prompt_template_;
  BatchRowReader reader_;
  int64_t next_ = 0;  // the row that the reader gives next
  std::optional<int64_t> count_;
};

}  // namespace lorry
