#include "model/format/model_directory.h"

#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"
#include "model/format/nf4_checkpoint.h"

namespace lorry {
namespace {

constexpr int64_t kMaxJsonBytes = 64 << 20;  // an index names every tensor

Result<nlohmann::json> ReadJsonFile(const std::filesystem::path& path) {
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path.string(), kMaxJsonBytes));
  Result<nlohmann::json> json = ParseJson(text);
  if (json.ok()) return json;
  Error error = std::move(json).error();
  error.file = path.string();
  return error;
}

Error Fault(const std::filesystem::path& path, std::string message) {
  Error error = MakeError(ErrorCode::kData, std::move(message));
  error.file = path.string();
  return error;
}

// Errors of a tensor say which directory it is of.
template <class T>
Result<T> InDirectory(const std::filesystem::path& dir, Result<T> result) {
  if (result.ok()) return result;
  Error error = std::move(result).error();
  if (!error.file.empty()) error.message = fmt::format("{}: {}", error.file, error.message);
  error.file = dir.string();
  return error;
}

// generation_config.json is optional; what it does not say of the special ids, config.json does.
Result<GenerationConfig> ReadGeneration(const std::filesystem::path& dir, const ModelConfig& config) {
  GenerationConfig generation;
  const std::filesystem::path path = dir / "generation_config.json";
  if (FileExists(path.string())) {
    LORRY_ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(path));
    LORRY_ASSIGN_OR_RETURN(generation, ParseGenerationConfig(json, path.string()));
  }
  if (generation.eos_ids.empty()) generation.eos_ids = config.eos_ids;
  if (!generation.bos_id) generation.bos_id = config.bos_id;
  if (!generation.pad_id) generation.pad_id = config.pad_id;
  return generation;
}

// A shard's name comes from a file that others wrote: it must be a plain name in the same directory.
bool IsPlainName(const std::string& name) {
  return !name.empty() && name[0] != '.' && name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace

Result<ModelDirectory> ModelDirectory::OpenWithoutWeights(const std::filesystem::path& dir) {
  ModelDirectory model;
  model.path_ = dir;
  LORRY_ASSIGN_OR_RETURN(model.config_, ReadModelConfig(dir / "config.json"));
  LORRY_ASSIGN_OR_RETURN(model.generation_, ReadGeneration(dir, model.config_));
  return model;
}

Result<ModelDirectory> ModelDirectory::Open(const std::filesystem::path& dir) {
  LORRY_ASSIGN_OR_RETURN(ModelDirectory model, OpenWithoutWeights(dir));
  LORRY_TRY(model.OpenWeights());
  LORRY_TRY(model.CheckTensors());
  return model;
}

Status ModelDirectory::OpenWeights() {
  const std::filesystem::path index_file = path_ / "model.safetensors.index.json";
  const std::filesystem::path single = path_ / "model.safetensors";
  if (FileExists(single.string())) {
    LORRY_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(single));
    shards_.push_back(std::move(file));
    shard_names_.push_back(single.filename().string());
  } else if (FileExists(index_file.string())) {
    LORRY_TRY(OpenSharded(index_file));
  } else {
    return MakeError(ErrorCode::kNotFound,
                     fmt::format("{}: neither model.safetensors nor model.safetensors.index.json is there", path_.string()));
  }
  for (const SafetensorsFile& shard : shards_) {
    for (const TensorView& tensor : shard.tensors()) {
      if (!tensors_.emplace(tensor.name, &tensor).second) {
        return Fault(path_, fmt::format("tensor \"{}\" stands in two shards", EscapeControl(tensor.name)));
      }
    }
  }
  return OkStatus();
}

Status ModelDirectory::OpenSharded(const std::filesystem::path& index_file) {
  LORRY_ASSIGN_OR_RETURN(const nlohmann::json index, ReadJsonFile(index_file));
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return Fault(index_file, "has no weight_map");
  }
  std::set<std::string> names;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    if (!shard.is_string() || !IsPlainName(shard.get<std::string>())) {
      return Fault(index_file, fmt::format("\"{}\" is not mapped to a file of this directory", EscapeControl(tensor)));
    }
    names.insert(shard.get<std::string>());
  }
  std::map<std::string, size_t> shard_of;
  for (const std::string& name : names) {
    LORRY_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path_ / name));
    shard_of[name] = shards_.size();
    shard_names_.push_back(name);
    shards_.push_back(std::move(file));
  }
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    if (shards_[shard_of.at(shard.get<std::string>())].Find(tensor) == nullptr) {
      return Fault(index_file,
                   fmt::format("\"{}\" is not in {}", EscapeControl(tensor), EscapeControl(shard.get<std::string>())));
    }
  }
  return OkStatus();
}

