#include "web/books_desk.h"

#include "base/files.h"
#include "base/json.h"
#include "configs/price_list.h"
#include "ledger/books.h"
#include "ledger/estimate.h"
#include "scheduler/client_desk.h"

namespace lorry {
namespace {

using nlohmann::json;

constexpr int kLimitDecimals = 9;  // as many as a limit may have

// A job's limits.max_cost_usd; nullopt where it has none.
Result<std::optional<Dollars>> CostLimitOf(const Run& run) {
  LORRY_ASSIGN_OR_RETURN(const json job, ParseJson(run.spec.job_json));
  const json limits = job.value("limits", json::object());
  if (!limits.is_object() || !limits.contains("max_cost_usd") || limits["max_cost_usd"].is_null()) {
    return std::optional<Dollars>();
  }
  const json& limit = limits["max_cost_usd"];
  LORRY_ASSIGN_OR_RETURN(const Dollars dollars, ParseDollars(limit.is_string() ? limit.get<std::string>() : limit.dump()));
  return std::optional<Dollars>(dollars);
}

AttemptUsage UsageOf(const RunId& run, AttemptNumber attempt, const std::vector<wire::Span>& spans) {
  AttemptUsage usage{run, attempt, {}};
  for (const wire::Span& span : spans) {
    UsageSpan one;
    one.device = span.device;
    one.device_kind = span.device_kind;
    one.usage_class = span.usage_class;
    one.t0 = span.t0;
    one.t1 = span.t1;
    usage.spans.push_back(std::move(one));
  }
  return usage;
}

Error NoPrice(const std::string& kind) {
  Error error = MakeError(ErrorCode::kSpec, fmt::format("no price for device kind \"{}\"", kind),
                          "add it to prices.yaml in the home and run lorry up again");
  error.key = "resources";
  return error;
}

class Books final : public BooksPort {
 public:
  Status Post(Database& db, const Run& run, const PostingWish& wish, Instant now) override {
    LORRY_ASSIGN_OR_RETURN(const PriceBook prices, LoadPriceBook(db));
    const RunAccount account{run.spec.id, run.spec.name, run.spec.team, run.spec.project.str(), run.spec.model, run.spec.kind};
    const auto cost = PostUsage(db, prices, account, UsageOf(wish.run, wish.attempt, wish.spans), now);
    return cost.ok() ? OkStatus() : Status(cost.error());
  }

  // A run that could be given a kind of device without a price is refused before it starts. It is quoted by the dearest.
  Result<std::string> Quote(Database& db, const RunSpec& run, const std::set<std::string>& kinds, bool, Instant now) override {
    LORRY_ASSIGN_OR_RETURN(const PriceBook prices, LoadPriceBook(db));
    const PriceRow* row = nullptr;
    for (const std::string& kind : kinds) {
      const PriceRow* price = prices.PriceAt(kind, kStandardPricing, now, now);
      if (price == nullptr) return NoPrice(kind);
      if (row == nullptr || price->unit_price > row->unit_price) row = price;
    }
    if (kinds.empty()) {  // no worker tells what it will be: all that is known is what the job names
      const std::string asked = run.needs.gpu ? run.needs.kind : "cpu";
      if (asked.empty()) return json{{"devices", run.needs.count}}.dump();
      row = prices.DearestPriceAt(asked, kStandardPricing, now, now);
      if (row == nullptr) return NoPrice(asked);
    }
    return json{{"devices", run.needs.count},
                {"device_kind", row->device_kind},
                {"usd_per_hour", ToString(row->unit_price)},
                {"price_id", row->id.value()}}
        .dump();
  }

  Result<Dollars> Spent(Database& db, const Run& run, const std::vector<wire::Span>& running) override {
    LORRY_ASSIGN_OR_RETURN(Dollars spent, RunCost(db, run.spec.id));
    LORRY_ASSIGN_OR_RETURN(const PriceBook prices, LoadPriceBook(db));
    const Instant now = SystemClock().Now();
    LORRY_ASSIGN_OR_RETURN(const std::vector<UsageSlice> slices,
                           CutIntoSlices(UsageOf(run.spec.id, AttemptNumber(run.attempts), running), prices, now));
    for (const UsageSlice& slice : slices) spent += slice.Cost();
    return spent;
  }

