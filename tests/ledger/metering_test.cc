#include "ledger/metering.h"

#include <catch2/catch.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/random.h"
#include "ledger/usage_file.h"
#include "tests/ledger/price_rows.h"

namespace lorry {
namespace {

constexpr int64_t kHour = 3'600'000;
const Instant kLater(int64_t{1} << 50);

UsageSpan Span(const char* device, UsageClass usage_class, int64_t t0, int64_t t1) {
  UsageSpan span;
  span.device = DeviceId(device);
  span.device_kind = "cpu";
  span.usage_class = usage_class;
  span.t0 = Instant(t0);
  span.t1 = Instant(t1);
  return span;
}

PriceRow Price(const char* usd, int64_t from) {
  PriceRow row;
  row.device_kind = "cpu";
  row.unit_price = *ParseUnitPrice(usd);
  row.valid_from = Instant(from);
  return row;
}

PriceBook Book(std::initializer_list<PriceRow> rows) {
  PriceBook book;
  for (const PriceRow& row : rows) REQUIRE(book.Append(row).ok());
  return book;
}

std::vector<UsageSlice> Cut(std::vector<UsageSpan> spans, const PriceBook& book) {
  AttemptUsage usage{.run = RunId("r-1"), .attempt = AttemptNumber(1), .spans = std::move(spans)};
  auto slices = CutIntoSlices(usage, book, kLater);
  REQUIRE(slices.ok());
  return *slices;
}

TEST_CASE("recorded bills by exact fractions are reproduced digit by digit") {
  auto names = ListDirectory("tests/golden/ledger");
  REQUIRE(names.ok());
  REQUIRE(names->size() >= 6);
  for (const std::string& name : *names) {
    CAPTURE(name);
    const auto text = ReadFile("tests/golden/ledger/" + name);
    const auto fixture = ParseJson(*text);
    REQUIRE(fixture.ok());
    const auto book = test::PriceBookOf(fixture->at("prices"));
    REQUIRE(book.ok());
    const auto usage = ParseUsageFile(*text);
    REQUIRE(usage.ok());
    const auto attempts = ReplayUsage(*usage, *book, kLater);
    REQUIRE(attempts.ok());
    const nlohmann::json slices = test::SlicesJson(*attempts);
    REQUIRE(slices.size() == fixture->at("slices").size());
    for (size_t i = 0; i < slices.size(); ++i) CHECK(slices[i] == fixture->at("slices")[i]);
    CHECK(ToDecimalString(ReportReplayed(*attempts, {})->total) == fixture->at("total_usd"));
  }
}

TEST_CASE("a lease is cut at classes, hours and prices, and nowhere else") {
  const PriceBook book = Book({Price("0.05", 0), Price("0.07", kHour + 10)});
  const auto slices = Cut({Span("w/cpu-0", UsageClass::kStartup, kHour - 5, kHour + 3),
                           Span("w/cpu-0", UsageClass::kProductive, kHour + 3, kHour + 20),
                           Span("w/cpu-0", UsageClass::kProductive, kHour + 20, kHour + 30)},
                          book);
  struct Expected {
    int64_t t0, t1;
    uint64_t price;
  };
  const std::vector<Expected> expected = {
      {kHour - 5, kHour, 1}, {kHour, kHour + 3, 1}, {kHour + 3, kHour + 10, 1}, {kHour + 10, kHour + 30, 2}};
  REQUIRE(slices.size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK(slices[i].t0 == Instant(expected[i].t0));
    CHECK(slices[i].t1 == Instant(expected[i].t1));
    CHECK(slices[i].price == PriceId(expected[i].price));
    CHECK(slices[i].lease_start == Instant(kHour - 5));
  }
}

TEST_CASE("slices of a lease add up to the quantity of the whole lease, however it is cut") {
  const uint64_t seed = 20261121;
  CAPTURE(seed);
  Random random(seed, "ledger-metering-test");
  const PriceBook book = Book({Price("1.790000001", 0), Price("1.81", 40 * kHour)});
  for (int round = 0; round < 200; ++round) {
    std::vector<UsageSpan> spans;
    const int64_t start = static_cast<int64_t>(random.Below(50 * kHour));
    int64_t at = start;
    for (int i = 0; i < 30; ++i) {
      const int64_t length = static_cast<int64_t>(random.Below(i % 3 == 0 ? 5 : 400'000));
      spans.push_back(Span("w/cpu-0", kUsageClasses[random.Below(7)], at, at + length));
      at += length;
    }
    Quantity sum;
    int64_t held = 0;
    for (const UsageSlice& slice : Cut(spans, book)) {
      CHECK(slice.t0.millis() / kHour == (slice.t1.millis() - 1) / kHour);
      sum = sum + slice.quantity;
      held += slice.Held().count();
    }
    CHECK(sum == QuantityOfDeviceMillis(at - start));
    CHECK(held == at - start);
  }
}

TEST_CASE("a gap or another device begins a new lease") {
  const PriceBook book = Book({Price("0.05", 0)});
  const auto slices = Cut({Span("w/cpu-0", UsageClass::kProductive, 1, 2), Span("w/cpu-1", UsageClass::kProductive, 2, 3),
                           Span("w/cpu-0", UsageClass::kProductive, 3, 4)},
                          book);
  REQUIRE(slices.size() == 3);
  for (const UsageSlice& slice : slices) {
    CHECK(slice.lease_start == slice.t0);
    CHECK(slice.quantity == QuantityOfDeviceMillis(1));
  }
}

TEST_CASE("time without a price is on the books at nothing") {
  const auto slices = Cut({Span("w/cpu-0", UsageClass::kProductive, 0, 1000)}, PriceBook());
  REQUIRE(slices.size() == 1);
  CHECK(slices[0].price == PriceId(0));
  CHECK(slices[0].Cost() == Dollars());
  CHECK(slices[0].quantity == QuantityOfDeviceMillis(1000));
}

TEST_CASE("impossible usage is refused") {
  const std::vector<std::vector<UsageSpan>> wrong = {
      {Span("w/cpu-0", UsageClass::kProductive, 10, 9)},
      {Span("w/cpu-0", UsageClass::kProductive, -1, 9)},
      {Span("w/cpu-0", UsageClass::kProductive, 0, int64_t{1} << 55)},
      {Span("w/cpu-0", UsageClass::kProductive, 0, 10), Span("w/cpu-0", UsageClass::kDrain, 9, 20)},
  };
  for (const auto& spans : wrong) {
    AttemptUsage usage{.run = RunId("r-1"), .attempt = AttemptNumber(1), .spans = spans};
    const auto slices = CutIntoSlices(usage, PriceBook(), kLater);
    REQUIRE(!slices.ok());
    CHECK(slices.error().code == ErrorCode::kData);
  }
}

}  // namespace
}  // namespace lorry
