// Choosing the next token of a row: greedy, or drawn with temperature, top_k and top_p; and finding stop texts.
//
// A draw depends on the row, its seed and the position alone: the same row gives the same tokens in any batch mix, on
// any engine, and when it is computed again. All arithmetic is in fp32 and double on one thread.
// Order of operations and defaults as in transformers' generate: temperature, then top_k, then top_p.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/format/batch_request.h"
#include "model/format/tokenizer.h"

namespace lorry {

// The logits of one position, [V] long, fp32. The memory belongs to the model.
using LogitsRow = std::span<const float>;

// The largest logit's token, the lowest id on a tie. kData if a logit is not a number.
Result<TokenId> GreedyToken(LogitsRow logits);

// log softmax(logits)[token], in double.
double LogProbability(LogitsRow logits, TokenId token);

// Draws one row's tokens. One thread at a time.
class TokenSampler {
 public:
  // `row_key` names the row: its id, unique in the batch.
  TokenSampler(const SamplingParams& params, std::string_view row_key);
  // The token at `position` of the completion, from 0. kData if a logit is not a number.
  Result<TokenId> Choose(LogitsRow logits, int64_t position) const;

 private:
  double temperature_, top_p_;
  int64_t top_k_;
  uint64_t seed_, row_hash_;
};

// Watches a completion for stop texts as its tokens come.
class StopWatch {
 public:
  explicit StopWatch(std::vector<std::string> stop) : stop_(std::move(stop)) {}
  // Adds a token's bytes; true once a stop text stands in what was added so far.
  bool Add(std::string_view bytes);

  // `text` before the first stop text in it, or all of it.
  static std::string_view Before(std::string_view text, std::span<const std::string> stop);

 private:
  std::vector<std::string> stop_;
  std::string tail_;  // the last bytes, as many as the longest stop text may need
};

}  // namespace lorry
