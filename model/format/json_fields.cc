#include "model/format/json_fields.h"

#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace lorry {

const nlohmann::json* JsonFields::Find(const std::string& key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

Error JsonFields::Fault(const std::string& key, std::string message, ErrorCode code) const {
  Error error = MakeError(code, std::move(message));
  error.file = file_;
  error.key = prefix_ + key;
  return error;
}

Result<std::optional<int64_t>> JsonFields::Int(const std::string& key, int64_t min, int64_t max) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return std::optional<int64_t>();
  const bool fits =
      value->is_number_integer() &&
      (!value->is_number_unsigned() || value->get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
  if (!fits) return Fault(key, "is not a whole number");
  const int64_t number = value->get<int64_t>();
  if (number < min || number > max) return Fault(key, fmt::format("{} is outside {}..{}", number, min, max));
  return std::optional<int64_t>(number);
}

Result<int64_t> JsonFields::RequiredInt(const std::string& key, int64_t min, int64_t max) const {
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> number, Int(key, min, max));
  if (!number) return Fault(key, "is missing");
  return *number;
}

Result<std::optional<double>> JsonFields::Number(const std::string& key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return std::optional<double>();
  if (!value->is_number() || !std::isfinite(value->get<double>())) return Fault(key, "is not a finite number");
  return std::optional<double>(value->get<double>());
}

Result<std::optional<bool>> JsonFields::Bool(const std::string& key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return std::optional<bool>();
  if (!value->is_boolean()) return Fault(key, "is not true or false");
  return std::optional<bool>(value->get<bool>());
}

Result<std::optional<std::string>> JsonFields::Text(const std::string& key) const {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return std::optional<std::string>();
  if (!value->is_string()) return Fault(key, "is not a text");
  return std::optional<std::string>(value->get<std::string>());
}

Result<std::vector<double>> JsonFields::Numbers(const std::string& key) const {
  std::vector<double> numbers;
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return numbers;
  if (!value->is_array()) return Fault(key, "is not a list of numbers");
  for (const nlohmann::json& item : *value) {
    if (!item.is_number() || !std::isfinite(item.get<double>())) return Fault(key, "is not a list of finite numbers");
    numbers.push_back(item.get<double>());
  }
  return numbers;
}

Result<std::vector<std::string>> JsonFields::Texts(const std::string& key) const {
  std::vector<std::string> texts;
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return texts;
  if (!value->is_array()) return Fault(key, "is not a list of texts");
  for (const nlohmann::json& item : *value) {
    if (!item.is_string()) return Fault(key, "is not a list of texts");
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

}  // namespace lorry
