// What runs cost: booked slices, grouped, summed exactly, and rounded only where a person reads.
//
// Sums are exact in 10^-18 dollars. Cents stand on the report line only, half away from zero; the total is the rounded exact
// sum, and where it differs from the sum of the shown cents, the difference is a line of its own.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/ids.h"
#include "base/money.h"
#include "base/result.h"
#include "base/units.h"
#include "base/usage.h"
#include "ledger/metering.h"

namespace lorry {

// Who pays for a run and what it was: what a bill can be grouped by. Fixed when the run's first cent is posted.
struct RunAccount {
  RunId run;
  std::string name;
  std::string team;  // labels.team; empty where the job has none
  std::string project;
  std::string model;  // the base model's name@version; empty for a command
  std::string kind;   // finetune, batch, command, ...

  friend bool operator==(const RunAccount&, const RunAccount&) = default;
};

// A slice as it stands on the books.
struct BookedSlice {
  AttemptNumber attempt{0};
  UsageSlice slice;
};

enum class CostGrouping { kRun, kAttempt, kTeam, kProject, kModel, kDevice, kDeviceKind, kClass, kMonth };

// "run", "attempt", "team", "project", "model", "device", "kind" (of device), "class", "month".
std::string_view CostGroupingName(CostGrouping grouping);
Result<CostGrouping> ParseCostGrouping(std::string_view name);

struct CostQuery {
  CostGrouping by = CostGrouping::kRun;
  std::optional<RunId> run;     // only this one
  std::optional<Instant> from;  // inclusive; a full UTC hour
  std::optional<Instant> to;    // exclusive; a full UTC hour
};

// kUsage where from or to is not a full UTC hour (slices never cross one, so those bounds are exact), or from >= to.
Status CheckCostQuery(const CostQuery& query);

struct CostRow {
  std::vector<std::pair<std::string, std::string>> keys;  // e.g. {run, r-7}, {attempt, 2}
  DeviceMillis device_ms;
  Dollars usd;
  int64_t usd_cents = 0;  // half away from zero

  // By attempt only: how long devices were leased, what for, and every slice behind the sum.
  DeviceMillis lease_ms;
  std::map<UsageClass, DeviceMillis> class_ms;
  std::vector<UsageSlice> slices;
};

struct CostReport {
  CostGrouping by = CostGrouping::kRun;
  std::vector<CostRow> rows;  // by key
  Dollars total;
  int64_t total_cents = 0;     // the exact total, rounded
  int64_t rounding_cents = 0;  // total_cents minus the sum of the rows' cents
  DeviceMillis unpriced_ms;    // device time for which the price book had no row; it counts $0
};

class CostReportBuilder {
 public:
  explicit CostReportBuilder(CostQuery query) : query_(std::move(query)) {}

  // Takes a slice in; those outside the query are left out. Slices of one attempt and device in the order of time. kData where
  // its cost makes the sum too large.
  Status Add(const RunAccount& account, const BookedSlice& booked);
  CostReport Build() &&;

 private:
  bool IsWanted(const RunAccount& account, const UsageSlice& slice) const;

  CostQuery query_;
  std::map<std::vector<std::string>, CostRow> groups_;
  DeviceMillis unpriced_ms_;
  Dollars total_;
};

// {rows:[...], total_usd, total_usd_cents, rounding_usd, unpriced_ms}: usd as text with 18 decimals.
nlohmann::json CostReportJson(const CostReport& report);
// For people: device-hours, dollars to six decimals, cents, the total and the rounding line.
std::string CostReportTable(const CostReport& report);
// One header line, then one line per row, RFC 4180; dollars with 18 decimals.
std::string CostReportCsv(const CostReport& report);

// One slice as `lorry cost --by attempt --json` shows it and `lorry ledger replay` reads it.
nlohmann::json UsageSliceJson(const UsageSlice& slice);

}  // namespace lorry
