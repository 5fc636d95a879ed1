// What the live comparisons drive: a model's tokenizer and chat template over lines of JSON on standard input.
//
// usage: tokenize_lines MODEL_DIR encode|encode_special|decode|chat|rows|masks|template
//   encode     a JSON string -> its ids                       decode  a list of ids -> [text, text without special tokens]
//   chat       {"messages", "add_generation_prompt"?, ...further variables} -> {"text", "spans", "ids"}
//   rows       a training row -> {"line","text","ids","loss_mask"}
//   masks      a training row -> {"ids", "completion", "assistant", "all"}: a loss mask, or the error, for each loss_on
//   template   {"template", "variables"} -> {"text", "spans"} (MODEL_DIR is not read)
// An error is {"error": text}.
#include <algorithm>
#include <iostream>

#include <nlohmann/json.hpp>

#include "model/format/tokenize_report.h"

namespace {

using lorry::ChatTemplate;
using lorry::Result;
using lorry::Tokenizer;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr lorry::Instant kNow(1'700'000'000'000);  // what templates read as the date

void Print(const json& value) { std::cout << value.dump(-1, ' ', true) << "\n"; }
template <class T>
void PrintResult(const Result<T>& result) {
  if (result.ok()) {
    Print(*result);
  } else {
    Print({{"error", result.error().Format()}});
  }
}

// Spans as Python counts them, in characters.
json SpansOf(const lorry::RenderedChat& chat) {
  auto characters = [&](size_t end) {
    return std::count_if(chat.text.begin(), chat.text.begin() + static_cast<std::ptrdiff_t>(end),
                         [](char c) { return (c & 0xC0) != 0x80; });
  };
  json spans = json::array();
  for (const lorry::TextSpan& span : chat.generation) spans.push_back({characters(span.begin), characters(span.end)});
  return spans;
}

Result<lorry::RenderedChat> RenderChat(const ChatTemplate& chat_template, const ordered_json& line) {
  std::vector<lorry::ChatMessage> messages;
  for (const ordered_json& message : line["messages"]) {
    lorry::ChatMessage one{message["role"].get<std::string>(), "", ""};
    ordered_json other = message;
    other.erase("role");
    if (other.contains("content") && other["content"].is_string()) {
      one.content = other["content"].get<std::string>();
      other.erase("content");
    } else if (!other.contains("content")) {
      other["content"] = nullptr;
    }
    if (!other.empty()) one.other_fields = other.dump();
    messages.push_back(std::move(one));
  }
  lorry::ChatRenderOptions options;
  ordered_json variables = line;
  variables.erase("messages");
  options.variables = variables.dump();
  options.now = kNow;
  return chat_template.Render(messages, options);
}

// `tokenizer` may be null: then there are no ids.
void PrintChat(const Result<lorry::RenderedChat>& chat, const Tokenizer* tokenizer) {
  if (!chat.ok()) return Print({{"error", chat.error().Format()}});
  json out = {{"text", chat->text}, {"spans", SpansOf(*chat)}};
  if (tokenizer != nullptr) {
    if (auto ids = tokenizer->Encode(chat->text, false); ids.ok()) out["ids"] = *ids;
  }
  Print(out);
}

void PrintMasks(const lorry::TokenizeReport& report, const std::string& line, int64_t number) {
  constexpr std::pair<const char*, lorry::LossOn> kKinds[] = {
      {"completion", lorry::LossOn::kCompletion}, {"assistant", lorry::LossOn::kAssistant}, {"all", lorry::LossOn::kAll}};
  json out;
  lorry::EncodeRowOptions options;
  options.chat.now = kNow;
  for (const auto& [name, loss_on] : kKinds) {
    options.loss_on = loss_on;
    auto row = report.Tokenize(line, "stdin", number, false, options);
    if (row.ok()) {
      out["ids"] = row->ids;
      out[name] = row->loss_mask;
    } else {
      out[name] = row.error().Format();
    }
  }
  Print(out);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string mode = argv[2];
  std::string line;
  if (mode == "template") {
    while (std::getline(std::cin, line)) {
      ordered_json j = ordered_json::parse(line);
      auto parsed = ChatTemplate::Parse(j["template"].get<std::string>(), "template");
      if (!parsed.ok()) {
        Print({{"error", parsed.error().Format()}});
      } else {
        PrintChat(RenderChat(*parsed, j["variables"]), nullptr);
      }
    }
    return 0;
  }
  auto report = lorry::TokenizeReport::ForModel(argv[1]);
  if (!report.ok()) {
    std::cerr << report.error().Format() << "\n";
    return 1;
  }
  std::optional<ChatTemplate> chat_template;
  if (mode == "chat") {
    auto read = ChatTemplate::FromDirectory(argv[1]);
    if (!read.ok()) return 1;
    chat_template = std::move(*read);
    chat_template->UseSpecialTokensOf(report->tokenizer());
  }
  const Tokenizer& tokenizer = report->tokenizer();
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (mode == "encode" || mode == "encode_special") {
      PrintResult(tokenizer.Encode(json::parse(line).get<std::string>(), mode == "encode_special"));
    } else if (mode == "decode") {
      auto ids = json::parse(line).get<std::vector<lorry::TokenId>>();
      Print({tokenizer.Decode(ids, false), tokenizer.Decode(ids, true)});
    } else if (mode == "chat") {
      PrintChat(RenderChat(*chat_template, ordered_json::parse(line)), &tokenizer);
    } else if (mode == "masks") {
      PrintMasks(*report, line, number);
    } else {
      auto tokenized = report->Tokenize(line, "stdin", number, false, {});
      if (tokenized.ok()) {
        std::cout << ToJsonLine(*tokenized) << "\n";
      } else {
        Print({{"error", tokenized.error().Format()}});
      }
    }
  }
  return 0;
}
