#include "cli/merge_export.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/name_rules.h"
#include "cli/engine_process.h"
#include "cli/model_source.h"
#include "cli/registry_commands.h"
#include "cli/staged_folder.h"
#include "model/format/safetensors.h"

namespace lorry {
namespace {

namespace fs = std::filesystem;

// A model, or an adapter with its base.
struct Found {
  LocalModel model;
  std::optional<LocalModel> adapter;
};

// Whether the folder holds an adapter; kNotFound where it holds neither kind.
Result<bool> IsAdapter(const LocalModel& found) {
  if (FileExists(found.path + "/adapter_config.json")) return true;
  if (FileExists(found.path + "/config.json")) return false;
  return MakeError(ErrorCode::kNotFound, found.reference + " has neither config.json nor adapter_config.json",
                   "a model is a folder as Hugging Face lays it out or a .gguf, an adapter a folder as PEFT writes it");
}

// The base that an adapter's manifest names; of a directory the one that --base names.
Result<LocalModel> FindBase(Session& session, const LocalModel& adapter, const std::string& given) {
  if (adapter.digest.empty()) {
    if (!given.empty()) return FindModel(session, given);
    return MakeError(ErrorCode::kUsage, adapter.reference + " is a directory: its base is not known", "name it: --base MODEL");
  }
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json version, session.Ask("registry.resolve", {{"reference", adapter.reference}}));
  const std::string base = version.at("base").get<std::string>();
  LORRY_ASSIGN_OR_RETURN(LocalModel found, FindModel(session, base));
  if (given.empty()) return found;
  LORRY_ASSIGN_OR_RETURN(const LocalModel other, FindModel(session, given));
  if (other.reference == found.reference) return found;
  return MakeError(ErrorCode::kUsage, fmt::format("{} was trained on {}, not on {}", adapter.reference, base, given),
                   "leave --base out");
}

Result<Found> Find(Session& session, const std::string& source, const std::string& base) {
  LORRY_ASSIGN_OR_RETURN(LocalModel first, FindModel(session, source));
  LORRY_ASSIGN_OR_RETURN(const bool adapter, IsAdapter(first));
  if (!adapter) {
    if (!base.empty()) return MakeError(ErrorCode::kUsage, source + " is a model, and has no base", "leave --base out");
    return Found{std::move(first), std::nullopt};
  }
  LORRY_ASSIGN_OR_RETURN(LocalModel model, FindBase(session, first, base));
  LORRY_ASSIGN_OR_RETURN(const bool is_adapter, IsAdapter(model));
  if (is_adapter) return MakeError(ErrorCode::kUsage, model.reference + " is an adapter, not a model", "give its base as --base");
  return Found{std::move(model), std::move(first)};
}

// Paths that only this command knows become what its user does.
Error Renamed(Error error, const std::string& path, const std::string& name) {
  for (std::string* text : {&error.file, &error.message, &error.hint}) {
    for (size_t at = text->find(path); at != std::string::npos; at = text->find(path, at + name.size()))
      text->replace(at, path.size(), name);
  }
  return error;
}

// Versions lie in folders of links for the time of a command: an error knows them by name.
Status AskForModel(const Found& found, std::vector<std::string> words) {
  words.insert(words.begin(), {"export", "--json", "--model", found.model.path});
  if (found.adapter) words.insert(words.end(), {"--adapter", found.adapter->path});
  int exit_status = 0;
  const Result<nlohmann::json> answer = AskEngine(words, exit_status);
  if (!answer.ok()) {
    const Error error = Renamed(answer.error(), found.model.path, found.model.reference);
    return found.adapter ? Renamed(error, found.adapter->path, found.adapter->reference) : error;
  }
  if (exit_status != 0) return MakeError(ErrorCode::kInternal, fmt::format("lorry-batch ended with status {}", exit_status));
  return OkStatus();
}

Status CheckDtype(const std::string& dtype) {
  if (dtype.empty() || dtype == "float32" || dtype == "bfloat16" || dtype == "float16") return OkStatus();
  return MakeError(ErrorCode::kUsage, fmt::format("--dtype: {} is unknown", dtype), "float32, bfloat16 or float16");
}

// PEFT's form needs no base.
Result<Found> FindForExport(Session& session, const ExportOptions& options) {
  if (options.format != "peft") return Find(session, options.source, options.base);
  LORRY_ASSIGN_OR_RETURN(LocalModel adapter, FindModel(session, options.source));
  LORRY_ASSIGN_OR_RETURN(const bool is_adapter, IsAdapter(adapter));
  if (!is_adapter) {
    return MakeError(ErrorCode::kUsage, options.source + " is a model; peft is a form of adapters",
                     "--format safetensors or gguf");
  }
  return Found{adapter, std::move(adapter)};
}

// Minutes of work for a name that would be refused at the end are spared.
Status CheckName(Session& session, const std::string& name) {
  const Result<nlohmann::json> there = session.Ask("registry.show", {{"name", name}});
  if (!there.ok()) return there.error().code == ErrorCode::kNotFound ? OkStatus() : Status(there.error());
  if (there->value("kind", "") == "model") return OkStatus();
  return MakeError(ErrorCode::kConflict, fmt::format("registry: {} is a name of an adapter", name), "choose another --to");
}

Status CopyFile(const std::string& from, const std::string& to) {
  LORRY_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(from));
  LORRY_TRY(MakeDirectories(fs::path(to).parent_path().string()));
  LORRY_ASSIGN_OR_RETURN(AtomicFile copy, AtomicFile::Create(to));
  LORRY_TRY(copy.Write(file.bytes()));
  return copy.Commit();
}

