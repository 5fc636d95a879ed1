#include "web/daemon.h"

#include <spdlog/spdlog.h>

#include "base/files.h"
#include "configs/cluster_config.h"
#include "ledger/books.h"
#include "registry/name_index.h"
#include "web/access.h"
#include "web/books_desk.h"
#include "web/registry_desk.h"

namespace lorry {
namespace {

// Of another machine; on loopback everybody has the same address.
constexpr unsigned kConnectionsPerAddress = 64;

bool IsLoopbackAddress(const std::string& address) { return address.rfind("127.", 0) == 0; }

SchedulerOptions SchedulerOptionsOf(const DaemonOptions& options) {
  SchedulerOptions scheduler;
  scheduler.home = options.home;
  scheduler.bind_address = options.bind_address;
  scheduler.client_port = options.client_port;
  scheduler.worker_port = options.worker_port;
  for (const auto& migrations : {RegistryMigrations(), LedgerMigrations(), AccessMigrations()}) {
    scheduler.migrations.insert(scheduler.migrations.end(), migrations.begin(), migrations.end());
  }
  scheduler.registry = MakeRegistryPort(options.home);
  scheduler.books = MakeBooksPort();
  AddRegistryQueries(&scheduler.queries, options.home);
  AddBooksQueries(&scheduler.queries);
  AddTokenQueries(&scheduler.queries);
  return scheduler;
}

// Of the home's policy.yaml, which may be missing.
Result<AdmissionPolicy> PolicyOf(const std::string& home) {
  AdmissionPolicy admission;
  const std::string path = home + "/policy.yaml";
  if (!FileExists(path)) return admission;
  LORRY_ASSIGN_OR_RETURN(const PolicyConfig policy, LoadPolicyConfig(path));
  admission.wait_for_unknown_gpu = policy.wait_for_unknown_gpu;
  return admission;
}

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::Start(const DaemonOptions& options) {
  std::unique_ptr<Daemon> daemon(new Daemon());
  SchedulerOptions scheduler = SchedulerOptionsOf(options);
  LORRY_ASSIGN_OR_RETURN(scheduler.admission, PolicyOf(options.home));
  LORRY_ASSIGN_OR_RETURN(daemon->scheduler_, Scheduler::Start(std::move(scheduler)));
  LORRY_ASSIGN_OR_RETURN(const int prices, TakePrices(*daemon->scheduler_));
  if (prices > 0) spdlog::info("{} new prices are on the books", prices);
  LORRY_TRY(daemon->Serve(options));
  spdlog::info("pages at port {}, clients at {}, workers at {}", daemon->http_port(), daemon->scheduler_->client_endpoint(),
               daemon->scheduler_->worker_endpoint());
  return daemon;
}

Status Daemon::Serve(const DaemonOptions& options) {
  const bool loopback = IsLoopbackAddress(options.bind_address);
  HttpServerOptions http;
  http.bind_address = options.bind_address;
  http.port = options.http_port;
  if (options.tls_certificate_file.empty() != options.tls_key_file.empty()) {
    return MakeError(ErrorCode::kUsage, "--tls-cert and --tls-key belong together");
  }
  if (!options.tls_certificate_file.empty()) {
    LORRY_ASSIGN_OR_RETURN(http.tls_certificate, ReadFile(options.tls_certificate_file, 1 << 20));
    LORRY_ASSIGN_OR_RETURN(http.tls_key, ReadFile(options.tls_key_file, 1 << 20));
  }
  if (!loopback) {
    http.connections_per_address = kConnectionsPerAddress;
    LORRY_ASSIGN_OR_RETURN(Reader reader, scheduler_->store().Read());
    LORRY_ASSIGN_OR_RETURN(const bool tokens, AnyTokenExists(reader.db()));
    if (!tokens || http.tls_certificate.empty()) {
      return MakeError(ErrorCode::kNotAllowed,
                       fmt::format("beyond loopback ({}) the pages need TLS and at least one token", options.bind_address),
                       "start it on 127.0.0.1, run lorry token create --role admin, and give --tls-cert and --tls-key");
    }
  }
  site_ = std::make_unique<Site>(scheduler_.get(), loopback);
  LORRY_ASSIGN_OR_RETURN(server_, HttpServer::Start(
                                      http, [site = site_.get()](const HttpRequest& request) { return site->Refuse(request); },
                                      [site = site_.get()](const HttpRequest& request) { return site->Handle(request); }));
  return OkStatus();
}

Daemon::~Daemon() {
  server_.reset();
  if (scheduler_ != nullptr) scheduler_->Stop();
}

}  // namespace lorry
