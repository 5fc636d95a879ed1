#include "batch/evaluation/output_row.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace lorry {
namespace {

using nlohmann::json;

Error NoText(std::string_view path, std::string_view why) {
  Error error = MakeError(ErrorCode::kData, std::string(why));
  error.key = std::string(path);
  return error;
}

const json* Child(const json& value, const std::string& step) {
  if (value.is_object()) {
    const auto found = value.find(step);
    return found == value.end() ? nullptr : &*found;
  }
  int64_t position = 0;
  const auto [end, failure] = std::from_chars(step.data(), step.data() + step.size(), position);
  if (!value.is_array() || failure != std::errc() || end != step.data() + step.size()) return nullptr;
  const auto size = static_cast<int64_t>(value.size());
  if (position < 0) position += size;
  return position >= 0 && position < size ? &value[static_cast<size_t>(position)] : nullptr;
}

}  // namespace

std::string OutputRowId(const json& row) {
  for (const char* key : {"custom_id", "id"}) {
    if (!row.is_object() || !row.contains(key)) continue;
    if (row[key].is_string()) return row[key].get<std::string>();
    if (row[key].is_number_integer()) return row[key].dump();  // as a batch job names such a row
  }
  return "";
}

Result<std::string> OutputRowText(const json& row) {
  for (const char* path : {"output", "response.body.choices.0.message.content", "response.body.choices.0.text"}) {
    if (auto text = FieldText(row, path); text.ok()) return text;
  }
  return MakeError(ErrorCode::kData, "not an output row: it has neither output nor response.body.choices");
}

Result<std::string> FieldText(const json& row, std::string_view path) {
  const json* value = row.is_object() && row.contains(std::string(path)) ? &row[std::string(path)] : nullptr;
  if (value == nullptr) {
    value = &row;
    for (const std::string& step : Split(path, '.')) {
      value = Child(*value, step);
      if (value == nullptr) return NoText(path, "the row has no such field");
    }
  }
  if (!value->is_string()) return NoText(path, "is not a text");
  return value->get<std::string>();
}

}  // namespace lorry
