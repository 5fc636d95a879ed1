// From device time to priced slices: the arithmetic of a bill, without a database.
//
// A lease is one unbroken stretch of one device in one attempt. Its quantity after m milliseconds is
//   Q(m) = m * 10^9 / 3,600,000  in 10^-9 device-hours, rounded half away from zero,
// and a slice of it, from a to b milliseconds after the lease began, has the quantity Q(b) - Q(a). So the slices of a
// lease add up to Q of the whole lease, wherever it is cut. It is cut where the class changes, where the price changes, and
// at every full UTC hour. Price times quantity is exact in 10^-18 dollars and is never rounded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/money.h"
#include "base/result.h"
#include "base/units.h"
#include "base/usage.h"
#include "ledger/price_book.h"

namespace lorry {

inline constexpr int64_t kMillisPerHour = 3'600'000;

// Everything that one attempt of one run held, as its worker reported it.
struct AttemptUsage {
  RunId run;
  AttemptNumber attempt{0};
  std::vector<UsageSpan> spans;  // any order; those of one device may not overlap
};

// One line of the books: [t0, t1) lies within one UTC hour, one class and one price row.
struct UsageSlice {
  DeviceId device;
  std::string device_kind;
  std::string pricing_category;
  UsageClass usage_class = UsageClass::kStartup;
  Instant lease_start;  // where Q is counted from
  Instant t0;           // inclusive
  Instant t1;           // exclusive
  PriceId price{0};     // 0: no price was known; the device time is on the books at $0 and every report says so
  UnitPrice unit_price;
  Quantity quantity;  // 10^-9 device-hours

  Dollars Cost() const { return unit_price * quantity; }
  DeviceMillis Held() const { return DeviceMillis((t1 - t0).count()); }
};

// Cuts the usage into slices, by device and then by time. `known_at` picks the prices (price_book.h).
// kData where spans of one device overlap, end before they begin, or lie before 1970.
Result<std::vector<UsageSlice>> CutIntoSlices(const AttemptUsage& usage, const PriceBook& prices, Instant known_at);

}  // namespace lorry
