#include "cli/plan.h"

#include <filesystem>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "cli/answer_fields.h"
#include "cli/input_checks.h"
#include "cli/machine_rates.h"
#include "cli/price_rows.h"
#include "cli/submit.h"
#include "cli/work_estimate.h"
#include "ledger/estimate.h"

namespace lorry {
namespace {

constexpr double kShareOfPeak = 0.5;       // of the measured peak, that a whole step reaches
constexpr double kStartupSeconds = 10;     // model load, staging, first step
constexpr double kCommandSeconds = 0.003;  // of one element's start and end

bool HasGpu() {
  std::error_code failed;
  return !std::filesystem::is_empty("/proc/driver/nvidia/gpus", failed) && !failed;
}

std::string KindOf(const ResourcesSpec& resources) {
  if (!resources.gpus) return "cpu";
  return resources.gpus->kind.empty() ? "gpu" : resources.gpus->kind;
}

// Wall time on the job's own devices; nullopt where there is no rate or no count to take it from.
std::optional<Millis> WallTime(const JobSpec& job, const WorkEstimate& work, const std::optional<MachineRates>& rates) {
  if (work.elements > 0) return Millis(static_cast<int64_t>(1000 * (0.5 + kCommandSeconds * static_cast<double>(work.elements))));
  if (!rates || work.flops <= 0 || job.resources.gpus) return std::nullopt;
  const bool fp32 = job.finetune() != nullptr && job.finetune()->training.precision == TrainPrecision::kFp32;
  const double rate =
      (fp32 ? rates->fp32_gflops : rates->bf16_gflops) * 1e9 * kShareOfPeak * static_cast<double>(job.resources.Devices());
  return Millis(static_cast<int64_t>(1000 * (kStartupSeconds + work.flops / rate)));
}

Result<PriceBook> BookOfHome(const std::string& home) {
  const std::string path = home + "/prices.yaml";
  Result<std::vector<ListedPrice>> prices =
      FileExists(path) ? LoadPriceList(path) : ParsePriceList(DefaultPriceList(), "prices.yaml");
  if (!prices.ok()) return prices.error();
  PriceBook book;
  LORRY_TRY(book.AppendNews(PriceRowsOf(*prices), SystemClock().Now()));
  return book;
}

// The prices of the scheduler that was asked, else those of this home.
Result<PriceBook> BookFor(Session& session, bool scheduler_answers) {
  if (!scheduler_answers) return BookOfHome(session.home());
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json answer, session.Ask("price.list", nlohmann::json::object()));
  std::vector<PriceRow> rows;
  for (const auto& price : answer.at("prices")) {
    PriceRow row;
    row.device_kind = price.at("device").get<std::string>();
    row.category = price.at("category").get<std::string>();
    LORRY_ASSIGN_OR_RETURN(row.unit_price, ParseUnitPrice(price.at("usd_per_hour").get<std::string>()));
    rows.push_back(std::move(row));
  }
  PriceBook book;
  LORRY_TRY(book.AppendNews(rows, SystemClock().Now()));
  return book;
}

// What like runs took over what was expected of them; none where that is not known.
std::vector<double> LikeRuns(Session& session, const JobSpec& job, const InputFacts& facts) {
  const Result<nlohmann::json> answer = session.Ask("estimate.like", {{"kind", std::string(job.kind())},
                                                                      {"name", job.name},
                                                                      {"project", job.project.str()},
                                                                      {"model", facts.model_version},
                                                                      {"device_kind", KindOf(job.resources)}});
  return answer.ok() ? answer->at("actual_over_expected").get<std::vector<double>>() : std::vector<double>();
}

nlohmann::json CostJson(const JobSpec& job, Millis wall, std::vector<double> like_runs, const Result<PriceBook>& book) {
  if (!book.ok()) return {{"note", book.error().Format()}};
  EstimateRequest request;
  request.device_kind = KindOf(job.resources);
  request.devices = static_cast<int>(job.resources.Devices());
  request.wall = wall;
  request.actual_over_expected = std::move(like_runs);
  const Result<Estimate> estimate = MakeEstimate(request, *book, SystemClock().Now());
  if (!estimate.ok()) return {{"note", estimate.error().Format()}};
  return {{"device_ms", {{"p50", estimate->p50.count()}, {"p90", estimate->p90.count()}}},
          {"usd", {{"p50", ToDecimalString(estimate->usd_p50)}, {"p90", ToDecimalString(estimate->usd_p90)}}},
          {"usd_shown", {{"p50", ToRoundedString(estimate->usd_p50, 6)}, {"p90", ToRoundedString(estimate->usd_p90, 6)}}},
          {"basis", estimate->basis}};
}

// What the job will take and cost. REQUIRES: the scheduler was asked, and its answer, where one came, stands in the plan.
void AddTimeAndCost(Session& session, const JobSpec& job, const CheckedInputs& checked, const WorkEstimate& work,
                    const std::optional<MachineRates>& rates, nlohmann::json& plan) {
  const bool scheduler_answers = plan.contains("scheduler");
  if (const std::optional<Millis> wall = WallTime(job, work, rates)) {
    plan["wall_ms"] = wall->count();
    plan["cost"] = CostJson(job, *wall, scheduler_answers ? LikeRuns(session, job, checked.facts) : std::vector<double>(),
                            BookFor(session, scheduler_answers));
    if (rates && work.flops > 0) {
      plan["stands_on"] = fmt::format(
          "{:.3g} FLOPs over half of this machine's peak ({:.0f} GFLOP/s a core in bf16, {:.0f} in fp32, measured at the first "
          "lorry up)",
          work.flops, rates->bf16_gflops, rates->fp32_gflops);
      if (session.is_remote()) plan["notes"].push_back("time: by this machine's rates, not those of the scheduler's workers");
    }
  } else if (job.resources.gpus) {
    plan["notes"].push_back("time and cost: not known yet for GPUs, since no run on one is on record");
  } else if (!rates) {
    plan["notes"].push_back("time and cost: not known before this machine's rates are measured at the first lorry up");
  } else {
    plan["notes"].push_back(checked.facts.model ? "time and cost: not known, since no row can be computed"
                                                : "time and cost: not known without the model's files");
  }
}

nlohmann::json PlanJson(const JobSpec& job, const CheckedInputs& checked, const WorkEstimate& work, bool fast_bf16) {
  nlohmann::json plan = {{"kind", std::string(job.kind())},
                         {"name", job.name},
                         {"project", job.project.str()},
                         {"devices",
                          {{"kind", KindOf(job.resources)},
                           {"count", job.resources.Devices()},
                           {"lanes", job.resources.Lanes()},
                           {"ranks", job.resources.Ranks()}}},
                         {"notes", checked.facts.notes}};
  const bool asks_bf16 =
      job.finetune() != nullptr ? job.finetune()->training.precision == TrainPrecision::kBf16 : job.batch() != nullptr;
  if (asks_bf16 && !fast_bf16 && !job.resources.gpus) {
    plan["notes"].push_back("this CPU has no AVX-512 BF16: it computes in fp32");
  }
  if (work.steps > 0) plan["steps"] = work.steps;
  if (work.points > 0) plan["points"] = work.points;
  if (job.finetune() != nullptr) plan["rows"] = checked.facts.rows;
  if (job.batch() != nullptr) plan["rows"] = work.rows, plan["faulty_rows"] = checked.facts.faulty_rows;
  if (work.elements > 0) plan["elements"] = work.elements;
  if (work.tokens > 0) plan["tokens"] = work.tokens;
  if (work.adapter_parameters > 0) plan["adapter_parameters"] = work.adapter_parameters;
  if (work.memory_bytes > 0) plan["memory_bytes"] = work.memory_bytes;
  return plan;
}

std::string PlanText(const nlohmann::json& plan) {
  std::vector<std::vector<std::string>> rows;
  auto add = [&](const std::string& what, const std::string& value) { rows.push_back({what, value}); };
  const auto& devices = plan["devices"];
  add("devices",
      fmt::format("{} x {} ({} lanes in {} ranks)", devices["count"].get<int64_t>(), devices["kind"].get<std::string>(),
                  devices["lanes"].get<int64_t>(), devices["ranks"].get<int64_t>()));
  for (const char* key : {"rows", "faulty_rows", "elements", "points", "steps", "tokens", "adapter_parameters"}) {
    if (plan.contains(key)) add(key, std::to_string(plan[key].get<int64_t>()));
  }
  if (plan.contains("memory_bytes")) add("memory of a rank", FormatSize(Bytes(plan["memory_bytes"].get<int64_t>())));
  if (plan.contains("wall_ms")) add("time", FormatDuration(Millis(plan["wall_ms"].get<int64_t>())));
  if (plan.contains("cost") && plan["cost"].contains("usd_shown")) {
    const auto& cost = plan["cost"];
    add("device-hours", fmt::format("p50 {:.4f}, p90 {:.4f}", cost["device_ms"]["p50"].get<double>() / 3.6e6,
                                    cost["device_ms"]["p90"].get<double>() / 3.6e6));
    add("dollars", fmt::format("p50 ${}, p90 ${} (stands on {})", cost["usd_shown"]["p50"].get<std::string>(),
                               cost["usd_shown"]["p90"].get<std::string>(), cost["basis"].get<std::string>()));
  } else if (plan.contains("cost")) {
    add("dollars", plan["cost"].value("note", ""));
  }
  if (plan.contains("stands_on")) add("stands on", plan["stands_on"].get<std::string>());
  for (const auto& why : ListAt(plan.value("scheduler", nlohmann::json::object()), "waits_for")) {
    if (why.is_string()) add("waits for", why.get<std::string>());
  }
  std::string text = AlignColumns(rows);
  for (const auto& note : plan["notes"]) text += "note: " + note.get<std::string>() + "\n";
  return text;
}

// Without a scheduler only this machine's devices are known.
Status PlanAlone(const ParsedJob& job, nlohmann::json& plan) {
  plan["notes"].push_back("no scheduler answers: what the job would wait for is not known");
  if (job.spec->resources.gpus && !HasGpu()) {
    return job.ErrorAt("resources.gpus", ErrorCode::kSpec, "there is no GPU on this machine", "use cpus: 2");
  }
  return OkStatus();
}

// What the scheduler says of the job: nothing where none answers. A refusal is the plan's result.
Status AskScheduler(Session& session, const ParsedJob& job, nlohmann::json& plan) {
  Result<SchedulerClient*> scheduler = session.Scheduler();
  if (!scheduler.ok()) return PlanAlone(job, plan);
  wire::Plan request;
  request.job_json = CanonicalJson(ToJson(*job.spec));
  LORRY_ASSIGN_OR_RETURN(request.inputs, InputsOf(session, *job.spec));
  const Result<std::string> answer = (*scheduler)->Plan(request);
  if (!answer.ok() && answer.error().code == ErrorCode::kUnreachable) return PlanAlone(job, plan);
  if (!answer.ok()) return Placed(job, answer.error());
  LORRY_ASSIGN_OR_RETURN(plan["scheduler"], ParseJson(*answer));
  return OkStatus();
}

}  // namespace

