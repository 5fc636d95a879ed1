#include "ledger/books.h"

#include <catch2/catch.hpp>

#include "base/files.h"
#include "base/random.h"
#include "ledger/estimate.h"
#include "ledger/verification.h"

namespace lorry {
namespace {

constexpr int64_t kHour = 3'600'000;
constexpr int64_t kNovember = 1'793'491'200'000;

// A state file of its own, with a CPU price that rises on the 2nd of November.
class Books {
 public:
  Books() {
    auto opened = Store::Open(home_.path() + "/state.db", LedgerMigrations(), StoreMode::kCreate);
    REQUIRE(opened.ok());
    store_ = std::move(*opened);
    PriceRow before;
    before.device_kind = "cpu";
    before.unit_price = *ParseUnitPrice("0.049999999");
    before.valid_from = Instant(0);
    PriceRow after = before;
    after.unit_price = *ParseUnitPrice("0.06");
    after.valid_from = Instant(kNovember + 24 * kHour);
    Write([&](Database& db) { REQUIRE(*RecordPrices(db, &prices_, {before, after}, Instant(kNovember - 1)) == 2); });
  }

  template <class Work>
  void Write(Work work) {
    auto transaction = store_->Begin();
    REQUIRE(transaction.ok());
    work(transaction->db());
    REQUIRE(transaction->Commit().ok());
  }
  void RunSql(const std::string& sql) {
    Write([&](Database& db) { REQUIRE(db.RunScript(sql).ok()); });
  }

  Dollars Post(const char* run, uint64_t attempt, std::vector<UsageSpan> spans) {
    Dollars cost;
    auto& time = metered_[{run, attempt}];
    if (time.empty() && *run != '\0') {
      for (const UsageSpan& span : spans) {
        time.push_back({.held = {RunId(run), AttemptNumber(attempt), span.device, span.device_kind,
                                 std::string(UsageClassName(span.usage_class))},
                        .time = DeviceMillis((span.t1 - span.t0).count())});
      }
    }
    RunAccount account{.run = RunId(run), .name = "n", .team = "search", .project = "docs", .model = "m@v1", .kind = "finetune"};
    Write([&](Database& db) {
      auto posted =
          PostUsage(db, prices_, account, {.run = account.run, .attempt = AttemptNumber(attempt), .spans = std::move(spans)},
                    Instant(kNovember + 100 * kHour));
      REQUIRE(posted.ok());
      cost = *posted;
    });
    return cost;
  }

  LedgerCheck Verify() {
    auto reader = store_->Read();
    REQUIRE(reader.ok());
    std::map<Held, DeviceMillis> sums;
    for (const auto& [attempt, spans] : metered_) {
      for (const MeteredTime& span : spans) sums[span.held] += span.time;
    }
    std::vector<MeteredTime> metered;
    for (const auto& [held, time] : sums) {
      if (time > DeviceMillis()) metered.push_back({held, time});
    }
    auto check = VerifyLedger(reader->db(), metered);
    REQUIRE(check.ok());
    return *check;
  }
  CostReport Report(const CostQuery& query = {}) {
    auto reader = store_->Read();
    auto report = ReportCosts(reader->db(), query);
    REQUIRE(report.ok());
    return *report;
  }
  Store& store() { return *store_; }
  PriceBook& prices() { return prices_; }

