// lorry cost, price and ledger: what runs cost, what devices cost, and whether the books are whole.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/session.h"

namespace lorry {

struct CostOptions {
  std::string run;               // empty: all
  std::string by = "run";        // run | attempt | team | project | model | device | kind | class | month
  std::string from, to;          // UTC; inclusive, exclusive; empty: open
  std::string format = "table";  // table | csv | json
};
Result<int> RunCost(Session& session, const CostOptions& options);

// `history`: every row that was ever recorded; else those that hold now.
Result<int> RunPrices(Session& session, bool history);

// Reads the home without a scheduler: 0 whole, 1 broken, with the rows named.
Result<int> RunLedgerVerify(Session& session);

struct ReplayOptions {
  std::string usage;   // JSON of recorded usage
  std::string prices;  // prices.yaml
  std::string by = "run";
  std::string format = "table";
};
// Books made of given usage and prices, in memory.
Result<int> RunLedgerReplay(Session& session, const ReplayOptions& options);

}  // namespace lorry
