#include "cli/model_source.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "configs/name_forms.h"
#include "model/format/import_gguf.h"

namespace lorry {
namespace {

namespace fs = std::filesystem;

// A relative path without "..": what a registry may say of where a file lies.
Result<std::string> SafePath(const std::string& folder, const std::string& relative) {
  const fs::path path(relative);
  bool safe = !relative.empty() && path.is_relative();
  for (const fs::path& part : path) safe = safe && part != "..";
  if (!safe) return MakeError(ErrorCode::kData, fmt::format("the registry names a file \"{}\" outside its folder", relative));
  return folder + "/" + relative;
}

// The registry's files as links into this home's blobs; nullopt where not all of them lie here.
Result<std::optional<LocalModel>> LinkedFromHome(Session& session, const nlohmann::json& version) {
  for (const auto& file : version.at("files")) {
    if (!FileExists(BlobPath(session.home(), file.at("digest").get<std::string>()))) return std::optional<LocalModel>();
  }
  LORRY_ASSIGN_OR_RETURN(std::shared_ptr<TempDirectory> links, TempDirectory::Make());
  for (const auto& file : version.at("files")) {
    LORRY_ASSIGN_OR_RETURN(const std::string target, SafePath(links->path(), file.at("path").get<std::string>()));
    LORRY_TRY(MakeDirectories(fs::path(target).parent_path().string()));
    if (symlink(BlobPath(session.home(), file.at("digest").get<std::string>()).c_str(), target.c_str()) != 0) {
      return ErrnoError("cannot link", target);
    }
  }
  LocalModel model;
  model.path = links->path();
  model.links = std::move(links);
  return std::optional<LocalModel>(std::move(model));
}

// The header of a safetensors file, and a hole for its tensors: whoever reads headers finds a file of the right length.
Status FetchHeader(SchedulerClient& scheduler, const Digest& digest, const std::string& target) {
  constexpr uint64_t kLongestHeader = 100'000'000;  // the format's own limit
  std::string bytes;
  uint64_t size = 0, wanted = sizeof(uint64_t);
  do {
    LORRY_ASSIGN_OR_RETURN(const wire::BlobPiece piece, scheduler.GetPiece(digest, bytes.size()));
    if (piece.bytes.empty()) break;
    bytes += piece.bytes;
    size = piece.size;
    uint64_t length = 0;
    if (bytes.size() >= sizeof(length)) std::memcpy(&length, bytes.data(), sizeof(length));
    wanted = sizeof(length) + std::min(length, kLongestHeader);
  } while (bytes.size() < std::min(wanted, size));
  bytes.resize(std::min(bytes.size(), static_cast<size_t>(wanted)));
  LORRY_TRY(WriteFileAtomically(target, bytes));
  std::error_code failed;
  fs::resize_file(target, size, failed);
  if (failed) return MakeError(ErrorCode::kStorage, fmt::format("cannot lengthen {}: {}", target, failed.message()));
  return OkStatus();
}

Result<LocalModel> HeadersFromRegistry(Session& session, const nlohmann::json& version, LocalModel model) {
  LORRY_ASSIGN_OR_RETURN(const std::shared_ptr<TempDirectory> folder, TempDirectory::Make());
  nlohmann::json others = nlohmann::json::array();
  for (const auto& file : version.at("files")) {
    const std::string relative = file.at("path").get<std::string>();
    if (!relative.ends_with(".safetensors")) {
      others.push_back(file);
      continue;
    }
    LORRY_ASSIGN_OR_RETURN(const std::string target, SafePath(folder->path(), relative));
    LORRY_TRY(MakeDirectories(fs::path(target).parent_path().string()));
    LORRY_ASSIGN_OR_RETURN(const Digest digest, Digest::FromHex(file.at("digest").get<std::string>()));
    LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
    LORRY_TRY(FetchHeader(*scheduler, digest, target));
  }
  LORRY_TRY(FetchFiles(session, others, folder->path()));
  model.path = folder->path();
  model.links = folder;
  return model;
}

// One digest of all weight files of a version, whatever its name.
std::string WeightsOf(const nlohmann::json& version) {
  std::map<std::string, std::string> weights;
  for (const auto& file : version.at("files")) {
    const std::string path = file.at("path").get<std::string>();
    if (path.ends_with(".safetensors")) weights[path] = file.at("digest").get<std::string>();
  }
  return Sha256Of(nlohmann::json(weights).dump()).hex();
}

Result<LocalModel> FromRegistry(Session& session, const std::string& reference, ModelPart part) {
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json version, session.Ask("registry.resolve", {{"reference", reference}}));
  LORRY_ASSIGN_OR_RETURN(std::optional<LocalModel> linked, LinkedFromHome(session, version));
  LocalModel model = linked ? std::move(*linked) : LocalModel{};
  model.reference = version.at("reference").get<std::string>();
  model.digest = version.at("digest").get<std::string>();
  model.weights = WeightsOf(version);
  if (const auto base = version.find("base"); base != version.end() && base->is_string()) model.base = base->get<std::string>();
  if (linked) return model;
  model.path = session.home() + "/cache/models/" + model.digest;
  if (FileExists(model.path)) {
    session.terminal().Note(model.reference + ": cached");
    return model;
  }
  if (part == ModelPart::kHeaders) return HeadersFromRegistry(session, version, std::move(model));
  const std::string partial = model.path + ".partial";
  LORRY_TRY(FetchFiles(session, version.at("files"), partial));
  LORRY_TRY(RenameDurably(partial, model.path));
  return model;
}

Result<LocalModel> FromGguf(Session& session, const std::string& path) {
  LORRY_ASSIGN_OR_RETURN(const Digest digest, Sha256OfFile(path));
  LocalModel model;
  model.reference = path;
  model.path = session.home() + "/cache/gguf/" + digest.hex();
  if (FileExists(model.path)) return model;
  session.terminal().Note("converting " + path + " (once)");
  const std::string partial = model.path + ".partial";
  LORRY_TRY(RemoveTree(partial));
  LORRY_TRY(MakeDirectories(session.home() + "/cache/gguf"));
  LORRY_TRY(ImportGguf(path, partial, ImportGgufOptions{}));
  LORRY_TRY(RenameDurably(partial, model.path));
  return model;
}

}  // namespace

