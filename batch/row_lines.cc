#include "batch/row_lines.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/hash.h"

namespace lorry {
namespace {

using nlohmann::json;

bool IsOpenAi(BatchForm form) { return form == BatchForm::kOpenAiChat || form == BatchForm::kOpenAiCompletion; }

Error RowError(const char* code, std::string message) {
  Error error = MakeError(ErrorCode::kData, std::move(message));
  error.key = code;
  return error;
}

Error WrongType(const std::string& key) { return RowError("invalid_parameter", key + " is of the wrong type"); }

// Keys of an OpenAI request that change nothing of the answer here.
const std::set<std::string, std::less<>> kWithoutEffect = {
    "metadata", "user", "store", "service_tier", "safety_identifier", "prompt_cache_key"};

// A key that may stand there only with the value that means "not used".
bool IsDefault(const std::string& key, const json& value) {
  if (value.is_null()) return true;
  if (key == "n" || key == "best_of") return value == 1;
  if (key == "stream" || key == "logprobs" || key == "echo") return value == false;
  if (key == "presence_penalty" || key == "frequency_penalty" || key == "top_logprobs") return value == 0;
  if (key == "logit_bias" || key == "stream_options") return value.is_object() && value.empty();
  if (key == "response_format") return value == json{{"type", "text"}};
  return false;
}

Status ReadStop(const json& value, SamplingParams& params) {
  params.stop.clear();
  if (value.is_null()) return OkStatus();
  if (value.is_string()) {
    params.stop.push_back(value.get<std::string>());
    return OkStatus();
  }
  if (!value.is_array()) return WrongType("stop");
  for (const json& text : value) {
    if (!text.is_string()) return WrongType("stop");
    params.stop.push_back(text.get<std::string>());
  }
  return OkStatus();
}

// One key of the request's body. False: not a sampling key.
Result<bool> ReadSamplingKey(const std::string& key, const json& value, SamplingParams& params) {
  if (key == "stop") {
    LORRY_TRY(ReadStop(value, params));
    return true;
  }
  const bool whole = key == "max_tokens" || key == "max_completion_tokens" || key == "seed" || key == "top_k";
  if (!whole && key != "temperature" && key != "top_p") return false;
  if (value.is_null()) return true;
  if (whole ? !value.is_number_integer() : !value.is_number()) return WrongType(key);
  if (key == "seed") {
    params.seed = static_cast<uint64_t>(value.get<int64_t>());
  } else if (key == "top_k") {
    params.top_k = value.get<int64_t>();
  } else if (key == "temperature") {
    params.temperature = value.get<double>();
  } else if (key == "top_p") {
    params.top_p = value.get<double>();
  } else {
    params.max_tokens = value.get<int64_t>();
  }
  return true;
}

Status ReadRequest(const BatchRow& row, const RowDefaults& defaults, EngineRow& out) {
  const json body = json::parse(row.body, nullptr, false);
  if (!body.is_object()) return RowError("invalid_row", "body is not an object");
  for (const auto& [key, value] : body.items()) {
    if (key == "messages" || key == "prompt" || key == "tools" || key == "tool_choice" || kWithoutEffect.contains(key)) continue;
    if (key == "model") {
      if (!value.is_string()) return WrongType(key);
      out.head.model = value.get<std::string>();
      continue;
    }
    LORRY_ASSIGN_OR_RETURN(const bool known, ReadSamplingKey(key, value, out.sampling));
    if (!known && !IsDefault(key, value)) return RowError("unsupported_parameter", key + ": not in this version");
  }
  const auto& names = defaults.model_names;
  if (!names.empty() && !out.head.model.empty() && std::find(names.begin(), names.end(), out.head.model) == names.end()) {
    return RowError("model_not_found", "model " + out.head.model + " is not this job's; it is " + names.front());
  }
  return OkStatus();
}

// Ids of an answer, made of the row's own id alone.
std::string AnswerId(const char* prefix, const std::string& id) { return prefix + Sha256Of(id).hex().substr(0, 24); }

json Usage(const EngineResult& result) {
  const auto prompt = static_cast<int64_t>(result.row.prompt.size());
  const auto completion = static_cast<int64_t>(result.tokens.size());
  return {{"prompt_tokens", prompt}, {"completion_tokens", completion}, {"total_tokens", prompt + completion}};
}

}  // namespace

std::string RowErrorCode(const Error& error) {
  static const std::set<std::string, std::less<>> kCodes = {"invalid_parameter", "unsupported_parameter",   "model_not_found",
                                                            "empty_prompt",      "context_length_exceeded", "numerical_error",
                                                            "given_up"};
  return kCodes.contains(error.key) ? error.key : "invalid_row";
}

Result<EngineRow> PrepareRow(const BatchRow& row, const RowDefaults& defaults, const Tokenizer& tokenizer,
                             const ChatTemplate* chat_template) {
  if (row.error) return *row.error;
  EngineRow out;
  out.index = row.index;
  out.id = row.id;
  out.sampling = defaults.sampling;
  out.head = {row.line, row.form, ""};
  if (IsOpenAi(row.form)) LORRY_TRY(ReadRequest(row, defaults, out));
  if (Status sampling = CheckSampling(out.sampling); !sampling.ok()) {
    return RowError("invalid_parameter", sampling.error().key + " " + sampling.error().message);
  }
  ChatRenderOptions options;
  options.add_generation_prompt = true;
  LORRY_ASSIGN_OR_RETURN(auto prompt, EncodeBatchPrompt(row, tokenizer, chat_template, options));
  out.prompt = std::move(prompt.ids);
  return out;
}

std::string CompletionText(const EngineResult& result, const Tokenizer& tokenizer) {
  const std::string text = tokenizer.Decode(result.tokens, true);
  return std::string(StopWatch::Before(text, result.row.sampling.stop));
}

std::string OutputLine(const EngineResult& result, const std::string& text, const RowDefaults& defaults) {
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
                     {"created", defaults.created},
                     {"model", result.row.head.model.empty() ? defaults.model : result.row.head.model},
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
  return ErrorLine(
      row.id, {row.line, row.form, ""},
      RowError("given_up", "the engine ended each time this row was computed alone, as often as row_retry.max_attempts allows"));
}

}  // namespace lorry
