// What people read of a run, made from the scheduler's JSON answers. Fields that an answer lacks are left out.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/wire_client.h"

namespace lorry {

// Of `lorry show`: what it is, its attempts with the device time of each class, what went in and came out, the job.
std::string ShowText(const nlohmann::json& run);

// Of `lorry explain`: its reasons, one a line.
std::string ExplainText(const nlohmann::json& explanation);

// Where a followed run stands: "r-1 failed (walltime): what is known of it". A reason that the state says already is left out.
std::string StandingText(const wire::RunSummary& run);

// What moves while a run runs: "loss 2.3100  812 tokens/s  $0.002100", of which what is not known is left out.
std::string LiveText(const wire::RunSummary& run);

// What `lorry down` waits for: "1 run has not stopped yet".
std::string StoppingText(int64_t running);

// Any JSON document as indented lines "key: value".
std::string ReadableJson(const nlohmann::json& document);

}  // namespace lorry
