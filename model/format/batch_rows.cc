// Rows of batch jobs: OpenAI Batch lines, conversations, prompts, and objects that a prompt template reads.
#include <fmt/format.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/text.h"
#include "model/format/row_json.h"
#include "model/format/rows.h"

namespace lorry {

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr size_t kMaxId = 256;
constexpr const char* kChatUrl = "/v1/chat/completions";
constexpr const char* kCompletionsUrl = "/v1/completions";

std::string UrlOf(const ordered_json& object) {
  const auto url = object.find("url");
  return url != object.end() && url->is_string() ? url->get<std::string>() : "";
}

// A content that is a list of text parts becomes their text, as OpenAI's clients send it.
Status JoinTextParts(ChatMessage& message, const std::string& key, const std::string& file, int64_t line) {
  if (message.other_fields.empty()) return OkStatus();
  ordered_json other = ordered_json::parse(message.other_fields, nullptr, false);
  auto parts = other.find("content");
  if (parts == other.end() || !parts->is_array()) return OkStatus();
  for (const ordered_json& part : *parts) {
    const bool text =
        part.is_object() && part.contains("type") && part["type"] == "text" && part.contains("text") && part["text"].is_string();
    if (!text) return RowError(file, line, key + ".content", "a part that is not text is not in this version");
    message.content += part["text"].get<std::string>();
  }
  other.erase("content");
  message.other_fields = other.empty() ? "" : other.dump();
  return OkStatus();
}

Status ReadConversation(const ordered_json& holder, const std::string& where, BatchRow& row, const std::string& file) {
  LORRY_ASSIGN_OR_RETURN(row.messages, ReadMessages(holder["messages"], file, row.line));
  for (size_t i = 0; i < row.messages.size(); ++i) {
    LORRY_TRY(JoinTextParts(row.messages[i], fmt::format("{}messages[{}]", where, i), file, row.line));
  }
  if (row.messages.back().role == "assistant") {
    return RowError(file, row.line, fmt::format("{}messages[{}].role", where, row.messages.size() - 1),
                    "the last turn is the assistant's: there is nothing to answer");
  }
  if (auto tools = holder.find("tools"); tools != holder.end() && !tools->is_null()) {
    if (!tools->is_array()) return RowError(file, row.line, where + "tools", "a list is expected");
    row.tools = tools->dump();
  }
  return OkStatus();
}

}  // namespace

Result<BatchRowReader> BatchRowReader::Open(const std::string& path, const std::string& prompt_template) {
  LORRY_ASSIGN_OR_RETURN(LineReader lines, LineReader::Open(path));
  std::optional<ChatTemplate> parsed;
  if (!prompt_template.empty()) {
    LORRY_ASSIGN_OR_RETURN(parsed, ChatTemplate::Parse(prompt_template, "prompt"));
  }
  return BatchRowReader(std::move(lines), std::move(parsed));
}

BatchRowReader::BatchRowReader(LineReader lines, std::optional<ChatTemplate> prompt_template)
    : lines_(std::move(lines)), template_(std::move(prompt_template)) {}

Result<std::optional<BatchRow>> BatchRowReader::Next() {
  LORRY_ASSIGN_OR_RETURN(std::optional<TextLine> line, lines_.Next());
  if (!line) {
    if (next_index_ == 0) return Error{ErrorCode::kData, "the file has no rows", "", lines_.name(), 0, 0, ""};
    return std::optional<BatchRow>();
  }
  BatchRow row;
  row.index = next_index_++;
  row.line = line->number;
  ReadRow(row, line->text);
  return std::optional<BatchRow>(std::move(row));
}

// A row that cannot be read still gets an id, from its text.
void BatchRowReader::ReadRow(BatchRow& row, const std::string& text) {
  auto parsed = ParseRowJson(text, lines_.name(), row.line);
  if (!parsed.ok()) {
    row.error = parsed.error();
    const std::string digest = Sha256Of(text).hex();
    row.id = fmt::format("{}-{}", digest, ++occurrences_[digest]);
    return;
  }
  const ordered_json& object = *parsed;
  // The form first: an answer to a faulty row has the form of its question too.
  const bool openai = object.contains("custom_id") && object.contains("body");
  if (openai) row.form = UrlOf(object) == kCompletionsUrl ? BatchForm::kOpenAiCompletion : BatchForm::kOpenAiChat;
  Status status = ReadId(row, json(object));
  if (status.ok()) status = openai ? ReadOpenAi(row, object) : ReadPlain(row, object);
  if (!status.ok()) row.error = status.error();
}

