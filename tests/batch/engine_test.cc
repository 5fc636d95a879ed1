#include "batch/engine.h"

#include <catch2/catch.hpp>
#include <limits>
#include <map>
#include <mutex>
#include <thread>

#include "base/random.h"
#include "tests/batch/hash_model.h"

namespace lorry {
namespace {

constexpr TokenId kEnd = 3;

struct Setting {
  int64_t max_rows = 8;
  int64_t tokens_per_step = 128;
  size_t shared_prefixes = 4;
  int64_t memory_bytes = 1 << 20;
};

EngineOptions Options(const Setting& setting) {
  return {.max_rows = setting.max_rows,
          .tokens_per_step = setting.tokens_per_step,
          .memory_bytes = setting.memory_bytes,
          .shared_prefixes = setting.shared_prefixes,
          .end_tokens = {kEnd}};
}

// Rows whose prompts share beginnings of different length, greedy and sampled by turns.
std::vector<EngineRow> Rows(int64_t count, uint64_t seed) {
  Random random(seed, "test.rows");
  std::vector<TokenId> common;
  for (int i = 0; i < 100; ++i) common.push_back(static_cast<TokenId>(4 + random.Below(30)));
  std::vector<EngineRow> rows;
  for (int64_t i = 0; i < count; ++i) {
    EngineRow row;
    row.index = i;
    row.id = "row-" + std::to_string(i);
    row.prompt.assign(common.begin(), common.begin() + static_cast<int64_t>(random.Below(2) * random.Below(100)));
    const uint64_t own = 1 + random.Below(i % 7 == 0 ? 400 : 60);
    for (uint64_t t = 0; t < own; ++t) row.prompt.push_back(static_cast<TokenId>(4 + random.Below(30)));
    row.sampling.max_tokens = 1 + static_cast<int64_t>(random.Below(30));
    row.sampling.temperature = i % 2 == 0 ? 0 : 0.8;
    row.sampling.top_p = i % 4 == 1 ? 0.7 : 1;
    row.sampling.top_k = i % 8 == 3 ? 5 : 0;
    rows.push_back(std::move(row));
  }
  return rows;
}

using Answers = std::map<int64_t, std::vector<TokenId>>;

Answers Compute(const std::vector<EngineRow>& rows, const Setting& setting, HashModel& model,
                EngineCounters* counters = nullptr) {
  Engine engine(model, Options(setting), [](TokenId id) { return std::string(1, static_cast<char>('a' + id % 26)); });
  RowFeed feed;
  for (const EngineRow& row : rows) feed.Push(row);
  feed.Close();
  Answers answers;
  REQUIRE(engine
              .Run(feed,
                   [&](EngineResult result) {
                     REQUIRE(!result.error);
                     REQUIRE(answers.emplace(result.row.index, result.tokens).second);
                   })
              .ok());
  if (counters != nullptr) *counters = engine.counters();
  return answers;
}

TEST_CASE("a row's tokens depend on the row alone", "[engine]") {
  const auto rows = Rows(60, 7);
  HashModel alone_model;
  Answers alone;
  for (const EngineRow& row : rows) {
    alone.merge(Compute({row}, {.max_rows = 1, .tokens_per_step = 4096, .shared_prefixes = 0}, alone_model));
  }
  REQUIRE(alone.size() == rows.size());
  const Setting settings[] = {
      {},
      {.max_rows = 1},
      {.max_rows = 60, .tokens_per_step = 4096},
      {.max_rows = 16, .tokens_per_step = 32},
      {.shared_prefixes = 0},
      {.shared_prefixes = 1},
      {.memory_bytes = 4000},  // a few rows at a time, the longest alone
  };
  for (const Setting& setting : settings) {
    HashModel model;
    CHECK(Compute(rows, setting, model) == alone);
    CHECK(model.most_rows <= setting.max_rows);
    CHECK(model.largest_step <= std::max(setting.tokens_per_step, setting.max_rows + kPrefillGrid));
  }
  auto backwards = rows;
  std::reverse(backwards.begin(), backwards.end());
  HashModel model;
  CHECK(Compute(backwards, {}, model) == alone);
}

TEST_CASE("several engines on one feed give every row once", "[engine]") {
  const auto rows = Rows(80, 9);
  HashModel model;
  const Answers expected = Compute(rows, {}, model);
  RowFeed feed(16);
  std::mutex mutex;
  Answers answers;
  std::vector<std::thread> lanes;
  for (int lane = 0; lane < 3; ++lane) {
    lanes.emplace_back([&] {
      HashModel own;
      Engine engine(own, Options({}), [](TokenId) { return std::string("x"); });
      const Status status = engine.Run(feed, [&](EngineResult result) {
        const std::lock_guard lock(mutex);
        answers.emplace(result.row.index, result.tokens);
      });
      if (!status.ok()) std::abort();
    });
  }
  for (const EngineRow& row : rows) feed.Push(row);
  feed.Close();
  for (std::thread& lane : lanes) lane.join();
  CHECK(answers == expected);
}

TEST_CASE("a shared beginning is read once", "[engine]") {
  std::vector<EngineRow> rows = Rows(20, 3);
  for (EngineRow& row : rows) {
    std::vector<TokenId> prompt(70, 5);
    prompt.push_back(static_cast<TokenId>(6 + row.index % 30));
    row.prompt = prompt;
  }
  HashModel model;
  EngineCounters counters;
  Compute(rows, {}, model, &counters);
  CHECK(counters.prompt_tokens_reused == 19 * 64);
  CHECK(counters.prompt_tokens_read == 20 * 71 - 19 * 64);
}

TEST_CASE("what a row may ask for at most, and a token that the model does not know, end that row alone", "[engine]") {
  HashModel model(64);
  std::vector<EngineRow> rows = Rows(2, 5);
  for (EngineRow& row : rows) row.prompt.assign(10, 7);
  rows[0].sampling.max_tokens = std::numeric_limits<int64_t>::max();
  rows[1].prompt[3] = HashModel::kVocabulary;
  Engine engine(model, Options({}), [](TokenId) { return std::string("a"); });
  RowFeed feed;
  for (const EngineRow& row : rows) feed.Push(row);
  feed.Close();
  std::map<int64_t, EngineResult> results;
  REQUIRE(engine.Run(feed, [&](EngineResult result) { results.emplace(result.row.index, std::move(result)); }).ok());
  REQUIRE(results.size() == 2);
  CHECK_FALSE(results.at(0).error);
  CHECK(results.at(0).tokens.size() <= 55);  // up to the end of the context, and one more
  REQUIRE(results.at(1).error);
  CHECK(results.at(1).error->key == "token_out_of_vocabulary");
}

TEST_CASE("rows end for their reasons", "[engine]") {
  HashModel model(64);
  Engine engine(model, Options({}), [](TokenId id) { return std::string(1, static_cast<char>('a' + id % 26)); });
  RowFeed feed;
  const auto push = [&feed](int64_t index, size_t prompt, int64_t max_tokens, std::vector<std::string> stop) {
    EngineRow row;
    row.index = index;
    row.id = std::to_string(index);
    row.prompt.assign(prompt, static_cast<TokenId>(4 + index));
    row.sampling.max_tokens = max_tokens;
    row.sampling.stop = std::move(stop);
    feed.Push(std::move(row));
  };
  push(0, 10, 2, {});
  push(1, 60, 100, {});  // the context ends first
  push(2, 64, 5, {});    // no room for an answer
  push(3, 0, 5, {});
  std::vector<std::string> letters;
  for (char c = 'a'; c <= 'p'; ++c) letters.emplace_back(1, c);
  push(4, 5, 50, letters);
  feed.Close();
  std::map<int64_t, EngineResult> results;
  REQUIRE(engine.Run(feed, [&](EngineResult result) { results.emplace(result.row.index, std::move(result)); }).ok());
  REQUIRE(results.size() == 5);
  CHECK((results.at(0).tokens.size() <= 2 && !results.at(0).error));
  CHECK(results.at(1).tokens.size() <= 5);
  CHECK(results.at(2).error->key == "context_length_exceeded");
  CHECK(results.at(3).error->key == "empty_prompt");
  CHECK(results.at(4).finish == FinishReason::kStop);
}

}  // namespace
}  // namespace lorry
