// What a job must keep beyond single values: two ways of saying one thing, keys that need each other, names of its own.
#pragma once

#include "configs/field_reader.h"
#include "configs/job_spec.h"

namespace lorry {

// Fills the defaults that depend on what was given (tokens_per_step, resources), and adds every finding to `context`.
void CheckAndResolve(JobSpec& job, ReadContext& context);

}  // namespace lorry
