#include "model/format/batch_request.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace lorry {
namespace {

using nlohmann::json;

Error RowError(const char* code, std::string message) {
  Error error = MakeError(ErrorCode::kData, std::move(message));
  error.key = code;
  return error;
}

Error WrongType(const std::string& key) { return RowError("invalid_parameter", key + " is of the wrong type"); }

Error OutOfRange(const char* key, const char* range) {
  Error error = MakeError(ErrorCode::kSpec, std::string("must be ") + range);
  error.key = key;
  return error;
}

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

Status ReadBody(const BatchRow& row, const std::vector<std::string>& names, BatchRequest& out) {
  const json body = json::parse(row.body, nullptr, false);
  if (!body.is_object()) return RowError("invalid_row", "body is not an object");
  for (const auto& [key, value] : body.items()) {
    if (key == "messages" || key == "prompt" || key == "tools" || key == "tool_choice" || kWithoutEffect.contains(key)) continue;
    if (key == "model") {
      if (!value.is_string()) return WrongType(key);
      out.model = value.get<std::string>();
      continue;
    }
    LORRY_ASSIGN_OR_RETURN(const bool known, ReadSamplingKey(key, value, out.sampling));
    if (!known && !IsDefault(key, value)) return RowError("unsupported_parameter", key + ": not in this version");
  }
  if (!names.empty() && !out.model.empty() && std::find(names.begin(), names.end(), out.model) == names.end()) {
    return RowError("model_not_found", "model " + out.model + " is not this job's; it is " + names.front());
  }
  return OkStatus();
}

}  // namespace

Status CheckSampling(const SamplingParams& params) {
  if (params.max_tokens < 1) return OutOfRange("max_tokens", "at least 1");
  if (!(params.temperature >= 0 && params.temperature <= 2)) return OutOfRange("temperature", "in 0..2 (0: greedy)");
  if (!(params.top_p > 0 && params.top_p <= 1)) return OutOfRange("top_p", "above 0 and at most 1");
  if (params.top_k < 0) return OutOfRange("top_k", "at least 0 (0: all)");
  if (params.stop.size() > 16) return OutOfRange("stop", "at most 16 texts");
  for (const std::string& text : params.stop) {
    if (text.empty()) return OutOfRange("stop", "texts that are not empty");
  }
  return OkStatus();
}

Result<BatchRequest> ReadBatchRequest(const BatchRow& row, const BatchRules& rules) {
  if (row.error) return *row.error;
  BatchRequest out{rules.sampling, ""};
  if (IsOpenAi(row.form)) LORRY_TRY(ReadBody(row, rules.model_names, out));
  if (const Status sampling = CheckSampling(out.sampling); !sampling.ok()) {
    return RowError("invalid_parameter", sampling.error().key + " " + sampling.error().message);
  }
  return out;
}

Status CheckPrompt(std::span<const TokenId> prompt, int64_t max_positions, int64_t vocab_size) {
  if (prompt.empty()) return RowError("empty_prompt", "the prompt has no tokens");
  if (static_cast<int64_t>(prompt.size()) >= max_positions) {
    return RowError("context_length_exceeded",
                    fmt::format("the prompt has {} tokens; the model's context holds {} and must leave room for an answer",
                                prompt.size(), max_positions));
  }
  const auto strange = std::find_if(prompt.begin(), prompt.end(), [&](TokenId id) { return id < 0 || id >= vocab_size; });
  if (strange == prompt.end()) return OkStatus();
  return RowError("token_out_of_vocabulary",
                  fmt::format("the prompt has token {}; the model's vocabulary ends at {}", *strange, vocab_size - 1));
}

bool IsOpenAi(BatchForm form) { return form == BatchForm::kOpenAiChat || form == BatchForm::kOpenAiCompletion; }

std::string RowErrorCode(const Error& error) {
  static const std::set<std::string, std::less<>> kCodes = {
      "invalid_parameter",       "unsupported_parameter",   "model_not_found", "empty_prompt",
      "context_length_exceeded", "token_out_of_vocabulary", "numerical_error", "given_up"};
  return kCodes.contains(error.key) ? error.key : "invalid_row";
}

Error FaultOfJob(Error fault, const std::string& input, int64_t line) {
  fault.code = ErrorCode::kData;
  fault.file = input;
  fault.line = static_cast<int>(line);
  return fault;
}

}  // namespace lorry
