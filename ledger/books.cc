#include "ledger/books.h"

#include <map>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "ledger/schema.h"

namespace lorry {
namespace {

// The end of a chain: how many rows it has and the last one's hash.
struct ChainEnd {
  int64_t seq = 0;
  Digest hash;
};

Result<ChainEnd> EndOfBooks(Database& db) {
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT seq, hash FROM ledger_slice ORDER BY seq DESC LIMIT 1"));
  LORRY_ASSIGN_OR_RETURN(const bool some, rows.Next());
  if (!some) return ChainEnd();
  return ChainEnd{rows.Integer(0), rows.AsDigest(1)};
}

Result<Digest> EndOfPrices(Database& db) {
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT hash FROM ledger_price ORDER BY price_id DESC LIMIT 1"));
  LORRY_ASSIGN_OR_RETURN(const bool some, rows.Next());
  return some ? rows.AsDigest(0) : Digest();
}

Result<std::optional<RunAccount>> FindAccount(Database& db, const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT name, team, project, model, kind FROM ledger_run WHERE run = ?", run));
  LORRY_ASSIGN_OR_RETURN(const bool some, rows.Next());
  if (!some) return std::optional<RunAccount>();
  return std::optional(RunAccount{.run = run,
                                  .name = rows.Text(0),
                                  .team = rows.Text(1),
                                  .project = rows.Text(2),
                                  .model = rows.Text(3),
                                  .kind = rows.Text(4)});
}

// The account that the books know for this run, which is `account` where it is the first posting.
Result<RunAccount> FixAccount(Database& db, const RunAccount& account) {
  LORRY_ASSIGN_OR_RETURN(std::optional<RunAccount> known, FindAccount(db, account.run));
  if (known) return *std::move(known);
  LORRY_TRY(db.Run("INSERT INTO ledger_run(run, name, team, project, model, kind) VALUES(?, ?, ?, ?, ?, ?)", account.run,
                   account.name, account.team, account.project, account.model, account.kind));
  return account;
}

Status InsertRow(Database& db, const BookRow& row) {
  const UsageSlice& slice = row.booked.slice;
  return db.Run(
      "INSERT INTO ledger_slice(seq, run, attempt, device, device_kind, pricing_category, class, lease_t0_ms, t0_ms, t1_ms, "
      "price_id,"
      " quantity_e9, debit, credit, amount_e18, posted_at_ms, hash) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      row.seq, row.account.run, row.booked.attempt, slice.device, slice.device_kind, slice.pricing_category,
      UsageClassName(slice.usage_class), slice.lease_start, slice.t0, slice.t1, slice.price,
      static_cast<int64_t>(slice.quantity.e9()), row.debit, row.credit, ToString(row.amount.e18()), row.posted_at, row.hash);
}

Result<Dollars> AmountAt(const Rows& rows, int column) {
  LORRY_ASSIGN_OR_RETURN(const Int128 e18, ParseInt128(rows.Text(column)));
  return Dollars::FromE18(e18);
}

struct Balance {
  Dollars debit;
  Dollars credit;
};

Status AddToBalance(Database& db, const std::string& account, const Balance& change) {
  Balance balance;
  {
    LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT debit_e18, credit_e18 FROM ledger_balance WHERE account = ?", account));
    LORRY_ASSIGN_OR_RETURN(const bool some, rows.Next());
    if (some) {
      LORRY_ASSIGN_OR_RETURN(balance.debit, AmountAt(rows, 0));
      LORRY_ASSIGN_OR_RETURN(balance.credit, AmountAt(rows, 1));
    }
  }
  LORRY_ASSIGN_OR_RETURN(const Dollars debit, CheckedSum(balance.debit, change.debit));
  LORRY_ASSIGN_OR_RETURN(const Dollars credit, CheckedSum(balance.credit, change.credit));
  return db.Run("INSERT OR REPLACE INTO ledger_balance(account, debit_e18, credit_e18) VALUES(?, ?, ?)", account,
                ToString(debit.e18()), ToString(credit.e18()));
}

// The sum of the rows (seq, amount); nullopt where there are none. kData names the row whose amount cannot be.
Result<std::optional<Dollars>> SumOfRows(Rows rows) {
  std::optional<Dollars> total;
  for (;;) {
    LORRY_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) return total;
    const Result<Dollars> amount = AmountAt(rows, 1);
    const Result<Dollars> sum = amount.ok() ? CheckedSum(total.value_or(Dollars()), *amount) : amount;
    if (!sum.ok()) return Because(fmt::format("ledger row {}", rows.Integer(0)), sum.error());
    total = *sum;
  }
}

// What an attempt that is on the books cost; nullopt where it is not.
Result<std::optional<Dollars>> PostedCost(Database& db, const RunId& run, AttemptNumber attempt) {
  LORRY_ASSIGN_OR_RETURN(
      Rows rows, db.Ask("SELECT seq, amount_e18 FROM ledger_slice WHERE run = ? AND attempt = ? ORDER BY seq", run, attempt));
  return SumOfRows(std::move(rows));
}

constexpr const char* kSelectBooks =
    "SELECT s.seq, s.run, r.name, r.team, r.project, r.model, r.kind, s.attempt, s.device, s.device_kind, s.pricing_category, "
    "s.class,"
    " s.lease_t0_ms, s.t0_ms, s.t1_ms, s.price_id, p.unit_price_e9, s.quantity_e9, s.debit, s.credit, s.amount_e18, "
    "s.posted_at_ms, s.hash"
    " FROM ledger_slice s LEFT JOIN ledger_run r ON r.run = s.run LEFT JOIN ledger_price p ON p.price_id = s.price_id ";

Result<BookRow> ReadRow(const Rows& rows) {
  BookRow row;
  row.seq = rows.Integer(0);
  row.account = {.run = RunId(rows.Text(1)),
                 .name = rows.Text(2),
                 .team = rows.Text(3),
                 .project = rows.Text(4),
                 .model = rows.Text(5),
                 .kind = rows.Text(6)};
  row.booked.attempt = AttemptNumber(static_cast<uint64_t>(rows.Integer(7)));
  UsageSlice& slice = row.booked.slice;
  slice.device = DeviceId(rows.Text(8));
  slice.device_kind = rows.Text(9);
  slice.pricing_category = rows.Text(10);
  auto usage_class = ParseUsageClass(rows.Text(11));
  if (!usage_class.ok()) return Because(fmt::format("ledger row {}", row.seq), std::move(usage_class).error());
  slice.usage_class = *usage_class;
  slice.lease_start = rows.Time(12);
  slice.t0 = rows.Time(13);
  slice.t1 = rows.Time(14);
  slice.price = PriceId(static_cast<uint64_t>(rows.Integer(15)));
  slice.unit_price = UnitPrice::FromE9(rows.Integer(16));
  slice.quantity = Quantity::FromE9(rows.Integer(17));
  row.debit = rows.Text(18);
  row.credit = rows.Text(19);
  auto amount = AmountAt(rows, 20);
  if (!amount.ok()) return Because(fmt::format("ledger row {}", row.seq), std::move(amount).error());
  row.amount = *amount;
  row.posted_at = rows.Time(21);
  row.hash = rows.AsDigest(22);
  return row;
}

Status Visit(Rows rows, const std::function<Status(const BookRow&)>& visit) {
  for (;;) {
    LORRY_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) return OkStatus();
    LORRY_ASSIGN_OR_RETURN(const BookRow row, ReadRow(rows));
    LORRY_TRY(visit(row));
  }
}

