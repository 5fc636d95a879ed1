// One rank of a fine-tuning run, from its task file to its exit status: loads data and model, finds the checkpoint to go on from,
// runs the loop, writes the adapter. `lorry-train --task PATH` is this and nothing else.
#pragma once

#include <string>

#include "base/task_contract.h"

namespace lorry::trainers {

// Tells the worker of every error before it returns. Under mpirun an error of one rank ends all.
TaskExit RunTrainingTask(const std::string& task_path);

}  // namespace lorry::trainers
