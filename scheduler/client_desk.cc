#include "scheduler/client_desk.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"
#include "configs/job_spec.h"
#include "scheduler/event_log.h"
#include "scheduler/placement.h"
#include "scheduler/queries.h"

namespace lorry {
namespace {

using nlohmann::json;

constexpr Millis kRecent{int64_t{24} * 3600 * 1000};

json TimeJson(Instant at) { return at == Instant() ? json() : json(FormatUtc(at)); }

json ErrorJson(const wire::ErrorDetail& error) {
  if (error.message.empty()) return json();
  return json{{"code", ErrorCodeName(error.ToError().code)},
              {"message", error.message},
              {"hint", error.hint},
              {"file", error.file},
              {"line", error.line},
              {"key", error.key}};
}

json FilesJson(const std::vector<wire::BlobFile>& files) {
  json list = json::array();
  for (const wire::BlobFile& file : files) {
    list.push_back({{"path", file.path}, {"digest", file.digest.hex()}, {"size", file.size}});
  }
  return list;
}

json NamedFilesJson(const std::vector<wire::Input>& inputs) {
  json list = json::array();
  for (const wire::Input& input : inputs) {
    list.push_back({{"name", input.name}, {"directory", input.directory}, {"files", FilesJson(input.files)}});
  }
  return list;
}

Result<json> AttemptsJson(Database& db, const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(std::vector<AttemptRecord> records, AttemptsOf(db, run));
  json list = json::array();
  for (const AttemptRecord& record : records) {
    LORRY_ASSIGN_OR_RETURN(auto class_ms, ClassMillis(db, run, record.ref.attempt));
    json devices = json::array();
    for (const DeviceId& device : record.devices) devices.push_back(device.str());
    list.push_back({{"attempt", record.ref.attempt.value()},
                    {"epoch", record.ref.epoch.value()},
                    {"worker", record.worker.str()},
                    {"devices", std::move(devices)},
                    {"granted", TimeJson(record.granted)},
                    {"ended", TimeJson(record.ended)},
                    {"reason", EndReasonName(record.reason)},
                    {"error", ErrorJson(record.error)},
                    {"class_ms", class_ms}});
  }
  return list;
}

std::string_view HealthName(Health health) {
  return health == Health::kHealthy ? "healthy" : health == Health::kUnreachable ? "unreachable" : "lost";
}

Result<std::string> WorkerList(const State& state, Database&, const std::string&) {
  json workers = json::array();
  for (const auto& [id, worker] : state.workers) {
    json devices = json::array();
    for (const auto& [device, held] : worker.devices) {
      devices.push_back({{"device", device.str()},
                         {"kind", held.device.kind},
                         {"gpu", held.device.gpu},
                         {"memory", held.device.memory},
                         {"state", !held.device.fault.empty() ? "faulty"
                                   : held.holder.empty()      ? "free"
                                                              : "leased"},
                         {"fault", held.device.fault},
                         {"run", held.holder.empty() ? json() : json(held.holder.str())}});
    }
    workers.push_back({{"worker", id.str()},
                       {"state", worker.drained ? "drained" : HealthName(worker.health)},
                       {"address", worker.host},
                       {"since", TimeJson(worker.last_seen)},
                       {"build", worker.build},
                       {"storage_ok", worker.storage_ok},
                       {"storage_problem", worker.storage_problem},
                       {"devices", std::move(devices)}});
  }
  return ShownJson(json{{"workers", std::move(workers)}});
}

Result<std::string> RunOutputs(const State& state, Database&, const std::string& text) {
  LORRY_ASSIGN_OR_RETURN(json question, ParseJson(text));
  const RunId id(
      question.is_object() && question.contains("run") && question["run"].is_string() ? question["run"].get<std::string>() : "");
  const Run* run = state.FindRun(id);
  if (run == nullptr) return NoSuchRun(id);
  return ShownJson(json{{"run", id.str()}, {"outputs", NamedFilesJson(run->outputs)}});
}

// {"run", "from", "limit"}: the array's elements with their start, end and status.
Result<std::string> RunElements(Database& db, const std::string& text) {
  LORRY_ASSIGN_OR_RETURN(json question, ParseJson(text));
  if (!question.is_object() || !question.contains("run") || !question["run"].is_string()) {
    return MakeError(ErrorCode::kUsage, "run.elements needs a run");
  }
  json elements = json::array();
  LORRY_ASSIGN_OR_RETURN(Rows rows, db.Ask("SELECT element, attempt, started_ms, ended_ms, status FROM element WHERE run=? AND "
                                           "element>=? ORDER BY element LIMIT ?",
                                           question["run"].get<std::string>(), question.value("from", int64_t{0}),
                                           question.value("limit", int64_t{1000})));
  while (true) {
    LORRY_ASSIGN_OR_RETURN(bool more, rows.Next());
    if (!more) break;
    elements.push_back({{"element", rows.Integer(0)},
                        {"attempt", rows.Integer(1)},
                        {"started_ms", rows.Integer(2)},
                        {"ended_ms", rows.Integer(3)},
                        {"status", rows.Integer(4)}});
  }
  return json{{"elements", std::move(elements)}}.dump();
}

Result<std::string> VerifyChain(Database& db, const std::string&) {
  LORRY_TRY(VerifyEvents(db));
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> events, db.AskInteger("SELECT count(*) FROM event"));
  return json{{"events", events.value_or(0)}}.dump();
}

}  // namespace