Digest ChainHash(const Digest& previous, const nlohmann::json& row) {
  Sha256 sha;
  sha.Update(std::string_view(reinterpret_cast<const char*>(previous.bytes().data()), previous.bytes().size()));
  sha.Update(CanonicalJson(row));
  return sha.Finish();
}

}  // namespace

std::vector<Migration> LedgerMigrations() { return {{"ledger", 1, std::string(kLedgerSchema1)}}; }

Digest PriceRowHash(const Digest& previous, const PriceRow& row) {
  return ChainHash(
      previous, {row.id.value(), row.device_kind, row.category, row.unit_price.e9(), row.valid_from.millis(),
                 row.valid_to ? nlohmann::json(row.valid_to->millis()) : nlohmann::json(), row.recorded_at.millis(), row.source});
}

Digest BookRowHash(const Digest& previous, const BookRow& row) {
  const RunAccount& account = row.account;
  const UsageSlice& slice = row.booked.slice;
  return ChainHash(previous, {row.seq,
                              account.run.str(),
                              account.name,
                              account.team,
                              account.project,
                              account.model,
                              account.kind,
                              row.booked.attempt.value(),
                              slice.device.str(),
                              slice.device_kind,
                              slice.pricing_category,
                              UsageClassName(slice.usage_class),
                              slice.lease_start.millis(),
                              slice.t0.millis(),
                              slice.t1.millis(),
                              slice.price.value(),
                              ToString(slice.quantity.e9()),
                              row.debit,
                              row.credit,
                              ToString(row.amount.e18()),
                              row.posted_at.millis()});
}

BookAccounts AccountsOf(const RunId& run, const UsageSlice& slice) {
  const std::string owner = run.empty() ? "pool" : "run/" + run.str();
  return {owner + "/" + std::string(UsageClassName(slice.usage_class)), "capacity/" + slice.device_kind};
}

