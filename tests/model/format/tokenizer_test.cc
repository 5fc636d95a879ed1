// Tokenizers against what the `tokenizers` package made of the same texts (tests/golden/make_text.py).
#include <fmt/format.h>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "model/format/tokenizer.h"
#include "model/format/unicode_regex.h"

namespace lorry {
namespace {

using nlohmann::json;

std::string Golden(const std::string& name) { return *ReadFile("tests/golden/text/" + name); }

TEST_CASE("four kinds of tokenizers give the package's ids and texts") {
  const std::string kind = GENERATE("smollm", "llama3", "qwen2", "llama2");
  INFO(kind);
  auto tokenizer = Tokenizer::FromTokenizerJson(Golden(kind + ".tokenizer.json"), "", kind);
  REQUIRE(tokenizer.ok());
  const json cases = json::parse(Golden(kind + ".cases.json"));
  for (const json& c : cases["encode"]) {
    INFO(c[0].dump(-1, ' ', true));
    CHECK(json(*tokenizer->Encode(c[0].get<std::string>(), false)) == c[1]);
  }
  for (const json& c : cases["special"]) CHECK(json(*tokenizer->Encode(c[0].get<std::string>(), true)) == c[1]);
  for (const json& c : cases["decode"]) {
    const auto ids = c[0].get<std::vector<TokenId>>();
    INFO(c.dump(-1, ' ', true));
    CHECK(tokenizer->Decode(ids, false) == c[1].get<std::string>());
    CHECK(tokenizer->Decode(ids, true) == c[2].get<std::string>());
  }
}

TEST_CASE("a token's bytes are those that it adds behind others") {
  auto tokenizer = Tokenizer::FromTokenizerJson(Golden("llama2.tokenizer.json"), "", "llama2");
  REQUIRE(tokenizer.ok());
  const auto blank = tokenizer->IdOf("\xE2\x96\x81");
  REQUIRE(blank);
  CHECK(tokenizer->TokenBytes(*blank) == " ");
  const auto byte = tokenizer->IdOf("<0xC3>");
  REQUIRE(byte);
  CHECK(tokenizer->TokenBytes(*byte) == "\xC3");
}

TEST_CASE("a long word is merged as the short pieces it is made of would say") {
  auto tokenizer = Tokenizer::FromTokenizerJson(Golden("smollm.tokenizer.json"), "", "smollm");
  const std::string text(100'000, 'a');
  auto ids = tokenizer->Encode(text, false);
  REQUIRE(ids.ok());
  CHECK(tokenizer->Decode(*ids, false) == text);
}

TEST_CASE("bytes that are not UTF-8 become U+FFFD, one for each maximal broken part") {
  const std::pair<std::string, std::string> cases[] = {{"a\xFF", "a\uFFFD"},
                                                       {"\xE2\x82", "\uFFFD"},
                                                       {"\xE2\x82\xAC", "€"},
                                                       {"\xF0\x9F\x98x", "\uFFFDx"},
                                                       {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
                                                       {"\xC0\xAF", "\uFFFD\uFFFD"},
                                                       {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"}};
  for (const auto& [bytes, text] : cases) CHECK(ReplaceInvalidUtf8(bytes) == text);
}

TEST_CASE("what a tokenizer.json lacks or has beyond this version is said") {
  const std::pair<const char*, const char*> cases[] = {
      {"[]", "an object is expected"},
      {"{", "JSON"},
      {R"({"model": {"type": "WordPiece", "vocab": {}}})", "only BPE"},
      {R"({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}})", "no usable id"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}})", "merges[0]"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}})", "merges[0]"},
      {R"({"normalizer": {"type": "Nmt"}, "model": {"vocab": {}, "merges": []}})", "normalizer \"Nmt\""},
      {R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}, "model": {}})",
       "regular expression"},
      {R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\h"}, "behavior": "Isolated"}, "model": {}})", "\\h"},
  };
  for (const auto& [text, expected] : cases) {
    auto tokenizer = Tokenizer::FromTokenizerJson(text, "", "t.json");
    REQUIRE_FALSE(tokenizer.ok());
    INFO(tokenizer.error().Format());
    CHECK(tokenizer.error().Format().find(expected) != std::string::npos);
    CHECK(tokenizer.error().file == "t.json");
  }
}

TEST_CASE("a pattern is rewritten so that PCRE2 matches what the package matches") {
  CHECK(RewriteForPcre2("[a-z]+")->compare("[a-z]+") == 0);
  CHECK(RewriteForPcre2(R"(\P{L}\S)")->substr(0, 7) == R"([^\p{L})");
  auto space = UnicodeRegex::Compile(R"(\s)");
  CHECK_FALSE(space->Find("\u180e", 0)->has_value());
  CHECK(space->Find("\u0085", 0)->has_value());
  CHECK_FALSE(UnicodeRegex::Compile(R"(\p{N}{1,3}+)").ok());
}

TEST_CASE("named tokens come from tokenizer_config.json, and add_bos_token overrules the post-processor") {
  auto tokenizer = Tokenizer::FromTokenizerJson(
      Golden("smollm.tokenizer.json"), R"({"eos_token": {"content": "</s>"}, "bos_token": "<s>", "add_bos_token": false})", "t");
  REQUIRE(tokenizer.ok());
  CHECK(tokenizer->eos_id() == tokenizer->IdOf("</s>"));
  CHECK(tokenizer->bos()->text == "<s>");
  CHECK_FALSE(tokenizer->pad_id().has_value());
  CHECK(tokenizer->Encode("", true)->empty());
}

}  // namespace
}  // namespace lorry
