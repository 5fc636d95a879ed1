#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "model/format/rows.h"
#include "model/format/tokenize_report.h"

namespace lorry {
namespace {

constexpr const char* kTemplate =
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% "
    "endif %}";

Tokenizer SmallTokenizer() {
  auto tokenizer =
      Tokenizer::FromTokenizerJson(*ReadFile("tests/golden/text/smollm.tokenizer.json"), R"({"eos_token": "</s>"})", "small");
  REQUIRE(tokenizer.ok());
  return *tokenizer;
}
ChatTemplate SmallTemplate(const char* text = kTemplate) { return *ChatTemplate::Parse(text, "template"); }

std::string Learned(const Tokenizer& tokenizer, const EncodedRow& row) {
  std::vector<TokenId> ids;
  for (size_t i = 0; i < row.ids.size(); ++i)
    if (row.loss_mask[i]) ids.push_back(row.ids[i]);
  return tokenizer.Decode(ids, false);
}

TEST_CASE("faults of a training row carry file, line and key") {
  // row | what the error says
  const std::pair<const char*, const char*> cases[] = {
      {"[1]", "f:7: a row is a JSON object"},
      {"{\"text\": \"a\", \"text\": \"b\"}", "f:7: text"},
      {"{\"text\": 3}", "f:7: text: text is expected"},
      {"{\"text\": \"\"}", "f:7: text: is empty"},
      {"{\"prompt\": \"a\"}", "f:7: completion: is missing"},
      {"{\"prompt\": \"a\", \"completion\": \"\"}", "f:7: completion: is empty"},
      {"{\"prompt\": \"a\", \"completion\": \"b\", \"text\": \"c\"}", "two forms"},
      {"{\"question\": \"a\"}", "no data that is known"},
      {"{\"messages\": []}", "f:7: messages: a list of turns is expected"},
      {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
       "f:7: messages[0].role: the last turn is not the assistant's"},
      {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"\"}]}",
       "f:7: messages[1].content: the completion is empty"},
      {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}",
       "f:7: messages[0].role: assistant at the beginning is out of order"},
      {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"user\", \"content\": \"a\"}]}",
       "user behind user is out of order"},
      {"{\"messages\": [{\"role\": \"boss\", \"content\": \"a\"}]}", "\"boss\" is not a role"},
      {"{\"messages\": [{\"role\": \"user\"}]}", "f:7: messages[0].content: is missing"},
  };
  for (const auto& [row, expected] : cases) {
    auto parsed = ParseTrainRow(row, "f", 7);
    REQUIRE_FALSE(parsed.ok());
    INFO(parsed.error().Format());
    CHECK(parsed.error().Format().find(expected) != std::string::npos);
  }
}

TEST_CASE("lines: byte order mark, CRLF, blank lines, broken UTF-8, mixed forms, nothing at all") {
  RowReader reader(LineReader::OverText(
      "\xEF\xBB\xBF{\"text\": \"a\"}\r\n\r\n  \n{\"text\": \"b\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}", "f"));
  CHECK((*reader.Next())->text == "a");
  auto second = reader.Next();
  CHECK((*second)->line == 4);
  CHECK(reader.Next().error().Format().find("f:5: a row with prompt and completion in a file whose rows have text") !=
        std::string::npos);
  CHECK(LineReader::OverText("ok\nno\xFF", "f").Next().ok());
  RowReader empty(LineReader::OverText("\n\n", "f"));
  CHECK(empty.Next().error().message == "the file has no rows");
  CHECK(RowReader::Open("no/such/file").error().code == ErrorCode::kNotFound);
}

TEST_CASE("what is learned, by form and loss_on") {
  const Tokenizer tokenizer = SmallTokenizer();
  const ChatTemplate chat = SmallTemplate();
  const char* talk =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})";
  struct Case {
    const char* row;
    LossOn loss;
    const char* learned;
  };
  const Case cases[] = {
      {talk, LossOn::kCompletion, "d</s>\n"},
      {talk, LossOn::kAssistant, "b</s>\nd</s>\n"},
      {R"({"prompt": "the", "completion": " package"})", LossOn::kCompletion, " package</s>"},
      {R"({"prompt": "the", "completion": " package"})", LossOn::kAll, "the package</s>"},
      {R"({"text": "the package"})", LossOn::kCompletion, "the package"},
  };
  for (const Case& c : cases) {
    INFO(c.row);
    auto encoded = EncodeTrainRow(*ParseTrainRow(c.row, "f", 1), tokenizer, &chat, {.loss_on = c.loss, .file = "f"});
    REQUIRE(encoded.ok());
    CHECK(encoded->loss_mask[0] == 0);
    CHECK(Learned(tokenizer, *encoded) == c.learned);
  }
}

