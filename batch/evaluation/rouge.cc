#include "batch/evaluation/rouge.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <unordered_map>

#include "batch/evaluation/porter_stemmer.h"

namespace lorry {
namespace {

using Words = std::vector<int>;  // words as numbers, equal where the texts are equal

// Numbers for words, shared by both texts of a comparison.
class Vocabulary {
 public:
  explicit Vocabulary(RougeOptions options) : options_(options) {}

  Words Number(std::string_view text) {
    Words words;
    for (std::string& token : RougeTokens(text, options_)) {
      words.push_back(numbers_.try_emplace(std::move(token), static_cast<int>(numbers_.size())).first->second);
    }
    return words;
  }

  size_t size() const { return numbers_.size(); }

 private:
  RougeOptions options_;
  std::unordered_map<std::string, int> numbers_;
};

RougeScore MakeScore(double precision, double recall) {
  const double f = precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0.0;
  return {precision, recall, f};
}

RougeScore ScoreNgrams(const Words& target, const Words& prediction, size_t n) {
  const auto count = [n](const Words& words) {
    std::map<Words, int64_t> counts;
    for (size_t i = 0; i + n <= words.size(); ++i) ++counts[Words(words.begin() + i, words.begin() + i + n)];
    return counts;
  };
  const auto grams = [n](const Words& words) { return words.size() < n ? 0 : words.size() - n + 1; };
  const auto target_counts = count(target);
  const auto prediction_counts = count(prediction);
  int64_t shared = 0;
  for (const auto& [gram, times] : target_counts) {
    const auto found = prediction_counts.find(gram);
    if (found != prediction_counts.end()) shared += std::min(times, found->second);
  }
  return MakeScore(static_cast<double>(shared) / std::max<size_t>(grams(prediction), 1),
                   static_cast<double>(shared) / std::max<size_t>(grams(target), 1));
}

// Length of the longest common subsequence, row by row.
int LcsLength(const Words& reference, const Words& candidate) {
  std::vector<int> row(candidate.size() + 1, 0);
  for (const int word : reference) {
    int diagonal = 0;
    for (size_t j = 1; j <= candidate.size(); ++j) {
      const int above = row[j];
      row[j] = word == candidate[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  return row.back();
}

RougeScore ScoreLongestSubsequence(const Words& target, const Words& prediction) {
  if (target.empty() || prediction.empty()) return {};
  const double length = LcsLength(target, prediction);
  return MakeScore(length / prediction.size(), length / target.size());
}

// Marks the positions of `reference` that belong to one longest common subsequence with `candidate`.
//
// There are many of equal length; the package's walk back from the end takes the upper neighbour on a tie, and which
// one is taken changes the score. So one bit per cell is kept: whether the left neighbour is the larger one.
void MarkSubsequence(const Words& reference, const Words& candidate, std::vector<bool>& marked) {
  const size_t columns = candidate.size();
  std::vector<int> row(columns + 1, 0);
  std::vector<bool> left_is_larger(reference.size() * columns);
  for (size_t i = 0; i < reference.size(); ++i) {
    int diagonal = 0;
    for (size_t j = 1; j <= columns; ++j) {
      const int above = row[j];
      if (reference[i] == candidate[j - 1]) {
        row[j] = diagonal + 1;
      } else {
        left_is_larger[i * columns + j - 1] = row[j - 1] > above;
        row[j] = std::max(above, row[j - 1]);
      }
      diagonal = above;
    }
  }
  size_t i = reference.size();
  size_t j = columns;
  while (i > 0 && j > 0) {
    if (reference[i - 1] == candidate[j - 1]) {
      marked[--i] = true;
      --j;
    } else if (left_is_larger[(i - 1) * columns + j - 1]) {
      --j;
    } else {
      --i;
    }
  }
}

std::vector<Words> NumberLines(std::string_view text, Vocabulary& vocabulary) {
  std::vector<Words> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) lines.push_back(vocabulary.Number(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

RougeScore ScoreSummaryLevel(const std::vector<Words>& target, const std::vector<Words>& prediction, size_t words) {
  std::vector<int64_t> left_in_target(words, 0);
  std::vector<int64_t> left_in_prediction(words, 0);
  size_t target_size = 0;
  size_t prediction_size = 0;
  for (const Words& line : target) {
    target_size += line.size();
    for (const int word : line) ++left_in_target[word];
  }
  for (const Words& line : prediction) {
    prediction_size += line.size();
    for (const int word : line) ++left_in_prediction[word];
  }
  if (target_size == 0 || prediction_size == 0) return {};

  int64_t hits = 0;
  for (const Words& line : target) {
    std::vector<bool> shared(line.size());
    for (const Words& candidate : prediction) MarkSubsequence(line, candidate, shared);
    for (size_t i = 0; i < line.size(); ++i) {
      if (!shared[i] || left_in_prediction[line[i]] == 0 || left_in_target[line[i]] == 0) continue;
      ++hits;
      --left_in_prediction[line[i]];
      --left_in_target[line[i]];
    }
  }
  return MakeScore(static_cast<double>(hits) / prediction_size, static_cast<double>(hits) / target_size);
}

}  // namespace

std::vector<std::string> RougeTokens(std::string_view text, RougeOptions options) {
  std::vector<std::string> tokens;
  std::string word;
  const auto end_word = [&] {
    if (word.empty()) return;
    tokens.push_back(options.use_stemmer && word.size() > 3 ? StemPorter(word) : word);
    word.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      word += c;
    } else if (c >= 'A' && c <= 'Z') {
      word += static_cast<char>(c - 'A' + 'a');
    } else if (text.substr(i, 3) == "\u212a") {  // KELVIN SIGN, whose lower case is k
      word += 'k';
      i += 2;
    } else if (text.substr(i, 2) == "\u0130") {  // I WITH DOT ABOVE: i and a combining dot, which ends the word
      word += 'i';
      end_word();
      i += 1;
    } else {
      end_word();
    }
  }
  end_word();
  return tokens;
}

RougeScores ScoreRouge(std::string_view target, std::string_view prediction, RougeOptions options) {
  Vocabulary vocabulary(options);
  const Words target_words = vocabulary.Number(target);
  const Words prediction_words = vocabulary.Number(prediction);
  const std::vector<Words> target_lines = NumberLines(target, vocabulary);
  const std::vector<Words> prediction_lines = NumberLines(prediction, vocabulary);
  return {ScoreNgrams(target_words, prediction_words, 1), ScoreNgrams(target_words, prediction_words, 2),
          ScoreLongestSubsequence(target_words, prediction_words),
          ScoreSummaryLevel(target_lines, prediction_lines, vocabulary.size())};
}

}  // namespace lorry
