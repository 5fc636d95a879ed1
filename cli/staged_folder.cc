#include "cli/staged_folder.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/files.h"
#include "base/process.h"
#include "base/text.h"

namespace lorry {
namespace {

namespace fs = std::filesystem;

// Hidden names: ".lorry-HOST,PID,START,NUMBER". Another machine's process may be alive, whatever its number says here.
std::string Prefix() {
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  return fmt::format(".lorry-{},", host);
}

// Whether the process that made the folder of this name has ended.
bool IsLeftBehind(const std::string& name) {
  const std::string prefix = Prefix();
  if (!name.starts_with(prefix)) return false;
  const std::vector<std::string> parts = Split(name.substr(prefix.size()), ',');
  if (parts.size() != 3 || parts[0].empty() || parts[0].size() > 9 ||
      parts[0].find_first_not_of("0123456789") != std::string::npos) {
    return false;
  }
  const std::optional<uint64_t> start = ProcessStartTicks(std::stoi(parts[0]));
  return !start || std::to_string(*start) != parts[1];
}

void RemoveLeftBehind(const std::string& folder) {
  const Result<std::vector<std::string>> names = ListDirectory(folder);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    if (IsLeftBehind(name)) (void)RemoveTree(folder + "/" + name);
  }
}

bool NamesTheKind(const std::string& name) { return name == "config.json" || name == "adapter_config.json"; }

}  // namespace

Result<StagedFolder> StagedFolder::In(const std::string& parent) {
  static std::atomic<int> number{0};
  LORRY_TRY(MakeDirectories(parent));
  RemoveLeftBehind(parent);
  const std::string path =
      fmt::format("{}/{}{},{},{}", parent, Prefix(), getpid(), ProcessStartTicks(getpid()).value_or(0), number++);
  LORRY_TRY(MakeDirectories(path));
  return StagedFolder(path);
}

Status StagedFolder::CheckFree(const std::string& target) {
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(target, ignored))) return OkStatus();
  if (!fs::is_directory(target, ignored))
    return MakeError(ErrorCode::kConflict, target + " is there, and no folder", "name another");
  RemoveLeftBehind(target);
  LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(target));
  if (names.empty()) return OkStatus();
  return MakeError(ErrorCode::kConflict, target + " is not empty", "name another folder, or empty it");
}

Result<StagedFolder> StagedFolder::For(const std::string& target) {
  LORRY_TRY(CheckFree(target));
  const std::string parent = fs::path(target).parent_path().string();
  return In(FileExists(target) ? target : parent);
}

StagedFolder::StagedFolder(StagedFolder&& other) noexcept : path_(std::exchange(other.path_, "")) {}

StagedFolder::~StagedFolder() {
  if (!path_.empty()) (void)RemoveTree(path_);
}

Status StagedFolder::MoveTo(const std::string& target) {
  LORRY_TRY(SyncDirectory(path_));
  if (fs::path(path_).parent_path() == fs::path(target)) return MoveInto(target);
  LORRY_TRY(RenameDurably(path_, target));
  path_.clear();
  return OkStatus();
}

Status StagedFolder::MoveInto(const std::string& target) {
  LORRY_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(path_));
  std::stable_partition(names.begin(), names.end(), [](const std::string& name) { return !NamesTheKind(name); });
  std::vector<std::string> moved;
  for (const std::string& name : names) {
    Status status = RenameDurably(path_ + "/" + name, target + "/" + name);
    if (status.ok()) {
      moved.push_back(target + "/" + name);
      continue;
    }
    for (const std::string& path : moved) (void)RemoveTree(path);
    return status;
  }
  return OkStatus();
}

}  // namespace lorry
