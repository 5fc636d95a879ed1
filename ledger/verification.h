// Are the books whole? Every number and every link, computed again from the rows: what `lorry ledger verify` does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/money.h"
#include "base/result.h"
#include "base/store/store.h"

namespace lorry {

struct LedgerCheck {
  int64_t slices = 0;
  int64_t prices = 0;
  Dollars total;
  std::vector<std::string> problems;  // each names its row; at most 100, empty where the books are whole
  bool whole() const { return problems.empty(); }
};

// Checks: sequence numbers without gaps, both hash chains, the price that was chosen, quantity and amount of each slice, that
// slices of a lease touch, that none crosses a UTC hour, debits equal to credits, and every balance. An Error only where the
// file cannot be read. Reads only; a scheduler may run beside it.
Result<LedgerCheck> VerifyLedger(Database& db);

}  // namespace lorry
