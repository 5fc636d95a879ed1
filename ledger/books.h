// The books: every priced slice of device time, posted once, in double entry, in a chain of hashes.
//
// They lie in the scheduler's state file; a posting is part of the transaction in which the attempt ends, so that an attempt
// is over exactly when its cost is on the books. Each slice debits the account of its run and class and credits the capacity
// of its device kind; the balances of all accounts stand beside them. Rows are only ever added. Each row's hash covers the
// row, the run's account and the hash before it: a row that was changed, dropped or put between is found by verification
// (verification.h). Page: docs/formats/books.md.
//
// All functions work on the Database they are given, on its thread; writes belong into a transaction of the caller.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/money.h"
#include "base/result.h"
#include "base/store/store.h"
#include "base/units.h"
#include "ledger/cost_report.h"
#include "ledger/metering.h"
#include "ledger/price_book.h"

namespace lorry {

// The tables prices, runs, slices, balances and estimates, for Store::Open.
std::vector<Migration> LedgerMigrations();

// The price book as recorded. kData where its chain or a row is broken.
Result<PriceBook> LoadPriceBook(Database& db);

// Records those rows of a price file that the book does not already say (PriceBook::AppendNews), and adds them to `book`.
// Returns how many were new. Writes nothing on error.
Result<int> RecordPrices(Database& db, PriceBook* book, const std::vector<PriceRow>& rows, Instant now);

// Puts all device time of one attempt on the books and returns what it cost. An attempt is posted once: posting it again
// returns what stands there and changes nothing. A run's account is fixed by its first posting.
// kData for impossible usage (metering.h).
Result<Dollars> PostUsage(Database& db, const PriceBook& prices, const RunAccount& account, const AttemptUsage& usage,
                          Instant now);

// What a run has cost so far. kData names the row whose amount cannot be.
Result<Dollars> RunCost(Database& db, const RunId& run);

// The report of a query, read from the books. kUsage for a query that CheckCostQuery refuses; kData names the row whose amount
// cannot be.
Result<CostReport> ReportCosts(Database& db, const CostQuery& query);

// One row as it stands on the books, with all that its hash covers.
struct BookRow {
  int64_t seq = 0;  // from 1, without gaps
  RunAccount account;
  BookedSlice booked;
  std::string debit;  // account names, see BookAccounts
  std::string credit;
  Dollars amount;  // as written: verification compares it with price x quantity
  Instant posted_at;
  Digest hash;
};

// Calls `visit` for every row in the order of posting; stops at the first error that it returns.
Status VisitBooks(Database& db, const std::function<Status(const BookRow&)>& visit);

// The hash of a row that follows one with the hash `previous` (zero before the first).
Digest BookRowHash(const Digest& previous, const BookRow& row);
// The hash of a price row, likewise in a chain of its own.
Digest PriceRowHash(const Digest& previous, const PriceRow& row);

// Which account a slice debits ("run/RUN/CLASS", or "pool/CLASS" for time that no run held) and which it credits
// ("capacity/KIND").
struct BookAccounts {
  std::string debit;
  std::string credit;
};
BookAccounts AccountsOf(const RunId& run, const UsageSlice& slice);

}  // namespace lorry
