#include "ledger/metering.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include <fmt/format.h>

namespace lorry {
namespace {

Instant NextHour(Instant at) { return Instant{(at.millis() / kMillisPerHour + 1) * kMillisPerHour}; }

// An attempt's span is at most weeks; one of centuries would be cut into millions of hours.
constexpr Millis kLongestSpan{int64_t{10} * 366 * 24 * 3'600'000};

Status CheckSpan(const UsageSpan& span) {
  if (span.t0 < Instant{0} || span.t1 < span.t0 || span.t1 - span.t0 > kLongestSpan) {
    return MakeError(ErrorCode::kData, fmt::format("device {} is reported from {} ms to {} ms", span.device.str(),
                                                   span.t0.millis(), span.t1.millis()));
  }
  return OkStatus();
}

bool Continues(const UsageSpan& a, const UsageSpan& b) {
  return a.t1 == b.t0 &&
         std::tie(a.usage_class, a.device_kind, a.pricing_category) == std::tie(b.usage_class, b.device_kind, b.pricing_category);
}

// Sorts by device and time, drops empty spans and joins those of one class that touch.
Result<std::vector<UsageSpan>> Ordered(const std::vector<UsageSpan>& spans) {
  std::vector<UsageSpan> sorted;
  for (const UsageSpan& span : spans) {
    LORRY_TRY(CheckSpan(span));
    if (span.t0 < span.t1) sorted.push_back(span);
  }
  std::sort(sorted.begin(), sorted.end(), [](const UsageSpan& a, const UsageSpan& b) {
    return std::tie(a.device.str(), a.t0) < std::tie(b.device.str(), b.t0);
  });
  std::vector<UsageSpan> joined;
  for (UsageSpan& span : sorted) {
    UsageSpan* last = joined.empty() || joined.back().device != span.device ? nullptr : &joined.back();
    if (last != nullptr && span.t0 < last->t1) {
      return MakeError(ErrorCode::kData,
                       fmt::format("device {} is reported twice for {}", span.device.str(), FormatUtc(span.t0)));
    }
    if (last != nullptr && Continues(*last, span)) {
      last->t1 = span.t1;
    } else {
      joined.push_back(std::move(span));
    }
  }
  return joined;
}

// Q(t1) - Q(t0), counted from the start of the lease.
Quantity QuantityBetween(Instant lease_start, Instant t0, Instant t1) {
  return QuantityOfDeviceMillis((t1 - lease_start).count()) - QuantityOfDeviceMillis((t0 - lease_start).count());
}

void CutSpan(const UsageSpan& span, Instant lease_start, const PriceBook& prices, Instant known_at,
             std::vector<UsageSlice>* slices) {
  const std::string& category = span.pricing_category;
  for (Instant t0 = span.t0; t0 < span.t1;) {
    const Instant hour_end = std::min(span.t1, NextHour(t0));
    const Instant t1 = prices.NextChange(span.device_kind, category, t0, hour_end, known_at);
    const PriceRow* price = prices.PriceAt(span.device_kind, category, t0, known_at);
    slices->push_back({.device = span.device,
                       .device_kind = span.device_kind,
                       .pricing_category = category,
                       .usage_class = span.usage_class,
                       .lease_start = lease_start,
                       .t0 = t0,
                       .t1 = t1,
                       .price = price != nullptr ? price->id : PriceId{0},
                       .unit_price = price != nullptr ? price->unit_price : UnitPrice{},
                       .quantity = QuantityBetween(lease_start, t0, t1)});
    t0 = t1;
  }
}

}  // namespace

Result<std::vector<UsageSlice>> CutIntoSlices(const AttemptUsage& usage, const PriceBook& prices, Instant known_at) {
  LORRY_ASSIGN_OR_RETURN(const std::vector<UsageSpan> spans, Ordered(usage.spans));
  std::vector<UsageSlice> slices;
  Instant lease_start;
  for (size_t i = 0; i < spans.size(); ++i) {
    const bool goes_on = i > 0 && spans[i - 1].device == spans[i].device && spans[i - 1].t1 == spans[i].t0;
    if (!goes_on) lease_start = spans[i].t0;
    CutSpan(spans[i], lease_start, prices, known_at, &slices);
  }
  return slices;
}

}  // namespace lorry
