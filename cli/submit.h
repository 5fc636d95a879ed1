// lorry submit: checks a job, pushes its input files by digest, and hands it to the scheduler once.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/wire_client.h"
#include "cli/session.h"
#include "configs/job_file.h"

namespace lorry {

struct SubmitOptions {
  std::string file;
  std::vector<std::string> overrides;  // --set
  std::string id;                      // --id; empty: a random one
  bool wait = false;
};

// Prints the run's id. With `wait` it follows the run and answers 0 where it succeeded, else 1.
Result<int> RunSubmit(Session& session, const SubmitOptions& options);

// The files that the job names by path, hashed: train, validation, input, and directories of models and adapters.
Result<std::vector<wire::Input>> InputsOf(Session& session, const JobSpec& job);

// Sends what the scheduler's store does not hold yet.
Status PushInputs(Session& session, const JobSpec& job, const std::vector<wire::Input>& inputs);

// An error of the scheduler about a key, with the place of that key in the job file.
Error Placed(const ParsedJob& job, Error error);

}  // namespace lorry
