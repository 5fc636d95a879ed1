#include "cli/follow.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/model_source.h"
#include "cli/run_text.h"

namespace lorry {
namespace {

constexpr uint32_t kLongPollMs = 10'000;
constexpr uint32_t kLivePollMs = 1'000;  // what stands on the screen is this old at most

std::string UnitOf(const std::string& kind) { return kind == "finetune" ? "steps" : kind == "batch" ? "rows" : "elements"; }

Result<nlohmann::json> OutputsOf(Session& session, const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(nlohmann::json answer, session.Ask("run.outputs", {{"run", run.str()}}));
  if (!answer.contains("outputs") || !answer["outputs"].is_array()) {
    return MakeError(ErrorCode::kData, "the scheduler's answer names no outputs");
  }
  return answer["outputs"];
}

// A directory output goes into a folder of its name; a file stands beside the others.
Status PullOutput(Session& session, const nlohmann::json& output, const std::string& folder) {
  const std::string name = output.value("name", "output");
  if (!IsPathWithin(name)) {
    return MakeError(ErrorCode::kData,
                     fmt::format("the run has an output \"{}\", which is outside its folder", EscapeControl(name)));
  }
  const bool directory = output.value("directory", false);
  return FetchFiles(session, output.at("files"), directory ? folder + "/" + name : folder);
}

// True where every file lies in `folder` already with its digest.
bool AllThere(const nlohmann::json& files, const std::string& folder) {
  for (const auto& file : files) {
    const std::string relative = file.at("path").get<std::string>();
    const std::string path = folder + "/" + relative;
    if (!IsPathWithin(relative) || !FileExists(path)) return false;
    const Result<Digest> digest = Sha256OfFile(path);
    if (!digest.ok() || digest->hex() != file.at("digest").get<std::string>()) return false;
  }
  return true;
}

}  // namespace

nlohmann::json RunJson(const wire::RunSummary& run) {
  return {{"run", run.run.str()},
          {"name", run.name},
          {"project", run.project.str()},
          {"kind", run.kind},
          {"state", run.state},
          {"reason", run.reason},
          {"attempts", run.attempts},
          {"priority", run.priority},
          {"done", run.done},
          {"total", run.total},
          {"detail", run.detail},
          {"submitted", FormatUtc(run.submitted)},
          {"started", run.started.millis() == 0 ? nlohmann::json() : nlohmann::json(FormatUtc(run.started))},
          {"ended", run.ended.millis() == 0 ? nlohmann::json() : nlohmann::json(FormatUtc(run.ended))}};
}

Result<wire::RunSummary> FollowRun(Session& session, const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
  wire::WatchRun request;
  request.run = run;
  std::string state;
  for (;;) {
    LORRY_ASSIGN_OR_RETURN(const wire::RunEvents events, scheduler->Watch(request));
    const wire::RunSummary& now = events.summary;
    if (now.state != state) {
      state = now.state;
      session.terminal().Note(StandingText(now));
    }
    if (events.ended) return now;
    if (now.state == "running") session.terminal().Progress(UnitOf(now.kind), now.done, now.total, LiveText(now));
    request.after = events.next;
    request.wait_ms = kLivePollMs;
  }
}

Result<int> RunWatch(Session& session, const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(const wire::RunSummary summary, FollowRun(session, run));
  session.terminal().Print(
      fmt::format("{} {}{}\n", run.str(), summary.state, summary.reason.empty() ? "" : " (" + summary.reason + ")"));
  session.terminal().PrintJson(RunJson(summary));
  return summary.state == "succeeded" ? 0 : 1;
}

Result<int> RunLogs(Session& session, const LogOptions& options) {
  LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
  wire::ReadLog request;
  request.run = options.run;
  request.rank = static_cast<uint32_t>(options.rank);
  std::string whole;
  for (;;) {
    LORRY_ASSIGN_OR_RETURN(const wire::LogPiece piece, scheduler->ReadLog(request));
    if (session.terminal().json()) {
      whole += piece.bytes;
    } else {
      session.terminal().PrintRaw(piece.bytes);
    }
    request.attempt = piece.attempt;
    request.offset = piece.offset + piece.bytes.size();
    if (!piece.bytes.empty()) continue;
    if (!options.follow || piece.run_ended) break;
    if (piece.attempt_ended && piece.next_attempt.value() > 0) {
      request.attempt = piece.next_attempt;
      request.offset = 0;
    }
    request.wait_ms = kLongPollMs;
  }
  session.terminal().PrintJson(
      {{"run", options.run.str()}, {"attempt", request.attempt.value()}, {"rank", options.rank}, {"log", whole}});
  return 0;
}

Result<int> RunPull(Session& session, const RunId& run, const std::string& folder) {
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json outputs, OutputsOf(session, run));
  for (const auto& output : outputs) LORRY_TRY(PullOutput(session, output, folder));
  session.terminal().Print(fmt::format("{} outputs in {}\n", outputs.size(), folder));
  session.terminal().PrintJson({{"run", run.str()}, {"to", folder}, {"outputs", outputs}});
  return 0;
}

Status BringOutputs(Session& session, const RunId& run, const JobSpec& job) {
  if (job.batch() == nullptr) return OkStatus();
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json outputs, OutputsOf(session, run));
  for (const auto& output : outputs) {
    if (!AllThere(output.at("files"), job.batch()->output)) LORRY_TRY(PullOutput(session, output, job.batch()->output));
  }
  return OkStatus();
}

}  // namespace lorry
