#include "configs/name_forms.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "base/text.h"

namespace lorry {
namespace {

constexpr size_t kMaxNameBytes = 96;  // as Hugging Face has it
constexpr size_t kMaxPathBytes = 4096;

bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool IsNamePart(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNameBytes && std::all_of(text.begin(), text.end(), IsNameByte) && text[0] != '.' &&
         text[0] != '-';
}

bool IsEdgeByte(char c) { return c == '.' || c == '-'; }

// "v12": what a version is called, so nothing else may be.
bool IsVersionWord(std::string_view text) {
  return text.size() > 1 && text[0] == 'v' &&
         std::all_of(text.begin() + 1, text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

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

Result<std::string> Alias(std::string_view text) {
  const std::vector<std::string> parts = Split(text, '/');
  const bool good =
      text.size() <= 128 && std::all_of(parts.begin(), parts.end(), [](const std::string& part) { return IsNamePart(part); });
  if (!good) return Wrong(text, "is not an alias: letters, digits, . _ - and /");
  const bool commit = text.size() == 40 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (IsVersionWord(text) || text == "main" || text == "HEAD" || commit) {
    return Wrong(text, "is reserved; an alias may not look like a version or a commit");
  }
  return std::string(text);
}

// What may stand behind @: vN or an alias.
bool IsRevision(std::string_view text) { return IsVersionWord(text) || Alias(text).ok(); }

Result<std::string> Reference(std::string_view text, const std::string& folder, bool look) {
  const size_t at = text.find('@');
  const bool looks_like_path =
      text.starts_with('/') || text.starts_with("./") || text.starts_with("../") || text == "." || text == "..";
  std::error_code ignored;
  if (looks_like_path ||
      (look && at == std::string_view::npos && !text.empty() && std::filesystem::is_directory(Absolute(text, folder), ignored))) {
    return Path(text, folder);
  }
  Result<std::string> name = NormalRepository(text.substr(0, at));
  if (!name.ok()) {
    name = Wrong(text, "is neither a registry name (ORG/NAME@VERSION) nor a directory that exists");
    return name;
  }
  if (at == std::string_view::npos) return name;
  if (!IsRevision(text.substr(at + 1))) return Wrong(text, "ends in neither a version (@v3) nor an alias (@prod)");
  return *name + std::string(text.substr(at));
}

}  // namespace

Result<std::string> NormalRepository(std::string_view text) {
  static constexpr std::array<std::string_view, 9> kReserved = {"api",      "v1",      "v2",      "runs",   "cost",
                                                                "registry", "workers", "metrics", "healthz"};
  const size_t slash = text.find('/');
  const std::string_view org = slash == std::string_view::npos ? std::string_view("library") : text.substr(0, slash);
  const std::string_view name = slash == std::string_view::npos ? text : text.substr(slash + 1);
  if (!IsNamePart(org) || !IsNamePart(name)) return Wrong(text, "is not a name: ORG/NAME of letters, digits, . _ -");
  if (text.find("--") != std::string_view::npos || text.find("..") != std::string_view::npos || org.ends_with(".git") ||
      name.ends_with(".git") || IsEdgeByte(org.back()) || IsEdgeByte(name.back())) {
    return Wrong(text, "is not a name: no --, no .., no . or - or .git at the end");
  }
  const size_t dot = name.rfind('.');
  if (dot != std::string_view::npos && IsVersionWord(name.substr(dot + 1))) {
    return Wrong(text, "is reserved: names that end in .vN are versions");
  }
  if (std::find(kReserved.begin(), kReserved.end(), org) != kReserved.end() || org == "readyz") {
    return Wrong(text, "is reserved: this organisation is one of Lorry's own paths");
  }
  return fmt::format("{}/{}", org, name);
}

Result<std::string> ApplyForm(TextForm form, std::string_view text, const std::string& folder, bool look) {
  switch (form) {
    case TextForm::kAny:
      if (text.empty()) return MakeError(ErrorCode::kSpec, "the text is empty");
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
      return NormalRepository(text);
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
