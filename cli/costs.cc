#include "cli/costs.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "cli/metered_time.h"
#include "cli/price_rows.h"
#include "configs/price_list.h"
#include "ledger/books.h"
#include "ledger/cost_report.h"
#include "ledger/usage_file.h"
#include "ledger/verification.h"

namespace lorry {
namespace {

Status CheckFormat(const std::string& format) {
  if (format == "table" || format == "csv" || format == "json") return OkStatus();
  if (format == "focus") return MakeError(ErrorCode::kUnsupported, "--format focus: not in this version");
  return MakeError(ErrorCode::kUsage, "--format " + format + " is none of table | csv | json | focus");
}

Result<CostQuery> QueryOf(const CostOptions& options) {
  LORRY_TRY(CheckFormat(options.format));
  CostQuery query;
  LORRY_ASSIGN_OR_RETURN(query.by, ParseCostGrouping(options.by));
  if (!options.run.empty()) query.run = RunId(options.run);
  if (!options.from.empty()) {
    LORRY_ASSIGN_OR_RETURN(query.from, ParseUtc(options.from));
  }
  if (!options.to.empty()) {
    LORRY_ASSIGN_OR_RETURN(query.to, ParseUtc(options.to));
  }
  LORRY_TRY(CheckCostQuery(query));
  return query;
}

// The scheduler's answer as the report that it was made of, so that tables and CSV are written by the ledger alone.
Result<CostReport> ReportOf(const nlohmann::json& json, CostGrouping by) {
  static constexpr const char* kKeys[] = {"run",   "name",   "attempt", "team",  "project",
                                          "model", "device", "kind",    "class", "month"};
  CostReport report;
  report.by = by;
  for (const auto& item : json.value("rows", nlohmann::json::array())) {
    CostRow& row = report.rows.emplace_back();
    for (const char* key : kKeys) {
      if (item.contains(key)) row.keys.emplace_back(key, item[key].is_string() ? item[key].get<std::string>() : item[key].dump());
    }
    row.device_ms = DeviceMillis(item.value("device_ms", int64_t{0}));
    LORRY_ASSIGN_OR_RETURN(row.usd, ParseDollars(item.value("usd", "")));
    row.usd_cents = item.value("usd_cents", int64_t{0});
    report.rounding_cents -= row.usd_cents;
  }
  LORRY_ASSIGN_OR_RETURN(report.total, ParseDollars(json.value("total_usd", "")));
  report.total_cents = json.value("total_usd_cents", int64_t{0});
  report.rounding_cents += report.total_cents;
  report.unpriced_ms = DeviceMillis(json.value("unpriced_ms", int64_t{0}));
  return report;
}

void ShowReport(Session& session, const std::string& format, const nlohmann::json& json, const CostReport& report) {
  if (session.terminal().json()) return session.terminal().PrintJson(json);
  session.terminal().Print(format == "csv"    ? CostReportCsv(report)
                           : format == "json" ? json.dump() + "\n"
                                              : CostReportTable(report));
}

}  // namespace

Result<int> RunCost(Session& session, const CostOptions& options) {
  LORRY_ASSIGN_OR_RETURN(const CostQuery query, QueryOf(options));
  nlohmann::json question = {{"by", options.by}};
  if (query.run) question["run"] = options.run;
  if (query.from) question["from"] = FormatUtc(*query.from);
  if (query.to) question["to"] = FormatUtc(*query.to);
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer, session.Ask("cost.report", question));
  LORRY_ASSIGN_OR_RETURN(const CostReport report, ReportOf(answer, query.by));
  ShowReport(session, options.format, answer, report);
  return 0;
}

Result<int> RunPrices(Session& session, bool history) {
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer,
                         session.Ask(history ? "price.history" : "price.list", nlohmann::json::object()));
  std::vector<std::vector<std::string>> table = {{"ID", "DEVICE", "CATEGORY", "USD/HOUR", "FROM", "UNTIL", "SOURCE"}};
  for (const auto& price : answer.value("prices", nlohmann::json::array())) {
    auto text = [&](const char* key) {
      return price.contains(key) && price[key].is_string() ? price[key].get<std::string>() : std::string("-");
    };
    table.push_back({price.contains("id") ? price["id"].dump() : "-", text("device"), text("category"), text("usd_per_hour"),
                     text("from"), text("until"), text("source")});
  }
  session.terminal().Print(AlignColumns(table));
  session.terminal().PrintJson(answer);
  return 0;
}

Result<int> RunLedgerVerify(Session& session) {
  const std::string path = session.home() + "/state.db";
  if (!FileExists(path)) return MakeError(ErrorCode::kNotFound, path + " does not exist", "is --home the right one?");
  LORRY_ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, Store::OpenReadOnly(path));
  LORRY_ASSIGN_OR_RETURN(Reader reader, store->Read());
  LORRY_ASSIGN_OR_RETURN(const std::vector<MeteredTime> metered, TimeOfEndedAttempts(reader.db()));
  LORRY_ASSIGN_OR_RETURN(const LedgerCheck check, VerifyLedger(reader.db(), metered));
  session.terminal().PrintJson({{"whole", check.whole()},
                                {"slices", check.slices},
                                {"prices", check.prices},
                                {"total_usd", ToDecimalString(check.total)},
                                {"problems", check.problems}});
  std::string text;
  for (const std::string& problem : check.problems) text += problem + "\n";
  text += fmt::format("{}: {} slices, {} prices, ${}\n", check.whole() ? "the books are whole" : "the books are broken",
                      check.slices, check.prices, ToDecimalString(check.total));
  session.terminal().Print(text);
  return check.whole() ? 0 : 1;
}

Result<int> RunLedgerReplay(Session& session, const ReplayOptions& options) {
  LORRY_ASSIGN_OR_RETURN(const CostQuery query, QueryOf({"", options.by, "", "", options.format}));
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(options.usage));
  LORRY_ASSIGN_OR_RETURN(const std::vector<RecordedUsage> usage, ParseUsageFile(text));
  LORRY_ASSIGN_OR_RETURN(const std::vector<ListedPrice> prices, LoadPriceList(options.prices));
  const Instant now = SystemClock().Now();
  PriceBook book;
  LORRY_TRY(book.AppendNews(PriceRowsOf(prices), now));
  LORRY_ASSIGN_OR_RETURN(const std::vector<ReplayedAttempt> attempts, ReplayUsage(usage, book, now));
  LORRY_ASSIGN_OR_RETURN(const CostReport report, ReportReplayed(attempts, query));
  ShowReport(session, options.format, CostReportJson(report), report);
  return 0;
}

}  // namespace lorry