 private:
  TempDirectory home_;
  std::unique_ptr<Store> store_;
  PriceBook prices_;
  std::map<std::pair<std::string, uint64_t>, std::vector<MeteredTime>> metered_;  // by run and attempt, as posted first
};

UsageSpan Span(int device, UsageClass usage_class, int64_t t0, int64_t t1) {
  UsageSpan span;
  span.device = DeviceId("w/cpu-" + std::to_string(device));
  span.device_kind = "cpu";
  span.usage_class = usage_class;
  span.t0 = Instant(kNovember + t0);
  span.t1 = Instant(kNovember + t1);
  return span;
}

TEST_CASE("a posting stands once, adds up, and is whole") {
  Books books;
  const std::vector<UsageSpan> spans = {Span(0, UsageClass::kStartup, 5, 1000),
                                        Span(0, UsageClass::kProductive, 1000, 2 * kHour + 7),
                                        Span(1, UsageClass::kProductive, 23 * kHour, 25 * kHour)};
  const Dollars cost = books.Post("r-1", 1, spans);
  CHECK(books.Post("r-1", 1, {}) == cost);
  CHECK(books.Post("r-1", 1, spans) == cost);
  const Dollars again = books.Post("r-1", 2, {Span(0, UsageClass::kRecomputed, 3 * kHour, 3 * kHour + 1)});
  const LedgerCheck check = books.Verify();
  CHECK(check.whole());
  CHECK(check.slices == 7);
  CHECK(check.prices == 2);
  CHECK(check.total == cost + again);
  CHECK(books.Report().total == cost + again);
  CHECK(books.Report({.by = CostGrouping::kAttempt}).rows.size() == 2);
  auto reader = books.store().Read();
  CHECK(*RunCost(reader->db(), RunId("r-1")) == cost + again);
  CHECK(*RunCost(reader->db(), RunId("r-2")) == Dollars());
}

TEST_CASE("time of nobody's run goes to the pool, and an impossible posting leaves no trace") {
  Books books;
  books.Post("", 1, {Span(0, UsageClass::kIdlePool, 0, kHour)});
  CHECK(books.Verify().whole());
  RunAccount account{.run = RunId("r-9")};
  auto transaction = books.store().Begin();
  const AttemptUsage wrong{.run = account.run, .attempt = AttemptNumber(1), .spans = {Span(0, UsageClass::kStartup, 9, 3)}};
  CHECK(PostUsage(transaction->db(), books.prices(), account, wrong, Instant(kNovember)).error().code == ErrorCode::kData);
  REQUIRE(transaction->Commit().ok());
  CHECK(books.Verify().slices == 1);
}

TEST_CASE("random postings: every report has the exact total, and verification agrees") {
  Books books;
  Random random(7, "ledger-books-test");
  Dollars total;
  for (uint64_t attempt = 1; attempt <= 40; ++attempt) {
    std::vector<UsageSpan> spans;
    int64_t at = static_cast<int64_t>(random.Below(30 * kHour));
    for (int i = 0; i < 6; ++i) {
      const int64_t length = static_cast<int64_t>(random.Below(2 * kHour));
      spans.push_back(Span(static_cast<int>(attempt), kUsageClasses[random.Below(7)], at, at + length));
      at += length;
    }
    total += books.Post(attempt % 2 == 0 ? "r-a" : "r-b", attempt, spans);
  }
  CHECK(books.Verify().whole());
  CHECK(books.Verify().total == total);
  for (const char* by : {"run", "attempt", "team", "project", "model", "device", "kind", "class", "month"}) {
    CHECK(books.Report({.by = *ParseCostGrouping(by)}).total == total);
  }
}

TEST_CASE("whatever is changed in the books is found, by its row") {
  // what somebody does | what the finding names
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"UPDATE ledger_slice SET amount_e18 = '1' WHERE seq = 2", "ledger row 2"},
      {"UPDATE ledger_slice SET quantity_e9 = quantity_e9 + 1 WHERE seq = 3", "ledger row 3"},
      {"UPDATE ledger_slice SET class = 'drain' WHERE seq = 1", "ledger row 1"},
      {"UPDATE ledger_slice SET class = 'lunch' WHERE seq = 1", "ledger row 1"},
      {"UPDATE ledger_slice SET amount_e18 = 'x' WHERE seq = 1", "ledger row 1"},
      {"UPDATE ledger_slice SET t1_ms = t1_ms + 1 WHERE seq = 2", "ledger row 2"},
      {"UPDATE ledger_slice SET price_id = 2 WHERE seq = 1", "ledger row 1"},
      {"DELETE FROM ledger_slice WHERE seq = 2", "row 2 is missing"},
      {"DELETE FROM ledger_slice WHERE seq = 3", "run r-1, attempt 1, device w/cpu-0 (cpu): 3599005 ms productive were metered"},
      {"DELETE FROM ledger_slice; DELETE FROM ledger_balance; DELETE FROM ledger_run",
       "ms productive were metered, 0 ms are on the books"},
      {"UPDATE ledger_slice SET amount_e18 = '170141183460469231731687303715884105727' WHERE seq > 1", "ledger row 2"},
      {"UPDATE ledger_slice SET lease_t0_ms = -9223372036854775807, t1_ms = 9223372036854775807 WHERE seq = 3", "ledger row 3"},
      {"UPDATE ledger_balance SET debit_e18 = '170141183460469231731687303715884105727'", "account"},
      {"UPDATE ledger_run SET project = 'others'", "ledger row 1"},
      {"UPDATE ledger_price SET unit_price_e9 = 1 WHERE price_id = 1", "price row 1"},
      {"DELETE FROM ledger_price WHERE price_id = 1", "price row 2"},
      {"UPDATE ledger_balance SET debit_e18 = '0'", "account"},
      {"INSERT INTO ledger_balance VALUES('run/x/drain', '1', '0')", "run/x/drain"},
  };
  for (const auto& [sql, named] : cases) {
    CAPTURE(sql);
    Books books;
    books.Post("r-1", 1, {Span(0, UsageClass::kStartup, 0, 1000), Span(0, UsageClass::kProductive, 1000, kHour + 5)});
    REQUIRE(books.Verify().whole());
    books.RunSql(sql);
    const LedgerCheck check = books.Verify();
    REQUIRE(!check.whole());
    CAPTURE(check.problems[0]);
    CHECK(check.problems[0].find(named) != std::string::npos);
  }
}

