// Reading a line of output.jsonl, and the reference that it is held against, whatever form the rows have.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry {

// "custom_id" or "id" of a row; empty where it has neither.
std::string OutputRowId(const nlohmann::json& row);

// The text that a model wrote: "output" of our own rows, the first choice's message or text of an OpenAI line.
// kData where the line has none (it is an error line).
Result<std::string> OutputRowText(const nlohmann::json& row);

// A text inside a row by its path: keys and list positions joined by dots ("synopsis", "messages.1.content"; a negative
// position counts from the end). kData, with `path` as the key, where there is none or it is not a text.
Result<std::string> FieldText(const nlohmann::json& row, std::string_view path);

}  // namespace lorry