std::string BlobPath(const std::string& home, const std::string& hex) {
  return fmt::format("{}/blobs/sha256/{}/{}", home, hex.substr(0, 2), hex);
}

Status FetchFiles(Session& session, const nlohmann::json& files, const std::string& folder) {
  LORRY_TRY(MakeDirectories(folder));
  for (const auto& file : files) {
    const std::string relative = file.at("path").get<std::string>();
    LORRY_ASSIGN_OR_RETURN(const std::string target, SafePath(folder, relative));
    LORRY_TRY(MakeDirectories(fs::path(target).parent_path().string()));
    LORRY_ASSIGN_OR_RETURN(const Digest digest, Digest::FromHex(file.at("digest").get<std::string>()));
    LORRY_ASSIGN_OR_RETURN(SchedulerClient * scheduler, session.Scheduler());
    LORRY_TRY(scheduler->GetFile(digest, target,
                                 [&](uint64_t done, uint64_t total) { session.terminal().Progress(relative, done, total); }));
  }
  session.terminal().EndProgress();
  return OkStatus();
}

Result<LocalModel> FindModel(Session& session, const std::string& reference, ModelPart part) {
  std::error_code ignored;
  const bool is_path = reference.starts_with('/') || reference.starts_with('.');
  if (is_path || fs::exists(reference, ignored)) {
    const std::string path = fs::absolute(reference, ignored).lexically_normal().string();
    if (fs::is_directory(path, ignored)) {
      LocalModel model;
      model.path = path;
      model.reference = path;
      return model;
    }
    if (!fs::exists(path, ignored)) return MakeError(ErrorCode::kNotFound, path + " does not exist");
    if (path.ends_with(".gguf")) return FromGguf(session, path);
    return MakeError(ErrorCode::kNotFound, path + " is neither a model directory nor a .gguf");
  }
  LORRY_ASSIGN_OR_RETURN(const std::string name, ApplyForm(TextForm::kReference, reference, ""));
  return FromRegistry(session, name, part);
}

Status CheckKind(const LocalModel& found, const std::string& given, ItemKind kind) {
  const bool adapter = kind == ItemKind::kAdapter;
  const char* its_file = adapter ? "adapter_config.json" : "config.json";
  const char* the_others = adapter ? "config.json" : "adapter_config.json";
  if (FileExists(found.path + "/" + its_file)) return OkStatus();
  if (FileExists(found.path + "/" + the_others)) {
    return adapter ? MakeError(ErrorCode::kUsage, given + " is a model, not an adapter", "it goes where a model is asked for")
                   : MakeError(ErrorCode::kUsage, given + " is an adapter, not a model",
                               "it goes where an adapter is asked for, and its base where a model is");
  }
  return MakeError(
      ErrorCode::kNotFound, fmt::format("{} has no {}", given, its_file),
      adapter ? "an adapter is a folder as PEFT writes it" : "a model is a folder as Hugging Face lays it out, or a .gguf");
}

Status CheckTrainedOn(Session& session, const LocalModel& adapter, const LocalModel& model) {
  if (adapter.base.empty() || model.digest.empty() || model.reference == adapter.base) return OkStatus();
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json base, session.Ask("registry.resolve", {{"reference", adapter.base}}));
  if (WeightsOf(base) == model.weights) return OkStatus();
  return MakeError(ErrorCode::kUsage,
                   fmt::format("{} was trained on {}, not on {}", adapter.reference, adapter.base, model.reference),
                   "use the base that the adapter was trained on");
}

}  // namespace lorry
