#include "cli/runs.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/follow.h"
#include "cli/run_text.h"

namespace lorry {
namespace {

std::string Age(Instant then) { return then.millis() == 0 ? "-" : FormatDuration(SystemClock().Now() - then); }

Result<int> Stands(Session& session, const Result<wire::RunSummary>& summary) {
  if (!summary.ok()) return summary.error();
  session.terminal().Print(fmt::format("{} {}\n", summary->run.str(), summary->state));
  session.terminal().PrintJson(RunJson(*summary));
  return 0;
}

}  // namespace

Result<int> RunPs(Session& session, bool all, const std::string& project) {
  LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
  wire::ListRuns request;
  request.all = all;
  request.project = project;
  LORRY_ASSIGN_OR_RETURN(const std::vector<wire::RunSummary> runs, scheduler->List(request));
  std::vector<std::vector<std::string>> table = {
      {"RUN", "NAME", "PROJECT", "KIND", "STATE", "DONE", "ATTEMPTS", "AGE", "DETAIL"}};
  nlohmann::json list = nlohmann::json::array();
  for (const wire::RunSummary& run : runs) {
    const std::string done = run.total == 0 ? "-" : fmt::format("{}/{}", run.done, run.total);
    const std::string state = run.reason.empty() ? run.state : fmt::format("{} ({})", run.state, run.reason);
    table.push_back({run.run.str(), run.name, run.project.str(), run.kind, state, done, std::to_string(run.attempts),
                     Age(run.submitted), EscapeControl(run.detail, 120)});
    list.push_back(RunJson(run));
  }
  session.terminal().Print(runs.empty() ? "no runs\n" : AlignColumns(table));
  session.terminal().PrintJson({{"runs", list}});
  return 0;
}

Result<int> RunShow(Session& session, const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
  LORRY_ASSIGN_OR_RETURN(const std::string answer, scheduler->Show(run));
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json document, ParseJson(answer));
  session.terminal().Print(ShowText(document));
  session.terminal().PrintJson(document);
  return 0;
}

Result<int> RunExplain(Session& session, const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
  LORRY_ASSIGN_OR_RETURN(const std::string answer, scheduler->Explain(run));
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json document, ParseJson(answer));
  session.terminal().Print(ExplainText(document));
  session.terminal().PrintJson(document);
  return 0;
}

Result<int> RunCancel(Session& session, const RunId& run, bool now) {
  LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
  return Stands(session, scheduler->Cancel(run, now, "lorry cancel"));
}

Result<int> RunPause(Session& session, const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
  return Stands(session, scheduler->Pause(run));
}

Result<int> RunResume(Session& session, const RunId& run) {
  LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
  return Stands(session, scheduler->Resume(run));
}

}  // namespace lorry
