#include "batch/row_lines.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/hash.h"

namespace lorry {
namespace {

using nlohmann::json;

// Ids of an answer, made of the row's own id alone.
std::string AnswerId(const char* prefix, const std::string& id) { return prefix + Sha256Of(id).hex().substr(0, 24); }

json Usage(const EngineResult& result) {
  const auto prompt = static_cast<int64_t>(result.row.prompt.size());
  const auto completion = static_cast<int64_t>(result.tokens.size());
  return {{"prompt_tokens", prompt}, {"completion_tokens", completion}, {"total_tokens", prompt + completion}};
}

}  // namespace

Result<EngineRow> PrepareRow(const BatchRow& row, const BatchRules& rules, const Tokenizer& tokenizer,
                             const ChatTemplate* chat_template) {
  LORRY_ASSIGN_OR_RETURN(BatchRequest request, ReadBatchRequest(row, rules));
  LORRY_ASSIGN_OR_RETURN(EncodedPrompt prompt, EncodeBatchPrompt(row, tokenizer, chat_template, {}));
  EngineRow out;
  out.index = row.index;
  out.id = row.id;
  out.prompt = std::move(prompt.ids);
  out.sampling = std::move(request.sampling);
  out.head = {row.line, row.form, std::move(request.model)};
  return out;
}

std::string CompletionText(const EngineResult& result, const Tokenizer& tokenizer) {
  const std::string text = tokenizer.Decode(result.tokens, true);
  return std::string(StopWatch::Before(text, result.row.sampling.stop));
}

std::string OutputLine(const EngineResult& result, const std::string& text, const AnswerHead& head) {
  const std::string& id = result.row.id;
  const char* finish = result.finish == FinishReason::kStop ? "stop" : "length";
  if (!IsOpenAi(result.row.head.form)) {
    return json{{"id", id},
                {"output", text},
                {"finish_reason", finish},
                {"usage", Usage(result)},
                {"error", nullptr},
                {"guardrails", json::array()}}
        .dump();
  }
  const bool chat = result.row.head.form == BatchForm::kOpenAiChat;
  json choice = {{"index", 0}, {"finish_reason", finish}, {"logprobs", nullptr}};
  if (chat) {
    choice["message"] = {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
  } else {
    choice["text"] = text;
  }
  const json body = {{"id", AnswerId(chat ? "chatcmpl-" : "cmpl-", id)},
                     {"object", chat ? "chat.completion" : "text_completion"},
                     {"created", head.created},
                     {"model", result.row.head.model.empty() ? head.model : result.row.head.model},
                     {"choices", json::array({choice})},
                     {"usage", Usage(result)}};
  return json{{"id", AnswerId("batch_req_", id)},
              {"custom_id", id},
              {"response", {{"status_code", 200}, {"request_id", AnswerId("req_", id)}, {"body", body}}},
              {"error", nullptr}}
      .dump();
}

std::string ErrorLine(const std::string& id, const RowHead& head, const Error& error) {
  const std::string code = RowErrorCode(error);
  std::string message = error.message;
  if (code == "invalid_row" && !error.key.empty()) message = error.key + ": " + message;
  if (error.column > 0) message += fmt::format(" at column {}", error.column);
  if (!IsOpenAi(head.form)) {
    return json{{"id", id},
                {"output", nullptr},
                {"usage", nullptr},
                {"guardrails", json::array()},
                {"error", {{"code", code}, {"message", message}, {"line", head.line}}}}
        .dump(-1, ' ', false, json::error_handler_t::replace);
  }
  const json body = {{"error", {{"code", code}, {"message", message}, {"type", "invalid_request_error"}, {"param", nullptr}}}};
  return json{{"id", AnswerId("batch_req_", id)},
              {"custom_id", id},
              {"response",
               {{"status_code", code == "numerical_error" || code == "given_up" ? 500 : 400},
                {"request_id", AnswerId("req_", id)},
                {"body", body}}},
              {"error", nullptr}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string GivenUpLine(const BatchRow& row) {
  Error error = MakeError(ErrorCode::kData,
                          "the engine ended each time this row was computed alone, as often as row_retry.max_attempts allows");
  error.key = "given_up";
  return ErrorLine(row.id, {row.line, row.form, ""}, error);
}

}  // namespace lorry