TEST_CASE("amounts that do not fit into a sum are an error that names the row, wherever they are summed") {
  Books books;
  const std::vector<UsageSpan> spans = {Span(0, UsageClass::kProductive, 0, 2 * kHour + 5)};
  books.Post("r-1", 1, spans);
  const std::string most = "170141183460469231731687303715884105727";
  books.RunSql("UPDATE ledger_slice SET amount_e18 = '" + most + "' WHERE seq = 2");
  const auto names_row = [](const auto& result, const std::string& row) {
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().code == ErrorCode::kData);
    CHECK(result.error().message.find("ledger row " + row) == 0);
  };
  auto reader = books.store().Read();
  names_row(RunCost(reader->db(), RunId("r-1")), "2");
  books.Write([&](Database& db) {
    const RunAccount account{.run = RunId("r-1")};
    names_row(PostUsage(db, books.prices(), account, {account.run, AttemptNumber(1), spans}, Instant(kNovember + kHour)), "2");
  });
  books.RunSql(
      "UPDATE ledger_price SET unit_price_e9 = 9223372036854775807; UPDATE ledger_slice SET quantity_e9 = 9223372036854775807");
  auto later = books.store().Read();
  names_row(ReportCosts(later->db(), {}), "3");
}

TEST_CASE("a report reads the rows that it is about, and no others") {
  Books books;
  const Dollars first = books.Post("r-1", 1, {Span(0, UsageClass::kProductive, 0, kHour)});
  const Dollars second = books.Post("r-2", 1, {Span(1, UsageClass::kProductive, kHour, 3 * kHour)});
  books.Post("r-3", 1, {Span(2, UsageClass::kProductive, 5 * kHour, 6 * kHour)});
  CHECK(books.Report({.to = Instant(kNovember + 2 * kHour)}).rows.size() == 2);
  books.RunSql("UPDATE ledger_slice SET class = 'lunch' WHERE run = 'r-3'");  // no report can read this row
  CHECK(books.Report({.run = RunId("r-1")}).total == first);
  CHECK(books.Report({.run = RunId("r-2")}).total == second);
  CHECK(books.Report({.to = Instant(kNovember + 5 * kHour)}).total == first + second);
  CHECK(books.Report({.run = RunId("r-2"), .from = Instant(kNovember + 3 * kHour)}).rows.empty());
  auto reader = books.store().Read();
  CHECK(ReportCosts(reader->db(), {.from = Instant(kNovember + 5 * kHour)}).error().code == ErrorCode::kData);
}

TEST_CASE("prices are loaded as recorded, and a file read again records nothing") {
  Books books;
  auto reader = books.store().Read();
  const auto loaded = LoadPriceBook(reader->db());
  REQUIRE(loaded.ok());
  CHECK(loaded->rows().size() == 2);
  CHECK(loaded->rows()[1].valid_from == Instant(kNovember + 24 * kHour));
  CHECK(!loaded->rows()[1].valid_to.has_value());
  books.Write([&](Database& db) { CHECK(*RecordPrices(db, &books.prices(), loaded->rows(), Instant(kNovember)) == 0); });
}

TEST_CASE("estimates are priced, kept once, and better for like runs") {
  Books books;
  EstimateRequest request{.device_kind = "cpu", .devices = 2, .wall = Millis(kHour)};
  const auto estimate = MakeEstimate(request, books.prices(), Instant(kNovember));
  REQUIRE(estimate.ok());
  CHECK(estimate->p50 == DeviceMillis(2 * kHour));
  CHECK(estimate->p90 == DeviceMillis(3 * kHour));
  CHECK(ToDecimalString(estimate->usd_p50) == "0.099999998000000000");
  CHECK(estimate->basis == "rates");
  request.actual_over_expected = {1.0, 0.9, 1.2, 1.1, 2.0};
  const auto better = MakeEstimate(request, books.prices(), Instant(kNovember));
  CHECK(better->p50 == DeviceMillis(2 * 3'960'000));
  CHECK(better->p90 == DeviceMillis(4 * kHour));
  CHECK(better->basis == "5 like runs");
  request.device_kind = "H100";
  CHECK(MakeEstimate(request, books.prices(), Instant(kNovember)).error().code == ErrorCode::kNotFound);
  books.Write([&](Database& db) {
    REQUIRE(RecordEstimate(db, RunId("r-1"), *estimate, Instant(kNovember)).ok());
    REQUIRE(RecordEstimate(db, RunId("r-1"), *better, Instant(kNovember)).ok());
    CHECK(*db.AskInteger("SELECT p90_ms FROM ledger_estimate WHERE run = 'r-1'") == estimate->p90.count());
  });
}

}  // namespace
}  // namespace lorry
