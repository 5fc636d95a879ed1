#include "base/result.h"

#include <fmt/format.h>

namespace lorry {

const char* ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return "usage";
    case ErrorCode::kSpec:
      return "spec_error";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kNotAllowed:
      return "not_allowed";
    case ErrorCode::kUnreachable:
      return "unreachable";
    case ErrorCode::kBudget:
      return "budget";
    case ErrorCode::kConflict:
      return "conflict";
    case ErrorCode::kData:
      return "data_error";
    case ErrorCode::kStorage:
      return "storage";
    case ErrorCode::kOutOfMemory:
      return "out_of_memory";
    case ErrorCode::kTimeout:
      return "timeout";
    case ErrorCode::kUnsupported:
      return "not_in_this_version";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "internal";
}

int ExitStatusOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
    case ErrorCode::kSpec:
    case ErrorCode::kUnsupported:
      return 2;
    case ErrorCode::kUnreachable:
      return 3;
    case ErrorCode::kNotAllowed:
      return 4;
    case ErrorCode::kNotFound:
      return 5;
    case ErrorCode::kBudget:
      return 6;
    default:
      return 1;
  }
}

std::string Error::Format() const {
  std::string text;
  if (!file.empty()) text += file + ":";
  if (line > 0) text += fmt::format("{}:", line);
  if (line > 0 && column > 0) text += fmt::format("{}:", column);
  if (!text.empty()) text += " ";
  if (!key.empty()) text += key + ": ";
  text += message;
  if (!hint.empty()) text += "; " + hint;
  return text;
}

Error Because(const std::string& what, Error error) {
  error.message = what + ": " + error.message;
  return error;
}

}  // namespace lorry
