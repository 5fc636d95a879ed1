#include "batch/evaluation/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace lorry {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 4> kMetrics = {"rouge1", "rouge2", "rougeL", "rougeLsum"};

std::array<const RougeScore*, 4> InOrder(const RougeScores& scores) {
  return {&scores.rouge1, &scores.rouge2, &scores.rouge_l, &scores.rouge_lsum};
}

constexpr const char* kPageHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{0}</title>
<style>
body{{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse;width:100%}}
th,td{{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid color-mix(in srgb,currentColor 20%,transparent)}}
td.n,th.n{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}}
.wide{{overflow-x:auto}}
</style></head><body>
<h1>{0}</h1>
)";

}  // namespace

void EvaluationReport::AddScored(const std::string& id, const std::string& reference, const std::string& output) {
  Sample sample{scored_rows_, id, reference, output, ScoreRouge(reference, output)};
  const auto scores = InOrder(sample.scores);
  for (size_t m = 0; m < kMetrics.size(); ++m) {
    sums_[m].precision += scores[m]->precision;
    sums_[m].recall += scores[m]->recall;
    sums_[m].f += scores[m]->f;
    sums_[m].f_squared += scores[m]->f * scores[m]->f;
  }
  ++ok_rows_;
  ++scored_rows_;
  Keep(std::move(sample));
}

void EvaluationReport::AddError(const std::string& code) {
  ++error_rows_;
  ++errors_[code];
}

void EvaluationReport::Keep(Sample sample) {
  const int64_t every = std::max<int64_t>(1, options_.expected_rows / std::max<int64_t>(1, options_.samples));
  if (sample.position % every == 0 && static_cast<int64_t>(samples_.size()) < options_.samples) samples_.push_back(sample);
  const auto place = std::upper_bound(worst_.begin(), worst_.end(), sample,
                                      [](const Sample& a, const Sample& b) { return a.scores.rouge_l.f < b.scores.rouge_l.f; });
  worst_.insert(place, std::move(sample));
  if (static_cast<int64_t>(worst_.size()) > options_.worst) worst_.pop_back();
}

double EvaluationReport::MeanF(std::string_view metric) const {
  for (size_t m = 0; m < kMetrics.size(); ++m) {
    if (metric == kMetrics[m] && scored_rows_ > 0) return sums_[m].f / static_cast<double>(scored_rows_);
  }
  return 0;
}

json EvaluationReport::SampleJson(const Sample& sample) {
  json row = {{"id", sample.id}, {"reference", sample.reference}, {"output", sample.output}};
  const auto scores = InOrder(sample.scores);
  for (size_t m = 0; m < kMetrics.size(); ++m) row[kMetrics[m]] = scores[m]->f;
  return row;
}

json EvaluationReport::ToJson() const {
  json metrics = json::object();
  json means = json::object();
  const auto n = static_cast<double>(scored_rows_);
  for (size_t m = 0; m < kMetrics.size() && scored_rows_ > 0; ++m) {
    const Sums& sums = sums_[m];
    const double mean = sums.f / n;
    const double variance = scored_rows_ > 1 ? std::max(0.0, (sums.f_squared - n * mean * mean) / (n - 1)) : 0.0;
    metrics[kMetrics[m]] = {
        {"precision", sums.precision / n}, {"recall", sums.recall / n}, {"f", mean}, {"standard_error", std::sqrt(variance / n)}};
    means[kMetrics[m]] = mean;
  }
  json samples = json::array();
  for (const Sample& sample : samples_) samples.push_back(SampleJson(sample));
  json worst = json::array();
  for (const Sample& sample : worst_) worst.push_back(SampleJson(sample));
  return {{"schema", 1},
          {"title", options_.title},
          {"rows", {{"total", rows()}, {"ok", ok_rows_}, {"error", error_rows_}, {"scored", scored_rows_}}},
          {"rouge", means},
          {"metrics", metrics},
          {"signature", "rouge_score 0.1.2, use_stemmer=True, lines as sentences; mean over rows"},
          {"errors", errors_},
          {"samples", samples},
          {"worst", worst}};
}

std::string EvaluationReport::ToHtml() const {
  std::string page = fmt::format(kPageHead, EscapeHtml(options_.title));
  page += fmt::format("<p>{} rows: {} ok, {} with an error, {} held against a reference.</p>\n", rows(), ok_rows_, error_rows_,
                      scored_rows_);
  if (scored_rows_ > 0) {
    page +=
        "<table><tr><th>Metric</th><th class=n>F</th><th class=n>&plusmn; standard error</th><th class=n>Precision</th>"
        "<th class=n>Recall</th></tr>\n";
    const json metrics = ToJson()["metrics"];
    for (const char* name : kMetrics) {
      const json& m = metrics[name];
      page += fmt::format(
          "<tr><td>{}</td><td class=n>{:.4f}</td><td class=n>{:.4f}</td><td class=n>{:.4f}</td><td class=n>{:.4f}</td></tr>\n",
          name, m["f"].get<double>(), m["standard_error"].get<double>(), m["precision"].get<double>(), m["recall"].get<double>());
    }
    page += "</table>\n";
  }
  const auto table = [&page](const char* title, const std::vector<Sample>& rows) {
    if (rows.empty()) return;
    page += fmt::format(
        "<h2>{}</h2><div class=wide><table><tr><th>Row</th><th>Reference</th><th>Output</th><th class=n>ROUGE-L</th></tr>\n",
        title);
    for (const Sample& row : rows) {
      page += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td class=n>{:.3f}</td></tr>\n", EscapeHtml(row.id),
                          EscapeHtml(row.reference), EscapeHtml(row.output), row.scores.rouge_l.f);
    }
    page += "</table></div>\n";
  };
  table("Sample rows", samples_);
  table("Lowest ROUGE-L", worst_);
  if (!errors_.empty()) {
    page += "<h2>Errors</h2><table><tr><th>Code</th><th class=n>Rows</th></tr>\n";
    for (const auto& [code, count] : errors_) {
      page += fmt::format("<tr><td>{}</td><td class=n>{}</td></tr>\n", EscapeHtml(code), count);
    }
    page += "</table>\n";
  }
  return page + "</body></html>\n";
}

}  // namespace lorry
