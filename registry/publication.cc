#include "registry/publication.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "model/format/json_fields.h"
#include "model/format/model_directory.h"
#include "model/format/safetensors.h"

namespace lorry {
namespace {

constexpr uint64_t kMaxFileBytes = 50'000'000'000;  // huggingface_hub refuses more over plain HTTP
constexpr uint64_t kMaxConfigBytes = 4 << 20;
constexpr size_t kMaxFiles = 10'000;
constexpr std::array<std::string_view, 5> kPickled = {".bin", ".pt", ".pth", ".pkl", ".ckpt"};
constexpr const char* kAdapterConfig = "adapter_config.json";
constexpr const char* kAdapterWeights = "adapter_model.safetensors";
constexpr std::string_view kAdapterPrefix = "base_model.model.";

Error FileFault(const std::string& file, std::string message, ErrorCode code = ErrorCode::kData) {
  Error error = MakeError(code, std::move(message));
  error.file = EscapeControl(file);
  return error;
}

const BlobEntry* FindFile(const std::vector<BlobEntry>& files, std::string_view path) {
  const auto found = std::find_if(files.begin(), files.end(), [&](const BlobEntry& file) { return file.path == path; });
  return found == files.end() ? nullptr : &*found;
}

Status CheckFiles(const BlobStore& blobs, const std::vector<BlobEntry>& files) {
  LORRY_TRY(CheckFileList(files));
  for (const BlobEntry& file : files) {
    LORRY_ASSIGN_OR_RETURN(const uint64_t size, blobs.SizeOf(file.digest));
    if (size != file.size) return FileFault(file.path, fmt::format("is said to have {} bytes and has {}", file.size, size));
  }
  return OkStatus();
}

Result<nlohmann::json> ReadJsonBlob(const BlobStore& blobs, const BlobEntry& file) {
  LORRY_ASSIGN_OR_RETURN(const std::string text, blobs.ReadBytes(file.digest, kMaxConfigBytes));
  Result<nlohmann::json> json = ParseJson(text);
  if (!json.ok()) {
    Error error = std::move(json).error();
    error.file = file.path;
    return error;
  }
  if (!json->is_object()) return FileFault(file.path, "is not a JSON object");
  return json;
}

Result<ModelConfig> BaseConfig(const BlobStore& blobs, const std::vector<BlobEntry>& base_files) {
  const BlobEntry* file = FindFile(base_files, "config.json");
  if (file == nullptr) return MakeError(ErrorCode::kData, "the adapter's base has no config.json");
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonBlob(blobs, *file));
  return ParseModelConfig(json, "the base's config.json");
}

// The two halves of one adapted module, as far as they were found.
struct Halves {
  const TensorView* a = nullptr;  // [r, in]
  const TensorView* b = nullptr;  // [out, r]
};

// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" -> module and half; false for other tensors.
bool SplitAdapterName(std::string_view name, std::string* module, bool* is_a) {
  if (!name.starts_with(kAdapterPrefix)) return false;
  name.remove_prefix(kAdapterPrefix.size());
  for (const bool a : {true, false}) {
    const std::string_view ending = a ? ".lora_A.weight" : ".lora_B.weight";
    if (!name.ends_with(ending)) continue;
    *module = name.substr(0, name.size() - ending.size());
    *is_a = a;
    return true;
  }
  return false;
}

Status CheckModule(const std::string& module, const Halves& halves, const std::vector<int64_t>& base_shape, int64_t r,
                   bool ranks_vary) {
  const auto fault = [&](std::string message) {
    return FileFault(kAdapterWeights, fmt::format("{}: {}", EscapeControl(module), message));
  };
  if (halves.a == nullptr || halves.b == nullptr) return fault("lora_A and lora_B belong together; one is missing");
  const std::vector<int64_t>& a = halves.a->shape;
  const std::vector<int64_t>& b = halves.b->shape;
  if (a.size() != 2 || b.size() != 2 || a[0] != b[1]) return fault("lora_A is not [r, in], or lora_B not [out, r]");
  if (a[1] != base_shape[1] || b[0] != base_shape[0]) {
    return fault(fmt::format("made for a layer of [{}, {}]; the base's is [{}, {}]", b[0], a[1], base_shape[0], base_shape[1]));
  }
  if (a[0] != r && !ranks_vary) return fault(fmt::format("has rank {}; adapter_config.json says {}", a[0], r));
  return OkStatus();
}

// Checks every tensor against the base's linear layers; returns the number of parameters.
Result<int64_t> CheckAdapterTensors(const SafetensorsFile& file, const ModelConfig& base, int64_t r, bool ranks_vary) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (ExpectedTensor& module : LinearModules(base)) shapes.emplace(std::move(module.name), std::move(module.shape));
  std::set<std::string> fused;  // theirs are the ranks of all experts together
  for (ExpectedTensor& module : FusedModules(base)) {
    fused.insert(module.name);
    shapes.emplace(std::move(module.name), std::move(module.shape));
  }
  shapes.emplace("lm_head", std::vector<int64_t>{base.vocab_size, base.hidden_size});
  std::map<std::string, Halves> modules;
  int64_t parameters = 0;
  for (const TensorView& tensor : file.tensors()) {
    std::string module;
    bool is_a = false;
    parameters += tensor.ElementCount();
    if (!SplitAdapterName(tensor.name, &module, &is_a)) continue;  // magnitudes, biases, saved modules: PEFT's own business
    if (!shapes.contains(module)) {
      return FileFault(kAdapterWeights,
                       fmt::format("\"{}\" adapts a layer that the base does not have", EscapeControl(tensor.name)));
    }
    (is_a ? modules[module].a : modules[module].b) = &tensor;
  }
  if (modules.empty()) return FileFault(kAdapterWeights, "holds no lora_A and lora_B");
  for (const auto& [module, halves] : modules) {
    LORRY_TRY(CheckModule(module, halves, shapes.at(module), r, ranks_vary || fused.contains(module)));
  }
  return parameters;
}

