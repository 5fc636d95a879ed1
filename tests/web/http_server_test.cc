#include <catch2/catch.hpp>

#include "web/html.h"
#include "web/http_server.h"

namespace lorry {
namespace {

TEST_CASE("escapes of an address") {
  CHECK(*AddressText("a%2Fb%20c") == "a/b c");
  CHECK(*AddressText("a+b", true) == "a b");
  CHECK(*AddressText("a+b") == "a+b");
  for (const char* broken : {"%", "%2", "%zz", "a%00b", "a%FFb", "\xE9"}) {
    INFO(broken);
    CHECK(AddressText(broken).error().code == ErrorCode::kUsage);
  }
}

TEST_CASE("text in pages is escaped") {
  CHECK(Html("<a href=\"x\">&'") == "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
  HtmlTable table({"n"}, {0});
  CHECK(table.empty());
  table.Row({"1"});
  CHECK(table.str().find("<td class=\"n\">1</td>") != std::string::npos);
  CHECK(ProgressBar(3, 0) == "3");
  CHECK(ProgressBar(9, 3).find("width:100%") != std::string::npos);
}

}  // namespace
}  // namespace lorry
