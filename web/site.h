// The pages and their data: request -> response over a running scheduler. Everything a page shows is in the HTML that the server
// writes; the only script draws charts from /v1/runs/RUN/metrics. Safe for any thread.
#pragma once

#include <string>

#include "base/result.h"
#include "scheduler/scheduler.h"
#include "web/access.h"
#include "web/http_server.h"

namespace lorry {

class Site {
 public:
  // `scheduler` must outlive the site. `open_to_loopback`: see AccessOf.
  Site(Scheduler* scheduler, bool open_to_loopback) : scheduler_(scheduler), open_to_loopback_(open_to_loopback) {}

  HttpResponse Handle(const HttpRequest& request) const;

 private:
  HttpResponse Route(const HttpRequest& request, const Access& access) const;
  HttpResponse RoutePages(const HttpRequest& request, const Access& access) const;
  HttpResponse RouteData(const HttpRequest& request, const Access& access) const;
  HttpResponse RouteRunData(const HttpRequest& request, const Access& access) const;

  HttpResponse RunsPage() const;
  HttpResponse RunPage(const std::string& run, const Access& access) const;
  HttpResponse CostPage(const HttpRequest& request) const;
  HttpResponse RegistryPage() const;
  HttpResponse RegistryNamePage(const std::string& name) const;
  HttpResponse WorkersPage() const;
  HttpResponse Metrics() const;

  // One of the scheduler's queries, as JSON text.
  Result<std::string> Ask(const std::string& name, const std::string& json) const;
  Result<std::string> Show(const std::string& run) const;

  Scheduler* scheduler_;
  bool open_to_loopback_;
};

// The response for an error: 404, 401, 403, ... with its text; JSON where `as_json`.
HttpResponse ErrorResponse(const Error& error, bool as_json);

}  // namespace lorry
