#include "batch/sampling.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

namespace lorry {
namespace {

LogitsRow Row(const std::vector<float>& logits) { return logits; }

TEST_CASE("greedy takes the largest logit, the lowest id on a tie", "[sampling]") {
  const float inf = std::numeric_limits<float>::infinity();
  struct Case {
    std::vector<float> logits;
    TokenId token;
  };
  const Case cases[] = {
      {{1, 3, 2}, 1},     {{-1, -3, -2}, 0},     {{2, 5, 5, 1}, 1}, {{-0.0F, 0.0F, -1}, 0},
      {{0.0F, -0.0F}, 0}, {{-inf, -8, -inf}, 1}, {{-2, inf, 9}, 1},
  };
  for (const Case& c : cases) {
    CHECK(*GreedyToken(Row(c.logits)) == c.token);
    std::vector<float> longer(37, -inf);  // not a multiple of anything
    longer.insert(longer.end(), c.logits.begin(), c.logits.end());
    CHECK(*GreedyToken(Row(longer)) == c.token + 37);
  }
  for (const float nan : {std::nanf(""), -std::nanf("")}) {
    CHECK(!GreedyToken(Row(std::vector<float>{1, nan, 2})).ok());
    std::vector<float> longer(100, 1.0F);
    longer[50] = nan;
    CHECK(!GreedyToken(Row(longer)).ok());
  }
}

TEST_CASE("draws follow the probabilities and their cuts", "[sampling]") {
  // Probabilities 0.5, 0.3, 0.15, 0.05.
  const std::vector<float> logits = {std::log(0.15F), std::log(0.5F), std::log(0.05F), std::log(0.3F)};
  struct Case {
    double temperature, top_p;
    int64_t top_k;
    std::vector<double> expected;
  };
  const Case cases[] = {
      {1, 1, 0, {0.15, 0.5, 0.05, 0.3}},
      {1, 0.8, 0, {0, 0.625, 0, 0.375}},  // the smallest set that holds 0.8
      {1, 1, 3, {0.15 / 0.95, 0.5 / 0.95, 0, 0.3 / 0.95}},
      {1, 0.1, 0, {0, 1, 0, 0}},  // at least one
      {0.5, 1, 0, {0.0225 / 0.365, 0.25 / 0.365, 0.0025 / 0.365, 0.09 / 0.365}},
  };
  for (const Case& c : cases) {
    std::vector<double> counts(4, 0);
    const int draws = 20000;
    const TokenSampler sampler({.temperature = c.temperature, .top_p = c.top_p, .top_k = c.top_k, .seed = 5}, "row");
    for (int i = 0; i < draws; ++i) counts[static_cast<size_t>(*sampler.Choose(Row(logits), i))] += 1.0 / draws;
    for (size_t t = 0; t < 4; ++t) CHECK(counts[t] == Approx(c.expected[t]).margin(0.012));
  }
}

TEST_CASE("a draw is keyed by seed, row and position", "[sampling]") {
  const std::vector<float> logits(1000, 0.0F);
  const auto draw = [&](uint64_t seed, const char* row, int64_t position) {
    return *TokenSampler({.temperature = 1, .seed = seed}, row).Choose(Row(logits), position);
  };
  CHECK(draw(1, "a", 0) == draw(1, "a", 0));
  CHECK((draw(1, "a", 0) != draw(2, "a", 0) || draw(1, "a", 1) != draw(2, "a", 1)));
  CHECK((draw(1, "a", 0) != draw(1, "b", 0) || draw(1, "a", 1) != draw(1, "b", 1)));
  CHECK((draw(1, "a", 0) != draw(1, "a", 1) || draw(1, "a", 1) != draw(1, "a", 2)));
}

TEST_CASE("log probabilities add up to one", "[sampling]") {
  const std::vector<float> logits = {1, 2, 300, -5};
  double total = 0;
  for (TokenId t = 0; t < 4; ++t) total += std::exp(LogProbability(Row(logits), t));
  CHECK(total == Approx(1));
}

TEST_CASE("stop texts are found across tokens", "[sampling]") {
  StopWatch watch({"END", "\n\n"});
  CHECK(!watch.Add("the E"));
  CHECK(!watch.Add("N\n"));
  CHECK(!watch.Add("EN"));
  CHECK(watch.Add("D of"));
  const std::vector<std::string> stop = {"END", "\n\n"};
  CHECK(StopWatch::Before("abENDc\n\n", stop) == "ab");
  CHECK(StopWatch::Before("a\n\nbEND", stop) == "a");
  CHECK(StopWatch::Before("plain", stop) == "plain");
  CHECK(!StopWatch({}).Add("anything"));
}

TEST_CASE("sampling out of range is named", "[sampling]") {
  const SamplingParams bad[] = {{.max_tokens = 0},      {.temperature = -1}, {.temperature = std::nan("")},
                                {.temperature = 2.001}, {.top_p = 0},        {.top_p = 1.5},
                                {.top_k = -1},          {.stop = {""}}};
  for (const SamplingParams& params : bad) {
    const Status status = CheckSampling(params);
    REQUIRE(!status.ok());
    CHECK(!status.error().key.empty());
  }
  CHECK(CheckSampling({}).ok());
  CHECK(CheckSampling({.temperature = 2}).ok());
}

TEST_CASE("a temperature too low to divide by is greedy", "[sampling]") {
  const std::vector<float> logits = {1, 3, 2};
  REQUIRE(CheckSampling({.temperature = 1e-300}).ok());
  CHECK(*TokenSampler({.temperature = 1e-300}, "row").Choose(Row(logits), 0) == 1);
}

}  // namespace
}  // namespace lorry
