#include "base/units.h"

#include <catch2/catch.hpp>

using namespace lorry;

TEST_CASE("UTC reads back") {
  CHECK(FormatUtc(Instant(0)) == "1970-01-01T00:00:00.000Z");
  CHECK(FormatUtc(Instant(-1)) == "1969-12-31T23:59:59.999Z");
  CHECK(ParseUtc("2026-11-21")->millis() == 1795219200000);
  CHECK(ParseUtc("2026-11-21T16:40:21Z")->millis() == 1795279221000);
  CHECK(ParseUtc("2026-11-21T16:40Z")->millis() == 1795279200000);
  CHECK(ParseUtc(FormatUtc(Instant(1795279221123)))->millis() == 1795279221123);
  for (const char* bad :
       {"", "2026-11", "2026-02-30", "2026-13-01", "2026-11-21 16:40:21Z", "2026-11-21T25:00:00Z", "2026-11-21T16:40:21", "x"}) {
    CHECK_FALSE(ParseUtc(bad).ok());
  }
}

TEST_CASE("durations and sizes are an integer and a unit") {
  CHECK(ParseDuration("90s")->count() == 90'000);
  CHECK(ParseDuration("2h")->count() == 7'200'000);
  CHECK(ParseDuration("3d")->count() == 259'200'000);
  for (const char* bad : {"", "90", "s", "1.5h", "-1s", "1 h", "1H", "99999999999999999d", "+5s"}) {
    CHECK_FALSE(ParseDuration(bad).ok());
  }
  CHECK(ParseSize("24GB")->count() == 24'000'000'000);
  CHECK(ParseSize("8MiB")->count() == 8'388'608);
  for (const char* bad : {"", "24", "24gb", "1.5GB", "9999999999TB"}) CHECK_FALSE(ParseSize(bad).ok());
  CHECK(FormatSize(Bytes(1'390'000'000)) == "1.4 GB");
  CHECK(FormatDuration(Millis(3'723'000)) == "1h 02m 03s");
}
