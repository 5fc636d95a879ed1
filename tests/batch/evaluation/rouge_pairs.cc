// Reads JSON lines from standard input: a word gives its stem, [target, prediction, use_stemmer] gives
// [[precision, recall, f], ...] of ROUGE-1, -2, -L and -Lsum. tests/live/rouge_peer.py compares them with rouge_score.
#include <iostream>
#include <nlohmann/json.hpp>

#include "batch/evaluation/porter_stemmer.h"
#include "batch/evaluation/rouge.h"

int main() {
  using nlohmann::json;
  for (std::string line; std::getline(std::cin, line);) {
    const json input = json::parse(line);
    if (input.is_string()) {
      std::cout << json(lorry::StemPorter(input.get<std::string>())) << "\n";
      continue;
    }
    const auto scores =
        lorry::ScoreRouge(input[0].get<std::string>(), input[1].get<std::string>(), {.use_stemmer = input[2].get<bool>()});
    json output = json::array();
    for (const auto& score : {scores.rouge1, scores.rouge2, scores.rouge_l, scores.rouge_lsum}) {
      output.push_back({score.precision, score.recall, score.f});
    }
    std::cout << output << "\n";
  }
}
