// The real model under the engine: same bits for any mix, and the same numbers as the plain arithmetic of lora/.
#include "batch/transformer.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "base/files.h"
#include "base/random.h"
#include "batch/engine.h"
#include "batch/loaded_model.h"
#include "lora/peft_files.h"
#include "model/net/precision.h"
#include "tests/batch/tiny_model.h"

namespace lorry {
namespace {

struct Tiny {
  Tiny() { WriteTinyModel(dir.path() + "/model"); }

  LoadedModel Load(const std::string& dtype, bool merge = true) {
    auto model = LoadModel({.directory = dir.path() + "/model", .adapter = adapter, .dtype = dtype, .merge = merge});
    if (!model.ok()) FAIL(model.error().Format());
    return std::move(model).value();
  }

  // An adapter whose B is not zero.
  void MakeAdapter() {
    const auto config = ReadModelConfig(dir.path() + "/model/config.json");
    auto made = Adapter::Create(*config, {.r = 4, .alpha = 8});
    REQUIRE(made.ok());
    Random random(3, "test.adapter");
    float* values = made->values().data_ptr<float>();
    for (int64_t i = 0; i < made->ParameterCount(); ++i) values[i] = static_cast<float>(0.2 * (random.Uniform01() - 0.5));
    adapter = dir.path() + "/adapter";
    REQUIRE(WritePeftAdapter(adapter, *made).ok());
  }

  TempDirectory dir;
  std::string adapter;
};

std::vector<std::string> Dtypes() {
  if (CpuHasBf16()) return {"float32", "bfloat16"};
  return {"float32"};
}

std::vector<EngineRow> Rows(int64_t count) {
  Random random(5, "test.prompts");
  std::vector<EngineRow> rows;
  for (int64_t i = 0; i < count; ++i) {
    EngineRow row;
    row.index = i;
    row.id = "row " + std::to_string(i);
    if (i % 3 != 0) row.prompt.assign(70, 'a');  // a beginning that two rows of three share
    const uint64_t own = 1 + random.Below(i == 4 ? 130 : 50);
    for (uint64_t t = 0; t < own; ++t) row.prompt.push_back(static_cast<TokenId>(random.Below(256)));
    row.sampling.max_tokens = 40;
    row.sampling.temperature = i % 2 == 0 ? 0.0 : 1.0;
    rows.push_back(std::move(row));
  }
  return rows;
}

std::map<int64_t, std::vector<TokenId>> Compute(const LoadedModel& model, const std::vector<EngineRow>& rows,
                                                EngineOptions options) {
  const auto lane = model.new_lane();
  options.end_tokens = model.end_tokens;
  Engine engine(*lane, options, [&model](TokenId id) { return model.tokenizer.TokenBytes(id); });
  RowFeed feed;
  for (const EngineRow& row : rows) feed.Push(row);
  feed.Close();
  std::map<int64_t, std::vector<TokenId>> answers;
  REQUIRE(engine
              .Run(feed,
                   [&](EngineResult result) {
                     REQUIRE(!result.error);
                     answers[result.row.index] = result.tokens;
                   })
              .ok());
  return answers;
}

TEST_CASE_METHOD(Tiny, "tokens do not depend on the batch mix, the budget or shared beginnings", "[transformer]") {
  MakeAdapter();
  for (const std::string& dtype : Dtypes()) {
    for (const bool merge : {true, false}) {
      INFO(dtype << (merge ? " merged" : " separate"));
      const LoadedModel model = Load(dtype, merge);
      const auto rows = Rows(24);
      std::map<int64_t, std::vector<TokenId>> alone;
      for (const EngineRow& row : rows) alone.merge(Compute(model, {row}, {.max_rows = 1, .shared_prefixes = 0}));
      CHECK(Compute(model, rows, {}) == alone);
      CHECK(Compute(model, rows, {.max_rows = 5, .tokens_per_step = 64}) == alone);
      CHECK(Compute(model, rows, {.max_rows = 24, .tokens_per_step = 32, .shared_prefixes = 0}) == alone);
      CHECK(Compute(model, {rows.rbegin(), rows.rend()}, {.max_rows = 7}) == alone);
    }
  }
}

// Logits of all positions, read in pieces of `piece` tokens.
std::vector<float> AllLogits(DecodeModel& model, const std::vector<TokenId>& ids, int64_t piece) {
  std::vector<float> all;
  const auto sequence = model.NewSequence(static_cast<int64_t>(ids.size()));
  for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(piece)) {
    const auto part = std::span(ids).subspan(begin, std::min(static_cast<size_t>(piece), ids.size() - begin));
    SequencePiece next{sequence.get(), part, {}};
    for (size_t t = 0; t < part.size(); ++t) next.logits_at.push_back(static_cast<int32_t>(t));
    const auto rows = model.Read(std::span(&next, 1));
    REQUIRE(rows.ok());
    for (const LogitsRow row : *rows) all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

TEST_CASE_METHOD(Tiny, "a prompt's logits do not depend on where the grid cuts it", "[transformer]") {
  std::vector<TokenId> ids;
  for (int i = 0; i < 161; ++i) ids.push_back(i * 37 % 256);
  for (const std::string& dtype : Dtypes()) {
    const LoadedModel model = Load(dtype);
    const auto lane = model.new_lane();
    const auto whole = AllLogits(*lane, ids, 1000);
    for (const int64_t piece : {32, 64, 96, 160}) CHECK(AllLogits(*lane, ids, piece) == whole);
    // Token by token is another arithmetic, equal to rounding.
    const auto single = AllLogits(*lane, ids, 1);
    double largest = 0;
    for (size_t i = 0; i < whole.size(); ++i) largest = std::max<double>(largest, std::abs(whole[i] - single[i]));
    CHECK(largest < (dtype == "float32" ? 1e-4 : 0.15));
  }
}

TEST_CASE_METHOD(Tiny, "merged and separate adapters agree", "[transformer]") {
  std::vector<TokenId> ids;
  for (int i = 0; i < 90; ++i) ids.push_back(i * 11 % 256);
  const LoadedModel base = Load("float32");
  const auto without = AllLogits(*base.new_lane(), ids, 96);
  MakeAdapter();
  const LoadedModel merged = Load("float32", true);
  const LoadedModel separate = Load("float32", false);
  const auto a = AllLogits(*merged.new_lane(), ids, 96);
  const auto b = AllLogits(*separate.new_lane(), ids, 96);
  double apart = 0;
  double change = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    apart = std::max<double>(apart, std::abs(a[i] - b[i]));
    change = std::max<double>(change, std::abs(a[i] - without[i]));
  }
  CHECK(apart < 1e-4);
  CHECK(change > 0.05);
}

TEST_CASE_METHOD(Tiny, "threads change no bit", "[transformer]") {
  const auto rows = Rows(8);
  for (const std::string& dtype : Dtypes()) {
    const LoadedModel model = Load(dtype);
    SetLaneThreads(1);
    const auto one = Compute(model, rows, {});
    SetLaneThreads(2);
    CHECK(Compute(model, rows, {}) == one);
    SetLaneThreads(1);
  }
}

}  // namespace
}  // namespace lorry
