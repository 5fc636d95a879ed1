// What `lorry tokenize` shows: for each line of text or conversation the rendered text, its token ids and loss mask.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/format/rows.h"

namespace lorry {

struct TokenizedLine {
  int64_t line = 0;
  std::string text;  // as it was encoded
  std::vector<TokenId> ids;
  std::vector<uint8_t> loss_mask;  // one per id: as training on the line would have it, all 0 for prompts
};

// {"line","text","ids","loss_mask"} as one line of JSON, without a newline.
std::string ToJsonLine(const TokenizedLine& line);

class TokenizeReport {
 public:
  // `model` is a model directory or a .gguf.
  static Result<TokenizeReport> ForModel(const std::filesystem::path& model);
  TokenizeReport(Tokenizer tokenizer, std::optional<ChatTemplate> chat_template);

  // A line of the input: a JSON string, or an object with messages, prompt + completion or text. With `chat` a string is one
  // user turn. A conversation that ends with the user's turn is a prompt: it gets the template's generation prompt.
  Result<TokenizedLine> Tokenize(const std::string& json, const std::string& file, int64_t line, bool chat,
                                 const EncodeRowOptions& options) const;

  // Every line of `lines` in order; stops at the first error, which carries the line.
  Status TokenizeFile(LineReader& lines, bool chat, const EncodeRowOptions& options,
                      const std::function<void(const TokenizedLine&)>& each) const;

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const ChatTemplate* chat_template() const { return chat_template_ ? &*chat_template_ : nullptr; }  // null: the model has none

 private:
  Tokenizer tokenizer_;
  std::optional<ChatTemplate> chat_template_;
};

}  // namespace lorry
