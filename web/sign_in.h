// Signing in: how a person in a browser, which sends no Authorization header, comes by the access of a token.
//
// /sign-in takes the token once, from a form, and sets a cookie with the id of a session. Sessions are kept in memory and hold
// the token's id, never the token; they end at /sign-out, after kSessionMillis, with lorryd, and when their token is revoked,
// since its access is looked up at every request. The cookie is HttpOnly and SameSite=Strict, and Secure under TLS. Safe for any
// thread.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "base/store/store.h"
#include "web/access.h"
#include "web/http_server.h"

namespace lorry {

inline constexpr int64_t kSessionMillis = int64_t{12} * 3'600'000;
inline constexpr size_t kMostSessions = 1000;  // the one that would end first makes room

// Times are monotonic milliseconds.
class Sessions {
 public:
  // Returns the new session's id, which nobody can guess.
  std::string Begin(const std::string& token_id, int64_t now_ms);
  // The id of its token; '' where there is no such session, or it has ended.
  std::string TokenOf(const std::string& session, int64_t now_ms) const;
  void End(const std::string& session);

 private:
  struct Session {
    std::string token_id;
    int64_t ends_ms = 0;
  };
  mutable std::mutex mutex_;
  std::map<std::string, Session> sessions_;
};

class SignIn {
 public:
  // True for /sign-in and /sign-out, which are answered whatever the access.
  static bool IsFor(const HttpRequest& request);
  // What such a request may be: for Allow.
  static std::string_view Methods(const HttpRequest& request);
  // REQUIRES: IsFor(request), and its method is one of Methods(request).
  HttpResponse Answer(Database& db, const HttpRequest& request, const Access& access);

  // The form, as the 401 of a page that needs a token; it leads back to that page.
  HttpResponse Demand(const HttpRequest& request, std::string_view why) const;
  // The id of the token of the session that the request's cookie names, or ''.
  std::string TokenOf(const HttpRequest& request) const;

 private:
  HttpResponse Begin(Database& db, const HttpRequest& request);
  HttpResponse End(const HttpRequest& request);

  Sessions sessions_;
};

}  // namespace lorry
