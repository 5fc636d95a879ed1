// lorry-worker with fake ranks: fake_rank_worker HOME ADDRESS DEVICES. What the worker's tests start, kill and start again.
#include <cstdio>

#include "base/log.h"
#include "base/process.h"
#include "worker/agent.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  lorry::SetUpLog("worker");
  lorry::AgentOptions options;
  options.home = argv[1];
  options.address = argv[2];
  options.devices = argv[3];
  options.worker = lorry::WorkerId("w");
  options.stop_grace = lorry::Millis(3000);
  const std::string fake = lorry::ProgramDirectory() + "/fake_rank";
  options.programs = {{"finetune", fake}, {"batch", fake}};
  auto agent = lorry::Agent::Make(std::move(options));
  const lorry::Status status = agent.ok() ? (*agent)->Run() : lorry::Status(agent.error());
  if (status.ok()) return 0;
  std::fprintf(stderr, "worker: %s\n", status.error().Format().c_str());
  return lorry::ExitStatusOf(status.error().code);
}