Status CopyModel(const LocalModel& model, const std::string& folder) {
  LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> files, VisibleFiles(model.path));
  for (const std::string& file : files) LORRY_TRY(CopyFile(model.path + "/" + file, folder + "/" + file));
  return OkStatus();
}

// What PEFT reads, and the card that people do. A file of no tensors is what a training that saved nothing leaves.
Status CopyAdapter(const LocalModel& adapter, const std::string& folder) {
  const std::string weights = adapter.path + "/adapter_model.safetensors";
  LORRY_ASSIGN_OR_RETURN(const SafetensorsFile tensors, SafetensorsFile::Open(weights));
  if (tensors.tensors().empty()) return MakeError(ErrorCode::kData, weights + " holds no tensor");
  LORRY_ASSIGN_OR_RETURN(const std::string config, ReadFile(adapter.path + "/adapter_config.json", 16 << 20));
  LORRY_TRY(ParseJson(config));
  for (const char* name : {"README.md", "adapter_model.safetensors", "adapter_config.json"}) {
    std::error_code ignored;
    if (!fs::is_regular_file(adapter.path + "/" + name, ignored)) continue;
    LORRY_TRY(CopyFile(adapter.path + "/" + name, folder + "/" + name));
  }
  return OkStatus();
}

// The name that a GGUF gets: of "org/name@v3" name, of a path its last part.
std::string ShortName(const LocalModel& model) {
  std::string name = model.reference.substr(0, model.digest.empty() ? std::string::npos : model.reference.find('@'));
  name = fs::path(name).filename().string();
  if (name.ends_with(".gguf")) name.resize(name.size() - 5);
  for (char& c : name) {
    if (!IsNamePart(std::string("a") + c)) c = '-';
  }
  return name.empty() ? "model" : name;
}

Status CheckOptions(const ExportOptions& options) {
  LORRY_TRY(CheckDtype(options.dtype));
  if (!options.dtype.empty() && options.format != "safetensors") {
    return MakeError(ErrorCode::kUsage, "--dtype is for --format safetensors", "a GGUF has --type");
  }
  if (options.type != "f16" && options.format != "gguf") return MakeError(ErrorCode::kUsage, "--type is for --format gguf");
  return OkStatus();
}

