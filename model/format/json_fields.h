// Typed fields of a JSON object that others wrote (config.json and its like), with errors that name file and key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace lorry {

// Borrows the object and the file's name. A key that is absent or null has no value.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, const std::string& file, std::string prefix = "")
      : object_(object), file_(file), prefix_(std::move(prefix)) {}

  const nlohmann::json* Find(const std::string& key) const;  // null where absent or null
  bool Has(const std::string& key) const { return Find(key) != nullptr; }
  bool HasNull(const std::string& key) const { return object_.contains(key) && !Has(key); }

  Result<std::optional<int64_t>> Int(const std::string& key, int64_t min, int64_t max) const;
  Result<std::optional<double>> Number(const std::string& key) const;  // finite
  Result<std::optional<bool>> Bool(const std::string& key) const;
  Result<std::optional<std::string>> Text(const std::string& key) const;
  Result<std::vector<double>> Numbers(const std::string& key) const;     // empty where absent
  Result<std::vector<std::string>> Texts(const std::string& key) const;  // empty where absent

  Result<int64_t> RequiredInt(const std::string& key, int64_t min, int64_t max) const;

  Error Fault(const std::string& key, std::string message, ErrorCode code = ErrorCode::kData) const;

 private:
  const nlohmann::json& object_;
  const std::string& file_;
  std::string prefix_;  // "rope_scaling." inside that section
};

}  // namespace lorry
