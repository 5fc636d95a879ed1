// From a tree to a JobSpec: the kind first, then its keys, then what must hold between them.
#pragma once

#include <optional>

#include "configs/field_reader.h"
#include "configs/job_spec.h"

namespace lorry {

// Every finding is added to `context.errors`; the job is there exactly when none was.
std::optional<JobSpec> ReadJob(const YamlNode& root, ReadContext& context);

}  // namespace lorry
