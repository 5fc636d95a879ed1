#include "configs/job_file.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/files.h"
#include "base/text.h"
#include "configs/field_reader.h"
#include "configs/job_reader.h"

namespace lorry {
namespace {

constexpr size_t kMaxErrorBytes = 20'000;
constexpr size_t kRoomForCount = 100;

// The tree with every --set applied, in order; a later one wins.
YamlNodePtr WithOverrides(YamlNodePtr root, const std::vector<std::string>& overrides, std::vector<Error>& errors) {
  for (const std::string& override : overrides) {
    const size_t equals = override.find('=');
    if (equals == std::string::npos || equals == 0) {
      errors.push_back(MakeError(ErrorCode::kUsage, fmt::format("--set {}: no key or no value", EscapeControl(override)),
                                 "write --set training.max_steps=10"));
      continue;
    }
    const std::string key = override.substr(0, equals);
    Result<YamlNodePtr> value = ReadYamlValue(override.substr(equals + 1), "--set " + EscapeControl(key));
    if (value.ok()) value = WithValueAt(root, key, *value);
    if (value.ok()) {
      root = *value;
    } else {
      errors.push_back(value.error());
    }
  }
  return root;
}

}  // namespace

Error ParsedJob::ErrorAt(const std::string& key, ErrorCode code, std::string message, std::string hint) const {
  Error error = MakeError(code, std::move(message), std::move(hint));
  error.file = file;
  error.key = key;
  if (const auto origin = origins.find(key); origin != origins.end()) {
    error.file = origin->second;
  } else if (const auto at = positions.find(key); at != positions.end()) {
    error.line = at->second.line;
    error.column = at->second.column;
  }
  return error;
}

ParsedJob ParseJob(std::string_view text, const JobFileOptions& options) {
  ParsedJob parsed;
  parsed.file = options.file;
  YamlDocument document = ReadYaml(text, options.file);
  parsed.errors = std::move(document.problems);
  if (document.root == nullptr) return parsed;
  const YamlNodePtr root = WithOverrides(document.root, options.overrides, parsed.errors);
  ReadContext context;
  context.file = options.file;
  context.folder = options.folder;
  std::optional<JobSpec> spec = ReadJob(*root, context);
  parsed.errors.insert(parsed.errors.end(), context.errors.begin(), context.errors.end());
  std::stable_sort(parsed.errors.begin(), parsed.errors.end(),
                   [](const Error& a, const Error& b) { return std::pair(a.line, a.column) < std::pair(b.line, b.column); });
  parsed.positions = std::move(context.positions);
  parsed.origins = std::move(context.origins);
  if (parsed.errors.empty()) parsed.spec = std::move(spec);
  return parsed;
}

ParsedJob LoadJob(const std::string& path, const std::vector<std::string>& overrides) {
  Result<std::string> text = ReadFile(path, kMaxYamlBytes);
  if (!text.ok()) {
    ParsedJob parsed;
    parsed.file = path;
    Error error = text.error();
    error.code = ErrorCode::kSpec;
    parsed.errors.push_back(std::move(error));
    return parsed;
  }
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  return ParseJob(*text, {path, folder.empty() ? "." : folder.string(), overrides});
}

std::string FormatErrors(const std::vector<Error>& errors) {
  std::string text;
  for (size_t i = 0; i < errors.size(); ++i) {
    const std::string line = errors[i].Format();
    if (text.size() + line.size() + 1 > kMaxErrorBytes - kRoomForCount) {
      return text + fmt::format("... and {} more\n", errors.size() - i);
    }
    text += line + "\n";
  }
  return text;
}

Error AsOneError(const std::vector<Error>& errors) {
  if (errors.size() == 1) return errors.front();
  return MakeError(ErrorCode::kSpec, std::string(Trim(FormatErrors(errors))));
}

}  // namespace lorry
