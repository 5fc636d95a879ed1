// lorry-batch under a worker: the task contract (docs/formats/task-contract.md) for `kind: batch`.
//
// One thread reads the worker's lines: a lease's rows are prepared and fed to the engines, or, where an earlier attempt
// has left their bytes, offered as they are. One thread per lane computes. One thread makes rows durable and reports them.
// When all rows of the run are committed, rank 0 writes the outputs into ATTEMPT_DIR/output.
#pragma once

#include <string>

#include "base/task_contract.h"

namespace lorry {

// Runs the task in task.json at `path`. Errors have been told to the worker when it returns. May end the process itself
// where the worker is gone or a lane has failed.
TaskExit RunTask(const std::string& path);

}  // namespace lorry
