// JSON as YAML for people to read: block style, keys in JSON's order, text in quotes only where it would not be read back as the
// same text. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace lorry {

// The strict reader (yaml_document.h) reads the same value out of it, numbers with the digits that JSON gives them. REQUIRES: an
// object, and all its text is UTF-8.
std::string WriteYaml(const nlohmann::json& document);

}  // namespace lorry
