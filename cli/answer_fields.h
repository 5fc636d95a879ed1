// Fields of the scheduler's JSON answers, for people to read: control characters escaped, a stand-in where a field is missing.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/text.h"

namespace lorry {

constexpr size_t kLongestAnswerText = 2000;

inline std::string TextAt(const nlohmann::json& object, const char* key, const char* otherwise = "") {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? EscapeControl(found->get<std::string>(), kLongestAnswerText) : otherwise;
}

inline nlohmann::json ListAt(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : nlohmann::json::array();
}

inline int64_t NumberAt(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

}  // namespace lorry
