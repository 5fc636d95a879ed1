// What people read of the registry, made from the scheduler's JSON answers. Fields that an answer lacks are left out.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace lorry {

// Of `lorry model show`: the name, its aliases, and each version with what it came from and cost.
std::string NameText(const nlohmann::json& name);

// Of `lorry model verify`: each file, and the verdict.
std::string VerdictText(const nlohmann::json& verdict);

}  // namespace lorry
