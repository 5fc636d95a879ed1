// What `lorry-batch` does besides tasks, as a child process of `lorry`: score, generate, logits, tokenize. Each loads a
// model, writes one JSON document to standard output and returns.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "batch/loaded_model.h"
#include "batch/sampling.h"

namespace lorry {

struct CommandOptions {
  ModelChoice model;
  int threads = 0;                     // of a lane; 0: all cores
  int lanes = 1;                       // generate: engines side by side
  std::string data;                    // JSON lines
  std::string prompt;                  // generate: one prompt in place of data
  std::string prompt_template;         // generate: over a row's fields
  bool raw = false;                    // generate: the prompt as it is, without the chat template
  bool chat = false;                   // tokenize: a string is one user turn
  std::string loss_on = "completion";  // score and tokenize: completion, assistant, all
  int64_t max_length = 0;              // score: longer rows are an error; 0: the model's context
  int64_t max_rows = 64;               // generate: computed at the same time
  int64_t tokens_per_step = 512;       // generate
  SamplingParams sampling;
  std::string out;  // logits: the file that the numbers go to
};

// {"rows":[{"line","tokens","sum_logprob","mean_logprob"}],"tokens","sum_logprob","mean_logprob","perplexity"}; log in nats,
// over the tokens that loss_on names.
Status RunScore(const CommandOptions& options);

// {"rows":[{"id","output","tokens","finish_reason","usage","error"}],"seconds","counters"}, rows in the input's order.
Status RunGenerate(const CommandOptions& options);

// Rows of `data` have "ids" or "text". Writes fp32 little-endian logits [sum of tokens, vocabulary] to `out`; prints
// {"vocab_size","rows":[tokens of each row]}.
Status RunLogits(const CommandOptions& options);

// {"rows":[{"line","text","ids","loss_mask"}]}. Needs no weights.
Status RunTokenize(const CommandOptions& options);

}  // namespace lorry