Result<int> RunPlan(Session& session, const PlanOptions& options) {
  const ParsedJob job = LoadJob(options.file, options.overrides);
  if (!job.ok()) {
    session.terminal().PrintErrors(job.errors);
    return 2;
  }
  const CheckedInputs checked = CheckInputs(job, session);
  if (!checked.errors.empty()) {
    session.terminal().PrintErrors(checked.errors);
    return 2;
  }
  const std::optional<MachineRates> rates = ReadMachineRates(session.home());
  const WorkEstimate work = EstimateWork(*job.spec, checked.facts, ComputesBf16(rates));
  nlohmann::json plan = PlanJson(*job.spec, checked, work, ComputesBf16(rates));
  LORRY_TRY(AskScheduler(session, job, plan));
  AddTimeAndCost(session, *job.spec, checked, work, rates, plan);
  session.terminal().Print(PlanText(plan));
  session.terminal().PrintJson(plan);
  return 0;
}

void RecordExpectation(Session& session, const RunId& run, const JobSpec& job, const CheckedInputs& checked) {
  const std::optional<MachineRates> rates = ReadMachineRates(session.home());
  const std::optional<Millis> wall = WallTime(job, EstimateWork(job, checked.facts, ComputesBf16(rates)), rates);
  if (!wall) return;
  (void)session.Ask("estimate.record",
                    {{"run", run.str()},
                     {"device_kind", KindOf(job.resources)},
                     {"devices", job.resources.Devices()},
                     {"wall_ms", wall->count()}},
                    /*changes=*/true);
}

}  // namespace lorry