TEST_CASE("generation spans say what is learned where a template has them") {
  const Tokenizer tokenizer = SmallTokenizer();
  const ChatTemplate chat = SmallTemplate(
      "{% for m in messages %}<s>{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>{% endgeneration "
      "%}{% else %}{{ m.content }}{% endif %}{% endfor %}");
  auto row = ParseTrainRow(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})", "f", 1);
  auto encoded = EncodeTrainRow(*row, tokenizer, &chat, {.loss_on = LossOn::kAssistant, .file = "f"});
  REQUIRE(encoded.ok());
  CHECK(Learned(tokenizer, *encoded) == "b</s>");
}

TEST_CASE("loss masks are those that follow from transformers' renderings and its generation masks") {
  constexpr const char* kSeam = "the prompt's tokens are not the beginning of the row's";
  constexpr std::pair<const char*, LossOn> kKinds[] = {
      {"completion", LossOn::kCompletion}, {"assistant", LossOn::kAssistant}, {"all", LossOn::kAll}};
  for (const auto& c : nlohmann::ordered_json::parse(*ReadFile("tests/golden/text/masks.json"))) {
    INFO(c.dump());
    const std::string folder = "tests/golden/text/", name = c["template"];
    auto tokenizer = Tokenizer::FromTokenizerJson(*ReadFile(folder + c["tokenizer"].get<std::string>() + ".tokenizer.json"),
                                                  R"({"bos_token": "<s>", "eos_token": "</s>"})", "small");
    REQUIRE(tokenizer.ok());
    const TokenizeReport report(*tokenizer, *ChatTemplate::Parse(*ReadFile(folder + "templates/" + name + ".jinja"), name));
    for (const auto& [kind, loss_on] : kKinds) {
      auto row = report.Tokenize(c["row"].dump(), "f", 1, false, {.loss_on = loss_on});
      const std::string expected = c["masks"][kind];
      INFO(kind << ": " << (row.ok() ? "" : row.error().Format()));
      REQUIRE(row.ok() == (expected[0] == '0'));
      if (!row.ok()) {
        CHECK((row.error().message.find(kSeam) != std::string::npos) == (expected == kSeam));
        continue;
      }
      CHECK(nlohmann::json(row->ids) == c["ids"]);
      std::string mask;
      for (uint8_t learned : row->loss_mask) mask += static_cast<char>('0' + learned);
      CHECK(mask == expected);
    }
  }
}

TEST_CASE("a prompt whose tokens are not the row's first is an error that shows both") {
  const Tokenizer tokenizer = SmallTokenizer();
  auto row = ParseTrainRow(R"({"prompt": "the ", "completion": "package"})", "data.jsonl", 3);
  auto encoded = EncodeTrainRow(*row, tokenizer, nullptr, {.file = "data.jsonl"});
  REQUIRE_FALSE(encoded.ok());
  INFO(encoded.error().Format());
  CHECK(encoded.error().Format().find("data.jsonl:3: prompt: the prompt's tokens are not the beginning") == 0);
}

TEST_CASE("a conversation whose beginning has other tokens says which, and why") {
  const Tokenizer tokenizer = SmallTokenizer();
  auto talk = [](const std::string& answer) {
    return *ParseTrainRow(
        R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ")" + answer + "\"}]}", "f", 3);
  };
  struct Case {
    const char* chat;
    const char* answer;
    const char* error;
    const char* hint;
  };
  const Case cases[] = {
      {kTemplate, "\\n\\nb", "\"\\n\" 200, the row with \"\\n\\n\\nb\" 382", "joins the end of one turn"},
      {"{{ messages|length }}{% for m in messages %}{{ m.content }}{% endfor %}", "b",
       "behind 0 equal tokens the prompt goes on with \"1", "renders a conversation's beginning differently"},
  };
  for (const Case& c : cases) {
    const ChatTemplate chat = SmallTemplate(c.chat);
    auto encoded = EncodeTrainRow(talk(c.answer), tokenizer, &chat, {.file = "f"});
    REQUIRE_FALSE(encoded.ok());
    INFO(encoded.error().Format());
    CHECK(encoded.error().Format().find("f:3: messages: the prompt's tokens are not the beginning") == 0);
    CHECK(encoded.error().message.find(c.error) != std::string::npos);
    CHECK(encoded.error().hint.find(c.hint) != std::string::npos);
  }
}