Error NoSuchRun(const RunId& run) {
  return MakeError(ErrorCode::kNotFound, fmt::format("run \"{}\" not found", run), "`lorry ps --all` lists them");
}

Status CheckRank(const RunSpec& run, uint32_t rank) {
  LORRY_ASSIGN_OR_RETURN(const json document, ParseJson(run.job_json));
  LORRY_ASSIGN_OR_RETURN(const JobSpec job, JobFromJson(document));
  const int64_t ranks = job.command() == nullptr ? job.resources.Ranks() : 1;  // a command has one log, whatever it starts
  if (rank < ranks) return OkStatus();
  return MakeError(ErrorCode::kNotFound, fmt::format("run {} has no rank {}", run.id, rank),
                   ranks == 1 ? "its only rank is 0" : fmt::format("its ranks are 0..{}", ranks - 1));
}

wire::RunSummary Summarize(const State& state, const Run& run, Instant now) {
  wire::RunSummary s;
  s.run = run.spec.id;
  s.name = run.spec.name;
  s.project = run.spec.project;
  s.kind = run.spec.kind;
  s.state = RunStateName(run.state);
  s.reason = EndReasonName(run.reason);
  s.attempts = run.attempts;
  s.priority = run.spec.priority;
  s.submitted = run.submitted;
  s.started = run.started;
  s.ended = run.ended;
  s.done = run.book.total() > 0 ? run.book.done() : run.done;
  s.total = run.book.total() > 0 ? run.book.total() : run.total;
  s.live_json = run.live_json;
  if (HasEnded(run.state)) {
    s.detail = run.error.message.empty() ? "" : run.error.ToError().Format();
  } else if (run.state == RunState::kRunning) {
    auto live = state.attempts.find(run.spec.id);
    if (live != state.attempts.end()) s.detail = live->second.stopping ? "stopping" : live->second.phase;
  } else {
    std::vector<std::string> why = WhyWaiting(state, run, now);
    if (!why.empty()) s.detail = why.front();
  }
  return s;
}

wire::RunList ListRunsFor(const State& state, const wire::ListRuns& question, Instant now) {
  std::vector<const Run*> wanted;
  for (const auto& [id, run] : state.runs) {
    if (!question.project.empty() && run.spec.project.str() != question.project) continue;
    if (!question.all && HasEnded(run.state) && now - run.ended > kRecent) continue;
    wanted.push_back(&run);
  }
  std::sort(wanted.begin(), wanted.end(), [](const Run* a, const Run* b) { return a->order > b->order; });
  if (wanted.size() > question.limit) wanted.resize(question.limit);
  wire::RunList list;
  for (const Run* run : wanted) list.runs.push_back(Summarize(state, *run, now));
  return list;
}

