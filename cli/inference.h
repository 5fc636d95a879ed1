// Commands over any model: score and generate run lorry-batch as a child process; tokenize needs no LibTorch and runs here.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/session.h"

namespace lorry {

struct ScoreOptions {
  std::string model;    // as in a job: registry name, directory, or .gguf
  std::string adapter;  // may be empty
  std::string data;     // training rows
  std::string dtype = "float32";
  std::string loss_on = "completion";
};
// Per row: tokens, summed and mean log-probability of what carries loss; perplexity at the end.
Result<int> RunScoreCommand(Session& session, const ScoreOptions& options);

struct GenerateOptions {
  std::string model;
  std::string adapter;
  std::string prompt;
  std::string dtype;  // empty: bfloat16 where the CPU has it at full rate, else float32
  int max_tokens = 256;
  double temperature = 0;
  double top_p = 1;
  int64_t seed = 0;
  bool raw = false;  // the prompt as it is, without the chat template
  std::vector<std::string> stop;
};
Result<int> RunGenerateCommand(Session& session, const GenerateOptions& options);

struct TokenizeOptions {
  std::string model;
  std::string file;  // empty: standard input
  bool chat = false;
  std::string loss_on = "completion";
};
// One JSON document per line of the input: {line, text, ids, loss_mask}.
Result<int> RunTokenizeCommand(Session& session, const TokenizeOptions& options);

struct EvalOptions {
  std::string metric;     // rouge
  std::string reference;  // JSON lines
  std::string output;     // JSON lines
  std::string field;      // of a reference row; empty: reference, synopsis, completion or output, the first that is there
};
// The metric alone, no model.
Result<int> RunEval(Session& session, const EvalOptions& options);

}  // namespace lorry