Result<PriceBook> LoadPriceBook(Database& db) {
  LORRY_ASSIGN_OR_RETURN(Rows rows,
                         db.Ask("SELECT price_id, device_kind, pricing_category, unit_price_e9, valid_from_ms, valid_to_ms,"
                                " recorded_at_ms, source, hash FROM ledger_price ORDER BY price_id"));
  std::vector<PriceRow> prices;
  Digest previous;
  for (;;) {
    LORRY_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) break;
    PriceRow row;
    row.id = PriceId(static_cast<uint64_t>(rows.Integer(0)));
    row.device_kind = rows.Text(1);
    row.category = rows.Text(2);
    row.unit_price = UnitPrice::FromE9(rows.Integer(3));
    row.valid_from = rows.Time(4);
    if (!rows.IsNull(5)) row.valid_to = rows.Time(5);
    row.recorded_at = rows.Time(6);
    row.source = rows.Text(7);
    previous = PriceRowHash(previous, row);
    if (rows.AsDigest(8) != previous) {
      return MakeError(ErrorCode::kData, fmt::format("price row {} of {} is not what was recorded", row.id, row.device_kind),
                       "restore the state file from a backup: lorry restore");
    }
    prices.push_back(std::move(row));
  }
  return PriceBook::FromRows(std::move(prices));
}

Result<int> RecordPrices(Database& db, PriceBook* book, const std::vector<PriceRow>& rows, Instant now) {
  PriceBook updated = *book;
  LORRY_ASSIGN_OR_RETURN(const std::vector<PriceRow> added, updated.AppendNews(rows, now));
  LORRY_ASSIGN_OR_RETURN(Digest hash, EndOfPrices(db));
  for (const PriceRow& row : added) {
    hash = PriceRowHash(hash, row);
    LORRY_TRY(
        db.Run("INSERT INTO ledger_price(price_id, device_kind, pricing_category, unit_price_e9, valid_from_ms, valid_to_ms,"
               " recorded_at_ms, source, hash) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
               row.id, row.device_kind, row.category, row.unit_price.e9(), row.valid_from, row.valid_to, row.recorded_at,
               row.source, hash));
  }
  *book = std::move(updated);
  return static_cast<int>(added.size());
}

Result<Dollars> PostUsage(Database& db, const PriceBook& prices, const RunAccount& account, const AttemptUsage& usage,
                          Instant now) {
  LORRY_ASSIGN_OR_RETURN(const std::optional<Dollars> posted, PostedCost(db, usage.run, usage.attempt));
  if (posted) return *posted;
  LORRY_ASSIGN_OR_RETURN(const std::vector<UsageSlice> slices, CutIntoSlices(usage, prices, now));
  LORRY_ASSIGN_OR_RETURN(const RunAccount fixed, FixAccount(db, account));
  LORRY_ASSIGN_OR_RETURN(ChainEnd end, EndOfBooks(db));
  std::map<std::string, Balance> changes;
  Dollars total;
  for (const UsageSlice& slice : slices) {
    BookAccounts accounts = AccountsOf(usage.run, slice);
    BookRow row{.seq = ++end.seq,
                .account = fixed,
                .booked = {usage.attempt, slice},
                .debit = std::move(accounts.debit),
                .credit = std::move(accounts.credit),
                .amount = slice.Cost(),
                .posted_at = now,
                .hash = {}};
    end.hash = row.hash = BookRowHash(end.hash, row);
    LORRY_TRY(InsertRow(db, row));
    changes[row.debit].debit += row.amount;
    changes[row.credit].credit += row.amount;
    total += row.amount;
  }
  for (const auto& [name, change] : changes) LORRY_TRY(AddToBalance(db, name, change));
  return total;
}

Result<Dollars> RunCost(Database& db, const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT seq, amount_e18 FROM ledger_slice WHERE run = ? ORDER BY seq", run));
  LORRY_ASSIGN_OR_RETURN(const std::optional<Dollars> total, SumOfRows(std::move(rows)));
  return total.value_or(Dollars());
}

Status VisitBooks(Database& db, const std::function<Status(const BookRow&)>& visit) {
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask(std::string(kSelectBooks) + "ORDER BY s.seq"));
  return Visit(std::move(rows), visit);
}

Result<CostReport> ReportCosts(Database& db, const CostQuery& query) {
  LORRY_TRY(CheckCostQuery(query));
  CostReportBuilder builder(query);
  // A report of one run is asked for at every look at its page: it may not read the rows of all the others.
  const std::string of_run = query.run ? "WHERE s.run = ?1" : "WHERE ?1 IS NULL";
  LORRY_ASSIGN_OR_RETURN(
      Rows rows,
      db.Ask(kSelectBooks + of_run + " AND (?2 IS NULL OR s.t0_ms >= ?2) AND (?3 IS NULL OR s.t0_ms < ?3) ORDER BY s.seq",
             query.run, query.from, query.to));
  LORRY_TRY(Visit(std::move(rows), [&builder](const BookRow& row) {
    Status added = builder.Add(row.account, row.booked);
    return added.ok() ? added : Status(Because(fmt::format("ledger row {}", row.seq), added.error()));
  }));
  return std::move(builder).Build();
}

}  // namespace lorry
