#include "cli/engine_process.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/process.h"
#include "cli/terminal.h"

namespace lorry {

Result<nlohmann::json> AskEngine(const std::vector<std::string>& words, int& exit_status) {
  LORRY_ASSIGN_OR_RETURN(const std::unique_ptr<TempDirectory> folder, TempDirectory::Make());
  SpawnOptions spawn;
  spawn.argv = {ProgramDirectory() + "/lorry-batch"};
  spawn.argv.insert(spawn.argv.end(), words.begin(), words.end());
  spawn.stdout_path = folder->path() + "/answer.json";
  spawn.own_group = false;
  Result<ChildProcess> child = ChildProcess::Start(spawn);
  if (!child.ok() && child.error().code == ErrorCode::kNotFound) {
    return MakeError(ErrorCode::kUnsupported, "this installation was built without lorry-batch", "build the preset release");
  }
  if (!child.ok()) return child.error();
  const std::optional<ProcessEnd> end = child->Wait();
  if (end->signal != 0) return MakeError(ErrorCode::kInternal, fmt::format("lorry-batch ended by signal {}", end->signal));
  exit_status = end->exit_status;
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(spawn.stdout_path));
  Result<nlohmann::json> document = ParseJson(text, {.max_bytes = kDefaultReadLimit, .max_depth = 16});
  if (exit_status == 0) return document;
  if (document.ok() && document->is_object() && document->contains("error")) return ErrorFromJson(document->at("error"));
  return nlohmann::json();
}

}  // namespace lorry
