// ROUGE-1, -2, -L and -Lsum of one text against a reference, equal to the Python package rouge_score 0.1.2.
//
// Equal means: the same tokens (Unicode lower case, everything but a-z and 0-9 parts words, words of more than three
// letters are stemmed), the same counts, and the same order of the floating-point operations, so that a score differs
// from the package's by nothing. ROUGE-L reads the text as one line; ROUGE-Lsum takes its lines as sentences
// (split_summaries=False), joins the words each sentence of the reference shares with any sentence of the prediction,
// and clips by word counts. Accented letters part words and other scripts score 0: that is the package's definition.
//
// Sources: Lin, "ROUGE: a package for automatic evaluation of summaries", 2004; google-research/rouge.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lorry {

struct RougeScore {
  double precision = 0;  // 0..1
  double recall = 0;     // 0..1
  double f = 0;          // 2 P R / (P + R), 0 where both are 0
};

struct RougeScores {
  RougeScore rouge1, rouge2, rouge_l, rouge_lsum;
};

struct RougeOptions {
  bool use_stemmer = true;
};

// Both texts are UTF-8; a byte that is not part of valid UTF-8 parts words like any other sign.
// Time: product of the two lengths in words (10,000 against 10,000: a quarter of a second); memory: an eighth of that
// product in bytes. Pure; any thread.
RougeScores ScoreRouge(std::string_view target, std::string_view prediction, RougeOptions options = {});

// The words that are counted.
std::vector<std::string> RougeTokens(std::string_view text, RougeOptions options = {});

}  // namespace lorry
