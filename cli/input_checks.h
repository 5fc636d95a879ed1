// What can be known of a job's inputs before it is submitted: rows are parsed, headers of models and adapters are read, tokens
// are counted where the model's tokenizer is at hand. Every finding is an Error with the job's key, or with the row's own line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/session.h"
#include "configs/job_file.h"
#include "model/format/model_config.h"

namespace lorry {

// What the inputs are, for plan.
struct InputFacts {
  std::optional<ModelConfig> model;  // where its files are at hand
  std::string model_version;         // "org/name@v3" of a registry's model; empty for a directory
  uint64_t model_bytes = 0;
  int64_t adapter_parameters = 0;  // of the adapter that the job begins with or uses
  int64_t rows = 0;                // of the training file or batch input
  int64_t validation_rows = 0;
  int64_t faulty_rows = 0;    // batch rows that will end in errors.jsonl
  int64_t tokens = 0;         // of the counted rows, of a batch their prompts', cut at max_length; 0: not known
  int64_t answer_tokens = 0;  // that the counted rows of a batch may write at most
  int64_t loss_tokens = 0;
  int64_t counted_rows = 0;        // rows whose tokens were counted; fewer than the sound ones in a large file
  std::vector<std::string> notes;  // what could not be checked here, and why
};

struct CheckedInputs {
  InputFacts facts;
  std::vector<Error> errors;  // kSpec: status 2
};

// REQUIRES: job.ok(). `session` is asked for registry names; where no scheduler answers, the checks that need the model are
// left out and noted.
CheckedInputs CheckInputs(const ParsedJob& job, Session& session);

}  // namespace lorry
