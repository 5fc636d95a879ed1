// What people read of a run, made from the scheduler's JSON answers. Fields that an answer lacks are left out.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace lorry {

// Of `lorry show`: what it is, its attempts with the device time of each class, what went in and came out, the job.
std::string ShowText(const nlohmann::json& run);

// Of `lorry explain`: its reasons, one a line.
std::string ExplainText(const nlohmann::json& explanation);

// Any JSON document as indented lines "key: value".
std::string ReadableJson(const nlohmann::json& document);

}  // namespace lorry