TEST_CASE("a long row is an error, is cut, or is dropped") {
  const Tokenizer tokenizer = SmallTokenizer();
  const TrainRow row = *ParseTrainRow(R"({"text": "1234567890"})", "f", 9);
  EncodeRowOptions options{.max_length = 4, .file = "f"};
  auto error = EncodeTrainRow(row, tokenizer, nullptr, options);
  CHECK(error.error().Format().find("f:9: the row has ") == 0);
  options.too_long = TooLong::kTruncate;
  auto cut = EncodeTrainRow(row, tokenizer, nullptr, options);
  CHECK(cut->ids.size() == 4);
  CHECK(cut->full_length > 4);
  options.too_long = TooLong::kDrop;
  CHECK(EncodeTrainRow(row, tokenizer, nullptr, options)->dropped);
}

TEST_CASE("batch rows: forms, ids and faults") {
  BatchRowReader reader(
      LineReader::OverText(
          "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/chat/"
          "completions\",\"body\":{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}]}}\n"
          "{\"custom_id\":\"a\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\"}}\n"
          "{\"prompt\":\"p\"}\n{\"prompt\":\"p\"}\nnot "
          "json\n{\"id\":7,\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}\n{\"id\":\"z\"}",
          "f"),
      std::nullopt);
  std::vector<BatchRow> rows;
  for (auto row = reader.Next(); row.ok() && *row; row = reader.Next()) rows.push_back(**row);
  REQUIRE(rows.size() == 7);
  CHECK(rows[0].form == BatchForm::kOpenAiChat);
  CHECK(rows[0].messages[0].content == "hi");
  CHECK(rows[1].error->Format().find("f:2: custom_id: a stands in an earlier row too") == 0);
  CHECK(rows[2].id.substr(0, 64) == rows[3].id.substr(0, 64));
  CHECK(rows[3].id.substr(64) == "-2");
  CHECK(rows[4].error.has_value());
  CHECK(rows[5].id == "7");
  CHECK(rows[6].error->message == "the row has neither messages nor prompt");
  BatchRowReader faulty(
      LineReader::OverText(
          "{\"custom_id\":\"a\",\"method\":\"GET\",\"url\":\"/v1/completions\",\"body\":{}}\n{\"custom_id\":\"\",\"body\":{}}",
          "f"),
      std::nullopt);
  const BatchRow wrong_method = **faulty.Next(), wrong_id = **faulty.Next();
  CHECK((wrong_method.error && wrong_method.form == BatchForm::kOpenAiCompletion));
  CHECK((wrong_id.error && wrong_id.form == BatchForm::kOpenAiChat));
  BatchRowReader nothing(LineReader::OverText("", "f"), std::nullopt);
  CHECK(nothing.Next().error().message == "the file has no rows");
}

TEST_CASE("a job's prompt template makes one user turn of a row") {
  const Tokenizer tokenizer = SmallTokenizer();
  const ChatTemplate chat = SmallTemplate();
  BatchRowReader reader(LineReader::OverText("{\"text\":\"T\"}\n{\"other\":1}", "f"),
                        *ChatTemplate::Parse("Sum: {{ text }}", "prompt"));
  auto row = reader.Next();
  CHECK(EncodeBatchPrompt(**row, tokenizer, &chat, {})->text == "<s>user\nSum: T</s>\n<s>assistant\n");
  CHECK(EncodeBatchPrompt(**row, tokenizer, nullptr, {})->text == "Sum: T");
  CHECK((*reader.Next())->error->message == "the job's prompt: 'text' is undefined");
}

TEST_CASE("lorry tokenize: text, conversations and prompts") {
  const TokenizeReport report(SmallTokenizer(), SmallTemplate());
  CHECK(report.Tokenize("\"the\"", "f", 1, false, {})->text == "the");
  CHECK(report.Tokenize("\"the\"", "f", 1, true, {})->text == "<s>user\nthe</s>\n<s>assistant\n");
  auto talk = report.Tokenize(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})", "f",
                              1, false, {});
  CHECK(talk->text == "<s>user\na</s>\n<s>assistant\nb</s>\n");
  CHECK(nlohmann::json::parse(ToJsonLine(*talk))["ids"].size() == talk->ids.size());
  CHECK(report.Tokenize("{\"no\": 1}", "f", 12, false, {}).error().line == 12);
  CHECK(report.Tokenize("{broken", "f", 12, false, {}).error().Format().starts_with("f:12:2: not JSON: syntax error"));
}

}  // namespace
}  // namespace lorry
