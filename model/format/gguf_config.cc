#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "model/format/import_gguf.h"

namespace lorry {
namespace {

using Json = nlohmann::json;  // keys in alphabetical order, as transformers writes them

// The rotary stretch of Llama 3.1 and later, of which a GGUF keeps only the resulting table.
constexpr double kLlama3LowFactor = 1.0;
constexpr double kLlama3HighFactor = 4.0;
constexpr double kLlama3OriginalPositions = 8192.0;

Error Fault(const GgufFile& file, const std::string& key, std::string message, ErrorCode code = ErrorCode::kData) {
  Error error = MakeError(code, std::move(message));
  error.file = file.name();
  error.key = key;
  return error;
}

// The metadata keys under "llama." and the like.
class Architecture {
 public:
  Architecture(const GgufFile& file, std::string name) : file_(file), name_(std::move(name)) {}

  std::string Key(const std::string& key) const { return name_ + "." + key; }
  Result<std::optional<int64_t>> Int(const std::string& key) const { return file_.Int(Key(key)); }
  Result<std::optional<double>> Float(const std::string& key) const { return file_.Float(Key(key)); }
  Result<std::optional<std::string>> Text(const std::string& key) const { return file_.Text(Key(key)); }
  Result<int64_t> RequiredInt(const std::string& key) const {
    LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> value, Int(key));
    if (!value) return Fault(file_, Key(key), "is missing");
    return *value;
  }

 private:
  const GgufFile& file_;
  std::string name_;
};

// What each pair of dimensions' frequency is divided by, as transformers' "llama3" computes it.
double Llama3Divisor(double theta, int64_t head_dim, size_t pair, double factor) {
  const double frequency = std::pow(theta, -2.0 * static_cast<double>(pair) / static_cast<double>(head_dim));
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength < kLlama3OriginalPositions / kLlama3HighFactor) return 1.0;
  if (wavelength > kLlama3OriginalPositions / kLlama3LowFactor) return factor;
  const double smooth = (kLlama3OriginalPositions / wavelength - kLlama3LowFactor) / (kLlama3HighFactor - kLlama3LowFactor);
  return 1.0 / ((1.0 - smooth) / factor + smooth);
}

// The table rope_freqs.weight stands for llama3 parameters; they are accepted only if they give the table back.
Result<Json> RopeFromTable(const GgufFile& file, const GgufTensor& table, double theta, int64_t head_dim) {
  std::vector<float> divisors(static_cast<size_t>(table.ElementCount()));
  Dequantize(table.type, table.bytes, divisors);
  const double factor = divisors.empty() ? 0.0 : *std::max_element(divisors.begin(), divisors.end());
  bool agrees = divisors.size() == static_cast<size_t>(head_dim / 2);
  for (size_t i = 0; agrees && i < divisors.size(); ++i) {
    agrees = std::abs(Llama3Divisor(theta, head_dim, i, factor) / divisors[i] - 1.0) < 1e-4;
  }
  if (!agrees) return Fault(file, "rope_freqs.weight", "is no rotary table of Llama 3", ErrorCode::kUnsupported);
  return Json{{"rope_type", "llama3"},
              {"factor", factor},
              {"low_freq_factor", kLlama3LowFactor},
              {"high_freq_factor", kLlama3HighFactor},
              {"original_max_position_embeddings", static_cast<int64_t>(kLlama3OriginalPositions)}};
}

