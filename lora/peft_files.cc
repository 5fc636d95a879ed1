#include "lora/peft_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string_view>

#include "base/files.h"
#include "base/json.h"
#include "lora/fused_experts.h"
#include "model/format/safetensors.h"

namespace lorry {
namespace {

using nlohmann::json;

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kTensorFile = "adapter_model.safetensors";

Error InFile(ErrorCode code, const std::string& file, const std::string& key, std::string message, std::string hint = "") {
  Error error = MakeError(code, std::move(message), std::move(hint));
  error.file = file;
  error.key = key;
  return error;
}

bool IsUnset(const json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
         ((value.is_object() || value.is_array()) && value.empty());
}

// Settings that change the result and are not in this version: refused unless unset.
constexpr std::array kRefused = {"modules_to_save",
                                 "lora_bias",
                                 "layer_replication",
                                 "fan_in_fan_out",
                                 "trainable_token_indices",
                                 "alora_invocation_tokens",
                                 "use_qalora",
                                 "use_bdlora",
                                 "arrow_config",
                                 "velora_config",
                                 "kasa_config",
                                 "monteclora_config"};

Status RefuseWhatIsNotBuilt(const json& config, const std::string& file) {
  const std::string kind = config.value("peft_type", json()).is_string() ? config["peft_type"].get<std::string>() : "";
  if (kind != "LORA") {
    return InFile(ErrorCode::kUnsupported, file, "peft_type", fmt::format("\"{}\" is not in this version", kind), "LORA is");
  }
  for (const char* key : kRefused)
    if (config.contains(key) && !IsUnset(config[key])) {
      return InFile(ErrorCode::kUnsupported, file, key, "is not in this version");
    }
  const json bias = config.value("bias", json("none"));
  if (bias != "none") return InFile(ErrorCode::kUnsupported, file, "bias", "trained biases are not in this version");
  const json init = config.value("init_lora_weights", json(true));
  // These change the base's weights when PEFT loads them.
  if (init.is_string() && init != "gaussian" && init != "eva" && init != "orthogonal") {
    return InFile(ErrorCode::kUnsupported, file, "init_lora_weights",
                  fmt::format("\"{}\" is not in this version", init.get<std::string>()),
                  "convert it to plain LoRA with PEFT when saving");
  }
  return OkStatus();
}

Status ReadNames(const json& config, const std::string& file, const char* key, std::vector<std::string>& names, bool& is_regex) {
  names.clear();
  is_regex = false;
  if (!config.contains(key) || config[key].is_null()) return OkStatus();
  const json& value = config[key];
  if (value.is_string()) {
    names = {value.get<std::string>()};
    is_regex = names[0].size() != 10 || !std::equal(names[0].begin(), names[0].end(), "all-linear",
                                                    [](unsigned char a, char b) { return std::tolower(a) == b; });
    return OkStatus();
  }
  if (!value.is_array()) return InFile(ErrorCode::kData, file, key, "is neither a list of names nor a pattern");
  for (const json& name : value) {
    if (!name.is_string()) return InFile(ErrorCode::kData, file, key, "holds something that is not a name");
    names.push_back(name.get<std::string>());
  }
  return OkStatus();
}

// Of overlapping patterns the first counts, so their order in the file matters.
template <class T>
Status ReadPattern(const nlohmann::ordered_json& config, const std::string& file, const char* key,
                   std::vector<std::pair<std::string, T>>& pattern) {
  if (!config.contains(key) || config[key].is_null()) return OkStatus();
  if (!config[key].is_object()) return InFile(ErrorCode::kData, file, key, "is not an object of name and number");
  for (const auto& [name, value] : config[key].items()) {
    const bool fits = std::is_floating_point_v<T> ? value.is_number() : value.is_number_integer();
    if (!fits) {
      return InFile(ErrorCode::kData, file, key,
                    fmt::format("\"{}\" is not a {}", name, std::is_floating_point_v<T> ? "number" : "whole number"));
    }
    pattern.emplace_back(name, value.template get<T>());
  }
  return OkStatus();
}

Result<double> ReadNumber(const json& config, const std::string& file, const char* key, double otherwise) {
  if (!config.contains(key) || config[key].is_null()) return otherwise;
  if (!config[key].is_number()) return InFile(ErrorCode::kData, file, key, "is not a number");
  return config[key].get<double>();
}

Status ReadLayers(const json& config, const std::string& file, std::vector<int64_t>& layers) {
  const json pattern = config.value("layers_pattern", json());
  if (!IsUnset(pattern) && pattern != "layers" && pattern != "") {
    return InFile(ErrorCode::kUnsupported, file, "layers_pattern", "is not in this version");
  }
  const json value = config.value("layers_to_transform", json());
  if (value.is_null()) return OkStatus();
  const json list = value.is_array() ? value : json::array({value});
  for (const json& layer : list) {
    if (!layer.is_number_integer()) {
      return InFile(ErrorCode::kData, file, "layers_to_transform", "is not a list of layer numbers");
    }
    layers.push_back(layer.get<int64_t>());
  }
  return OkStatus();
}

Result<AdapterConfig> ParseConfig(const json& config, const nlohmann::ordered_json& in_order, const std::string& file) {
  if (!config.is_object()) return InFile(ErrorCode::kData, file, "", "is not a JSON object");
  LORRY_TRY(RefuseWhatIsNotBuilt(config, file));
  AdapterConfig result;
  LORRY_ASSIGN_OR_RETURN(const double r, ReadNumber(config, file, "r", 8.0));
  if (r != std::floor(r) || r < 1 || r > 512) return InFile(ErrorCode::kData, file, "r", "is not a whole number in 1..512");
  result.r = static_cast<int64_t>(r);
  LORRY_ASSIGN_OR_RETURN(result.alpha, ReadNumber(config, file, "lora_alpha", 8.0));
  LORRY_ASSIGN_OR_RETURN(result.dropout, ReadNumber(config, file, "lora_dropout", 0.0));
  result.rslora = config.contains("use_rslora") && !IsUnset(config["use_rslora"]);
  result.dora = config.contains("use_dora") && !IsUnset(config["use_dora"]);
  LORRY_TRY(ReadNames(config, file, "target_modules", result.target_modules, result.targets_are_regex));
  LORRY_TRY(ReadNames(config, file, "exclude_modules", result.exclude_modules, result.excludes_are_regex));
  bool is_text = false;
  LORRY_TRY(ReadNames(config, file, "target_parameters", result.target_parameters, is_text));
  if (is_text) return InFile(ErrorCode::kData, file, "target_parameters", "is not a list of names");
  result.was_fused = !result.target_parameters.empty();
  if (result.target_modules.empty() && !result.was_fused) {
    return InFile(ErrorCode::kData, file, "target_modules", "names no modules");
  }
  LORRY_TRY(ReadLayers(config, file, result.layers_to_transform));
  LORRY_TRY(ReadPattern(in_order, file, "rank_pattern", result.rank_pattern));
  LORRY_TRY(ReadPattern(in_order, file, "alpha_pattern", result.alpha_pattern));
  const json base = config.value("base_model_name_or_path", json());
  if (base.is_string()) result.base_model_name_or_path = base.get<std::string>();
  return result;
}

Status CopyTensor(const SafetensorsFile& file, const std::string& path, const Adapter::Slot& slot, float* values) {
  const TensorView* stored = file.Find(slot.name);
  if (stored == nullptr) {
    return InFile(ErrorCode::kData, path, slot.name, "is missing",
                  "was the adapter trained on another base model, or cut short?");
  }
  if (stored->shape != slot.shape) {
    return InFile(ErrorCode::kData, path, slot.name,
                  fmt::format("has shape [{}], expected [{}]", fmt::join(stored->shape, ", "), fmt::join(slot.shape, ", ")),
                  "was the adapter trained on another base model?");
  }
  return ToFloat(stored->dtype, stored->bytes, {values + slot.offset, static_cast<size_t>(slot.size())});
}

json NumberAsWritten(double value) {
  return value == std::floor(value) && std::abs(value) < 1e15 ? json(static_cast<int64_t>(value)) : json(value);
}

json NamesAsWritten(const std::vector<std::string>& names, bool is_regex) {
  if (names.empty()) return nullptr;
  if (is_regex) return names[0];
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

// all-linear as the names it stands for: PEFT spells it out too.
json TargetsAsWritten(const Adapter& adapter) {
  const AdapterConfig& config = adapter.config();
  std::string lower = config.target_modules[0];
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (config.target_modules.size() > 1 || lower != "all-linear") {
    return NamesAsWritten(config.target_modules, config.targets_are_regex);
  }
  std::set<std::string> names;
  for (const AdaptedLinear& linear : adapter.linears()) names.insert(linear.module.substr(linear.module.rfind('.') + 1));
  return json(names);
}

// The keys that all versions of PEFT since 0.6 read, sorted as PEFT sorts them; each run writes the same bytes. Patterns keep
// their order, which decides where they overlap.
nlohmann::ordered_json ConfigAsWritten(const Adapter& adapter) {
  const AdapterConfig& config = adapter.config();
  json out = {{"auto_mapping", nullptr},    {"bias", "none"},
              {"fan_in_fan_out", false},    {"inference_mode", true},
              {"init_lora_weights", true},  {"layer_replication", nullptr},
              {"layers_pattern", nullptr},  {"loftq_config", json::object()},
              {"megatron_config", nullptr}, {"megatron_core", "megatron.core"},
              {"modules_to_save", nullptr}, {"peft_type", "LORA"},
              {"revision", nullptr},        {"task_type", "CAUSAL_LM"},
              {"use_dora", config.dora}};
  out["base_model_name_or_path"] = config.base_model_name_or_path.empty() ? json() : json(config.base_model_name_or_path);
  out["exclude_modules"] = NamesAsWritten(config.exclude_modules, config.excludes_are_regex);
  out["layers_to_transform"] = config.layers_to_transform.empty() ? json() : json(config.layers_to_transform);
  out["lora_alpha"] = NumberAsWritten(config.alpha);
  out["lora_dropout"] = config.dropout;
  out["r"] = config.r;
  out["use_rslora"] = config.rslora;
  out["target_modules"] = TargetsAsWritten(adapter);
  out["rank_pattern"] = json::object();
  out["alpha_pattern"] = json::object();
  nlohmann::ordered_json written(nlohmann::ordered_json::object());
  for (const auto& [key, value] : out.items()) written[key] = value;
  for (const auto& [name, rank] : config.rank_pattern) written["rank_pattern"][name] = rank;
  for (const auto& [name, alpha] : config.alpha_pattern) written["alpha_pattern"][name] = NumberAsWritten(alpha);
  return written;
}

}  // namespace

Result<AdapterConfig> ReadPeftAdapterConfig(const std::filesystem::path& directory) {
  const std::string path = (directory / kConfigFile).string();
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, 16 << 20));
  auto parsed = ParseJson(text);
  if (!parsed.ok()) {
    Error error = std::move(parsed).error();
    error.file = path;
    return error;
  }
  return ParseConfig(*parsed, nlohmann::ordered_json::parse(text), path);
}