  Result<std::optional<Error>> LimitReached(Database& db, const Run& run, const std::vector<wire::Span>& running) override {
    LORRY_ASSIGN_OR_RETURN(const std::optional<Dollars> limit, CostLimitOf(run));
    if (!limit) return std::optional<Error>();
    LORRY_ASSIGN_OR_RETURN(const Dollars spent, Spent(db, run, running));
    if (spent < *limit) return std::optional<Error>();
    Error reached = MakeError(ErrorCode::kBudget,
                              fmt::format("${} was reached: the run's device time had cost ${}",
                                          ToRoundedString(*limit, kLimitDecimals), ToRoundedString(spent, kLimitDecimals)),
                              "submit the job again with a higher one");
    reached.key = "limits.max_cost_usd";
    return std::optional<Error>(std::move(reached));
  }
};

Result<std::optional<Instant>> TimeOf(const json& query, const char* key) {
  const json value = query.value(key, json());
  if (!value.is_string() || value.get<std::string>().empty()) return std::optional<Instant>();
  LORRY_ASSIGN_OR_RETURN(const Instant instant, ParseUtc(value.get<std::string>()));
  return std::optional<Instant>(instant);
}

// A run that has cost nothing yet is there; a mistyped one is not.
Status CheckRunExists(Database& db, const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT 1 FROM run WHERE run=?", run));
  LORRY_ASSIGN_OR_RETURN(const bool found, rows.Next());
  return found ? OkStatus() : Status(NoSuchRun(run));
}

Result<std::string> ReportQuery(Database& db, const std::string& text) {
  LORRY_ASSIGN_OR_RETURN(const json query, ParseJson(text));
  CostQuery cost;
  LORRY_ASSIGN_OR_RETURN(cost.by,
                         ParseCostGrouping(query.value("by", json()).is_string() ? query["by"].get<std::string>() : "run"));
  if (query.value("run", json()).is_string() && !query["run"].get<std::string>().empty()) {
    cost.run = RunId(query["run"].get<std::string>());
    LORRY_TRY(CheckRunExists(db, *cost.run));
  }
  LORRY_ASSIGN_OR_RETURN(cost.from, TimeOf(query, "from"));
  LORRY_ASSIGN_OR_RETURN(cost.to, TimeOf(query, "to"));
  LORRY_ASSIGN_OR_RETURN(const CostReport report, ReportCosts(db, cost));
  return CostReportJson(report).dump();
}

json PriceJson(const PriceRow& row) {
  return {{"id", row.id.value()},
          {"device", row.device_kind},
          {"category", row.category},
          {"usd_per_hour", ToString(row.unit_price)},
          {"from", FormatUtc(row.valid_from)},
          {"until", row.valid_to ? json(FormatUtc(*row.valid_to)) : json()},
          {"source", row.source},
          {"recorded", FormatUtc(row.recorded_at)}};
}

Result<std::string> PriceHistory(Database& db, const std::string&) {
  LORRY_ASSIGN_OR_RETURN(const PriceBook book, LoadPriceBook(db));
  json prices = json::array();
  for (const PriceRow& row : book.rows()) prices.push_back(PriceJson(row));
  return json{{"prices", std::move(prices)}}.dump();
}

Result<std::string> PricesNow(Database& db, const std::string&) {
  LORRY_ASSIGN_OR_RETURN(const PriceBook book, LoadPriceBook(db));
  const Instant now = SystemClock().Now();
  json prices = json::array();
  for (const PriceRow& row : book.rows()) {
    if (book.PriceAt(row.device_kind, row.category, now, now) == &row) prices.push_back(PriceJson(row));
  }
  return json{{"prices", std::move(prices)}}.dump();
}

// {text, file}: a whole prices.yaml.
Result<std::string> RecordQuery(Database& db, const std::string& text, Instant now) {
  LORRY_ASSIGN_OR_RETURN(const json wish, ParseJson(text));
  LORRY_ASSIGN_OR_RETURN(const std::vector<ListedPrice> listed,
                         ParsePriceList(wish.value("text", ""), wish.value("file", "prices.yaml")));
  std::vector<PriceRow> rows;
  for (const ListedPrice& price : listed) {
    PriceRow row;
    row.device_kind = price.device_kind;
    row.category = price.category;
    row.unit_price = price.usd_per_hour;
    row.valid_from = price.from;
    row.valid_to = price.until;
    row.source = price.source;
    rows.push_back(std::move(row));
  }
  LORRY_ASSIGN_OR_RETURN(PriceBook book, LoadPriceBook(db));
  LORRY_ASSIGN_OR_RETURN(const int added, RecordPrices(db, &book, rows, now));
  return json{{"added", added}}.dump();
}

// {run, device_kind, devices, wall_ms}: what was expected of the run.
Result<std::string> RecordExpectation(Database& db, const std::string& text, Instant now) {
  LORRY_ASSIGN_OR_RETURN(const json wish, ParseJson(text));
  const RunId run(wish.value("run", ""));
  LORRY_TRY(CheckRunExists(db, run));
  EstimateRequest request;
  request.device_kind = wish.value("device_kind", "");
  request.devices = wish.value("devices", 0);
  request.wall = Millis(wish.value("wall_ms", int64_t{0}));
  if (request.devices <= 0 || request.wall.count() <= 0) {
    return MakeError(ErrorCode::kUsage, "estimate.record: devices and wall_ms are above 0");
  }
  LORRY_ASSIGN_OR_RETURN(const PriceBook prices, LoadPriceBook(db));
  LORRY_ASSIGN_OR_RETURN(const Estimate estimate, MakeEstimate(request, prices, now));
  LORRY_TRY(RecordEstimate(db, run, estimate, now));
  return json{{"run", run.str()}}.dump();
}

// {kind, name, project, model, device_kind}: of the newest runs like it that succeeded, device time over what was expected.
// Without a model of the registry only runs of the same name are alike.
Result<std::string> LikeRuns(Database& db, const std::string& text) {
  LORRY_ASSIGN_OR_RETURN(const json like, ParseJson(text));
  json ratios = json::array();
  LORRY_ASSIGN_OR_RETURN(
      Rows rows, db.Ask("SELECT e.p50_ms, (SELECT sum(s.t1_ms - s.t0_ms) FROM ledger_slice s WHERE s.run = e.run) FROM "
                        "ledger_estimate e JOIN run r ON r.run = e.run WHERE r.state = 'succeeded' AND r.kind = ?1 AND r.model = "
                        "?2 AND r.project = ?3 AND (r.model <> '' OR r.name = ?4) AND e.device_kind = ?5 ORDER BY r.seq_no "
                        "DESC LIMIT 50",
                        like.value("kind", ""), like.value("model", ""), like.value("project", ""), like.value("name", ""),
                        like.value("device_kind", "")));
  for (;;) {
    LORRY_ASSIGN_OR_RETURN(const bool more, rows.Next());
    if (!more) return json{{"actual_over_expected", std::move(ratios)}}.dump();
    ratios.push_back(static_cast<double>(rows.Integer(1)) / static_cast<double>(rows.Integer(0)));
  }
}

}  // namespace

std::unique_ptr<BooksPort> MakeBooksPort() { return std::make_unique<Books>(); }

void AddBooksQueries(QueryTable* table) {
  table->read["cost.report"] = ReportQuery;
  table->read["price.list"] = PricesNow;
  table->read["price.history"] = PriceHistory;
  table->write["price.record"] = RecordQuery;
  table->read["estimate.like"] = LikeRuns;
  table->write["estimate.record"] = RecordExpectation;
}

Result<int> TakePrices(Scheduler& scheduler) {
  const std::string path = scheduler.home() + "/prices.yaml";
  if (!FileExists(path)) {
    LORRY_ASSIGN_OR_RETURN(const wire::JsonReply reply, scheduler.Call<wire::JsonReply>(wire::Query{"price.history", "{}", ""}));
    LORRY_ASSIGN_OR_RETURN(const json known, ParseJson(reply.json));
    if (!known.at("prices").empty()) return 0;
    LORRY_TRY(WriteFileAtomically(path, DefaultPriceList()));
  }
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, 1 << 20));
  const json wish{{"text", text}, {"file", path}};
  LORRY_ASSIGN_OR_RETURN(const wire::JsonReply reply,
                         scheduler.Call<wire::JsonReply>(wire::Query{"price.record", wish.dump(), ""}));
  LORRY_ASSIGN_OR_RETURN(const json answer, ParseJson(reply.json));
  return answer.value("added", 0);
}

}  // namespace lorry
