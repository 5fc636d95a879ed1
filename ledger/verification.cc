#include "ledger/verification.h"

#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "ledger/books.h"

namespace lorry {
namespace {

constexpr size_t kMostProblems = 100;

struct Balance {
  Dollars debit;
  Dollars credit;
  friend bool operator==(const Balance&, const Balance&) = default;
};

class BookChecker {
 public:
  BookChecker(const PriceBook& prices, LedgerCheck* check) : prices_(prices), check_(check) {}

  void Check(const BookRow& row) {
    ++check_->slices;
    if (row.seq != last_seq_ + 1) Problem(row, fmt::format("row {} is missing before it", last_seq_ + 1));
    if (row.hash != BookRowHash(last_hash_, row)) Problem(row, "its hash does not fit to it and to the row before");
    // Only a row whose time and money are right is summed: one hour at any price leaves room for 10^9 rows, a forged amount for
    // none.
    if (CheckTimes(row) && CheckMoney(row)) {
      check_->total += row.amount;
      balances_[row.debit].debit += row.amount;
      balances_[row.credit].credit += row.amount;
    }
    last_seq_ = row.seq;
    last_hash_ = row.hash;
  }

  // After the last row: the balances as they stand against those computed.
  void CheckBalances(std::map<std::string, Balance> standing) {
    for (const auto& [account, balance] : balances_) {
      const auto found = standing.find(account);
      if (found == standing.end() || found->second != balance) {
        Add(fmt::format("account {}: its balance is not the sum of its rows", account));
      }
      if (found != standing.end()) standing.erase(found);
    }
    for (const auto& [account, balance] : standing) Add(fmt::format("account {}: it has a balance and no rows", account));
  }

  // After the last row: the time on the books against what was metered. Time of no run is nobody's attempt.
  void CheckMetered(const std::vector<MeteredTime>& metered) {
    for (const MeteredTime& one : metered) {
      const auto booked = booked_.find(one.held);
      const DeviceMillis time = booked != booked_.end() ? booked->second : DeviceMillis();
      if (time != one.time) AddTime(one.held, one.time, time);
      if (booked != booked_.end()) booked_.erase(booked);
    }
    for (const auto& [held, time] : booked_) AddTime(held, DeviceMillis(), time);
  }

  void Add(std::string problem) {
    if (check_->problems.size() < kMostProblems) check_->problems.push_back(std::move(problem));
  }

 private:
  void Problem(const BookRow& row, std::string_view what) {
    Add(fmt::format("ledger row {} (run {}, attempt {}, device {}): {}", row.seq, row.account.run, row.booked.attempt,
                    row.booked.slice.device, what));
  }

  void AddTime(const Held& held, DeviceMillis metered, DeviceMillis booked) {
    Add(fmt::format("run {}, attempt {}, device {} ({}): {} ms {} were metered, {} ms are on the books", held.run, held.attempt,
                    held.device, held.device_kind, metered.count(), held.usage_class, booked.count()));
  }

  // False where no arithmetic can be done with them.
  bool CheckTimes(const BookRow& row) {
    const UsageSlice& slice = row.booked.slice;
    const bool ordered = Instant{0} <= slice.lease_start && slice.lease_start <= slice.t0 && slice.t0 < slice.t1;
    if (!ordered || slice.t0.millis() / kMillisPerHour != (slice.t1.millis() - 1) / kMillisPerHour) {
      Problem(row, "its times are out of order or cross a full hour");
      return false;
    }
    if (!row.account.run.empty()) {
      booked_[Held{.run = row.account.run,
                   .attempt = row.booked.attempt,
                   .device = slice.device,
                   .device_kind = slice.device_kind,
                   .usage_class = std::string(UsageClassName(slice.usage_class))}] += slice.Held();
    }
    // Slices of one lease stand one behind the other, so the next one of the lease begins where this one ends.
    const std::string lease = fmt::format("{}/{}/{}", row.account.run, row.booked.attempt, slice.device);
    const auto [it, is_new] = lease_ends_.try_emplace(lease, slice.lease_start);
    if (slice.t0 != slice.lease_start && (is_new || it->second != slice.t0)) {
      Problem(row, "it does not begin where its lease was left");
    }
    it->second = slice.t1;
    return true;
  }

  // False where the amount is not that of the time.
  bool CheckMoney(const BookRow& row) {
    const UsageSlice& slice = row.booked.slice;
    const PriceRow* price = prices_.PriceAt(slice.device_kind, slice.pricing_category, slice.t0, row.posted_at);
    const PriceId expected = price != nullptr ? price->id : PriceId(0);
    if (slice.price != expected) Problem(row, fmt::format("it has price {} where price {} held", slice.price, expected));
    if (prices_.NextChange(slice.device_kind, slice.pricing_category, slice.t0, slice.t1, row.posted_at) != slice.t1) {
      Problem(row, "it crosses a change of the price");
    }
    const Quantity quantity = QuantityOfDeviceMillis((slice.t1 - slice.lease_start).count()) -
                              QuantityOfDeviceMillis((slice.t0 - slice.lease_start).count());
    if (slice.quantity != quantity) Problem(row, "its quantity is not that of its time");
    if (row.amount != slice.Cost()) Problem(row, "its amount is not price x quantity");
    const BookAccounts accounts = AccountsOf(row.account.run, slice);
    if (row.debit != accounts.debit || row.credit != accounts.credit) Problem(row, "it stands on wrong accounts");
    return slice.quantity == quantity && row.amount == slice.Cost();
  }

  const PriceBook& prices_;
  LedgerCheck* check_;
  int64_t last_seq_ = 0;
  Digest last_hash_;
  std::map<std::string, Instant> lease_ends_;
  std::map<std::string, Balance> balances_;
  std::map<Held, DeviceMillis> booked_;
};

Result<std::map<std::string, Balance>> StandingBalances(Database& db) {
  std::map<std::string, Balance> balances;
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT account, debit_e18, credit_e18 FROM ledger_balance"));
  for (;;) {
    LORRY_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) return balances;
    LORRY_ASSIGN_OR_RETURN(const Int128 debit, ParseInt128(rows.Text(1)));
    LORRY_ASSIGN_OR_RETURN(const Int128 credit, ParseInt128(rows.Text(2)));
    balances[rows.Text(0)] = {Dollars::FromE18(debit), Dollars::FromE18(credit)};
  }
}

}  // namespace

Result<LedgerCheck> VerifyLedger(Database& db, const std::vector<MeteredTime>& metered) {
  LedgerCheck check;
  const Result<PriceBook> prices = LoadPriceBook(db);
  if (!prices.ok()) {
    if (prices.error().code != ErrorCode::kData) return prices.error();
    check.problems.push_back(prices.error().message);
    return check;
  }
  check.prices = static_cast<int64_t>(prices->rows().size());
  BookChecker checker(*prices, &check);
  const Status visited = VisitBooks(db, [&checker](const BookRow& row) {
    checker.Check(row);
    return OkStatus();
  });
  if (!visited.ok()) {
    if (visited.error().code != ErrorCode::kData) return visited.error();
    checker.Add(visited.error().message);
    return check;
  }
  checker.CheckMetered(metered);
  auto balances = StandingBalances(db);
  if (!balances.ok()) {
    if (balances.error().code != ErrorCode::kData) return balances.error();
    checker.Add("ledger balances: " + balances.error().message);
    return check;
  }
  checker.CheckBalances(std::move(*balances));
  return check;
}

}  // namespace lorry