Result<Adapter> ReadPeftAdapter(const std::filesystem::path& directory, const ModelConfig& model) {
  LORRY_ASSIGN_OR_RETURN(AdapterConfig config, ReadPeftAdapterConfig(directory));
  config.dropout = 0.0;  // of its training; reading and training on need none
  const bool fused = config.was_fused;
  if (fused) {
    if (Status unfused = UnfuseTargets(model, config); !unfused.ok()) {
      Error error = std::move(unfused).error();
      error.file = (directory / kConfigFile).string();
      return error;
    }
  }
  LORRY_ASSIGN_OR_RETURN(Adapter adapter, Adapter::Create(model, std::move(config)));
  const std::string path = (directory / kTensorFile).string();
  LORRY_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  std::set<std::string> expected;
  if (fused) LORRY_TRY(ReadFusedExperts(file, path, model, adapter, expected));
  for (const Adapter::Slot& slot : adapter.Slots()) {
    if (fused && slot.in_sparse_mlp) continue;
    LORRY_TRY(CopyTensor(file, path, slot, adapter.values().data_ptr<float>()));
    expected.insert(slot.name);
  }
  for (const TensorView& stored : file.tensors())
    if (!expected.contains(stored.name)) {
      return InFile(ErrorCode::kData, path, stored.name, "belongs to no adapted layer of this model",
                    "was the adapter trained on another base model?");
    }
  return adapter;
}

Status WritePeftAdapter(const std::filesystem::path& directory, const Adapter& adapter) {
  LORRY_TRY(MakeDirectories(directory.string()));
  const auto* values = reinterpret_cast<const std::byte*>(adapter.values().const_data_ptr<float>());
  std::vector<TensorView> tensors;
  for (const Adapter::Slot& slot : adapter.Slots()) {
    TensorView view;
    view.name = slot.name;
    view.dtype = DType::kF32;
    view.shape = slot.shape;
    view.bytes = {values + slot.offset * 4, static_cast<size_t>(slot.size()) * 4};
    tensors.push_back(std::move(view));
  }
  LORRY_TRY(WriteSafetensors(directory / kTensorFile, tensors));
  return WriteFileAtomically((directory / kConfigFile).string(), ConfigAsWritten(adapter).dump(2) + "\n");
}

}  // namespace lorry
