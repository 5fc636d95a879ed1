// What a row of a batch asks for, and whether it can be carried out, as far as that can be said without the model's weights.
//
// `lorry plan` counts a batch's faulty rows by these functions and a rank refuses them by the same, so that both say the same of
// every row.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/format/rows.h"
#include "model/format/tokenizer.h"

namespace lorry {

struct SamplingParams {
  int64_t max_tokens = 256;
  double temperature = 0;  // 0..2; 0: greedy
  double top_p = 1;        // 0 < top_p <= 1
  int64_t top_k = 0;       // 0: all
  uint64_t seed = 0;
  std::vector<std::string> stop;  // at most 16, none empty
};

// kSpec, with the parameter as the key, where a value is out of its range.
Status CheckSampling(const SamplingParams& params);

// What the job says for all rows.
struct BatchRules {
  SamplingParams sampling;
  // Names by which an OpenAI row may call the job's model or adapter; empty: any name is taken.
  std::vector<std::string> model_names;
};

struct BatchRequest {
  SamplingParams sampling;  // the job's, and over it the row's own where it is an OpenAI line
  std::string model;        // as the row named it (OpenAI lines)
};

// An error is the row's, its own among them: RowErrorCode names its sort.
Result<BatchRequest> ReadBatchRequest(const BatchRow& row, const BatchRules& rules);

// A prompt has tokens, leaves room for an answer in the model's context, and lies within its vocabulary.
Status CheckPrompt(std::span<const TokenId> prompt, int64_t max_positions, int64_t vocab_size);

bool IsOpenAi(BatchForm form);

// The code of a row's error, as it stands in errors.jsonl; docs/formats/batch-shards.md lists them.
std::string RowErrorCode(const Error& error);

// A row's fault as that of a job that is `validation: strict`: it names the input and the row's line.
Error FaultOfJob(Error fault, const std::string& input, int64_t line);

}  // namespace lorry