std::vector<std::string> TargetModules(const nlohmann::json& config) {
  std::vector<std::string> targets;
  const auto found = config.find("target_modules");
  if (found == config.end()) return targets;
  if (found->is_string()) targets.push_back(found->get<std::string>());
  if (found->is_array()) {
    for (const nlohmann::json& item : *found) {
      if (item.is_string()) targets.push_back(item.get<std::string>());
    }
  }
  std::sort(targets.begin(), targets.end());
  return targets;
}

// adapter_config.json with the base's name and version, as a blob of its own.
Status NameBase(const BlobStore& blobs, const VersionEntry& base, std::vector<BlobEntry>* files) {
  for (BlobEntry& file : *files) {
    if (file.path != kAdapterConfig) continue;
    LORRY_ASSIGN_OR_RETURN(nlohmann::json config, ReadJsonBlob(blobs, file));
    config["base_model_name_or_path"] = base.manifest.name;
    config["revision"] = VersionText(base.manifest.version);
    LORRY_ASSIGN_OR_RETURN(const StoredBlob stored,
                           blobs.PutBytes(config.dump(2) + "\n"));  // PEFT too writes indent 2, keys sorted
    file.digest = stored.digest;
    file.size = stored.size;
  }
  return OkStatus();
}

std::vector<BlobEntry> EntriesOf(const Manifest& manifest) { return {manifest.files.begin(), manifest.files.end()}; }

}  // namespace

Status CheckFileList(const std::vector<BlobEntry>& files) {
  if (files.empty() || files.size() > kMaxFiles) {
    return MakeError(ErrorCode::kData, fmt::format("{} files; 1 to {} are possible", files.size(), kMaxFiles));
  }
  std::set<std::string> seen;
  for (const BlobEntry& file : files) {
    if (!IsSafePath(file.path)) return FileFault(file.path, "is no name for a file of a version");
    if (!seen.insert(file.path).second) return FileFault(file.path, "is there twice");
    if (file.size > kMaxFileBytes) {
      return FileFault(file.path, fmt::format("has {} bytes; Hugging Face clients fetch at most {}; use smaller shards",
                                              file.size, kMaxFileBytes));
    }
    for (const std::string_view ending : kPickled) {
      if (file.path.ends_with(ending)) {
        return FileFault(file.path, "holds pickled objects, which run code when read; save it as safetensors");
      }
    }
    if (file.path.ends_with(".safetensors") && file.size == 0) return FileFault(file.path, "is empty");
  }
  return OkStatus();
}

Status CheckModelFiles(const BlobStore& blobs, const std::vector<BlobEntry>& files) {
  LORRY_TRY(CheckFiles(blobs, files));
  // Links to the blobs under their names, where the model reader finds them.
  LORRY_ASSIGN_OR_RETURN(const std::unique_ptr<TempDirectory> folder, TempDirectory::Make());
  const std::string& view = folder->path();
  for (const BlobEntry& file : files) {
    if (file.path.find('/') != std::string::npos) continue;
    std::error_code failed;
    std::filesystem::create_symlink(std::filesystem::absolute(blobs.PathOf(file.digest)), std::filesystem::path(view) / file.path,
                                    failed);
    if (failed) return MakeError(ErrorCode::kStorage, fmt::format("cannot link {}: {}", file.path, failed.message()));
  }
  Result<ModelDirectory> model = ModelDirectory::Open(view);
  if (model.ok()) return OkStatus();
  Error error = std::move(model).error();
  for (std::string* text : {&error.file, &error.message}) {  // people know the file by its own name
    for (size_t at = text->find(view); at != std::string::npos; at = text->find(view)) {
      text->erase(at, view.size() + (text->compare(at + view.size(), 1, "/") == 0 ? 1 : 0));
    }
  }
  if (error.code == ErrorCode::kNotFound) error.code = ErrorCode::kData;
  return error;
}

