// Are the books whole? Every number and every link, computed again from the rows: what `lorry ledger verify` does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/money.h"
#include "base/result.h"
#include "base/store/store.h"
#include "base/units.h"

namespace lorry {

// Who held which device for what.
struct Held {
  RunId run;
  AttemptNumber attempt{0};
  DeviceId device;
  std::string device_kind;
  std::string usage_class;  // its name

  friend auto operator<=>(const Held&, const Held&) = default;
};

// The whole time that a device was held so, as it was metered: what the books should say too.
struct MeteredTime {
  Held held;
  DeviceMillis time;
};

struct LedgerCheck {
  int64_t slices = 0;
  int64_t prices = 0;
  Dollars total;                      // of the rows whose amount is right
  std::vector<std::string> problems;  // each names its row; at most 100, empty where the books are whole
  bool whole() const { return problems.empty(); }
};

// Checks: sequence numbers without gaps, both hash chains, the price that was chosen, quantity and amount of each slice, that
// slices of a lease touch, that none crosses a UTC hour, debits equal to credits, every balance, and that the time of runs on the
// books is what `metered` says of all attempts that are over. An Error only where the file cannot be read. Reads only; a
// scheduler may run beside it, where `metered` comes from the same view of the file.
Result<LedgerCheck> VerifyLedger(Database& db, const std::vector<MeteredTime>& metered);

}  // namespace lorry
