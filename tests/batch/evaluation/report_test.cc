#include "batch/evaluation/report.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "batch/evaluation/output_row.h"

namespace lorry {
namespace {

using nlohmann::json;

TEST_CASE("a report holds means, samples and error counts", "[report]") {
  EvaluationReport report({.title = "synopses <1>", .expected_rows = 4, .samples = 2, .worst = 1});
  report.AddScored("a", "fast text editor", "fast text editor");
  report.AddScored("b", "web server", "mail & web");
  report.AddScored("c", "compiler", "game");
  report.AddUnscored();
  report.AddError("context_length_exceeded");

  const json page = report.ToJson();
  CHECK(page["rows"] == json({{"total", 5}, {"ok", 4}, {"error", 1}, {"scored", 3}}));
  CHECK(report.MeanF("rouge1") == Approx((1 + 0.5 + 0) / 3));
  CHECK(page["metrics"]["rougeL"]["f"].get<double>() == report.MeanF("rougeL"));
  CHECK(page["rouge"]["rouge1"].get<double>() == report.MeanF("rouge1"));
  CHECK(page["errors"]["context_length_exceeded"] == 1);
  REQUIRE(page["samples"].size() == 2);
  CHECK(page["samples"][1]["id"] == "c");
  REQUIRE(page["worst"].size() == 1);
  CHECK(page["worst"][0]["id"] == "c");
  const std::string html = report.ToHtml();
  CHECK(html.find("synopses &lt;1&gt;") != std::string::npos);
}

TEST_CASE("an empty report divides by nothing", "[report]") {
  const EvaluationReport report({.title = "none"});
  CHECK(report.MeanF("rougeL") == 0);
  CHECK(report.ToJson()["metrics"].empty());
  CHECK(!report.ToHtml().empty());
}

TEST_CASE("fields by path", "[report]") {
  const json row = json::parse(R"({"a.b":"whole","m":[{"content":"x"},{"content":"y"}],"n":3})");
  CHECK(*FieldText(row, "a.b") == "whole");
  CHECK(*FieldText(row, "m.1.content") == "y");
  CHECK(*FieldText(row, "m.-1.content") == "y");
  for (const char* missing : {"z", "m.2.content", "m.x", "n", ""}) {
    const auto text = FieldText(row, missing);
    REQUIRE(!text.ok());
    CHECK(text.error().key == missing);
  }
}

}  // namespace
}  // namespace lorry
