// What a run will cost before it runs, and how right that was afterwards.
//
// Device time comes from a model of the job (FLOPs and bytes over measured rates) or from like runs; the ledger prices it.
// p90 is 1.5 x p50 until five like runs exist, then the ninth decile of what they took over what was estimated for them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/money.h"
#include "base/result.h"
#include "base/store/store.h"
#include "base/units.h"
#include "ledger/price_book.h"

namespace lorry {

struct EstimateRequest {
  std::string device_kind;  // as the job asks for it (base/device_kind.h)
  std::string pricing_category{kStandardPricing};
  int devices = 1;
  Millis wall;                               // the model's expectation for the whole run, one device as long as the other
  std::vector<double> actual_over_expected;  // of like runs, any order; times only, no money
};

struct Estimate {
  std::string device_kind;
  int devices = 1;
  DeviceMillis p50;  // all devices together
  DeviceMillis p90;
  Dollars usd_p50;  // at today's price
  Dollars usd_p90;
  std::string basis;  // "rates" or "5 like runs": what it stands on, for people
};

// kNotFound where the price book has no price for the kind now: a run without a price is refused before it starts.
Result<Estimate> MakeEstimate(const EstimateRequest& request, const PriceBook& prices, Instant now);

// Keeps what was expected of a run by rates alone, which is what later estimates are scaled from; a second one for the same run
// is ignored. In the caller's transaction.
Status RecordEstimate(Database& db, const RunId& run, const Estimate& estimate, Instant now);

}  // namespace lorry
