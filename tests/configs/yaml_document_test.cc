// What a YAML file may hold, as a table: text | where | what is said. Lines and columns count from 1, columns in code points.
#include <catch2/catch.hpp>

#include <string>

#include <nlohmann/json.hpp>

#include "configs/yaml_document.h"
#include "configs/yaml_scalar.h"
#include "configs/yaml_writer.h"

namespace lorry {
namespace {

std::string FirstProblem(const std::string& text) {
  const YamlDocument document = ReadYaml(text, "f");
  return document.problems.empty() ? "" : document.problems.front().Format();
}

TEST_CASE("what is refused, and where", "[yaml]") {
  struct Row {
    std::string text;
    std::string says;
  };
  const Row rows[] = {
      {"", "f:1:1: the file is empty"},
      {"# only a comment\n", "f:1:1: the file is empty"},
      {"a: 1\na: 2\n", "f:2:1: a: repeated key; it stands on line 1 already; keep one of them"},
      {"t:\n  a: 1\n  b: 2\n  a: 3\n", "f:4:3: t.a: repeated key; it stands on line 2 already; keep one of them"},
      {"t: {a: 1, a: 2}\n", "f:1:11: t.a: repeated key; it stands on line 1 already; keep one of them"},
      {"a: \"open\nb: 1\n", "f:1:4: this quote is never closed; end the text with \""},
      {"a: 'open\nb: 1\n", "f:1:4: this quote is never closed; end the text with '"},
      {"a: 'it''s\n", "f:1:4: this quote is never closed; end the text with '"},
      {"a: \"x\\\"\n", "f:1:4: this quote is never closed; end the text with \""},
      {"a: caf\xE9\n", "f:1:7: the text is not UTF-8 here; save the file as UTF-8"},
      {"\xC3\xA9: \xFF\n", "f:1:4: the text is not UTF-8 here; save the file as UTF-8"},
      {std::string("a: \0b\n", 6), "f:1:4: control character 0x00; write it as an escape inside double quotes"},
      {"a: 1\x04\nb: 2\n", "f:1:5: control character 0x04; write it as an escape inside double quotes"},
      {"a: 1\rb: 2\n", "f:1:5: control character 0x0D; write it as an escape inside double quotes"},
      {"a: 1\n---\nb: 2\n", "f:2:1: a second document begins; one file holds one document"},
      {"{a: 1} x\n", "f:1:8: a second document begins; one file holds one document"},
      {"%YAML 1.2\n---\na: 1\n", "f:1:1: directives are not read; take this line out"},
      {"a: !!str 1\n", "f:1:4: a: a tag is not a value of JSON; tags are not read; quote text, write numbers plainly"},
      {"a: ! 1\n", "f:1:4: a: a tag is not a value of JSON; tags are not read; quote text, write numbers plainly"},
      {"a: !x [1]\n", "f:1:4: a: a tag is not a value of JSON; tags are not read"},
      {"<<: {a: 1}\n", "f:1:1: <<: merge keys are not read; write the keys out"},
      {"? [a]\n: 1\n", "f:1:3: a key must be text"},
      {"{a: 1, : 2}\n", "f:1:8: a key is missing before the colon"},
      {"a: &n [1, *n]\n", "f:1:11: this alias lies inside its own anchor; write the value out"},
      {"a: yes\n", "f:1:4: a: yes is not a value of JSON; write true, false or null, or quote it where text is meant"},
      {"a: True\n", "f:1:4: a: True is not a value of JSON; write true, false or null, or quote it where text is meant"},
      {"a: ~\n", "f:1:4: a: ~ is not a value of JSON; write null for no value"},
      {"a:\n- 1\n- 010\n",
       "f:3:3: a[1]: 010 is not a value of JSON; write a decimal number such as 10, 0.5 or 2e-4, or quote it where text is "
       "meant"},
      {"a: [x, y\n", "f:2:1: not YAML: end of sequence flow not found"},
      {"a: *none\n", "f:1:4: not YAML: the referenced anchor is not defined"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    CHECK(FirstProblem(row.text) == row.says);
  }
}

TEST_CASE("what is taken", "[yaml]") {
  const YamlDocument document =
      ReadYaml("\xEF\xBB\xBFkind: x\r\nb: 'yes'\r\nc: [1, 2.50, -3e-4, \"5\", null, true]\r\nd: &v {e: 1}\r\nf: *v\r\n", "f");
  REQUIRE(document.problems.empty());
  CHECK(JsonOfYaml(*document.root).dump() ==
        R"({"b":"yes","c":[1,2.5,-0.0003,"5",null,true],"d":{"e":1},"f":{"e":1},"kind":"x"})");
  CHECK(document.root->Find("c")->value->items[1]->text == "2.50");  // digits stay as written: prices are exact
  CHECK(document.root->Find("f")->at.line == 5);
}

TEST_CASE("scalars are those of JSON", "[yaml]") {
  for (const char* number : {"0", "-0", "10", "2e-4", "2.0E+4", "-0.5"}) {
    CHECK(ClassifyPlainScalar(number).kind == YamlNode::Kind::kNumber);
  }
  for (const char* text : {"2026-11-21", "24h", "24GB", "H100:8", "v1", "12:30:00", "a b", "-", "1.2.3"}) {
    CAPTURE(text);
    CHECK(ClassifyPlainScalar(text).kind == YamlNode::Kind::kText);
    CHECK(ClassifyPlainScalar(text).refusal.empty());
  }
  for (const char* word : {"yes", "NO", "On", "off", "True", "NULL", "~", "010", "0x10", "0o7", "1_000", "+1", ".5", "1.", ".inf",
                           "-.Inf", ".nan"}) {
    CAPTURE(word);
    CHECK_FALSE(ClassifyPlainScalar(word).refusal.empty());
  }
}

TEST_CASE("what is written is read back as the same value, without quotes where they say nothing", "[yaml]") {
  const nlohmann::json value = {
      {"name", "docs/x@v3"},
      {"words", {"yes",       "Null", "~", "010", "1_000", "2e-4", "-",  "- a",        "a: b",  "a #b",
                 " a",        "a ",   "",  "|",   "{a}",   "*a",   "!t", "line\nline", "\"q\"", "\u00e9\u2028\x7f",
                 "two words", "=",    "<<"}},
      {"numbers", {0, -1, 2e-4, 1e300, true, nullptr}},
      {"yes", nlohmann::json::object()},
      {"a: b", nlohmann::json::array()},
      {"lists", {{1, 2}, nlohmann::json::array(), {{"k", "v"}}}}};
  const std::string text = WriteYaml(value);
  CAPTURE(text);
  const YamlDocument read = ReadYaml(text, "f");
  CHECK(read.problems.empty());
  REQUIRE(read.root != nullptr);
  CHECK(JsonOfYaml(*read.root) == value);
  CHECK(WriteYaml({{"a", {{"path", "/data/x.jsonl"}, {"words", {"two words", "2"}}}}}) ==
        "a:\n  path: /data/x.jsonl\n  words:\n    - two words\n    - \"2\"\n");
}

TEST_CASE("size, depth and number of nodes are bounded", "[yaml]") {
  CHECK(FirstProblem(std::string(kMaxYamlBytes + 1, '#')) == "f:1:1: the file has 1048577 bytes; a YAML file has at most 1 MiB");
  std::string deep(64, '['), deeper(65, '[');
  CHECK(FirstProblem(deep + std::string(64, ']')) == "");
  CHECK(FirstProblem(deeper + std::string(65, ']')) == "f:1:65: deeper than 64 levels");
  CHECK(FirstProblem(std::string(100000, '[')).find("deeper than 64 levels") != std::string::npos);
  std::string aliases = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n";
  for (char c = 'b'; c < 'h'; ++c) {
    aliases += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 10; ++i) aliases += std::string(i ? ", " : "") + "*" + static_cast<char>(c - 1);
    aliases += "]\n";
  }
  CHECK(FirstProblem(aliases).find("more than 10000 nodes; aliases count each time they are used") != std::string::npos);
  std::string tower = "a: &a [1]\n";
  for (int i = 0; i < 70; ++i) {
    tower += "k" + std::to_string(i) + ": &k" + std::to_string(i) + " [*" + (i == 0 ? "a" : "k" + std::to_string(i - 1)) + "]\n";
  }
  CHECK(FirstProblem(tower).find("deeper than 64 levels") != std::string::npos);
}

TEST_CASE("a value can be set by path", "[yaml]") {
  const YamlDocument document = ReadYaml("a: {b: 1}\nc: 2\n", "f");
  const auto value = ReadYamlValue("[x, 3]", "--set a.d.e");
  REQUIRE(value.ok());
  const auto changed = WithValueAt(document.root, "a.d.e", *value);
  REQUIRE(changed.ok());
  CHECK(JsonOfYaml(**changed).dump() == R"({"a":{"b":1,"d":{"e":["x",3]}},"c":2})");
  CHECK(JsonOfYaml(*document.root).dump() == R"({"a":{"b":1},"c":2})");
  CHECK_FALSE(WithValueAt(document.root, "c.x", *value).ok());
  CHECK_FALSE(WithValueAt(document.root, "a..x", *value).ok());
  CHECK_FALSE(ReadYamlValue("yes", "--set a").ok());
}

}  // namespace
}  // namespace lorry
