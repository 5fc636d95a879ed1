#include "scheduler/log_desk.h"

#include <catch2/catch.hpp>

#include "base/files.h"

namespace lorry {
namespace {

TEST_CASE("the tail of a log begins with a whole line where it can") {
  TempDirectory home;
  const std::string directory = home.path() + "/runs/r-1/attempts/1";
  REQUIRE(MakeDirectories(directory).ok());
  const LogDesk logs(home.path());
  CHECK(logs.Tail(RunId("r-1"), AttemptNumber(1), 0, 5).empty());
  // log | of its last 5 bytes
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", ""},
      {"abc\n", "abc\n"},
      {"a\nbc\n", "a\nbc\n"},
      {"1\nabcd\n", "abcd\n"},
      {"12\n34\n5\n", "34\n5\n"},
      {"123\n4\n5", "4\n5"},
      {"123456789", "56789"},
      {"12345678\n", "5678\n"},
  };
  for (const auto& [log, tail] : cases) {
    CAPTURE(log);
    REQUIRE(WriteFileAtomically(directory + "/rank-0.log", log).ok());
    CHECK(logs.Tail(RunId("r-1"), AttemptNumber(1), 0, 5) == tail);
  }
}

}  // namespace
}  // namespace lorry