Status BatchRowReader::ReadId(BatchRow& row, const json& object) {
  for (const char* key : {"custom_id", "id"}) {
    auto it = object.find(key);
    if (it == object.end()) continue;
    if (it->is_number_integer()) row.id = it->dump();
    if (it->is_string()) row.id = it->get<std::string>();
    if (row.id.empty() || row.id.size() > kMaxId) {
      row.id = fmt::format("line-{}", row.line);
      return RowError(lines_.name(), row.line, key, "text of 1 to 256 bytes or a whole number is expected");
    }
    if (!ids_.insert(row.id).second) {
      return RowError(lines_.name(), row.line, key, fmt::format("{} stands in an earlier row too", EscapeControl(row.id)));
    }
    return OkStatus();
  }
  const std::string digest = Sha256Of(CanonicalJson(object)).hex();
  row.id = fmt::format("{}-{}", digest, ++occurrences_[digest]);
  return OkStatus();
}

Status BatchRowReader::ReadOpenAi(BatchRow& row, const ordered_json& object) {
  const std::string& file = lines_.name();
  const ordered_json& body = object["body"];
  if (!body.is_object()) return RowError(file, row.line, "body", "an object is expected");
  row.body = body.dump();
  if (auto method = object.find("method"); method != object.end() && *method != "POST") {
    return RowError(file, row.line, "method", "POST is expected");
  }
  if (auto stream = body.find("stream"); stream != body.end() && *stream != false && !stream->is_null()) {
    return RowError(file, row.line, "body.stream", "a batch row cannot be streamed");
  }
  const std::string url = UrlOf(object);
  if (url == kChatUrl) {
    if (!body.contains("messages")) return RowError(file, row.line, "body.messages", "is missing");
    return ReadConversation(body, "body.", row, file);
  }
  if (url != kCompletionsUrl) {
    return RowError(file, row.line, "url", fmt::format("\"{}\" is not served", EscapeControl(url)),
                    fmt::format("{} and {} are", kChatUrl, kCompletionsUrl));
  }
  if (!body.contains("prompt") || !body["prompt"].is_string()) return RowError(file, row.line, "body.prompt", "text is expected");
  row.prompt = body["prompt"].get<std::string>();
  return OkStatus();
}

Status BatchRowReader::ReadPlain(BatchRow& row, const ordered_json& object) {
  const std::string& file = lines_.name();
  row.body = object.dump();
  if (template_) {
    row.form = BatchForm::kTemplate;
    auto prompt = template_->RenderVariables(row.body);
    if (!prompt.ok()) {
      return RowError(file, row.line, "prompt", "the job's prompt: " + prompt.error().message,
                      "the row's keys are the prompt's variables");
    }
    row.prompt = std::move(*prompt);
    return OkStatus();
  }
  if (object.contains("messages")) {
    row.form = BatchForm::kMessages;
    return ReadConversation(object, "", row, file);
  }
  row.form = BatchForm::kPrompt;
  if (!object.contains("prompt")) {
    return RowError(file, row.line, "", "the row has neither messages nor prompt",
                    "give the job a prompt, such as \"{{ text }}\"");
  }
  if (!object["prompt"].is_string()) return RowError(file, row.line, "prompt", "text is expected");
  row.prompt = object["prompt"].get<std::string>();
  return OkStatus();
}

Result<EncodedPrompt> EncodeBatchPrompt(const BatchRow& row, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                        const ChatRenderOptions& options) {
  EncodedPrompt out;
  std::vector<ChatMessage> messages = row.messages;
  if (messages.empty() && row.form == BatchForm::kTemplate && chat_template) messages.push_back({"user", row.prompt, ""});
  if (messages.empty()) {
    out.text = row.prompt;
    LORRY_ASSIGN_OR_RETURN(out.ids, tokenizer.Encode(out.text, true));
    return out;
  }
  if (!chat_template) {
    return MakeError(ErrorCode::kData, "the model has no chat template", "give the rows a prompt instead of messages");
  }
  ChatRenderOptions chat = options;
  chat.add_generation_prompt = true;
  chat.tools = row.tools;
  LORRY_ASSIGN_OR_RETURN(RenderedChat rendered, chat_template->Render(messages, chat));
  out.text = std::move(rendered.text);
  LORRY_ASSIGN_OR_RETURN(out.ids, tokenizer.Encode(out.text, false));
  return out;
}

}  // namespace lorry
