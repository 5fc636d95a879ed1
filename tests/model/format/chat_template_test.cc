// Chat templates against what transformers renders (tests/golden/make_text.py), and what a hostile one may not do.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "model/format/chat_template.h"

namespace lorry {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

ChatMessage Message(ordered_json turn) {
  ChatMessage out{turn["role"], "", ""};
  turn.erase("role");
  if (turn.contains("content") && turn["content"].is_string()) {
    out.content = turn["content"];
    turn.erase("content");
  } else if (!turn.contains("content")) {
    turn["content"] = nullptr;
  }
  if (!turn.empty()) out.other_fields = turn.dump();
  return out;
}

TEST_CASE("templates render as transformers renders them") {
  for (const ordered_json& c : ordered_json::parse(*ReadFile("tests/golden/text/chats.json"))) {
    INFO(c.dump(1));
    auto parsed = ChatTemplate::Parse(c["template"].get<std::string>(), "golden");
    REQUIRE(parsed.ok());
    std::vector<ChatMessage> messages;
    for (const ordered_json& m : c["messages"]) messages.push_back(Message(m));
    auto rendered = parsed->Render(
        messages, {.add_generation_prompt = c["prompt"], .tools = "", .variables = "", .now = *ParseUtc("2026-11-21T12:00:00Z")});
    REQUIRE(rendered.ok() == c.contains("text"));
    if (!rendered.ok()) continue;
    CHECK(rendered->text == c["text"].get<std::string>());
    json spans = json::array();
    for (const TextSpan& span : rendered->generation) spans.push_back({span.begin, span.end});
    CHECK(spans == json(c["spans"]));
  }
}

TEST_CASE("an error names the template and its line") {
  const std::pair<const char*, const char*> cases[] = {{"a\n{% if %}", "t.jinja:2: "},
                                                       {"{% endfor %}", "unknown tag"},
                                                       {"{{ 'a", "not closed"},
                                                       {"{% include 'x' %}", "not in this version"},
                                                       {"{% if x %}", "endif"},
                                                       {"{{ a | nope }}", "unknown filter nope"},
                                                       {"\n\n{{ a.b.c }}", "t.jinja:3: "},
                                                       {"{{ f() }}", "'f' is undefined"},
                                                       {"{% break %}", "outside of a for"}};
  for (const auto& [text, expected] : cases) {
    INFO(text);
    auto parsed = ChatTemplate::Parse(text, "t.jinja");
    std::string error = parsed.ok() ? parsed->Render({}, {}).error().Format() : parsed.error().Format();
    INFO(error);
    CHECK(error.find(expected) != std::string::npos);
  }
}

TEST_CASE("a hostile template ends in an error, soon") {
  const std::string deep(5000, '(');
  std::string folded = "{% set a = ['x'] %}";  // 2^60 texts, if it were written out
  for (int i = 0; i < 60; ++i) folded += "{% set a = [a, a] %}";
  const std::string cases[] = {
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
      "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
      "{{ 'a' * 99999999999 }}",
      "{{ [1] * 99999999999 }}",
      "{% set ns = namespace(x=[]) %}{% for a in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}",
      "{{ range(9223372036854775807) }}",
      "{{ " + deep + " }}",
      "{{ ('a,' * 1000000).replace('a', 'b' * 1000000) }}",
      folded + "{{ a }}",
      folded + "{{ a == a[0] }}",
      folded + "{{ a | tojson }}",
      "{% set t = 'a' * 60000000 %}{{ [t, t, t] | join }}",
      "{{ 'abc'.removeprefix(['a']) }}",
  };
  for (const std::string& text : cases) {
    INFO(text.substr(0, 80));
    auto parsed = ChatTemplate::Parse(text, "t");
    CHECK_FALSE((parsed.ok() && parsed->Render({}, {}).ok()));
  }
}

TEST_CASE("a prompt reads the row's keys, and says which one is missing") {
  auto prompt = ChatTemplate::Parse("Say {{ text }} to {{ who.name }}", "prompt");
  CHECK(*prompt->RenderVariables(R"({"text": "hi", "who": {"name": "B"}})") == "Say hi to B");
  auto missing = prompt->RenderVariables(R"({"who": {"name": "B"}})");
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().message == "'text' is undefined");
}

TEST_CASE("without an instant a template sees no strftime_now") {
  auto parsed =
      ChatTemplate::Parse("{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}26 Jul 2024{% endif %}", "t");
  CHECK(parsed->Render({}, {})->text == "26 Jul 2024");
  CHECK(
      parsed->Render({}, {.add_generation_prompt = false, .tools = "", .variables = "", .now = *ParseUtc("2031-01-02")})->text ==
      "2031");
}

}  // namespace
}  // namespace lorry
