// USAGE.json: device time written down in a file, for `lorry ledger replay`: books made of given usage, to check and to ask
// what other prices would have made of it. Page: docs/formats/books.md.
//
// Read is any of: a list, {"usage": [...]}, or {"rows": [...]}, the output of `lorry cost --by attempt --json`. An item is
// one span {device_id, device_kind, class, t0_ms, t1_ms} with run and attempt, or a row {run, attempt, usage: [spans]}; both
// may say team, project, model, name. Without them attempt is 1, pricing_category "standard", texts empty. What a replay
// computes anew (price_id, quantity_e9, usd, sums) is not looked at.
#pragma once

#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "ledger/cost_report.h"
#include "ledger/metering.h"

namespace lorry {

struct RecordedUsage {
  RunAccount account;
  AttemptUsage usage;
};

// One entry per run and attempt, in the order in which they first stand in the file. kData names the item and its key.
Result<std::vector<RecordedUsage>> ParseUsageFile(std::string_view text);

struct ReplayedAttempt {
  RunAccount account;
  AttemptNumber attempt{0};
  std::vector<UsageSlice> slices;
};

// Prices every attempt with the book as known at `known_at`.
Result<std::vector<ReplayedAttempt>> ReplayUsage(const std::vector<RecordedUsage>& usage, const PriceBook& prices,
                                                 Instant known_at);

// The report of replayed books.
Result<CostReport> ReportReplayed(const std::vector<ReplayedAttempt>& attempts, const CostQuery& query);

}  // namespace lorry
