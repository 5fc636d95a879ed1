#include "web/site.h"

#include <algorithm>
#include <sstream>

#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "configs/features.h"
#include "web/html.h"
#include "web/registry_desk.h"

namespace lorry {
namespace {

using nlohmann::json;

constexpr int64_t kMaxMetricsBytes = int64_t{64} << 20;

int HttpStatusOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kNotAllowed:
      return 403;
    case ErrorCode::kUsage:
    case ErrorCode::kSpec:
    case ErrorCode::kData:
      return 400;
    case ErrorCode::kConflict:
      return 409;
    case ErrorCode::kUnsupported:
      return 501;
    case ErrorCode::kUnreachable:
    case ErrorCode::kTimeout:
      return 503;
    default:
      return 500;
  }
}

HttpResponse ToJsonResponse(const Result<std::string>& answer) {
  return answer.ok() ? JsonResponse(200, *answer) : ErrorResponse(answer.error(), true);
}

// The script of the pages' charts, from Debian's package.
HttpResponse ChartScript() {
  const std::string path = "/usr/share/javascript/chart.js/chart.min.js";
  const auto size = FileSize(path);
  if (!size.ok()) return TextResponse(404, "Debian's package libjs-chart.js is not installed\n");
  HttpResponse response{200, {{"Content-Type", "text/javascript"}, {"Cache-Control", "max-age=86400"}}, "", {}};
  response.file = FileBody{path, 0, static_cast<uint64_t>(size->count())};
  return response;
}

json SummaryJson(const wire::RunSummary& s) {
  const auto time = [](Instant at) { return at.millis() == 0 ? json() : json(FormatUtc(at)); };
  return {{"run", s.run.str()},
          {"name", s.name},
          {"project", s.project.str()},
          {"kind", s.kind},
          {"state", s.state},
          {"reason", s.reason},
          {"attempts", s.attempts},
          {"priority", s.priority},
          {"submitted", time(s.submitted)},
          {"started", time(s.started)},
          {"ended", time(s.ended)},
          {"done", s.done},
          {"total", s.total},
          {"detail", s.detail}};
}

// Server-sent events up to now; the browser's EventSource comes back after `retry` with Last-Event-ID.
HttpResponse EventStream(Scheduler& scheduler, const HttpRequest& request, const std::string& run) {
  wire::WatchRun watch;
  watch.run = RunId(run);
  watch.after = Sequence(std::strtoull(request.Header("last-event-id").c_str(), nullptr, 10));
  const auto events = scheduler.Call<wire::RunEvents>(watch);
  if (!events.ok()) return ErrorResponse(events.error(), true);
  std::string body = "retry: 1000\n\n";
  for (const wire::RunEvent& event : events->events) {
    body += fmt::format("id: {}\nevent: {}\ndata: {}\n\n", event.sequence, event.kind, event.json.empty() ? "{}" : event.json);
  }
  return {200, {{"Content-Type", "text/event-stream"}, {"Cache-Control", "no-store"}}, std::move(body), {}};
}

}  // namespace

HttpResponse ErrorResponse(const Error& error, bool as_json) {
  const int status = HttpStatusOf(error.code);
  if (!as_json) {
    HttpResponse page =
        HtmlResponse(Page("Error", "", fmt::format("<h1>{}</h1><p>{}</p>", Html(error.message), Html(error.hint))));
    page.status = status;
    return page;
  }
  return JsonResponse(status, json{{"error",
                                    {{"code", ErrorCodeName(error.code)},
                                     {"message", error.message},
                                     {"hint", error.hint},
                                     {"file", error.file},
                                     {"line", error.line},
                                     {"key", error.key}}}}
                                  .dump());
}

