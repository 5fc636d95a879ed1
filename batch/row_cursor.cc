#include "batch/row_cursor.h"

#include <utility>

namespace lorry {

Result<RowCursor> RowCursor::Open(const std::string& path, const std::string& prompt_template) {
  LORRY_ASSIGN_OR_RETURN(auto reader, BatchRowReader::Open(path, prompt_template));
  return RowCursor(path, prompt_template, std::move(reader));
}

Result<std::optional<BatchRow>> RowCursor::At(int64_t index) {
  if (index < next_) {
    LORRY_ASSIGN_OR_RETURN(reader_, BatchRowReader::Open(path_, prompt_template_));
    next_ = 0;
  }
  while (true) {
    LORRY_ASSIGN_OR_RETURN(auto row, reader_.Next());
    if (!row) {
      count_ = next_;
      next_ = INT64_MAX;  // the reader stands behind the end: any other question begins anew
      return row;
    }
    if (next_++ == index) return row;
  }
}

Result<int64_t> RowCursor::Count() {
  if (!count_) LORRY_TRY(At(INT64_MAX - 1));
  return *count_;
}

}  // namespace lorry
