// The rows of data files: JSON lines for training and for batch jobs, checked, and turned into token ids with a loss mask.
// docs/formats/rows.md describes the forms.
//
// Reading goes line by line and never holds more than one row, so that a file may be larger than memory. Blank lines are
// skipped; a byte order mark and CRLF are allowed; a line may have at most 64 MiB. Every Error carries file and line.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "model/format/chat_template.h"
#include "model/format/tokenizer.h"

namespace lorry {

// One line of a file that is not blank.
struct TextLine {
  int64_t number = 0;  // 1 for the first line of the file
  std::string text;    // valid UTF-8, without the line's end
};

class LineReader {
 public:
  // kNotFound or kStorage.
  static Result<LineReader> Open(const std::string& path);
  // Over text in memory, for tests and what came over the wire; `name` stands in error texts.
  static LineReader OverText(std::string text, std::string name);

  // The next line, or nullopt at the end. A line that is not UTF-8 or too long is kData; the reader then stands behind it.
  Result<std::optional<TextLine>> Next();
  const std::string& name() const { return name_; }

 private:
  std::unique_ptr<std::istream> in_;
  std::string name_;
  int64_t number_ = 0;
};

// ---- training rows ----

enum class TrainForm { kMessages, kPromptCompletion, kText };

struct TrainRow {
  int64_t line = 0;
  TrainForm form = TrainForm::kText;
  std::vector<ChatMessage> messages;  // kMessages
  std::string tools;                  // kMessages: JSON array, or empty
  std::string prompt, completion;     // kPromptCompletion
  std::string text;                   // kText
};

// One row of JSON. kData with line and key: not an object, a repeated key, two forms in one row, an empty completion, roles
// out of order (a system turn only first, then user and assistant by turns, tool turns after an assistant), a last turn that is
// not the assistant's.
Result<TrainRow> ParseTrainRow(std::string_view json, const std::string& file, int64_t line);

// Reads a training file. All rows must be of the first row's form.
class RowReader {
 public:
  static Result<RowReader> Open(const std::string& path);
  explicit RowReader(LineReader lines) : lines_(std::move(lines)) {}
  Result<std::optional<TrainRow>> Next();
  const std::string& name() const { return lines_.name(); }

 private:
  LineReader lines_;
  std::optional<TrainForm> form_;
};

enum class LossOn { kCompletion, kAssistant, kAll };  // the last answer; every answer of the assistant; every token
enum class TooLong { kError, kTruncate, kDrop };
Result<LossOn> ParseLossOn(std::string_view word);    // "completion", "assistant", "all"
Result<TooLong> ParseTooLong(std::string_view word);  // "error", "truncate", "drop"

struct EncodeRowOptions {
  LossOn loss_on = LossOn::kCompletion;
  TooLong too_long = TooLong::kError;
  int64_t max_length = 0;  // tokens; 0: no limit
  std::string file;        // for error texts
  ChatRenderOptions chat;  // `now` and `variables`; add_generation_prompt and tools are set by the row
};

struct EncodedRow {
  std::vector<TokenId> ids;
  std::vector<uint8_t> loss_mask;  // 1 where the token is to be predicted; never at the first token
  int64_t full_length = 0;         // tokens before truncation
  bool dropped = false;            // too long, and the job says drop: ids are empty
};

// `chat_template` may be null where no row has messages. kData with file and line: a row longer than max_length; a prompt whose
// tokens are not the beginning of the whole row's tokens (with the place and both readings); a messages row without a template.
Result<EncodedRow> EncodeTrainRow(const TrainRow& row, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                  const EncodeRowOptions& options);

// The text that EncodeTrainRow encodes.
Result<std::string> RenderTrainRow(const TrainRow& row, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                   const EncodeRowOptions& options);

// ---- batch rows ----

enum class BatchForm {
  kOpenAiChat,        // an OpenAI Batch line for /v1/chat/completions
  kOpenAiCompletion,  // the same for /v1/completions: body.prompt is taken as it is
  kTemplate,          // any object; the job's prompt template makes the prompt from its keys
  kMessages,          // an object with messages, in a job without a prompt template
  kPrompt,            // an object with prompt, in a job without a prompt template
};

// A fault of one row: it goes into errors.jsonl under the row's id and the others run on.
struct BatchRow {
  int64_t index = 0;  // 0 for the first row of the file
  int64_t line = 0;
  std::string id;  // custom_id or id; else SHA-256 of the row's canonical JSON, "-" and its occurrence from 1
  BatchForm form = BatchForm::kTemplate;
  std::vector<ChatMessage> messages;
  std::string tools;   // JSON array, or empty
  std::string prompt;  // where there are no messages
  std::string body;    // OpenAI forms: body as JSON text, for model, max_tokens, temperature, ...; else the row as JSON text
  std::optional<Error> error;
};

// Reads a batch input. Faults of the whole file (missing, empty, not UTF-8, a prompt template that does not parse) are
// Errors; those of a row stand in BatchRow::error.
class BatchRowReader {
 public:
  // `prompt_template` empty: rows bring messages, prompt, or are OpenAI lines.
  static Result<BatchRowReader> Open(const std::string& path, const std::string& prompt_template);
  BatchRowReader(LineReader lines, std::optional<ChatTemplate> prompt_template);
  // nullopt at the end; an empty file is kData.
  Result<std::optional<BatchRow>> Next();

 private:
  void ReadRow(BatchRow& row, const std::string& text);
  Status ReadId(BatchRow& row, const nlohmann::json& object);
  Status ReadOpenAi(BatchRow& row, const nlohmann::ordered_json& object);
  Status ReadPlain(BatchRow& row, const nlohmann::ordered_json& object);

  LineReader lines_;
  std::optional<ChatTemplate> template_;
  int64_t next_index_ = 0;
  std::set<std::string> ids_;
  std::map<std::string, int64_t> occurrences_;
};

// The prompt's tokens: messages through the chat template with its generation prompt; a template's prompt as one user turn
// where the model has a chat template, else as text; text with the tokenizer's own leading tokens.
struct EncodedPrompt {
  std::string text;
  std::vector<TokenId> ids;
};
Result<EncodedPrompt> EncodeBatchPrompt(const BatchRow& row, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                        const ChatRenderOptions& options);

}  // namespace lorry
