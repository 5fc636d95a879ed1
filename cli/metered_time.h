// The device time that the scheduler's tables say was metered (docs/formats/state.md), for the books to be held against. Read
// from the state file alone: `lorry ledger verify` works without a scheduler.
#pragma once

#include <vector>

#include "base/result.h"
#include "base/store/database.h"
#include "ledger/verification.h"

namespace lorry {

// Of every attempt that is over: what should be on the books, by attempt, device and class.
Result<std::vector<MeteredTime>> TimeOfEndedAttempts(Database& db);

}  // namespace lorry
