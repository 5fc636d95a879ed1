// lorry-worker: one node's devices under a scheduler.
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <CLI/CLI.hpp>

#include "base/log.h"
#include "worker/agent.h"

namespace {

std::string DefaultHome() {
  if (const char* home = std::getenv("LORRY_HOME")) return home;
  const char* user = std::getenv("HOME");
  return std::string(user != nullptr ? user : ".") + "/.lorry";
}

lorry::Status RunAgent(lorry::AgentOptions options) {
  options.home = std::filesystem::absolute(options.home).lexically_normal().string();
  LORRY_ASSIGN_OR_RETURN(const std::unique_ptr<lorry::Agent> agent, lorry::Agent::Make(std::move(options)));
  return agent->Run();
}

}  // namespace

int main(int argc, char** argv) {
  lorry::AgentOptions options;
  options.home = DefaultHome();
  options.address = "tcp://127.0.0.1:8602";
  std::string name;
  CLI::App app{
      "One node's devices under a Lorry scheduler.\n\nExample: lorry-worker --home /var/lib/lorry --address tcp://head:8602 "
      "--devices gpu:all",
      "lorry-worker"};
  app.set_version_flag("--version", std::string("lorry-worker ") + LORRY_VERSION);
  app.add_option("--home", options.home, "folder for blobs, runs and keys (default $LORRY_HOME, else ~/.lorry)");
  app.add_option("--address", options.address, "the scheduler's worker port")->capture_default_str();
  app.add_option("--devices", options.devices,
                 "cpu:N, gpu:all, or both with a comma (default: a CPU slot for each core, and every GPU)");
  app.add_option("--name", name, "this worker's name (default: the host's)");
  app.add_option("--server-key", options.server_public_key,
                 "the scheduler's public key in Z85 (default HOME/keys/scheduler.public)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : lorry::ExitStatusOf(lorry::ErrorCode::kUsage);
  }
  options.worker = lorry::WorkerId(name);
  lorry::SetUpLog("lorry-worker");
  const lorry::Status status = RunAgent(std::move(options));
  if (status.ok()) return 0;
  std::fprintf(stderr, "lorry-worker: %s\n", status.error().Format().c_str());
  return lorry::ExitStatusOf(status.error().code);
}
