// What training and batch rows have in common: lines, keys, and messages.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "model/format/rows.h"

namespace lorry {

// A kData error at a line of a data file.
Error RowError(const std::string& file, int64_t line, std::string key, std::string message, std::string hint = "");

// One row with its keys in their order. kData: not an object, a repeated key, nested too deep.
Result<nlohmann::ordered_json> ParseRowJson(std::string_view json, const std::string& file, int64_t line);

// "messages". Checks each turn's form; the order of roles is checked by CheckRoles.
Result<std::vector<ChatMessage>> ReadMessages(const nlohmann::ordered_json& messages, const std::string& file, int64_t line);
// A system turn only first; then user and assistant by turns; tool turns behind an assistant's.
Status CheckRoles(const std::vector<ChatMessage>& messages, const std::string& file, int64_t line);

}  // namespace lorry
