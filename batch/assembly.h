// The end of a batch: output.jsonl and errors.jsonl in the input's order, and the report where the job asks for one.
//
// Reads the input once more, row by row, and copies each row's line from its shard after checking its digest. The bytes
// depend on the rows' lines alone. Every row must be there: rows in = rows out + errors, or nothing is written.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "batch/row_cursor.h"
#include "batch/shard_index.h"

namespace lorry {

struct AssemblyOptions {
  std::string directory;  // made if it is not there
  std::string title;      // of the report
  bool evaluate = false;
  std::string reference_field;  // of the input's rows (batch/evaluation/output_row.h)
};

struct AssembledBatch {
  int64_t rows = 0, ok = 0, errors = 0;
  bool has_report = false;
};

// kInternal if a row has no result; kData if a shard's bytes are not those of the digest; kStorage. Files appear whole.
Result<AssembledBatch> AssembleBatch(RowCursor& rows, const ShardIndex& shards, const AssemblyOptions& options);

}  // namespace lorry
