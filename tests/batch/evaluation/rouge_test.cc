#include "batch/evaluation/rouge.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "batch/evaluation/porter_stemmer.h"

namespace lorry {
namespace {

TEST_CASE("stems and scores are those that rouge_score 0.1.2 gave", "[rouge]") {
  std::ifstream golden("tests/golden/rouge.jsonl");
  REQUIRE(golden);
  int words = 0;
  int pairs = 0;
  for (std::string line; std::getline(golden, line);) {
    const auto row = nlohmann::json::parse(line);
    INFO(line);
    if (row.contains("word")) {
      CHECK(StemPorter(row["word"].get<std::string>()) == row["stem"].get<std::string>());
      ++words;
      continue;
    }
    const auto& pair = row["pair"];
    const RougeScores ours = ScoreRouge(pair[0].get<std::string>(), pair[1].get<std::string>(), {.use_stemmer = pair[2]});
    const RougeScore* in_order[] = {&ours.rouge1, &ours.rouge2, &ours.rouge_l, &ours.rouge_lsum};
    for (size_t m = 0; m < 4; ++m) {
      CHECK(in_order[m]->precision == row["scores"][m][0].get<double>());
      CHECK(in_order[m]->recall == row["scores"][m][1].get<double>());
      CHECK(in_order[m]->f == row["scores"][m][2].get<double>());
    }
    ++pairs;
  }
  CHECK(words > 50);
  CHECK(pairs == 90);
}

TEST_CASE("tokens", "[rouge]") {
  struct Case {
    const char* text;
    std::vector<std::string> tokens;
  };
  const Case cases[] = {
      {"", {}},
      {"The GTK+ library, v2.0", {"the", "gtk", "librari", "v2", "0"}},
      {"caf\u00e9s naïve", {"caf", "s", "na", "ve"}},             // accented letters part words
      {"\u212aelvin \u0130stanbul", {"kelvin", "i", "stanbul"}},  // the two signs whose lower case is a-z
      {"\xff\xfe"
       "ab\x80"
       "cd",
       {"ab", "cd"}},  // bytes that are not UTF-8
  };
  for (const Case& c : cases) CHECK(RougeTokens(c.text) == c.tokens);
}

TEST_CASE("lines are sentences for Lsum and blanks for L", "[rouge]") {
  const RougeScores scores = ScoreRouge("the cat\nsat down", "sat down\nthe cat");
  CHECK(scores.rouge_l.f == 0.5);
  CHECK(scores.rouge_lsum.f == 1.0);
}

}  // namespace
}  // namespace lorry
