#include "ledger/estimate.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace lorry {
namespace {

constexpr size_t kEnoughLikeRuns = 5;

struct Factors {
  double p50 = 1.0;
  double p90 = 1.5;
  std::string basis = "rates";
};

Factors FactorsOf(std::vector<double> ratios) {
  if (ratios.size() < kEnoughLikeRuns) return {};
  std::sort(ratios.begin(), ratios.end());
  const auto decile = [&ratios](double share) {
    return ratios[static_cast<size_t>(std::lround(share * static_cast<double>(ratios.size() - 1)))];
  };
  return {decile(0.5), std::max(decile(0.9), decile(0.5)), fmt::format("{} like runs", ratios.size())};
}

DeviceMillis Scaled(const EstimateRequest& request, double factor) {
  return DeviceMillis(request.devices * std::llround(static_cast<double>(request.wall.count()) * factor));
}

}  // namespace

Result<Estimate> MakeEstimate(const EstimateRequest& request, const PriceBook& prices, Instant now) {
  const PriceRow* price = prices.DearestPriceAt(request.device_kind, request.pricing_category, now, now);
  if (price == nullptr) {
    return MakeError(ErrorCode::kNotFound,
                     fmt::format("the price book has no {} price for {}", request.pricing_category, request.device_kind),
                     "add it to prices.yaml");
  }
  const Factors factors = FactorsOf(request.actual_over_expected);
  Estimate estimate{.device_kind = request.device_kind,
                    .devices = request.devices,
                    .p50 = Scaled(request, factors.p50),
                    .p90 = Scaled(request, factors.p90),
                    .usd_p50 = {},
                    .usd_p90 = {},
                    .basis = factors.basis};
  estimate.usd_p50 = price->unit_price * QuantityOfDeviceMillis(estimate.p50.count());
  estimate.usd_p90 = price->unit_price * QuantityOfDeviceMillis(estimate.p90.count());
  return estimate;
}

Status RecordEstimate(Database& db, const RunId& run, const Estimate& estimate, Instant now) {
  return db.Run(
      "INSERT OR IGNORE INTO ledger_estimate(run, device_kind, devices, p50_ms, p90_ms, usd_p50_e18, usd_p90_e18, basis, "
      "made_at_ms)"
      " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
      run, estimate.device_kind, estimate.devices, estimate.p50.count(), estimate.p90.count(), ToString(estimate.usd_p50.e18()),
      ToString(estimate.usd_p90.e18()), estimate.basis, now);
}

}  // namespace lorry
