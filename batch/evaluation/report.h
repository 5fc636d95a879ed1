// report.json and report.html of an evaluated batch: means of each metric, sample rows, what went wrong.
//
// Both depend only on the rows added and their order, so that the same job gives the same bytes. Rows are not kept but
// for the samples: memory does not grow with the batch. Not for several threads at once.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "batch/evaluation/rouge.h"

namespace lorry {

class EvaluationReport {
 public:
  struct Options {
    std::string title;
    int64_t expected_rows = 0;  // sample rows are taken evenly out of this many
    int64_t samples = 5;
    int64_t worst = 5;  // rows with the lowest ROUGE-L
  };
  explicit EvaluationReport(Options options) : options_(std::move(options)) {}

  // A row with its reference. Pure text in, scores kept.
  void AddScored(const std::string& id, const std::string& reference, const std::string& output);
  // A row that was computed and has no reference to be held against.
  void AddUnscored() { ++ok_rows_; }
  // A row that ended in errors.jsonl.
  void AddError(const std::string& code);

  int64_t rows() const { return ok_rows_ + error_rows_; }
  int64_t scored_rows() const { return scored_rows_; }
  // Mean F of "rouge1", "rouge2", "rougeL" or "rougeLsum" over the scored rows; 0 where there are none.
  double MeanF(std::string_view metric) const;

  nlohmann::json ToJson() const;
  // A whole page: no script, no file beside it, light and dark.
  std::string ToHtml() const;

 private:
  struct Sample {
    int64_t position;  // among the scored rows
    std::string id, reference, output;
    RougeScores scores;
  };
  struct Sums {
    double precision = 0, recall = 0, f = 0, f_squared = 0;
  };
  void Keep(Sample sample);
  static nlohmann::json SampleJson(const Sample& sample);

  Options options_;
  int64_t ok_rows_ = 0, error_rows_ = 0, scored_rows_ = 0;
  std::array<Sums, 4> sums_{};  // rouge1, rouge2, rougeL, rougeLsum
  std::map<std::string, int64_t> errors_;
  std::vector<Sample> samples_;
  std::vector<Sample> worst_;  // by rising ROUGE-L, then by position
};

}  // namespace lorry
