#include "batch/row_lines.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/batch/tiny_model.h"

namespace lorry {
namespace {

using nlohmann::json;

struct Fixture {
  Tokenizer tokenizer = *Tokenizer::FromTokenizerJson(TinyTokenizerJson(), "", "tiny");
  ChatTemplate chat = *ChatTemplate::Parse(kTinyChatTemplate, "tiny");
  BatchRules rules{.sampling = {.max_tokens = 9, .stop = {"END"}}, .model_names = {"acme/tiny", "tiny"}};
  AnswerHead head{.model = "acme/tiny@v1", .created = 7};

  Result<EngineRow> Prepare(const BatchRow& row) { return PrepareRow(row, rules, tokenizer, &chat); }
};

BatchRow OpenAi(const json& body) {
  return {.index = 4,
          .line = 5,
          .id = "k",
          .form = BatchForm::kOpenAiChat,
          .messages = {{.role = "user", .content = "hi"}},
          .body = body.dump()};
}

TEST_CASE_METHOD(Fixture, "a row's own sampling goes before the job's", "[rows]") {
  const auto row = Prepare(OpenAi({{"model", "tiny"},
                                   {"messages", json::array()},
                                   {"max_tokens", 3},
                                   {"temperature", 0.5},
                                   {"seed", 11},
                                   {"stop", {"a", "b"}},
                                   {"user", "me"},
                                   {"n", 1},
                                   {"stream", false},
                                   {"logit_bias", json::object()}}));
  REQUIRE(row.ok());
  CHECK((row->sampling.max_tokens == 3 && row->sampling.temperature == 0.5 && row->sampling.seed == 11));
  CHECK(row->sampling.stop == std::vector<std::string>{"a", "b"});
  CHECK(row->head.model == "tiny");
  const std::string text = tokenizer.Decode(row->prompt, false);
  CHECK(text == "<s>user\nhi</s><s>assistant\n");
  const auto plain = Prepare(
      {.id = "p", .form = BatchForm::kMessages, .messages = {{.role = "user", .content = "hi"}}, .body = "{\"max_tokens\":3}"});
  CHECK(plain->sampling.max_tokens == 9);  // only OpenAI rows carry requests
}

TEST_CASE_METHOD(Fixture, "rows that cannot be carried out say why", "[rows]") {
  struct Case {
    json body;
    const char* code;
  };
  const Case cases[] = {
      {{{"model", "gpt-4"}}, "model_not_found"},     {{{"model", 4}}, "invalid_parameter"},
      {{{"temperature", -1}}, "invalid_parameter"},  {{{"temperature", "hot"}}, "invalid_parameter"},
      {{{"temperature", 2.1}}, "invalid_parameter"}, {{{"max_tokens", 1.5}}, "invalid_parameter"},
      {{{"max_tokens", 0}}, "invalid_parameter"},    {{{"n", 2}}, "unsupported_parameter"},
      {{{"stream", true}}, "unsupported_parameter"}, {{{"mystery", 1}}, "unsupported_parameter"},
      {{{"stop", {1}}}, "invalid_parameter"},        {{{"response_format", {{"type", "json_schema"}}}}, "unsupported_parameter"},
  };
  for (const Case& c : cases) {
    INFO(c.body.dump());
    const auto row = Prepare(OpenAi(c.body));
    REQUIRE(!row.ok());
    CHECK(RowErrorCode(row.error()) == c.code);
    const json line = json::parse(ErrorLine("k", {5, BatchForm::kOpenAiChat, ""}, row.error()));
    CHECK(line["custom_id"] == "k");
    CHECK(line["response"]["status_code"] == 400);
    CHECK(line["response"]["body"]["error"]["code"] == c.code);
  }
  BatchRow broken{.index = 0, .line = 2, .id = "x", .form = BatchForm::kTemplate};
  broken.error = MakeError(ErrorCode::kData, "not JSON");
  const json line = json::parse(ErrorLine("x", {2, BatchForm::kTemplate, ""}, Prepare(broken).error()));
  CHECK(line["error"] == json({{"code", "invalid_row"}, {"message", "not JSON"}, {"line", 2}}));
  CHECK(line["output"].is_null());
}

TEST_CASE_METHOD(Fixture, "a row that is not JSON has one line number", "[rows]") {
  BatchRowReader reader(LineReader::OverText("{\"prompt\": \"a\"}\n\n{broken", "f"), std::nullopt);
  REQUIRE(reader.Next().ok());
  const BatchRow row = **reader.Next();
  const json error = json::parse(ErrorLine(row.id, {row.line, row.form, ""}, Prepare(row).error()))["error"];
  CHECK(error["line"] == 3);
  CHECK(error["message"].get<std::string>().starts_with("not JSON: syntax error while parsing object key"));
  CHECK(error["message"].get<std::string>().ends_with(" at column 2"));
  CHECK(error["message"].get<std::string>().find("line 1") == std::string::npos);
}

TEST_CASE_METHOD(Fixture, "lines hold what the job decides and nothing else", "[rows]") {
  EngineResult result;
  result.row = *Prepare({.index = 1, .line = 2, .id = "a", .form = BatchForm::kPrompt, .prompt = "hello"});
  for (const char c : std::string("fineENDrest")) result.tokens.push_back(c);
  result.tokens.push_back(257);
  result.finish = FinishReason::kStop;
  result.millis = 123456;
  const std::string text = CompletionText(result, tokenizer);
  CHECK(text == "fine");
  const json own = json::parse(OutputLine(result, text, head));
  CHECK(own == json({{"id", "a"},
                     {"output", "fine"},
                     {"finish_reason", "stop"},
                     {"error", nullptr},
                     {"guardrails", json::array()},
                     {"usage", {{"prompt_tokens", 5}, {"completion_tokens", 12}, {"total_tokens", 17}}}}));
  result.row.head.form = BatchForm::kOpenAiChat;
  const json chat = json::parse(OutputLine(result, text, head));
  CHECK(chat["custom_id"] == "a");
  CHECK(chat["error"].is_null());
  const json& body = chat["response"]["body"];
  CHECK(body["object"] == "chat.completion");
  CHECK(body["created"] == 7);
  CHECK(body["model"] == "acme/tiny@v1");
  CHECK(body["choices"][0]["message"]["content"] == "fine");
  CHECK(body["choices"][0]["finish_reason"] == "stop");
  CHECK(OutputLine(result, text, head) == OutputLine(result, text, head));
  result.row.head.form = BatchForm::kOpenAiCompletion;
  CHECK(json::parse(OutputLine(result, text, head))["response"]["body"]["choices"][0]["text"] == "fine");
}

}  // namespace
}  // namespace lorry