Status ModelDirectory::CheckTensors() {
  std::set<std::string> linears;
  for (const ExpectedTensor& module : LinearModules(config_)) linears.insert(module.name + ".weight");
  for (const ExpectedTensor& expected : ExpectedTensors(config_)) {
    LORRY_TRY(CheckTensor(expected, linears.contains(expected.name)));
  }
  return OkStatus();
}

Status ModelDirectory::CheckTensor(const ExpectedTensor& expected, bool linear) {
  const auto find = [this](std::string_view name) { return Find(name); };
  if (config_.stored_nf4 && linear && IsStoredIn4Bit(find, expected.name)) {
    LORRY_TRY(InDirectory(path_, FindNf4(find, expected.name, expected.shape)));
    nf4_shapes_.emplace(expected.name, expected.shape);
    return OkStatus();
  }
  LORRY_ASSIGN_OR_RETURN(const TensorView found, Get(expected.name));
  if (found.shape != expected.shape) {
    return Fault(path_, fmt::format("tensor \"{}\" has shape [{}]; config.json asks for [{}]", expected.name,
                                    fmt::join(found.shape, ", "), fmt::join(expected.shape, ", ")));
  }
  if (found.dtype != DType::kF32 && found.dtype != DType::kF16 && found.dtype != DType::kBF16) {
    Error error =
        Fault(path_, fmt::format("tensor \"{}\" is of {}; F32, F16 and BF16 are supported", expected.name, NameOf(found.dtype)));
    error.code = ErrorCode::kUnsupported;
    return error;
  }
  return OkStatus();
}

Result<Nf4Tensor> ModelDirectory::GetNf4(std::string_view tensor) const {
  const auto find = [this](std::string_view name) { return Find(name); };
  const std::vector<int64_t>& shape = nf4_shapes_.find(tensor)->second;
  LORRY_ASSIGN_OR_RETURN(const StoredNf4 stored, InDirectory(path_, FindNf4(find, std::string(tensor), shape)));
  return InDirectory(path_, ReadNf4(stored));
}

const TensorView* ModelDirectory::Find(std::string_view tensor) const {
  const auto found = tensors_.find(tensor);
  return found == tensors_.end() ? nullptr : found->second;
}

Result<TensorView> ModelDirectory::Get(std::string_view tensor) const {
  const TensorView* found = Find(tensor);
  if (found == nullptr) return Fault(path_, fmt::format("tensor \"{}\" is missing", tensor));
  if (IsNf4(tensor)) {
    Error error = Fault(path_, fmt::format("tensor \"{}\" is stored in NF4, which is not read here", tensor));
    error.code = ErrorCode::kUnsupported;
    error.hint = "use the model that it was quantized from";
    return error;
  }
  return *found;
}

uint64_t ModelDirectory::WeightBytes() const {
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors_) bytes += tensor->bytes.size();
  return bytes;
}

Status ReadStoredWeight(const TensorView& stored, std::span<float> values) { return ToFloat(stored.dtype, stored.bytes, values); }

Status WriteModelWeights(const std::filesystem::path& dir, const std::vector<TensorHead>& heads, uint64_t max_shard_bytes,
                         const FillTensor& fill) {
  std::vector<std::vector<TensorHead>> shards(1);
  uint64_t total = 0, in_shard = 0;
  for (const TensorHead& head : heads) {
    const uint64_t bytes = head.ByteCount();
    if (!shards.back().empty() && in_shard + bytes > max_shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back().push_back(head);
    in_shard += bytes;
    total += bytes;
  }
  if (shards.size() == 1) return WriteSafetensorsStreamed(dir / "model.safetensors", shards[0], {{"format", "pt"}}, fill);
  nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", nlohmann::json::object()}};
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    LORRY_TRY(WriteSafetensorsStreamed(dir / name, shards[i], {{"format", "pt"}}, fill));
    for (const TensorHead& head : shards[i]) index["weight_map"][head.name] = name;
  }
  return WriteFileAtomically((dir / "model.safetensors.index.json").string(), index.dump(2) + "\n");
}

}  // namespace lorry