Result<AdapterFacts> CheckAdapterFiles(const BlobStore& blobs, const std::vector<BlobEntry>& files,
                                       const std::vector<BlobEntry>& base_files) {
  LORRY_TRY(CheckFiles(blobs, files));
  const BlobEntry* config_file = FindFile(files, kAdapterConfig);
  const BlobEntry* weights = FindFile(files, kAdapterWeights);
  if (config_file == nullptr) return FileFault(kAdapterConfig, "is missing; this is no PEFT directory");
  if (weights == nullptr) return FileFault(kAdapterWeights, "is missing");
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json config, ReadJsonBlob(blobs, *config_file));
  const std::string file_name = kAdapterConfig;
  const JsonFields fields(config, file_name);
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> type, fields.Text("peft_type"));
  if (!type || *type != "LORA") {
    return fields.Fault("peft_type", fmt::format("\"{}\" is not supported; LORA is", EscapeControl(type.value_or(""))),
                        ErrorCode::kUnsupported);
  }
  AdapterFacts facts{*type, 0, 0, TargetModules(config), 0};
  LORRY_ASSIGN_OR_RETURN(facts.r, fields.RequiredInt("r", 1, 1 << 16));
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> alpha, fields.Number("lora_alpha"));
  facts.alpha = alpha.value_or(8.0);  // PEFT's default
  if (facts.target_modules.empty()) return fields.Fault("target_modules", "is missing");
  const nlohmann::json* pattern = fields.Find("rank_pattern");
  LORRY_ASSIGN_OR_RETURN(const ModelConfig base, BaseConfig(blobs, base_files));
  Result<SafetensorsFile> tensors = SafetensorsFile::Open(blobs.PathOf(weights->digest));
  if (!tensors.ok()) return FileFault(kAdapterWeights, tensors.error().message);
  LORRY_ASSIGN_OR_RETURN(facts.parameters, CheckAdapterTensors(*tensors, base, facts.r, pattern != nullptr && !pattern->empty()));
  return facts;
}

Result<Published> Publish(Database& db, const BlobStore& blobs, const Publication& publication, Instant now) {
  Manifest manifest;
  manifest.kind = publication.kind;
  manifest.origin = publication.origin;
  LORRY_ASSIGN_OR_RETURN(manifest.name, FullName(publication.name));
  if (!publication.alias.empty()) LORRY_TRY(CheckAlias(publication.alias));
  std::vector<BlobEntry> files = publication.files;
  if (publication.kind == ItemKind::kModel) {
    LORRY_TRY(CheckModelFiles(blobs, files));
  } else {
    if (publication.base.empty()) return MakeError(ErrorCode::kUsage, "an adapter needs its base", "name it: --base ORG/NAME@vN");
    LORRY_ASSIGN_OR_RETURN(const VersionEntry base, ResolveReference(db, publication.base));
    if (base.manifest.kind != ItemKind::kModel) return MakeError(ErrorCode::kUsage, fmt::format("{} is no model", base.Text()));
    LORRY_ASSIGN_OR_RETURN(manifest.adapter, CheckAdapterFiles(blobs, files, EntriesOf(base.manifest)));
    LORRY_TRY(NameBase(blobs, base, &files));
    manifest.base = base.Link();
  }
  for (const std::string& parent : publication.parents) {
    LORRY_ASSIGN_OR_RETURN(const VersionEntry entry, ResolveReference(db, parent));
    manifest.parents.push_back(entry.Link());
  }
  std::sort(files.begin(), files.end(), [](const BlobEntry& a, const BlobEntry& b) { return a.path < b.path; });
  for (const BlobEntry& file : files) {
    LORRY_ASSIGN_OR_RETURN(ManifestFile described, DescribeFile(blobs, file));
    manifest.files.push_back(std::move(described));
  }
  LORRY_ASSIGN_OR_RETURN(AddedVersion added, AddVersion(db, std::move(manifest), publication.is_private, now));
  if (!publication.alias.empty()) {
    const AliasChange change{
        added.entry.manifest.name,    publication.alias,
        added.entry.manifest.version, std::nullopt,
        publication.origin.creator,   publication.origin.run.empty() ? "import" : "run " + publication.origin.run.str()};
    LORRY_TRY(SetAlias(db, change, now));
  }
  return Published{std::move(added.entry), added.existing};
}

}  // namespace lorry
