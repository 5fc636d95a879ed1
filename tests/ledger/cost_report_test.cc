#include "ledger/cost_report.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace lorry {
namespace {

constexpr int64_t kHour = 3'600'000;
constexpr int64_t kNovember = 1'793'491'200'000;  // 2026-11-01T00:00:00Z

RunAccount Account(const char* run, const char* project = "docs") {
  return {.run = RunId(run),
          .name = "synopsis",
          .team = "search",
          .project = project,
          .model = "library/smol@v1",
          .kind = "finetune"};
}

// A whole hour at `usd`, so that the cost is the price.
BookedSlice Hour(const char* usd, int64_t hour, uint64_t attempt = 1, UsageClass usage_class = UsageClass::kProductive) {
  BookedSlice booked;
  booked.attempt = AttemptNumber(attempt);
  UsageSlice& slice = booked.slice;
  slice.device = DeviceId("w/cpu-0");
  slice.device_kind = "cpu";
  slice.pricing_category = "standard";
  slice.usage_class = usage_class;
  slice.lease_start = slice.t0 = Instant(kNovember + hour * kHour);
  slice.t1 = Instant(kNovember + (hour + 1) * kHour);
  slice.price = PriceId(1);
  slice.unit_price = *ParseUnitPrice(usd);
  slice.quantity = QuantityOfDeviceMillis(kHour);
  return booked;
}

CostReport Report(const CostQuery& query, const std::vector<std::pair<RunAccount, BookedSlice>>& booked) {
  CostReportBuilder builder(query);
  for (const auto& [account, slice] : booked) REQUIRE(builder.Add(account, slice).ok());
  return std::move(builder).Build();
}

TEST_CASE("cents are rounded half away from zero on the line, and the total says what that made of it") {
  // usd | cents
  const std::vector<std::pair<const char*, int64_t>> cases = {{"0.004999999", 0}, {"0.005", 1}, {"0.014999999", 1},
                                                              {"0.015", 2},       {"0.025", 3}, {"1872.585", 187259},
                                                              {"0.01", 1},        {"0", 0}};
  for (const auto& [usd, cents] : cases) {
    CAPTURE(usd);
    CHECK(Report({}, {{Account("r-1"), Hour(usd, 0)}}).rows[0].usd_cents == cents);
  }
  const CostReport report =
      Report({}, {{Account("r-1"), Hour("0.005", 0)}, {Account("r-2"), Hour("0.005", 1)}, {Account("r-3"), Hour("0.005", 2)}});
  CHECK(report.total_cents == 2);
  CHECK(report.rounding_cents == -1);
  CHECK(CostReportJson(report)["rounding_usd"] == "-0.01");
  CHECK(CostReportTable(report).find("rounding") != std::string::npos);
}

TEST_CASE("every grouping has the same total and the keys of its name") {
  const std::vector<std::pair<RunAccount, BookedSlice>> booked = {
      {Account("r-1"), Hour("0.123456789", 0)},
      {Account("r-1"), Hour("1.1", 30, 2, UsageClass::kRecomputed)},
      {Account("r-2", "other"), Hour("3", 24 * 30)},
  };
  // grouping | rows | first row's key
  const std::vector<std::tuple<const char*, size_t, const char*>> cases = {
      {"run", 2, "r-1"},      {"attempt", 3, "r-1"},           {"team", 1, "search"},
      {"project", 2, "docs"}, {"model", 1, "library/smol@v1"}, {"device", 1, "w/cpu-0"},
      {"kind", 1, "cpu"},     {"class", 2, "productive"},      {"month", 2, "2026-11"}};
  for (const auto& [name, rows, first] : cases) {
    CAPTURE(name);
    const CostReport report = Report({.by = *ParseCostGrouping(name)}, booked);
    CHECK(ToDecimalString(report.total) == "4.223456789000000000");
    CHECK(report.rows.size() == rows);
    CHECK(report.rows[0].keys[0].second == first);
    CHECK(CostReportJson(report)["rows"][0].contains(std::string(name)));
  }
  CHECK(ParseCostGrouping("colour").error().code == ErrorCode::kUsage);
}

TEST_CASE("an attempt's row opens down to its slices, and its classes add up to its leases") {
  BookedSlice second = Hour("1", 1);
  second.slice.lease_start = Instant(kNovember);
  second.slice.usage_class = UsageClass::kCheckpoint;
  const CostReport report =
      Report({.by = CostGrouping::kAttempt},
             {{Account("r-1"), Hour("1", 0)}, {Account("r-1"), second}, {Account("r-1"), Hour("1", 5, 10)}});
  const nlohmann::json rows = CostReportJson(report)["rows"];
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["attempt"] == 1);
  CHECK(rows[1]["attempt"] == 10);
  CHECK(rows[0]["lease_ms"] == 2 * kHour);
  CHECK(rows[0]["class_ms"] == nlohmann::json({{"productive", kHour}, {"checkpoint", kHour}}));
  CHECK(rows[0]["usage"].size() == 2);
  CHECK(rows[0]["usage"][0] == nlohmann::json({{"device_kind", "cpu"},
                                               {"device_id", "w/cpu-0"},
                                               {"class", "productive"},
                                               {"t0_ms", kNovember},
                                               {"t1_ms", kNovember + kHour},
                                               {"pricing_category", "standard"},
                                               {"price_id", 1},
                                               {"quantity_e9", 1'000'000'000},
                                               {"usd", "1.000000000000000000"}}));
}

TEST_CASE("from is inclusive, to is exclusive, both at full hours") {
  const std::vector<std::pair<RunAccount, BookedSlice>> booked = {
      {Account("r-1"), Hour("1", 0)}, {Account("r-1"), Hour("2", 1)}, {Account("r-2"), Hour("4", 1)}};
  CostQuery query{.from = Instant(kNovember + kHour), .to = Instant(kNovember + 2 * kHour)};
  CHECK(CheckCostQuery(query).ok());
  CHECK(ToCents(Report(query, booked).total) == 600);
  query.run = RunId("r-2");
  CHECK(ToCents(Report(query, booked).total) == 400);
  query.to = Instant(kNovember + kHour);
  CHECK(CheckCostQuery(query).error().code == ErrorCode::kUsage);
  query.to = Instant(kNovember + kHour + 1);
  CHECK(CheckCostQuery(query).error().code == ErrorCode::kUsage);
}

TEST_CASE("tables and csv") {
  BookedSlice unpriced = Hour("0", 3);
  unpriced.slice.price = PriceId(0);
  const CostReport report =
      Report({.by = CostGrouping::kProject}, {{Account("r-1"), Hour("1.2345678", 0)}, {Account("r-2", "a, \"b\""), unpriced}});
  CHECK(CostReportCsv(report) ==
        "project,device_ms,usd,usd_cents\n"
        "\"a, \"\"b\"\"\",3600000,0.000000000000000000,0\n"
        "docs,3600000,1.234567800000000000,123\n");
  CHECK(CostReportTable(report) ==
        "project  device-hours   dollars  cents\n"
        "a, \"b\"       1.000000  0.000000   0.00\n"
        "docs         1.000000  1.234568   1.23\n"
        "total        2.000000  1.234568   1.23\n"
        "1.000000 device-hours have no price and count $0\n");
  CHECK(CostReportTable(Report({}, {})).find("\ntotal") != std::string::npos);
  CHECK(CostReportJson(Report({}, {}))["rows"].empty());
}

}  // namespace
}  // namespace lorry
