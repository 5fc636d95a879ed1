// From an input row to what the engine computes, and from its result to the line of output.jsonl or errors.jsonl.
//
// A line holds only what the job decides: no time, no device, no attempt (docs/formats/batch-shards.md). OpenAI rows come
// back as OpenAI batch lines, other rows as {"id","output","finish_reason","usage","error","guardrails"}.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "batch/engine.h"
#include "batch/row_feed.h"
#include "model/format/batch_request.h"
#include "model/format/chat_template.h"
#include "model/format/rows.h"
#include "model/format/tokenizer.h"

namespace lorry {

// What stands in the answers to OpenAI rows.
struct AnswerHead {
  std::string model;    // where the row named none
  int64_t created = 0;  // of the version that answers (adapter, else model), seconds since 1970; 0: a directory
};

// The row with its tokens and its own sampling. An error is the row's (RowErrorCode).
Result<EngineRow> PrepareRow(const BatchRow& row, const BatchRules& rules, const Tokenizer& tokenizer,
                             const ChatTemplate* chat_template);

// A finished row's text: the tokens without special ones, up to the first stop text.
std::string CompletionText(const EngineResult& result, const Tokenizer& tokenizer);

// Lines without their newline.
std::string OutputLine(const EngineResult& result, const std::string& text, const AnswerHead& head);
std::string ErrorLine(const std::string& id, const RowHead& head, const Error& error);

// The line of a row that the scheduler gave up: it ended its engine too often when it was computed alone.
std::string GivenUpLine(const BatchRow& row);

}  // namespace lorry
