#include "trainers/batch_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <set>

#include "base/random.h"

namespace lorry::trainers {
namespace {

std::vector<RowSize> Rows(std::initializer_list<int32_t> lengths) {
  std::vector<RowSize> rows;
  for (const int32_t length : lengths) rows.push_back({length, 1});
  return rows;
}

std::string Text(const PlannedStep& step) { return fmt::format("{}", step.micro_batches); }

TEST_CASE("a step takes rows until the next one is over its tokens") {
  BatchPlan plan(Rows({10, 10, 10, 25, 40}), {.tokens_per_step = 30, .tokens_per_micro_batch = 15, .shuffle = false});
  DataCursor cursor;
  const char* expected[] = {"[[0, 2], [1]]", "[[3]]", "[[4]]"};
  for (const char* text : expected) {
    const auto step = plan.StepAt(cursor);
    REQUIRE(step.ok());
    CHECK(Text(*step) == text);
    cursor = step->after;
  }
  CHECK(cursor == DataCursor{1, 0});
  CHECK(plan.TotalSteps(2, std::nullopt) == 6);
  CHECK(plan.TotalSteps(2, 4) == 4);
  CHECK(plan.TotalSteps(std::nullopt, 9) == 9);
}

TEST_CASE("rows of a step are dealt longest first, at most as many as a micro-batch has") {
  BatchPlan plan(Rows({5, 90, 10, 20, 30, 40}), {.rows_per_micro_batch = 3, .micro_batches_per_step = 2, .shuffle = false});
  const auto step = plan.StepAt({});
  REQUIRE(step.ok());
  CHECK(Text(*step) == "[[0, 1, 2], [3, 4, 5]]");  // 90 alone is more than 40 + 30 + 20, so the small ones join it
  CHECK(step->tokens == 195);
}

TEST_CASE("rows without a loss token are used up and not computed, and no step is made of them alone") {
  BatchPlan plan({{10, 0}, {10, 3}, {7, 0}, {7, 0}}, {.rows_per_micro_batch = 2, .micro_batches_per_step = 1, .shuffle = false});
  const auto first = plan.StepAt({});
  REQUIRE(first.ok());
  CHECK(Text(*first) == "[[1]]");
  CHECK(first->rows == std::vector<int64_t>{0, 1, 2, 3});  // behind it there is nothing to learn from
  CHECK(first->loss_tokens == 3);
  CHECK(first->after == DataCursor{1, 0});
  CHECK(plan.TotalSteps(1, std::nullopt) == 1);

  BatchPlan gap({{9, 1}, {9, 0}, {9, 0}, {9, 2}, {9, 1}},
                {.rows_per_micro_batch = 1, .micro_batches_per_step = 1, .shuffle = false});
  const auto over = gap.StepAt({0, 1});
  REQUIRE(over.ok());
  CHECK(Text(*over) == "[[3]]");
  CHECK(over->rows == std::vector<int64_t>{1, 2, 3});
  CHECK(gap.TotalSteps(1, std::nullopt) == 3);

  BatchPlan nothing({{9, 0}, {9, 0}}, {.rows_per_micro_batch = 1, .micro_batches_per_step = 1});
  CHECK(nothing.StepAt({}).error().code == ErrorCode::kData);
}

TEST_CASE("without packing each row is a micro-batch") {
  BatchPlan plan(Rows({5, 6, 7}), {.tokens_per_step = 11, .packing = false, .shuffle = false});
  CHECK(Text(*plan.StepAt({})) == "[[0], [1]]");
}

TEST_CASE("every epoch uses every row once, in an order of its own that a cursor can enter anywhere") {
  const uint64_t seed = 20261121;
  INFO("seed " << seed);
  Random random(seed, "test.rows");
  std::vector<RowSize> rows;
  for (int i = 0; i < 200; ++i) rows.push_back({static_cast<int32_t>(1 + random.Below(120)), 1});
  const BatchPlanOptions options{.tokens_per_step = 512, .tokens_per_micro_batch = 128, .seed = seed};
  BatchPlan plan(rows, options);
  DataCursor cursor;
  std::vector<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<int64_t>& order = orders.emplace_back();
    while (cursor.epoch == epoch) {
      // A fresh plan that knows only the cursor gives the same step.
      BatchPlan resumed(rows, options);
      const auto step = plan.StepAt(cursor);
      const auto again = resumed.StepAt(cursor);
      REQUIRE(step.ok());
      REQUIRE(Text(*step) == Text(*again));
      REQUIRE((step->tokens <= 512 || step->rows.size() == 1));
      order.insert(order.end(), step->rows.begin(), step->rows.end());
      cursor = step->after;
    }
    REQUIRE(std::set<int64_t>(order.begin(), order.end()).size() == rows.size());
    REQUIRE(order.size() == rows.size());
  }
  CHECK(orders[0] != orders[1]);
  CHECK(orders[1] != orders[2]);
}

}  // namespace
}  // namespace lorry::trainers
