// lorryd: scheduler, registry, ledger and pages of one home.
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>

#include "base/log.h"
#include "web/daemon.h"

namespace {

constexpr int kHealthEveryMs = 1000;

// Blocks SIGTERM and SIGINT in all threads to come, and gives the descriptor that tells of them.
int CatchSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return ::signalfd(-1, &signals, SFD_CLOEXEC);
}

// Until a signal asks to end (0) or the scheduler had to give up (1: whoever watches starts it again).
int WaitForEnd(int signals, lorry::Scheduler& scheduler) {
  pollfd item{signals, POLLIN, 0};
  while (::poll(&item, 1, kHealthEveryMs) <= 0) {
    if (!scheduler.healthy()) return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Scheduler, registry, ledger and pages of one home.\nExample: lorryd --home /srv/lorry --port 8600", "lorryd"};
  lorry::DaemonOptions options;
  app.set_version_flag("--version", std::string("lorryd ") + LORRY_VERSION);
  app.add_option("--home", options.home, "the folder that keeps everything")->required();
  app.add_option("--port", options.http_port, "of the pages and the HTTP interfaces")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  app.add_option("--client-port", options.client_port, "for lorry")->check(CLI::Range(0, 65535))->capture_default_str();
  app.add_option("--worker-port", options.worker_port, "for lorry-worker")->check(CLI::Range(0, 65535))->capture_default_str();
  app.add_option("--bind", options.bind_address, "address of all three ports; beyond loopback it needs TLS and a token")
      ->capture_default_str();
  app.add_option("--tls-cert", options.tls_certificate_file, "certificate, PEM");
  app.add_option("--tls-key", options.tls_key_file, "private key, PEM");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : lorry::ExitStatusOf(lorry::ErrorCode::kUsage);
  }
  lorry::SetUpLog("lorryd");
  std::signal(SIGPIPE, SIG_IGN);
  const int signals = CatchSignals();
  auto daemon = lorry::Daemon::Start(options);
  if (!daemon.ok()) {
    spdlog::error("{}", daemon.error().Format());
    return lorry::ExitStatusOf(daemon.error().code);
  }
  const int status = WaitForEnd(signals, (*daemon)->scheduler());
  spdlog::info("ending");
  return status;
}
