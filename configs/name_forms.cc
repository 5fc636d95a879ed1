#include "configs/name_forms.h"

#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "base/name_rules.h"
#include "base/text.h"

namespace lorry {
namespace {

constexpr size_t kMaxPathBytes = 4096;

Error Wrong(std::string_view text, std::string_view rule) {
  return MakeError(ErrorCode::kSpec, fmt::format("\"{}\" {}", EscapeControl(text, 80), rule));
}

std::string Absolute(std::string_view text, const std::string& folder) {
  std::error_code ignored;
  const std::filesystem::path start =
      folder.empty() ? std::filesystem::current_path(ignored) : std::filesystem::absolute(folder, ignored);
  std::string path = (start / std::filesystem::path(text)).lexically_normal().string();
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

Result<std::string> Path(std::string_view text, const std::string& folder) {
  if (text.empty()) return MakeError(ErrorCode::kSpec, "the path is empty");
  if (text.size() > kMaxPathBytes || text.find('\0') != std::string_view::npos) return Wrong(text, "is not a path");
  return Absolute(text, folder);
}

// What the rules of names say, as an error of the job.
Error InJob(Error error) {
  error.code = ErrorCode::kSpec;
  return error;
}

Result<std::string> Repository(std::string_view text) {
  Result<std::string> name = FullName(text);
  return name.ok() ? name : InJob(name.error());
}

Result<std::string> Alias(std::string_view text) {
  const Status checked = CheckAlias(text);
  return checked.ok() ? Result<std::string>(std::string(text)) : InJob(checked.error());
}

// What may stand behind @: vN or an alias.
bool IsRevision(std::string_view text) { return ParseVersion(text).has_value() || CheckAlias(text).ok(); }

Result<std::string> Reference(std::string_view text, const std::string& folder, bool look) {
  const size_t at = text.find('@');
  const bool looks_like_path =
      text.starts_with('/') || text.starts_with("./") || text.starts_with("../") || text == "." || text == "..";
  std::error_code ignored;
  if (looks_like_path ||
      (look && at == std::string_view::npos && !text.empty() && std::filesystem::is_directory(Absolute(text, folder), ignored))) {
    return Path(text, folder);
  }
  Result<std::string> name = FullName(text.substr(0, at));
  if (!name.ok()) {
    name = Wrong(text, "is neither a registry name (ORG/NAME@VERSION) nor a directory that exists");
    return name;
  }
  if (at == std::string_view::npos) return name;
  if (!IsRevision(text.substr(at + 1))) return Wrong(text, "ends in neither a version (@v3) nor an alias (@prod)");
  return *name + std::string(text.substr(at));
}

}  // namespace

Result<std::string> ApplyForm(TextForm form, std::string_view text, const std::string& folder, bool look) {
  switch (form) {
    case TextForm::kAny:
      if (text.empty()) return MakeError(ErrorCode::kSpec, "the text is empty");
      return std::string(text);
    case TextForm::kWord:
      return std::string(text);
    case TextForm::kLine:
      if (text.empty() || text.size() > 256 || text.find('\n') != std::string_view::npos) {
        return MakeError(ErrorCode::kSpec, "must be one line of 1 to 256 bytes");
      }
      return std::string(text);
    case TextForm::kName:
      if (!IsNamePart(text)) {
        return Wrong(text, "is not a name: letters, digits, . _ -, at most 96, the first a letter, digit or _");
      }
      return std::string(text);
    case TextForm::kPath:
      return Path(text, folder);
    case TextForm::kRepository:
      return Repository(text);
    case TextForm::kReference:
      return Reference(text, folder, look);
    case TextForm::kAlias:
      return Alias(text);
    case TextForm::kProgram:
      if (text.empty()) return MakeError(ErrorCode::kSpec, "the program is empty");
      if (text.find('/') == std::string_view::npos) return std::string(text);
      return Path(text, folder);
  }
  return std::string(text);
}

}  // namespace lorry
