#include "model/format/model_copy.h"

#include <array>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"

namespace lorry {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxSideFileBytes = int64_t{200} << 20;
constexpr float kLargestHalf = 65504.0f;
// What belongs to a model beside its weights and config.json. Listed by name: a directory may hold anything.
constexpr std::array kSideFiles = {"generation_config.json",
                                   "tokenizer.json",
                                   "tokenizer_config.json",
                                   "special_tokens_map.json",
                                   "added_tokens.json",
                                   "vocab.json",
                                   "merges.txt",
                                   "tokenizer.model",
                                   "chat_template.jinja",
                                   "chat_template.json",
                                   "LICENSE",
                                   "LICENSE.txt",
                                   "LICENSE.md",
                                   "NOTICE",
                                   "NOTICE.txt",
                                   "USE_POLICY.md"};

Error InFile(const fs::path& file, const std::string& key, ErrorCode code, std::string message) {
  Error error = MakeError(code, std::move(message));
  error.file = file.string();
  error.key = key;
  return error;
}

// config.json with the element type in the spelling that it has (transformers 4: torch_dtype, 5: dtype).
Result<std::string> ConfigText(const ModelDirectory& model, std::optional<DType> dtype) {
  const fs::path path = model.path() / "config.json";
  LORRY_ASSIGN_OR_RETURN(std::string text, ReadFile(path.string(), kMaxSideFileBytes));
  auto config = nlohmann::ordered_json::parse(text);  // was read strictly when the directory was opened
  if (config.contains("quantization_config") && !config["quantization_config"].is_null()) {
    return InFile(path, "quantization_config", ErrorCode::kUnsupported,
                  "a quantized model cannot be written anew in this version");
  }
  if (!dtype || *dtype == model.config().dtype) return text;
  const bool old_spelling = config.contains("torch_dtype");
  if (old_spelling) config["torch_dtype"] = TorchNameOf(*dtype);
  if (!old_spelling || config.contains("dtype")) config["dtype"] = TorchNameOf(*dtype);
  return config.dump(2) + "\n";
}

Status CheckValues(const TensorHead& head, std::span<const float> values) {
  for (const float value : values) {
    if (!std::isfinite(value)) return MakeError(ErrorCode::kData, "holds a value that is not finite");
    if (head.dtype == DType::kF16 && std::abs(value) > kLargestHalf) {
      return MakeError(ErrorCode::kData, fmt::format("holds {}, more than float16 can", value),
                       "use --dtype bfloat16 or float32");
    }
  }
  return OkStatus();
}

// The weights in the model's own shards; a shard that holds nothing of the configuration's is left out.
std::vector<std::vector<TensorHead>> HeadsOfShards(const ModelDirectory& model, std::optional<DType> dtype) {
  std::set<std::string> wanted;
  for (const ExpectedTensor& tensor : ExpectedTensors(model.config())) wanted.insert(tensor.name);
  std::vector<std::vector<TensorHead>> shards;
  for (const SafetensorsFile& shard : model.shards()) {
    std::vector<TensorHead>& heads = shards.emplace_back();
    for (const TensorView& tensor : shard.tensors()) {
      if (!wanted.contains(tensor.name)) continue;
      heads.push_back(tensor);
      heads.back().dtype = dtype.value_or(tensor.dtype);
    }
  }
  return shards;
}

Status WriteWeights(const ModelDirectory& model, const fs::path& out_dir, std::optional<DType> dtype, const ReadWeight& read) {
  std::vector<float> values;
  const FillTensor fill = [&](const TensorHead& head, std::span<std::byte> bytes) -> Status {
    LORRY_ASSIGN_OR_RETURN(const TensorView stored, model.Get(head.name));
    values.resize(static_cast<size_t>(head.ElementCount()));
    LORRY_TRY(read(stored, values));
    if (const Status good = CheckValues(head, values); !good.ok()) {
      Error error = good.error();
      error.file = model.path().string();
      error.key = head.name;
      return error;
    }
    return FromFloat(head.dtype, values, bytes);
  };
  const std::vector<std::vector<TensorHead>> shards = HeadsOfShards(model, dtype);
  uint64_t total = 0;
  nlohmann::json weight_map = nlohmann::json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    if (shards[i].empty()) continue;
    const std::string& name = model.shard_names()[i];
    LORRY_TRY(WriteSafetensorsStreamed(out_dir / name, shards[i], {{"format", "pt"}}, fill));
    for (const TensorHead& head : shards[i]) {
      weight_map[head.name] = name;
      total += head.ByteCount();
    }
  }
  if (model.shard_names() == std::vector<std::string>{"model.safetensors"}) return OkStatus();
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", std::move(weight_map)}};
  return WriteFileAtomically((out_dir / "model.safetensors.index.json").string(), index.dump(2) + "\n");
}

}  // namespace

Status CopySideFiles(const ModelDirectory& model, const fs::path& out_dir) {
  for (const char* name : kSideFiles) {
    const fs::path from = model.path() / name;
    std::error_code ignored;
    if (!fs::is_regular_file(from, ignored)) continue;  // a pipe would be waited for
    LORRY_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(from.string(), kMaxSideFileBytes));
    LORRY_TRY(WriteFileAtomically((out_dir / name).string(), bytes));
  }
  return OkStatus();
}

Status WriteModelCopy(const ModelDirectory& model, const fs::path& out_dir, std::optional<DType> dtype, const ReadWeight& read) {
  if (dtype && *dtype != DType::kF32 && *dtype != DType::kBF16 && *dtype != DType::kF16) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("weights in {} are not supported", NameOf(*dtype)),
                     "use float32, bfloat16 or float16");
  }
  LORRY_ASSIGN_OR_RETURN(const std::string config, ConfigText(model, dtype));
  LORRY_TRY(CopySideFiles(model, out_dir));
  LORRY_TRY(WriteWeights(model, out_dir, dtype, read));
  return WriteFileAtomically((out_dir / "config.json").string(), config);  // last: without it a directory is no model
}

}  // namespace lorry
