// lorry eval rouge: scores of an output file against references, matched by id where the references have ids, else by position.
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "batch/evaluation/output_row.h"
#include "batch/evaluation/rouge.h"
#include "cli/inference.h"
#include "model/format/rows.h"

namespace lorry {
namespace {

struct TextRow {
  std::string id;  // may be empty
  std::string text;
};

Error InLine(Error error, const std::string& file, int64_t line) {
  error.file = file;
  error.line = static_cast<int>(line);
  return error;
}

Result<std::vector<TextRow>> ReadTexts(const std::string& path,
                                       const std::function<Result<std::string>(const nlohmann::json&)>& text_of) {
  LORRY_ASSIGN_OR_RETURN(LineReader lines, LineReader::Open(path));
  std::vector<TextRow> rows;
  for (;;) {
    LORRY_ASSIGN_OR_RETURN(const std::optional<TextLine> line, lines.Next());
    if (!line) break;
    Result<nlohmann::json> json = ParseJson(line->text);
    if (!json.ok()) return InLine(json.error(), path, line->number);
    Result<std::string> text = text_of(*json);
    if (!text.ok()) return InLine(text.error(), path, line->number);
    rows.push_back({OutputRowId(*json), std::move(*text)});
  }
  if (rows.empty()) return MakeError(ErrorCode::kData, path + " has no rows");
  return rows;
}

Result<std::string> ReferenceText(const nlohmann::json& row, const std::string& field) {
  if (!field.empty()) return FieldText(row, field);
  for (const char* known : {"reference", "synopsis", "summary", "completion", "messages.-1.content", "output"}) {
    if (Result<std::string> text = FieldText(row, known); text.ok()) return text;
  }
  return MakeError(ErrorCode::kData, "the row has no reference text", "name its field with --field");
}

// Which reference belongs to each output; kData where one has none.
Result<std::vector<std::pair<std::string, std::string>>> Match(const std::vector<TextRow>& references,
                                                               const std::vector<TextRow>& outputs) {
  std::map<std::string, std::string> by_id;
  for (const TextRow& row : references) {
    if (!row.id.empty()) by_id[row.id] = row.text;
  }
  std::vector<std::pair<std::string, std::string>> pairs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const auto found = by_id.find(outputs[i].id);
    if (found != by_id.end()) {
      pairs.emplace_back(found->second, outputs[i].text);
    } else if (by_id.empty() && references.size() == outputs.size()) {
      pairs.emplace_back(references[i].text, outputs[i].text);
    } else {
      return MakeError(ErrorCode::kData, fmt::format("output row {} (id \"{}\") has no reference", i + 1, outputs[i].id),
                       "give both files the same ids, or the same number of rows");
    }
  }
  return pairs;
}

nlohmann::json ScoreJson(const RougeScore& score) {
  return {{"precision", score.precision}, {"recall", score.recall}, {"f", score.f}};
}

void Add(RougeScore& sum, const RougeScore& score) {
  sum.precision += score.precision;
  sum.recall += score.recall;
  sum.f += score.f;
}

}  // namespace

Result<int> RunEval(Session& session, const EvalOptions& options) {
  LORRY_ASSIGN_OR_RETURN(const auto references, ReadTexts(options.reference, [&](const nlohmann::json& row) {
                           return ReferenceText(row, options.field);
                         }));
  LORRY_ASSIGN_OR_RETURN(const auto outputs, ReadTexts(options.output, OutputRowText));
  LORRY_ASSIGN_OR_RETURN(const auto pairs, Match(references, outputs));
  struct Named {
    const char* name;
    RougeScore RougeScores::*score;
    RougeScore sum;
  };
  std::array<Named, 4> metrics = {{{"rouge1", &RougeScores::rouge1, {}},
                                   {"rouge2", &RougeScores::rouge2, {}},
                                   {"rougeL", &RougeScores::rouge_l, {}},
                                   {"rougeLsum", &RougeScores::rouge_lsum, {}}}};
  for (const auto& [reference, output] : pairs) {
    const RougeScores scores = ScoreRouge(reference, output);
    for (Named& metric : metrics) Add(metric.sum, scores.*metric.score);
  }
  const size_t unanswered = references.size() - std::min(references.size(), pairs.size());
  if (unanswered > 0) session.terminal().Note(fmt::format("{} references have no row in {}", unanswered, options.output));
  nlohmann::json document = {{"rows", pairs.size()}, {"references_without_output", unanswered}};
  std::vector<std::vector<std::string>> table = {{"", "PRECISION", "RECALL", "F"}};
  for (Named& metric : metrics) {
    const double count = static_cast<double>(pairs.size());
    const RougeScore mean = {metric.sum.precision / count, metric.sum.recall / count, metric.sum.f / count};
    document[metric.name] = ScoreJson(mean);
    table.push_back(
        {metric.name, fmt::format("{:.4f}", mean.precision), fmt::format("{:.4f}", mean.recall), fmt::format("{:.4f}", mean.f)});
  }
  session.terminal().Print(AlignColumns(table) + fmt::format("{} rows\n", pairs.size()));
  session.terminal().PrintJson(document);
  return 0;
}

}  // namespace lorry
