// A batch input with one row of each fault that can be found without computing, and rows that have none, for a job without a
// prompt template whose model has a context of 256 tokens and is called acme/tiny.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace lorry {

struct RowCase {
  std::string text;
  const char* code;  // in errors.jsonl; empty: the row is sound
};

inline std::vector<RowCase> FaultyRows() {
  using nlohmann::json;
  int number = 0;
  const auto chat = [&number](json more, const std::string& text = "hi") {
    json body = {{"messages", {{{"role", "user"}, {"content", text}}}}};
    body.update(more);
    const std::string id = "chat-" + std::to_string(++number);
    return json{{"custom_id", id}, {"method", "POST"}, {"url", "/v1/chat/completions"}, {"body", body}}.dump();
  };
  return {{chat({{"max_tokens", 3}, {"model", "acme/tiny"}}), ""},
          {R"({"id": "plain", "messages": [{"role": "user", "content": "hi"}]})", ""},
          {"{broken", "invalid_row"},
          {R"({"id": "plain", "prompt": "the id of another"})", "invalid_row"},
          {R"({"id": "nothing to answer", "text": "x"})", "invalid_row"},
          {chat({{"temperature", 9}}), "invalid_parameter"},
          {chat({{"max_tokens", "many"}}), "invalid_parameter"},
          {chat({{"n", 2}}), "unsupported_parameter"},
          {chat(json::object(), std::string(300, 'x')), "context_length_exceeded"},
          {R"({"id": "silent", "prompt": ""})", "empty_prompt"},
          {chat({{"model", "gpt-4"}}), "model_not_found"}};
}

inline std::string TextOf(const std::vector<RowCase>& rows) {
  std::string text;
  for (const RowCase& row : rows) text += row.text + "\n";
  return text;
}

}  // namespace lorry
