// From an input row to what the engine computes, and from its result to the line of output.jsonl or errors.jsonl.
//
// A line holds only what the job decides: no time, no device, no attempt (docs/formats/batch-shards.md). OpenAI rows come
// back as OpenAI batch lines, other rows as {"id","output","finish_reason","usage","error","guardrails"}.
//
// Error codes of a row: invalid_row (not JSON, keys missing or of the wrong type, a repeated id), invalid_parameter,
// unsupported_parameter, model_not_found, empty_prompt, context_length_exceeded, numerical_error, given_up.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "batch/engine.h"
#include "batch/row_feed.h"
#include "batch/sampling.h"
#include "model/format/chat_template.h"
#include "model/format/rows.h"
#include "model/format/tokenizer.h"

namespace lorry {

// What the job says for all rows.
struct RowDefaults {
  SamplingParams sampling;
  // Names by which an OpenAI row may call the job's model or adapter; empty: any name is taken.
  std::vector<std::string> model_names;
  std::string model;    // stands in OpenAI answers whose row named none
  int64_t created = 0;  // of the version that answers (adapter, else model), seconds since 1970; 0: a directory
};

// The row with its tokens and its own sampling. An error is the row's: its `key` is one of the codes above.
Result<EngineRow> PrepareRow(const BatchRow& row, const RowDefaults& defaults, const Tokenizer& tokenizer,
                             const ChatTemplate* chat_template);

// A finished row's text: the tokens without special ones, up to the first stop text.
std::string CompletionText(const EngineResult& result, const Tokenizer& tokenizer);

// Lines without their newline.
std::string OutputLine(const EngineResult& result, const std::string& text, const RowDefaults& defaults);
std::string ErrorLine(const std::string& id, const RowHead& head, const Error& error);

// The line of a row that the scheduler gave up: it ended its engine too often when it was computed alone.
std::string GivenUpLine(const BatchRow& row);

// The error code in an error's line, for counting.
std::string RowErrorCode(const Error& error);

}  // namespace lorry
