#include "web/sign_in.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/random_key.h"
#include "base/text.h"
#include "web/html.h"

namespace lorry {
namespace {

constexpr std::string_view kCookie = "lorry_session";

std::string SessionOf(const HttpRequest& request) {
  for (const std::string& part : Split(request.Header("cookie"), ';')) {
    const std::string_view cookie = std::string_view(part).substr(std::min(part.find_first_not_of(' '), part.size()));
    if (cookie.starts_with(kCookie) && cookie.substr(kCookie.size()).starts_with('=')) {
      return std::string(cookie.substr(kCookie.size() + 1));
    }
  }
  return "";
}

// A path on this server and nothing else: what comes back in the form must not lead to another one.
std::string SafePath(const std::string& path) {
  const bool printable = std::all_of(path.begin(), path.end(), [](char c) { return c > ' ' && c < '\x7f' && c != '\\'; });
  return printable && path.starts_with('/') && !path.starts_with("//") ? path : "/";
}

HttpResponse Form(int status, std::string_view why, const std::string& next) {
  HttpResponse page = HtmlResponse(Page(
      "Sign in", "sign-in",
      fmt::format("<h1>Sign in</h1><p>{}</p><form method=\"post\" action=\"/sign-in\">"
                  "<input type=\"hidden\" name=\"next\" value=\"{}\"><p><label>Token <input type=\"password\" name=\"token\" "
                  "autocomplete=\"off\" required autofocus></label> <button>Sign in</button></p></form>"
                  "<p class=\"soft\"><code>lorry token create --role viewer</code> makes a token.</p>",
                  Html(why), Html(next))));
  page.status = status;
  return page;
}

HttpResponse SeeOther(const std::string& path, const HttpRequest& request, const std::string& session, int64_t seconds) {
  HttpResponse response = TextResponse(303, "go on at " + path + "\n");
  response.headers.emplace_back("Location", path);
  response.headers.emplace_back("Cache-Control", "no-store");
  response.headers.emplace_back("Set-Cookie", fmt::format("{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{}", kCookie,
                                                          session, seconds, request.tls ? "; Secure" : ""));
  return response;
}

// A browser says where a form came from; another site's may not sign anybody in here. A proxy may have changed the scheme.
bool IsFromElsewhere(const HttpRequest& request) {
  const std::string origin = request.Header("origin");
  return !origin.empty() && origin.substr(std::min(origin.find("://"), origin.size())) != "://" + request.Header("host");
}

}  // namespace

std::string Sessions::Begin(const std::string& token_id, int64_t now_ms) {
  std::string id = RandomKey() + RandomKey();
  std::lock_guard lock(mutex_);
  std::erase_if(sessions_, [now_ms](const auto& entry) { return entry.second.ends_ms <= now_ms; });
  if (sessions_.size() >= kMostSessions) {
    sessions_.erase(std::min_element(sessions_.begin(), sessions_.end(),
                                     [](const auto& a, const auto& b) { return a.second.ends_ms < b.second.ends_ms; }));
  }
  sessions_[id] = {token_id, now_ms + kSessionMillis};
  return id;
}

std::string Sessions::TokenOf(const std::string& session, int64_t now_ms) const {
  std::lock_guard lock(mutex_);
  const auto found = sessions_.find(session);
  return found == sessions_.end() || found->second.ends_ms <= now_ms ? "" : found->second.token_id;
}

void Sessions::End(const std::string& session) {
  std::lock_guard lock(mutex_);
  sessions_.erase(session);
}

bool SignIn::IsFor(const HttpRequest& request) {
  return request.segments.size() == 1 && (request.segments[0] == "sign-in" || request.segments[0] == "sign-out");
}

std::string_view SignIn::Methods(const HttpRequest& request) {
  return request.segments[0] == "sign-in" ? "GET, HEAD, POST" : "POST";
}

HttpResponse SignIn::Answer(Database& db, const HttpRequest& request, const Access& access) {
  if (request.method == "POST") {
    if (IsFromElsewhere(request)) return TextResponse(403, "this form is not one of this server's\n");
    return request.segments[0] == "sign-in" ? Begin(db, request) : End(request);
  }
  const std::string next = SafePath(request.Parameter("next"));
  if (!access.known) return Form(200, "Private names, and all pages beyond this machine, need a token.", next);
  if (access.token_id.empty()) {
    return HtmlResponse(Page("Sign in", "sign-in", "<h1>Sign in</h1><p>No token was made yet: none is needed.</p>"));
  }
  return HtmlResponse(Page("Sign in", "sign-in",
                           fmt::format("<h1>Signed in</h1><p>With the token {}, role {}.</p><form method=\"post\" "
                                       "action=\"/sign-out\"><button>Sign out</button></form>",
                                       Html(access.token_id), RoleName(access.role))));
}

HttpResponse SignIn::Begin(Database& db, const HttpRequest& request) {
  const auto fields = ParseQuery(request.body);
  if (!fields.ok()) return TextResponse(400, fields.error().message + "\n");
  const auto field = [&](const char* name) {
    const auto found = fields->find(name);
    return found == fields->end() ? std::string() : found->second;
  };
  const std::string next = SafePath(field("next"));
  const auto access = AccessOfToken(db, field("token"));
  if (!access.ok()) return Form(401, access.error().message, next);
  return SeeOther(next, request, sessions_.Begin(access->token_id, SystemClock().MonotonicMillis()), kSessionMillis / 1000);
}

HttpResponse SignIn::End(const HttpRequest& request) {
  sessions_.End(SessionOf(request));
  return SeeOther("/", request, "", 0);
}

HttpResponse SignIn::Demand(const HttpRequest& request, std::string_view why) const {
  HttpResponse form = Form(401, why, SafePath(request.path));
  form.headers.emplace_back("WWW-Authenticate", "Bearer");
  return form;
}

std::string SignIn::TokenOf(const HttpRequest& request) const {
  const std::string session = SessionOf(request);
  return session.empty() ? "" : sessions_.TokenOf(session, SystemClock().MonotonicMillis());
}

}  // namespace lorry
