// lorry-train: one rank of a fine-tuning run. The worker writes the task file and starts it, under mpirun where there are more.
#include <sys/prctl.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <string>

#include "base/log.h"
#include "trainers/training_run.h"

int main(int argc, char** argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  CLI::App app("One rank of a fine-tuning run.\nExample: lorry-train --task runs/R1/attempts/1/task.json", "lorry-train");
  std::string task;
  app.add_option("--task", task, "task.json as the worker writes it (docs/formats/task-contract.md)")->required();
  app.set_version_flag("--version", std::string("lorry-train ") + LORRY_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : lorry::ExitStatusOf(lorry::ErrorCode::kUsage);
  }
  lorry::SetUpLog("lorry-train");
  return static_cast<int>(lorry::trainers::RunTrainingTask(task));
}