Result<Json> RopeOf(const GgufFile& file, const Architecture& arch, double theta, int64_t head_dim) {
  if (const GgufTensor* table = file.Find("rope_freqs.weight")) return RopeFromTable(file, *table, theta, head_dim);
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> type, arch.Text("rope.scaling.type"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> factor, arch.Float("rope.scaling.factor"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> original, arch.Int("rope.scaling.original_context_length"));
  if (!type || *type == "none") return Json{{"rope_type", "default"}};
  if (*type != "linear" && *type != "yarn") {
    return Fault(file, arch.Key("rope.scaling.type"), fmt::format("\"{}\" is not supported", EscapeControl(*type)),
                 ErrorCode::kUnsupported);
  }
  Json rope = {{"rope_type", *type}, {"factor", factor.value_or(1.0)}};
  if (original) rope["original_max_position_embeddings"] = *original;
  return rope;
}

Result<int64_t> HeadDim(const GgufFile& file, const Architecture& arch, int64_t hidden, int64_t heads) {
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> key_length, arch.Int("attention.key_length"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> value_length, arch.Int("attention.value_length"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> rotary, arch.Int("rope.dimension_count"));
  if (heads <= 0) return Fault(file, arch.Key("attention.head_count"), "must be above 0");
  const int64_t head_dim = key_length.value_or(hidden / heads);
  if (value_length.value_or(head_dim) != head_dim || rotary.value_or(head_dim) != head_dim) {
    return Fault(file, arch.Key("rope.dimension_count"), "heads with parts of different size are not supported",
                 ErrorCode::kUnsupported);
  }
  return head_dim;
}

Status AddSpecialIds(const GgufFile& file, Json* config) {
  LORRY_ASSIGN_OR_RETURN(const GgufSpecialIds ids, ReadGgufSpecialIds(file));
  if (ids.bos) (*config)["bos_token_id"] = *ids.bos;
  if (ids.padding) (*config)["pad_token_id"] = *ids.padding;
  if (ids.eos) (*config)["eos_token_id"] = *ids.eos;
  if (ids.eos && ids.eot && *ids.eot != *ids.eos) (*config)["eos_token_id"] = {*ids.eos, *ids.eot};
  return OkStatus();
}

struct Names {
  std::string_view gguf, model_type, architecture;
};
constexpr std::array<Names, 3> kArchitectures = {
    {{"llama", "llama", "LlamaForCausalLM"}, {"qwen2", "qwen2", "Qwen2ForCausalLM"}, {"qwen3", "qwen3", "Qwen3ForCausalLM"}}};

Result<Names> NamesOf(const GgufFile& file) {
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> name, file.Text("general.architecture"));
  if (!name) return Fault(file, "general.architecture", "is missing");
  for (const Names& names : kArchitectures) {
    if (names.gguf == *name) return names;
  }
  return Fault(file, "general.architecture",
               fmt::format("\"{}\" is not supported; llama, qwen2 and qwen3 are", EscapeControl(*name)), ErrorCode::kUnsupported);
}

Status AddSizes(const GgufFile& file, const Architecture& arch, Json* config) {
  Json& out = *config;
  LORRY_ASSIGN_OR_RETURN(out["hidden_size"], arch.RequiredInt("embedding_length"));
  LORRY_ASSIGN_OR_RETURN(out["intermediate_size"], arch.RequiredInt("feed_forward_length"));
  LORRY_ASSIGN_OR_RETURN(out["num_hidden_layers"], arch.RequiredInt("block_count"));
  LORRY_ASSIGN_OR_RETURN(out["max_position_embeddings"], arch.RequiredInt("context_length"));
  LORRY_ASSIGN_OR_RETURN(const int64_t heads, arch.RequiredInt("attention.head_count"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> kv_heads, arch.Int("attention.head_count_kv"));
  LORRY_ASSIGN_OR_RETURN(const int64_t head_dim, HeadDim(file, arch, out["hidden_size"].get<int64_t>(), heads));
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> eps, arch.Float("attention.layer_norm_rms_epsilon"));
  if (!eps) return Fault(file, arch.Key("attention.layer_norm_rms_epsilon"), "is missing");
  const GgufTensor* embedding = file.Find("token_embd.weight");
  if (embedding == nullptr) return Fault(file, "token_embd.weight", "is missing");
  out["vocab_size"] = embedding->shape[0];
  out["num_attention_heads"] = heads;
  out["num_key_value_heads"] = kv_heads.value_or(heads);
  out["head_dim"] = head_dim;
  out["rms_norm_eps"] = *eps;
  return OkStatus();
}

}  // namespace

Result<std::string> GgufConfigJson(const GgufFile& file, DType dtype) {
  LORRY_ASSIGN_OR_RETURN(const Names names, NamesOf(file));
  const Architecture arch(file, std::string(names.gguf));
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> experts, arch.Int("expert_count"));
  if (experts.value_or(0) > 0) {
    return Fault(file, arch.Key("expert_count"), "mixtures of experts are not supported", ErrorCode::kUnsupported);
  }
  Json config = {{"architectures", {names.architecture}},
                 {"model_type", names.model_type},
                 {"dtype", TorchNameOf(dtype)},
                 {"hidden_act", "silu"},
                 {"initializer_range", 0.02},
                 {"attention_dropout", 0.0},
                 {"use_cache", true},
                 {"tie_word_embeddings", file.Find("output.weight") == nullptr}};
  LORRY_TRY(AddSizes(file, arch, &config));
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> window, arch.Int("attention.sliding_window"));
  if (names.model_type == "llama") {
    config["attention_bias"] = file.Find("blk.0.attn_q.bias") != nullptr;
    config["mlp_bias"] = file.Find("blk.0.ffn_gate.bias") != nullptr;
    if (window) {
      config.update({{"model_type", "mistral"}, {"architectures", {"MistralForCausalLM"}}, {"sliding_window", *window}});
    }
  }
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> stated_theta, arch.Float("rope.freq_base"));
  const double theta = stated_theta.value_or(10000.0);
  LORRY_ASSIGN_OR_RETURN(Json rope, RopeOf(file, arch, theta, config["head_dim"].get<int64_t>()));
  config["rope_theta"] = theta;
  config["rope_scaling"] = rope["rope_type"] == "default" ? Json() : rope;
  rope["rope_theta"] = theta;
  config["rope_parameters"] = std::move(rope);
  LORRY_TRY(AddSpecialIds(file, &config));
  return config.dump(2) + "\n";
}

Result<std::string> GgufGenerationConfigJson(const GgufFile& file) {
  Json config = {{"_from_model_config", true}};
  LORRY_TRY(AddSpecialIds(file, &config));
  return config.dump(2) + "\n";
}

}  // namespace lorry
