// lorryd as one object: the scheduler with registry and books, and the pages over it.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "scheduler/scheduler.h"
#include "web/http_server.h"
#include "web/site.h"

namespace lorry {

struct DaemonOptions {
  std::string home;
  std::string bind_address = "127.0.0.1";  // of all three ports
  int http_port = 8600;                    // 0: a free one
  int client_port = 8601;
  int worker_port = 8602;
  std::string tls_certificate_file;  // PEM; both or none
  std::string tls_key_file;
};

class Daemon {
 public:
  // Reads prices.yaml and policy.yaml of the home where they are there; what is wrong in one ends the start.
  // Errors: as Scheduler::Start and HttpServer::Start; kNotAllowed for an address beyond loopback without TLS or without a token.
  static Result<std::unique_ptr<Daemon>> Start(const DaemonOptions& options);
  // Ports close in the reverse order; running attempts go on in their workers.
  ~Daemon();

  Scheduler& scheduler() { return *scheduler_; }
  int http_port() const { return server_->port(); }

 private:
  Daemon() = default;
  Status Serve(const DaemonOptions& options);

  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Site> site_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace lorry
