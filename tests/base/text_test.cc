#include "base/text.h"

#include <catch2/catch.hpp>

using namespace lorry;

TEST_CASE("UTF-8 is whole, shortest and without surrogates") {
  for (const char* good : {"", "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf"}) {
    CHECK(IsValidUtf8(good));
  }
  for (const char* bad : {"\x80", "\xc0\x80", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
                          "\xff", "a\xe2\x82"}) {
    CHECK_FALSE(IsValidUtf8(bad));
  }
  CHECK(*FirstInvalidUtf8("ab\xff") == 2);
}

TEST_CASE("control characters are shown, not sent to the terminal") {
  CHECK(EscapeControl("a\n\x1b[31m\xff\xc2\x85\xc3\xa9") == "a\\n\\x1b[31m\\xff\\xc2\\x85\xc3\xa9");
  CHECK(EscapeControl(std::string(300, 'x'), 10) == "xxxxxxxxxx...");
}

TEST_CASE("the nearest name is near") {
  const std::vector<std::string> keys = {"learning_rate", "seed", "epochs", "r"};
  CHECK(*NearestName("learing_rate", keys) == "learning_rate");
  CHECK(*NearestName("epcohs", keys) == "epochs");
  CHECK_FALSE(NearestName("sd", keys).has_value());
  CHECK_FALSE(NearestName("temperature", keys).has_value());
  CHECK(EditDistance("kitten", "sitting") == 3);
}

TEST_CASE("splitting and trimming") {
  CHECK(Split("a,,b", ',') == std::vector<std::string>{"a", "", "b"});
  CHECK(Split("", ',') == std::vector<std::string>{""});
  CHECK(Trim(" \t x y\r\n") == "x y");
  CHECK(Trim("  ").empty());
}
