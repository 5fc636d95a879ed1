#include "batch/assembly.h"

#include <nlohmann/json.hpp>

#include "base/files.h"
#include "batch/evaluation/output_row.h"
#include "batch/evaluation/report.h"
#include "batch/row_lines.h"

namespace lorry {
namespace {

using nlohmann::json;

// The error's code in a line of errors.jsonl of either form.
std::string CodeOf(const json& line) {
  for (const char* path : {"error.code", "response.body.error.code"}) {
    if (auto code = FieldText(line, path); code.ok()) return *code;
  }
  return "unknown";
}

void AddToReport(EvaluationReport& report, const BatchRow& row, RowState state, const std::string& line,
                 const std::string& reference_field) {
  const json result = json::parse(line, nullptr, false);
  if (state == RowState::kError) return report.AddError(CodeOf(result));
  const json input = json::parse(row.body, nullptr, false);
  const auto reference = FieldText(input, reference_field);
  const auto text = OutputRowText(result);
  if (!reference.ok() || !text.ok()) return report.AddUnscored();
  report.AddScored(row.id, *reference, *text);
}

Status WriteReport(const EvaluationReport& report, const std::string& directory) {
  LORRY_TRY(WriteFileAtomically(directory + "/report.json", report.ToJson().dump(1) + "\n"));
  return WriteFileAtomically(directory + "/report.html", report.ToHtml());
}

}  // namespace

Result<AssembledBatch> AssembleBatch(RowCursor& rows, const ShardIndex& shards, const AssemblyOptions& options) {
  LORRY_TRY(MakeDirectories(options.directory));
  LORRY_ASSIGN_OR_RETURN(AtomicFile output, AtomicFile::Create(options.directory + "/output.jsonl"));
  LORRY_ASSIGN_OR_RETURN(AtomicFile errors, AtomicFile::Create(options.directory + "/errors.jsonl"));
  LORRY_ASSIGN_OR_RETURN(const int64_t count, rows.Count());
  EvaluationReport report({.title = options.title, .expected_rows = count});
  AssembledBatch batch;
  for (int64_t index = 0; index < count; ++index) {
    LORRY_ASSIGN_OR_RETURN(const auto row, rows.At(index));
    const auto found = shards.Find(index);
    if (!row || !found) return MakeError(ErrorCode::kInternal, "row " + std::to_string(index) + " of the batch has no result");
    LORRY_ASSIGN_OR_RETURN(const std::string line,
                           found->place.shard.empty() ? Result<std::string>(GivenUpLine(*row)) : ReadRowLine(found->place));
    const bool ok = found->row.state == RowState::kOk;
    LORRY_TRY((ok ? output : errors).Write(line + "\n"));
    ++(ok ? batch.ok : batch.errors);
    if (options.evaluate) AddToReport(report, *row, found->row.state, line, options.reference_field);
  }
  batch.rows = count;
  if (batch.ok + batch.errors != count) return MakeError(ErrorCode::kInternal, "rows were lost on their way to the output");
  LORRY_TRY(errors.Commit());
  LORRY_TRY(output.Commit());
  if (options.evaluate) LORRY_TRY(WriteReport(report, options.directory));
  batch.has_report = options.evaluate;
  return batch;
}

}  // namespace lorry
