// The tables of the books in the state file. A schema that was released is never edited: the next version is a migration.
#pragma once

#include <string_view>

namespace lorry {

// Amounts are whole numbers of 10^-18 dollars as decimal text, since they pass 64 bits; the rest fits into integers.
inline constexpr std::string_view kLedgerSchema1 = R"sql(
CREATE TABLE ledger_price(
  price_id INTEGER PRIMARY KEY, device_kind TEXT NOT NULL, pricing_category TEXT NOT NULL, unit_price_e9 INTEGER NOT NULL,
  valid_from_ms INTEGER NOT NULL, valid_to_ms INTEGER, recorded_at_ms INTEGER NOT NULL, source TEXT NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TABLE ledger_run(
  run TEXT PRIMARY KEY, name TEXT NOT NULL, team TEXT NOT NULL, project TEXT NOT NULL, model TEXT NOT NULL, kind TEXT NOT NULL) STRICT;
CREATE TABLE ledger_slice(
  seq INTEGER PRIMARY KEY, run TEXT NOT NULL, attempt INTEGER NOT NULL, device TEXT NOT NULL, device_kind TEXT NOT NULL,
  pricing_category TEXT NOT NULL, class TEXT NOT NULL, lease_t0_ms INTEGER NOT NULL, t0_ms INTEGER NOT NULL, t1_ms INTEGER NOT NULL,
  price_id INTEGER NOT NULL, quantity_e9 INTEGER NOT NULL, debit TEXT NOT NULL, credit TEXT NOT NULL, amount_e18 TEXT NOT NULL,
  posted_at_ms INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE INDEX ledger_slice_of_run ON ledger_slice(run, attempt);
CREATE TABLE ledger_balance(account TEXT PRIMARY KEY, debit_e18 TEXT NOT NULL, credit_e18 TEXT NOT NULL) STRICT;
CREATE TABLE ledger_estimate(
  run TEXT PRIMARY KEY, device_kind TEXT NOT NULL, devices INTEGER NOT NULL, p50_ms INTEGER NOT NULL, p90_ms INTEGER NOT NULL,
  usd_p50_e18 TEXT NOT NULL, usd_p90_e18 TEXT NOT NULL, basis TEXT NOT NULL, made_at_ms INTEGER NOT NULL) STRICT;
)sql";

}  // namespace lorry
