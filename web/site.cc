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

bool IsRead(const HttpRequest& request) { return request.method == "GET" || request.method == "HEAD"; }

bool IsHealth(const HttpRequest& request) {
  return !request.segments.empty() && (request.segments[0] == "healthz" || request.segments[0] == "readyz");
}

// The body of a form with a token and a path in it: anybody may send it, so it is kept small.
bool IsShort(const HttpRequest& request) {
  const std::string length = request.Header("content-length");
  return !length.empty() && std::strtoull(length.c_str(), nullptr, 10) <= 16 << 10;
}

HttpResponse MethodRefused(std::string_view allowed) {
  HttpResponse refused = TextResponse(405, "not with this method\n");
  refused.headers.emplace_back("Allow", allowed);
  return refused;
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

std::optional<HttpResponse> Site::Refuse(const HttpRequest& request) const {
  if (IsHealth(request)) return std::nullopt;
  auto reader = scheduler_->store().Read();
  if (!reader.ok()) return ErrorResponse(reader.error(), true);
  return Admit(reader->db(), request).refusal;
}

HttpResponse Site::Handle(const HttpRequest& request) const {
  if (IsHealth(request)) return Health(request);
  auto reader = scheduler_->store().Read();
  if (!reader.ok()) return ErrorResponse(reader.error(), true);
  Admission admission = Admit(reader->db(), request);
  if (admission.refusal) return *std::move(admission.refusal);
  const Access& access = admission.access;
  if (SignIn::IsFor(request)) return sign_in_->Answer(reader->db(), request, access);
  if (IsHubRequest(request)) {
    return AnswerHubRequest(reader->db(), scheduler_->home(), request, access.MayReadPrivateNames(), access.token_id);
  }
  return Route(request, access);
}

HttpResponse Site::Health(const HttpRequest& request) const {
  if (!IsRead(request)) return MethodRefused("GET, HEAD");
  if (request.segments[0] == "healthz") return TextResponse(200, "ok\n");
  return scheduler_->healthy() ? TextResponse(200, "ready\n") : TextResponse(503, "the scheduler has given up\n");
}

Site::Admission Site::Admit(Database& db, const HttpRequest& request) const {
  Admission admission;
  const auto access = AccessOf(db, request, sign_in_->TokenOf(request), open_to_loopback_);
  if (access.ok()) admission.access = *access;
  if (SignIn::IsFor(request)) {
    const bool fits = request.method == "POST" || (IsRead(request) && request.segments[0] == "sign-in");
    if (!fits) admission.refusal = MethodRefused(SignIn::Methods(request));
    if (fits && request.method == "POST" && !IsShort(request)) admission.refusal = TextResponse(413, "the form is too large\n");
  } else if (!access.ok()) {
    admission.refusal = Unauthorized(request, access.error());
  } else if (IsUnbuilt(request)) {
    admission.refusal = ErrorResponse(MakeError(ErrorCode::kUnsupported, EscapeControl(request.path) + ": not in this version",
                                                "lorry doctor --features lists what is"),
                                      true);
  } else if (IsHubRequest(request)) {  // its questions know their methods; only POST is one that has a body
    if (!IsRead(request) && request.method != "POST") {
      admission.refusal = AnswerHubRequest(db, scheduler_->home(), request, access->MayReadPrivateNames(), access->token_id);
    }
  } else if (!IsRead(request)) {
    admission.refusal = MethodRefused("GET, HEAD");
  }
  return admission;
}

// A browser gets the form; a program, which has sent a token or asks for data, is told in its own words.
HttpResponse Site::Unauthorized(const HttpRequest& request, const Error& error) const {
  if (error.code != ErrorCode::kNotAllowed) return ErrorResponse(error, true);
  const std::string first = request.segments.empty() ? "" : request.segments[0];
  const bool for_programs = IsHubRequest(request) || first == "v1" || first == "v2" || first == "api" || first == "metrics";
  if (!for_programs && IsRead(request) && request.Header("authorization").empty()) {
    return sign_in_->Demand(request, "This page needs a token.");
  }
  HttpResponse refused = ErrorResponse(error, true);
  refused.status = 401;
  refused.headers.emplace_back("WWW-Authenticate", "Bearer");
  return refused;
}

HttpResponse Site::Route(const HttpRequest& request, const Access& access) const {
  const std::string first = request.segments.empty() ? "" : request.segments[0];
  if (first == "static" && request.segments.size() == 2 && request.segments[1] == "chart.js") return ChartScript();
  if (first == "metrics") return Metrics();
  if (first == "v1") return RouteData(request, access);
  return RoutePages(request, access);
}

HttpResponse Site::RoutePages(const HttpRequest& request, const Access& access) const {
  const auto& at = request.segments;
  const Error denied = MakeError(ErrorCode::kNotAllowed, "this page needs a token with another role",
                                 "sign in with one that lorry token create made");
  if (at.empty()) return access.MayReadRuns() ? RunsPage() : ErrorResponse(denied, false);
  if (at[0] == "runs" && at.size() == 2) return access.MayReadRuns() ? RunPage(at[1], access) : ErrorResponse(denied, false);
  if (at[0] == "cost" && at.size() == 1) return access.MayReadCosts() ? CostPage(request) : ErrorResponse(denied, false);
  if (at[0] == "workers" && at.size() == 1) return access.MayReadRuns() ? WorkersPage() : ErrorResponse(denied, false);
  if (at[0] == "registry" && at.size() == 1) return RegistryPage(access);
  if (at[0] == "registry" && at.size() == 3) return RegistryNamePage(request, access);
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
  if (at.size() >= 2 && at[1] == "registry") return RouteRegistryData(request, access);
  return ErrorResponse(MakeError(ErrorCode::kNotFound, "no such address"), true);
}

HttpResponse Site::RouteRegistryData(const HttpRequest& request, const Access& access) const {
  const auto& at = request.segments;
  const std::string kind = at.size() > 2 && at[2] == "adapters" ? "adapter" : "model";
  if (at.size() == 3) {
    const auto names = NamesFor(access, kind);
    return names.ok() ? JsonResponse(200, names->dump()) : ErrorResponse(names.error(), true);
  }
  if (at.size() != 5) return ErrorResponse(MakeError(ErrorCode::kNotFound, "no such address"), true);
  const auto item = NameFor(access, kind, at[3] + "/" + at[4]);
  if (item.ok()) return JsonResponse(200, item->dump());
  HttpResponse missing = ErrorResponse(item.error(), true);
  if (!access.known && missing.status == 404) {  // it may be there for others
    missing.status = 401;
    missing.headers.emplace_back("WWW-Authenticate", "Bearer");
    missing.headers.emplace_back("X-Error-Code", "RepoNotFound");
  }
  return missing;
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

Result<json> Site::NamesFor(const Access& access, const std::string& kind) const {
  LORRY_ASSIGN_OR_RETURN(const std::string text, Ask("registry.list", json{{"kind", kind}}.dump()));
  LORRY_ASSIGN_OR_RETURN(json names, ParseJson(text));
  json readable = json::array();
  for (json& item : names["items"]) {
    if (access.MayReadPrivateNames() || !item.value("private", true)) readable.push_back(std::move(item));
  }
  names["items"] = std::move(readable);
  return names;
}

Result<json> Site::NameFor(const Access& access, const std::string& kind, const std::string& name) const {
  const auto text = Ask("registry.show", json{{"kind", kind}, {"name", name}}.dump());
  if (!text.ok() && text.error().code != ErrorCode::kNotFound) return text.error();
  if (text.ok()) {
    LORRY_ASSIGN_OR_RETURN(json item, ParseJson(*text));
    if (access.MayReadPrivateNames() || !item.value("private", true)) return item;
  }
  return MakeError(ErrorCode::kNotFound, fmt::format("no {} {}", kind, name));
}

Result<std::string> Site::Show(const std::string& run) const {
  LORRY_ASSIGN_OR_RETURN(const wire::JsonReply reply, scheduler_->Call<wire::JsonReply>(wire::ShowRun{RunId(run)}));
  return reply.json;
}

}  // namespace lorry