Result<std::string> ShowRunJson(const State& state, Database& db, const Run& run, Instant now) {
  const wire::RunSummary s = Summarize(state, run, now);
  LORRY_ASSIGN_OR_RETURN(json attempts, AttemptsJson(db, run.spec.id));
  LORRY_ASSIGN_OR_RETURN(json job, ParseJson(run.spec.job_json));
  json checkpoints = json::array();
  for (const wire::CheckpointRef& c : run.checkpoints) {
    checkpoints.push_back({{"step", c.step}, {"path", c.path}, {"sha256", c.digest.hex()}});
  }
  json after = json::array();
  for (const RunId& id : run.spec.after) after.push_back(id.str());
  json result;
  if (!run.result_json.empty()) {
    LORRY_ASSIGN_OR_RETURN(result, ParseJson(run.result_json));
  }
  return ShownJson(json{{"run", s.run.str()},
                        {"name", s.name},
                        {"project", s.project.str()},
                        {"team", run.spec.team},
                        {"kind", s.kind},
                        {"state", s.state},
                        {"reason", s.reason},
                        {"detail", s.detail},
                        {"error", ErrorJson(run.error)},
                        {"priority", s.priority},
                        {"model", run.spec.model},
                        {"submitted", TimeJson(s.submitted)},
                        {"started", TimeJson(s.started)},
                        {"ended", TimeJson(s.ended)},
                        {"done", s.done},
                        {"total", s.total},
                        {"failed_elements", run.failed_elements},
                        {"after", std::move(after)},
                        {"attempts", std::move(attempts)},
                        {"checkpoints", std::move(checkpoints)},
                        {"inputs", NamedFilesJson(run.spec.inputs)},
                        {"outputs", NamedFilesJson(run.outputs)},
                        {"result", std::move(result)},
                        {"job", std::move(job)}});
}

std::string ExplainJson(const State& state, const Run& run, const std::string& unstored, Instant now) {
  std::vector<std::string> lines;
  if (!unstored.empty()) lines.push_back("storage: the scheduler cannot store what happens: " + unstored);
  if (HasEnded(run.state)) {
    lines.push_back(fmt::format("{} ({}) after {} attempt{}", RunStateName(run.state), EndReasonName(run.reason), run.attempts,
                                run.attempts == 1 ? "" : "s"));
    if (!run.error.message.empty()) lines.push_back(run.error.ToError().Format());
    if (!run.why.empty()) lines.push_back("asked: " + run.why);
  } else if (run.state == RunState::kRunning) {
    const Attempt& attempt = state.attempts.at(run.spec.id);
    lines.push_back(fmt::format("attempt {} runs on worker {} with {} device{}, phase {}", run.attempts, attempt.worker,
                                attempt.devices.size(), attempt.devices.size() == 1 ? "" : "s",
                                attempt.phase.empty() ? "startup" : attempt.phase));
    if (attempt.stopping) lines.push_back(fmt::format("it was told to stop ({})", EndReasonName(attempt.stop_reason)));
    if (!attempt.stop_error.message.empty()) lines.push_back(attempt.stop_error.ToError().Format());
  } else {
    lines = WhyWaiting(state, run, now);
    if (run.last_reason != EndReason::kNone) {
      lines.push_back(
          fmt::format("attempt {} ended with {}: {}", run.attempts, EndReasonName(run.last_reason), run.error.message));
    }
  }
  return ShownJson(json{{"run", run.spec.id.str()},
                        {"name", run.spec.name},
                        {"state", RunStateName(run.state)},
                        {"reason", EndReasonName(run.reason)},
                        {"lines", lines}});
}

Result<std::string> Asked(const std::string& name, const std::function<Result<std::string>()>& ask) {
  try {
    return ask();
  } catch (const json::exception& e) {
    return MakeError(ErrorCode::kUsage, fmt::format("{}: {}", name, EscapeControl(e.what())));
  }
}

void AddSchedulerQueries(QueryTable* table) {
  table->state["worker.list"] = WorkerList;
  table->state["run.outputs"] = RunOutputs;
  table->read["run.elements"] = RunElements;
  table->read["events.verify"] = VerifyChain;
}

}  // namespace lorry