HttpResponse Site::Handle(const HttpRequest& request) const {
  const std::string first = request.segments.empty() ? "" : request.segments[0];
  if (first == "healthz") return TextResponse(200, "ok\n");
  if (first == "readyz") {
    return scheduler_->healthy() ? TextResponse(200, "ready\n") : TextResponse(503, "the scheduler has given up\n");
  }
  auto reader = scheduler_->store().Read();
  if (!reader.ok()) return ErrorResponse(reader.error(), true);
  const auto access = AccessOf(reader->db(), request, open_to_loopback_);
  if (!access.ok()) {
    HttpResponse refused = ErrorResponse(access.error(), true);
    refused.status = 401;
    refused.headers.emplace_back("WWW-Authenticate", "Bearer");
    return refused;
  }
  if (IsHubRequest(request)) {
    return AnswerHubRequest(reader->db(), scheduler_->home(), request, access->MayReadPrivateNames(), access->token_id);
  }
  return Route(request, *access);
}

// Addresses of clients that this version does not serve are refused by name, whatever the method.
bool IsUnbuilt(const HttpRequest& request) {
  std::string address = "http ";
  for (size_t i = 0; i < std::min<size_t>(2, request.segments.size()); ++i) {
    address += "/" + request.segments[i];
    if (!IsBuilt(address)) return true;
  }
  return false;
}

HttpResponse Site::Route(const HttpRequest& request, const Access& access) const {
  const std::string first = request.segments.empty() ? "" : request.segments[0];
  if (IsUnbuilt(request)) {
    return ErrorResponse(MakeError(ErrorCode::kUnsupported, EscapeControl(request.path) + ": not in this version",
                                   "lorry doctor --features lists what is"),
                         true);
  }
  if (request.method != "GET" && request.method != "HEAD") return TextResponse(405, "this address is for reading\n");
  if (first == "static" && request.segments.size() == 2 && request.segments[1] == "chart.js") return ChartScript();
  if (first == "metrics") return access.known ? Metrics() : TextResponse(401, "a token is needed\n");
  if (first == "v1") return RouteData(request, access);
  return RoutePages(request, access);
}

HttpResponse Site::RoutePages(const HttpRequest& request, const Access& access) const {
  const auto& at = request.segments;
  const Error denied =
      MakeError(ErrorCode::kNotAllowed, "this page needs a token with another role", "lorry token create makes one");
  if (at.empty()) return access.MayReadRuns() ? RunsPage() : ErrorResponse(denied, false);
  if (at[0] == "runs" && at.size() == 2) return access.MayReadRuns() ? RunPage(at[1], access) : ErrorResponse(denied, false);
  if (at[0] == "cost" && at.size() == 1) return access.MayReadCosts() ? CostPage(request) : ErrorResponse(denied, false);
  if (at[0] == "workers" && at.size() == 1) return access.MayReadRuns() ? WorkersPage() : ErrorResponse(denied, false);
  if (at[0] == "registry" && !access.MayReadPrivateNames()) return ErrorResponse(denied, false);
  if (at[0] == "registry" && at.size() == 1) return RegistryPage();
  if (at[0] == "registry" && at.size() == 3) return RegistryNamePage(at[1] + "/" + at[2]);
  return ErrorResponse(MakeError(ErrorCode::kNotFound, "no such page"), false);
}

HttpResponse Site::RouteData(const HttpRequest& request, const Access& access) const {
  const auto& at = request.segments;
  const Error denied = MakeError(ErrorCode::kNotAllowed, "the token's role does not allow this");
  if (at.size() >= 2 && at[1] == "runs") {
    return access.MayReadRuns() ? RouteRunData(request, access) : ErrorResponse(denied, true);
  }
  if (at.size() == 2 && at[1] == "costs") {
    json query = json::object();
    for (const char* name : {"by", "run", "from", "to"}) {
      if (const std::string value = request.Parameter(name); !value.empty()) query[name] = value;
    }
    return access.MayReadCosts() ? ToJsonResponse(Ask("cost.report", query.dump())) : ErrorResponse(denied, true);
  }
  if (at.size() == 2 && at[1] == "workers") {
    return access.MayReadRuns() ? ToJsonResponse(Ask("worker.list", "{}")) : ErrorResponse(denied, true);
  }
  if (at.size() == 3 && at[1] == "registry" && access.MayReadPrivateNames()) {
    return ToJsonResponse(Ask("registry.list", json{{"kind", at[2] == "adapters" ? "adapter" : "model"}}.dump()));
  }
  if (at.size() == 5 && at[1] == "registry" && access.MayReadPrivateNames()) {
    return ToJsonResponse(
        Ask("registry.show", json{{"kind", at[2] == "adapters" ? "adapter" : "model"}, {"name", at[3] + "/" + at[4]}}.dump()));
  }
  return ErrorResponse(MakeError(ErrorCode::kNotFound, "no such address"), true);
}