Status WriteFormat(const Found& found, const ExportOptions& options, const std::string& folder) {
  const LocalModel& named = found.adapter ? *found.adapter : found.model;
  if (options.format == "peft") return CopyAdapter(named, folder);
  if (options.format == "gguf") {
    std::string type = options.type;
    std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    const std::string name = ShortName(named);
    return AskForModel(found, {"--format", "gguf", "--type", options.type, "--name", name, "--out",
                               fmt::format("{}/{}-{}.gguf", folder, name, type)});
  }
  if (options.format == "nf4") return AskForModel(found, {"--format", "nf4", "--out", folder});
  if (!found.adapter && options.dtype.empty()) return CopyModel(found.model, folder);
  std::vector<std::string> words = {"--format", "safetensors", "--out", folder};
  if (!options.dtype.empty()) words.insert(words.end(), {"--dtype", options.dtype});
  return AskForModel(found, words);
}

// [{path, bytes, sha256}] by path.
Result<nlohmann::json> DescribeFiles(const std::string& folder) {
  nlohmann::json files = nlohmann::json::array();
  LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> paths, VisibleFiles(folder));
  for (const std::string& path : paths) {
    LORRY_ASSIGN_OR_RETURN(const Bytes size, FileSize(folder + "/" + path));
    LORRY_ASSIGN_OR_RETURN(const Digest digest, Sha256OfFile(folder + "/" + path));
    files.push_back({{"path", path}, {"bytes", size.count()}, {"sha256", digest.hex()}});
  }
  return files;
}

}  // namespace

Result<int> RunMerge(Session& session, const MergeOptions& options) {
  LORRY_TRY(CheckDtype(options.dtype));
  LORRY_ASSIGN_OR_RETURN(const std::string name, FullName(options.to));
  LORRY_TRY(CheckName(session, name));
  LORRY_ASSIGN_OR_RETURN(const Found found, Find(session, options.adapter, options.base));
  if (!found.adapter) return MakeError(ErrorCode::kUsage, options.adapter + " is a model, not an adapter", "give the adapter");
  LORRY_ASSIGN_OR_RETURN(const StagedFolder folder, StagedFolder::In(session.home() + "/cache"));
  session.terminal().Progress(fmt::format("folding {} into {}", found.adapter->reference, found.model.reference), 0, 0);
  std::vector<std::string> words = {"--format", "safetensors", "--out", folder.path()};
  if (!options.dtype.empty()) words.insert(words.end(), {"--dtype", options.dtype});
  LORRY_TRY(AskForModel(found, words));
  nlohmann::json question = {{"kind", "model"}, {"name", name},     {"private", nullptr},
                             {"base", nullptr}, {"alias", nullptr}, {"parents", nlohmann::json::array()}};
  if (options.is_private) question["private"] = true;
  for (const LocalModel* parent : {&found.model, &*found.adapter}) {
    if (!parent->digest.empty()) question["parents"].push_back(parent->reference);
  }
  question["source"] = fmt::format("{} folded into {}", found.adapter->reference, found.model.reference);
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json version, ImportFolder(session, folder.path(), std::move(question)));
  session.terminal().Print(fmt::format("{} {}\n", version.value("reference", ""), version.value("digest", "")));
  session.terminal().PrintJson(version);
  return 0;
}

Result<int> RunExport(Session& session, const ExportOptions& options) {
  LORRY_TRY(CheckOptions(options));
  std::error_code ignored;
  fs::path target = fs::absolute(options.to, ignored).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  LORRY_TRY(StagedFolder::CheckFree(target.string()));
  LORRY_ASSIGN_OR_RETURN(const Found found, FindForExport(session, options));
  LORRY_ASSIGN_OR_RETURN(StagedFolder folder, StagedFolder::For(target.string()));
  session.terminal().Progress("writing " + options.source, 0, 0);
  const Status written = WriteFormat(found, options, folder.path());
  if (!written.ok()) return Renamed(written.error(), folder.path(), target.string());
  LORRY_ASSIGN_OR_RETURN(nlohmann::json files, DescribeFiles(folder.path()));
  LORRY_TRY(folder.MoveTo(target.string()));
  session.terminal().EndProgress();
  for (const auto& file : files) {
    session.terminal().Print(
        fmt::format("{}/{}  {} bytes\n", target.string(), file.at("path").get<std::string>(), file.at("bytes").get<int64_t>()));
  }
  session.terminal().PrintJson({{"to", target.string()}, {"files", std::move(files)}});
  return 0;
}

}  // namespace lorry
