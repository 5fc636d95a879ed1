#include "base/json.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

using namespace lorry;

TEST_CASE("strict JSON says what is wrong and where") {
  struct Row {
    std::string text;
    int line, column;
    std::string message, key;
  };
  const std::vector<Row> rows = {
      {"", 1, 1, "not JSON", ""},
      {"{\"a\": 1,\n \"a\": 2}", 0, 0, "the key stands twice", "a"},
      {"{\"a\": [1,\n 2,, 3]}", 2, 4, "not JSON", ""},
      {"\"\xff\"", 1, 2, "not UTF-8", ""},
      {"1e999", 1, 5, "number overflow", ""},
      {"nan", 1, 2, "not JSON", ""},
      {std::string(70, '['), 0, 0, "deeper than 64", ""},
  };
  for (const Row& row : rows) {
    INFO(row.text);
    const auto result = ParseJson(row.text);
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().code == ErrorCode::kData);
    CHECK(result.error().line == row.line);
    if (row.line > 0) CHECK(result.error().column == row.column);
    CHECK(result.error().message.find(row.message) != std::string::npos);
    CHECK(result.error().key == row.key);
    CHECK(result.error().message.find(" line ") == std::string::npos);  // the place is told once
  }
}

TEST_CASE("equal values have equal canonical bytes") {
  const auto a = ParseJson("{\"b\": [1, {\"y\": null, \"x\": \"\xc3\xa9\"}], \"a\": -0}");
  REQUIRE(a.ok());
  CHECK(CanonicalJson(*a) == "{\"a\":0,\"b\":[1,{\"x\":\"\xc3\xa9\",\"y\":null}]}");
  CHECK(ParseJson("[{\"a\":1},{\"a\":1}]").ok());  // the same key in two objects is no repetition
}
