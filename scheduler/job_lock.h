// runs/RUN/job.lock.yaml (docs/formats/state.md): a run's job as admission resolved it, and by digest what it reads. Pure.
#pragma once

#include <string>

#include "base/hash.h"
#include "base/wire_types.h"
#include "scheduler/state.h"

namespace lorry {

// What an input is, in one digest: its one file's, or that of the list of its files.
Digest DigestOf(const wire::Input& input);

std::string JobLockText(const RunSpec& spec);

}  // namespace lorry
