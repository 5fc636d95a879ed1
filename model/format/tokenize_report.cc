#include "model/format/tokenize_report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "model/format/gguf.h"
#include "model/format/row_json.h"

namespace lorry {

std::string ToJsonLine(const TokenizedLine& line) {
  return nlohmann::ordered_json{{"line", line.line}, {"text", line.text}, {"ids", line.ids}, {"loss_mask", line.loss_mask}}
      .dump();
}

namespace {

bool EndsWithUser(const nlohmann::ordered_json& object) {
  auto messages = object.find("messages");
  if (messages == object.end() || !messages->is_array() || messages->empty() || !messages->back().is_object()) return false;
  auto role = messages->back().find("role");
  return role != messages->back().end() && *role != "assistant";
}

}  // namespace

Result<TokenizeReport> TokenizeReport::ForModel(const std::filesystem::path& model) {
  std::optional<ChatTemplate> chat_template;
  if (std::filesystem::is_directory(model)) {
    LORRY_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::FromDirectory(model));
    auto found = ChatTemplate::FromDirectory(model);
    if (!found.ok() && found.error().code != ErrorCode::kNotFound) return found.error();
    if (found.ok()) chat_template = std::move(*found);
    return TokenizeReport(std::move(tokenizer), std::move(chat_template));
  }
  LORRY_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(model));
  LORRY_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::FromGguf(file));
  LORRY_ASSIGN_OR_RETURN(std::optional<std::string> text, file.Text("tokenizer.chat_template"));
  if (text) {
    LORRY_ASSIGN_OR_RETURN(chat_template, ChatTemplate::Parse(*text, model));
  }
  return TokenizeReport(std::move(tokenizer), std::move(chat_template));
}

TokenizeReport::TokenizeReport(Tokenizer tokenizer, std::optional<ChatTemplate> chat_template)
    : tokenizer_(std::move(tokenizer)), chat_template_(std::move(chat_template)) {
  if (chat_template_) chat_template_->UseSpecialTokensOf(tokenizer_);
}

Result<TokenizedLine> TokenizeReport::Tokenize(const std::string& json, const std::string& file, int64_t line, bool chat,
                                               const EncodeRowOptions& options) const {
  TrainRow row;
  BatchRow prompt;
  row.line = prompt.line = line;
  auto value = ParseJson(json);
  if (value.ok() && value->is_string()) {
    row.text = value->get<std::string>();
    if (chat) prompt.messages = {{"user", row.text, ""}};
  } else {
    auto object = ParseRowJson(json, file, line);
    if (!object.ok()) {
      Error error = object.error();
      if (error.hint.empty()) error.hint = "a line is a row, or a text in quotes as JSON writes it";
      return error;
    }
    if (EndsWithUser(*object)) {
      LORRY_ASSIGN_OR_RETURN(prompt.messages, ReadMessages((*object)["messages"], file, line));
      LORRY_TRY(CheckRoles(prompt.messages, file, line));
      if (object->contains("tools") && (*object)["tools"].is_array()) prompt.tools = (*object)["tools"].dump();
    } else {
      LORRY_ASSIGN_OR_RETURN(row, ParseTrainRow(json, file, line));
    }
  }
  TokenizedLine out;
  out.line = line;
  if (!prompt.messages.empty()) {
    auto encoded = EncodeBatchPrompt(prompt, tokenizer_, chat_template(), options.chat);
    if (!encoded.ok()) return RowError(file, line, encoded.error().key, encoded.error().message, encoded.error().hint);
    out.text = std::move(encoded->text);
    out.ids = std::move(encoded->ids);
    out.loss_mask.assign(out.ids.size(), 0);
    return out;
  }
  EncodeRowOptions row_options = options;
  row_options.file = file;
  LORRY_ASSIGN_OR_RETURN(out.text, RenderTrainRow(row, tokenizer_, chat_template(), row_options));
  LORRY_ASSIGN_OR_RETURN(EncodedRow encoded, EncodeTrainRow(row, tokenizer_, chat_template(), row_options));
  out.ids = std::move(encoded.ids);
  out.loss_mask = std::move(encoded.loss_mask);
  return out;
}

Status TokenizeReport::TokenizeFile(LineReader& lines, bool chat, const EncodeRowOptions& options,
                                    const std::function<void(const TokenizedLine&)>& each) const {
  while (true) {
    LORRY_ASSIGN_OR_RETURN(std::optional<TextLine> line, lines.Next());
    if (!line) return OkStatus();
    LORRY_ASSIGN_OR_RETURN(TokenizedLine tokenized, Tokenize(line->text, lines.name(), line->number, chat, options));
    each(tokenized);
  }
}

}  // namespace lorry