HttpResponse Site::RouteRunData(const HttpRequest& request, const Access& access) const {
  const auto& at = request.segments;
  if (at.size() == 2) {
    wire::ListRuns wish;
    wish.all = request.Parameter("all") != "false";
    wish.project = request.Parameter("project");
    const auto list = scheduler_->Call<wire::RunList>(wish);
    if (!list.ok()) return ErrorResponse(list.error(), true);
    json runs = json::array();
    for (const wire::RunSummary& summary : list->runs) runs.push_back(SummaryJson(summary));
    return JsonResponse(200, json{{"runs", std::move(runs)}}.dump());
  }
  const auto shown = Show(at[2]);
  if (!shown.ok()) return ErrorResponse(shown.error(), true);
  if (!access.MayReadJobContent()) {
    return ErrorResponse(MakeError(ErrorCode::kNotAllowed, "the token's role does not read job contents"), true);
  }
  if (at.size() == 3) return JsonResponse(200, *shown);
  if (at.size() == 4 && at[3] == "events") return EventStream(*scheduler_, request, at[2]);
  if (at.size() == 4 && at[3] == "metrics") {
    const auto lines = ReadFile(scheduler_->home() + "/runs/" + at[2] + "/metrics.jsonl", kMaxMetricsBytes);
    return {200, {{"Content-Type", "application/jsonl"}, {"Cache-Control", "no-store"}}, lines.ok() ? *lines : "", {}};
  }
  return ErrorResponse(MakeError(ErrorCode::kNotFound, "no such address"), true);
}

HttpResponse Site::Metrics() const {
  const auto list = scheduler_->Call<wire::RunList>(wire::ListRuns{.all = true, .project = "", .limit = 100'000});
  if (!list.ok()) return TextResponse(503, list.error().Format() + "\n");
  std::map<std::string, int> by_state;
  for (const char* state : {"queued", "running", "paused", "succeeded", "failed", "cancelled", "expired"}) by_state[state] = 0;
  for (const wire::RunSummary& summary : list->runs) ++by_state[summary.state];
  std::ostringstream out;
  out << "# HELP lorry_runs Runs by state.\n# TYPE lorry_runs gauge\n";
  for (const auto& [state, count] : by_state) out << "lorry_runs{state=\"" << state << "\"} " << count << "\n";
  if (const auto pong = scheduler_->Call<wire::Pong>(wire::Ping{}); pong.ok()) {
    out << "# HELP lorry_workers Workers that are there and well.\n# TYPE lorry_workers gauge\nlorry_workers " << pong->workers
        << "\n"
        << "# HELP lorry_attempts_running Attempts that hold devices.\n# TYPE lorry_attempts_running "
           "gauge\nlorry_attempts_running "
        << pong->running << "\n";
  }
  return {200, {{"Content-Type", "text/plain; version=0.0.4"}}, out.str(), {}};
}

Result<std::string> Site::Ask(const std::string& name, const std::string& text) const {
  LORRY_ASSIGN_OR_RETURN(const wire::JsonReply reply, scheduler_->Call<wire::JsonReply>(wire::Query{name, text, ""}));
  return reply.json;
}

Result<std::string> Site::Show(const std::string& run) const {
  LORRY_ASSIGN_OR_RETURN(const wire::JsonReply reply, scheduler_->Call<wire::JsonReply>(wire::ShowRun{RunId(run)}));
  return reply.json;
}

}  // namespace lorry
