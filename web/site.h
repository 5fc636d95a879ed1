// The pages and their data: request -> response over a running scheduler. Everything a page shows is in the HTML that the server
// writes; the only script draws charts from /v1/runs/RUN/metrics. Safe for any thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "scheduler/scheduler.h"
#include "web/access.h"
#include "web/http_server.h"
#include "web/sign_in.h"

namespace lorry {

class Site {
 public:
  // `scheduler` must outlive the site. `open_to_loopback`: see AccessOf.
  Site(Scheduler* scheduler, bool open_to_loopback) : scheduler_(scheduler), open_to_loopback_(open_to_loopback) {}

  // Nobody, a method that the address does not take, an address that is not built: known from the headers alone.
  std::optional<HttpResponse> Refuse(const HttpRequest& request) const;
  HttpResponse Handle(const HttpRequest& request) const;

 private:
  struct Admission {
    Access access;
    std::optional<HttpResponse> refusal;
  };
  Admission Admit(Database& db, const HttpRequest& request) const;
  HttpResponse Unauthorized(const HttpRequest& request, const Error& error) const;
  HttpResponse Health(const HttpRequest& request) const;
  HttpResponse Route(const HttpRequest& request, const Access& access) const;
  HttpResponse RoutePages(const HttpRequest& request, const Access& access) const;
  HttpResponse RouteData(const HttpRequest& request, const Access& access) const;
  HttpResponse RouteRunData(const HttpRequest& request, const Access& access) const;
  HttpResponse RouteRegistryData(const HttpRequest& request, const Access& access) const;

  HttpResponse RunsPage() const;
  HttpResponse RunPage(const std::string& run, const Access& access) const;
  HttpResponse CostPage(const HttpRequest& request) const;
  HttpResponse RegistryPage(const Access& access) const;
  HttpResponse RegistryNamePage(const HttpRequest& request, const Access& access) const;
  HttpResponse WorkersPage() const;
  HttpResponse Metrics() const;

  // One of the scheduler's queries, as JSON text.
  Result<std::string> Ask(const std::string& name, const std::string& json) const;
  Result<std::string> Show(const std::string& run) const;
  // Names of a kind, and one name with its versions, as far as the access reads them: what is private to it is not found.
  Result<nlohmann::json> NamesFor(const Access& access, const std::string& kind) const;
  Result<nlohmann::json> NameFor(const Access& access, const std::string& kind, const std::string& name) const;

  Scheduler* scheduler_;
  bool open_to_loopback_;
  std::unique_ptr<SignIn> sign_in_ = std::make_unique<SignIn>();
};

// The response for an error: 404, 401, 403, ... with its text; JSON where `as_json`.
HttpResponse ErrorResponse(const Error& error, bool as_json);

}  // namespace lorry
