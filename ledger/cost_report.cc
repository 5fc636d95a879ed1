#include "ledger/cost_report.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace lorry {
namespace {

constexpr std::array<std::pair<CostGrouping, std::string_view>, 9> kGroupings = {{
    {CostGrouping::kRun, "run"},
    {CostGrouping::kAttempt, "attempt"},
    {CostGrouping::kTeam, "team"},
    {CostGrouping::kProject, "project"},
    {CostGrouping::kModel, "model"},
    {CostGrouping::kDevice, "device"},
    {CostGrouping::kDeviceKind, "kind"},
    {CostGrouping::kClass, "class"},
    {CostGrouping::kMonth, "month"},
}};

std::string MonthOf(Instant at) { return FormatUtc(at).substr(0, 7); }

// The keys that a row of this grouping shows. A run also says whose it is, since that never differs within it.
std::vector<std::pair<std::string, std::string>> KeysOf(CostGrouping by, const RunAccount& account, const BookedSlice& booked) {
  const UsageSlice& slice = booked.slice;
  switch (by) {
    case CostGrouping::kRun:
      return {{"run", account.run.str()}, {"name", account.name}, {"project", account.project}};
    case CostGrouping::kAttempt:
      return {{"run", account.run.str()}, {"attempt", std::to_string(booked.attempt.value())}};
    case CostGrouping::kTeam:
      return {{"team", account.team}};
    case CostGrouping::kProject:
      return {{"project", account.project}};
    case CostGrouping::kModel:
      return {{"model", account.model}};
    case CostGrouping::kDevice:
      return {{"device", slice.device.str()}};
    case CostGrouping::kDeviceKind:
      return {{"kind", slice.device_kind}};
    case CostGrouping::kClass:
      return {{"class", std::string(UsageClassName(slice.usage_class))}};
    case CostGrouping::kMonth:
      return {{"month", MonthOf(slice.t0)}};
  }
  return {};
}

// Keys in the order in which rows stand: attempts by number, everything else by its text.
std::vector<std::string> SortKey(CostGrouping by, const std::vector<std::pair<std::string, std::string>>& keys) {
  std::vector<std::string> sort_key;
  sort_key.reserve(keys.size());
  for (const auto& [name, value] : keys) {
    sort_key.push_back(by == CostGrouping::kAttempt && name == "attempt" ? fmt::format("{:0>20}", value) : value);
  }
  return sort_key;
}

std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

// Device-hours to six decimals, for people: the books keep nine and the exact milliseconds.
std::string HoursText(DeviceMillis time) {
  const int64_t micro_hours = (time.count() * 10 + 18) / 36;
  return fmt::format("{}.{:06}", micro_hours / 1'000'000, micro_hours % 1'000'000);
}

using TextTable = std::vector<std::vector<std::string>>;

// Left-aligns the first `text_columns` columns, right-aligns the rest.
std::string AlignColumns(const TextTable& table, size_t text_columns) {
  std::vector<size_t> width(table.front().size(), 0);
  for (const auto& line : table) {
    for (size_t i = 0; i < line.size(); ++i) width[i] = std::max(width[i], line[i].size());
  }
  std::string out;
  for (const auto& line : table) {
    std::string text;
    for (size_t i = 0; i < line.size(); ++i) {
      if (i > 0) text += "  ";
      text += i < text_columns ? fmt::format("{:<{}}", line[i], width[i]) : fmt::format("{:>{}}", line[i], width[i]);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + '\n';
  }
  return out;
}

std::vector<std::string> KeyNames(const CostReport& report) {
  std::vector<std::string> names;
  if (report.rows.empty()) return {std::string(CostGroupingName(report.by))};
  for (const auto& [name, value] : report.rows.front().keys) names.push_back(name);
  return names;
}

nlohmann::json RowJson(const CostReport& report, const CostRow& row) {
  nlohmann::json json;
  for (const auto& [name, value] : row.keys) json[name] = value;
  json["device_ms"] = row.device_ms.count();
  json["usd"] = ToDecimalString(row.usd);
  json["usd_cents"] = row.usd_cents;
  if (report.by != CostGrouping::kAttempt) return json;
  json["attempt"] = std::stoull(row.keys[1].second);
  json["lease_ms"] = row.lease_ms.count();
  json["class_ms"] = nlohmann::json::object();
  for (const auto& [usage_class, ms] : row.class_ms) json["class_ms"][std::string(UsageClassName(usage_class))] = ms.count();
  json["usage"] = nlohmann::json::array();
  for (const UsageSlice& slice : row.slices) json["usage"].push_back(UsageSliceJson(slice));
  return json;
}

// The stretch that the shown slices of each lease cover.
DeviceMillis LeaseMillis(const std::vector<UsageSlice>& slices) {
  struct Stretch {
    Instant first, last;
  };
  std::map<std::pair<std::string, int64_t>, Stretch> leases;
  for (const UsageSlice& slice : slices) {
    const auto [it, is_new] = leases.try_emplace({slice.device.str(), slice.lease_start.millis()}, Stretch{slice.t0, slice.t1});
    if (!is_new) it->second.last = std::max(it->second.last, slice.t1);
  }
  DeviceMillis total;
  for (const auto& [lease, stretch] : leases) total += DeviceMillis((stretch.last - stretch.first).count());
  return total;
}

}  // namespace

std::string_view CostGroupingName(CostGrouping grouping) {
  for (const auto& [value, name] : kGroupings) {
    if (value == grouping) return name;
  }
  return "run";
}

Result<CostGrouping> ParseCostGrouping(std::string_view name) {
  for (const auto& [value, known] : kGroupings) {
    if (known == name) return value;
  }
  return MakeError(ErrorCode::kUsage, fmt::format("costs are not grouped by \"{}\"", name),
                   "run, attempt, team, project, model, device, kind, class or month");
}

Status CheckCostQuery(const CostQuery& query) {
  for (const auto& bound : {query.from, query.to}) {
    if (bound && bound->millis() % kMillisPerHour != 0) {
      return MakeError(ErrorCode::kUsage, fmt::format("{} is not a full UTC hour", FormatUtc(*bound)),
                       "the books are cut at full hours; give a day or an hour");
    }
  }
  if (query.from && query.to && *query.from >= *query.to) {
    return MakeError(ErrorCode::kUsage,
                     fmt::format("--from {} is not before --to {}", FormatUtc(*query.from), FormatUtc(*query.to)));
  }
  return OkStatus();
}

bool CostReportBuilder::IsWanted(const RunAccount& account, const UsageSlice& slice) const {
  if (query_.run && account.run != *query_.run) return false;
  if (query_.from && slice.t0 < *query_.from) return false;
  return !query_.to || slice.t0 < *query_.to;
}

Status CostReportBuilder::Add(const RunAccount& account, const BookedSlice& booked) {
  const UsageSlice& slice = booked.slice;
  if (!IsWanted(account, slice)) return OkStatus();
  LORRY_ASSIGN_OR_RETURN(total_, CheckedSum(total_, slice.Cost()));
  auto keys = KeysOf(query_.by, account, booked);
  CostRow& row = groups_[SortKey(query_.by, keys)];
  if (row.keys.empty()) row.keys = std::move(keys);
  row.device_ms += slice.Held();
  LORRY_ASSIGN_OR_RETURN(row.usd, CheckedSum(row.usd, slice.Cost()));
  if (slice.price == PriceId{0}) unpriced_ms_ += slice.Held();
  if (query_.by == CostGrouping::kAttempt) {
    row.class_ms[slice.usage_class] += slice.Held();
    row.slices.push_back(slice);
  }
  return OkStatus();
}

CostReport CostReportBuilder::Build() && {
  CostReport report;
  report.by = query_.by;
  report.unpriced_ms = unpriced_ms_;
  report.total = total_;
  int64_t shown_cents = 0;
  for (auto& [sort_key, row] : groups_) {
    row.usd_cents = ToCents(row.usd);
    row.lease_ms = LeaseMillis(row.slices);
    shown_cents += row.usd_cents;
    report.rows.push_back(std::move(row));
  }
  report.total_cents = ToCents(report.total);
  report.rounding_cents = report.total_cents - shown_cents;
  return report;
}

nlohmann::json CostReportJson(const CostReport& report) {
  nlohmann::json rows = nlohmann::json::array();
  for (const CostRow& row : report.rows) rows.push_back(RowJson(report, row));
  return {{"rows", std::move(rows)},
          {"total_usd", ToDecimalString(report.total)},
          {"total_usd_cents", report.total_cents},
          {"rounding_usd", CentsToString(report.rounding_cents)},
          {"unpriced_ms", report.unpriced_ms.count()}};
}

std::string CostReportTable(const CostReport& report) {
  const std::vector<std::string> names = KeyNames(report);
  TextTable table = {names};
  for (const char* heading : {"device-hours", "dollars", "cents"}) table.front().push_back(heading);
  DeviceMillis device_ms;
  for (const CostRow& row : report.rows) {
    std::vector<std::string> line;
    line.reserve(names.size() + 3);
    for (const auto& [name, value] : row.keys) line.push_back(value.empty() ? "-" : value);
    line.insert(line.end(), {HoursText(row.device_ms), ToRoundedString(row.usd, 6), CentsToString(row.usd_cents)});
    table.push_back(std::move(line));
    device_ms += row.device_ms;
  }
  const auto last_line = [&](std::string title, std::string hours, std::string dollars, std::string cents) {
    std::vector<std::string> line(names.size());
    line.front() = std::move(title);
    line.insert(line.end(), {std::move(hours), std::move(dollars), std::move(cents)});
    table.push_back(std::move(line));
  };
  if (report.rounding_cents != 0) last_line("rounding", "", "", CentsToString(report.rounding_cents));
  last_line("total", HoursText(device_ms), ToRoundedString(report.total, 6), CentsToString(report.total_cents));
  std::string text = AlignColumns(table, names.size());
  if (report.unpriced_ms > DeviceMillis(0)) {
    text += fmt::format("{} device-hours have no price and count $0\n", HoursText(report.unpriced_ms));
  }
  return text;
}

std::string CostReportCsv(const CostReport& report) {
  std::string out;
  for (const std::string& name : KeyNames(report)) out += name + ",";
  out += "device_ms,usd,usd_cents\n";
  for (const CostRow& row : report.rows) {
    for (const auto& [name, value] : row.keys) out += CsvField(value) + ",";
    out += fmt::format("{},{},{}\n", row.device_ms.count(), ToDecimalString(row.usd), row.usd_cents);
  }
  return out;
}

nlohmann::json UsageSliceJson(const UsageSlice& slice) {
  return {{"device_kind", slice.device_kind},
          {"device_id", slice.device.str()},
          {"class", UsageClassName(slice.usage_class)},
          {"t0_ms", slice.t0.millis()},
          {"t1_ms", slice.t1.millis()},
          {"pricing_category", slice.pricing_category},
          {"price_id", slice.price.value()},
          {"quantity_e9", static_cast<int64_t>(slice.quantity.e9())},
          {"usd", ToDecimalString(slice.Cost())}};
}

}  // namespace lorry
