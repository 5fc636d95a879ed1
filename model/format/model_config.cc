#include "model/format/model_config.h"

#include <array>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "base/text.h"
#include "model/format/json_fields.h"
#include "model/format/nf4_checkpoint.h"

namespace lorry {
namespace {

constexpr int64_t kMaxSize = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxLayers = 10'000;
constexpr int64_t kMaxExperts = 200'000;  // of all layers together: each has its names in memory
constexpr int64_t kMaxConfigBytes = 4 << 20;

struct Family {
  std::string_view model_type;
  std::string_view architecture;
  int64_t default_head_dim;  // 0: hidden_size / heads
  int64_t default_window;    // what an absent sliding_window means; null in the file means none
  double default_theta = 10000.0;
  double default_eps = 1e-6;
};
// Class defaults: transformers 5.23, configuration_{llama,mistral,qwen2,qwen3,mixtral,qwen3_moe}.py.
constexpr std::array<Family, 6> kFamilies = {{
    {"llama", "LlamaForCausalLM", 0, 0},
    {"mistral", "MistralForCausalLM", 0, 4096},
    {"qwen2", "Qwen2ForCausalLM", 0, 0},
    {"qwen3", "Qwen3ForCausalLM", 128, 0},
    {"mixtral", "MixtralForCausalLM", 0, 0, 1e6, 1e-5},
    {"qwen3_moe", "Qwen3MoeForCausalLM", 0, 0},
}};
bool IsMixtral(const Family& family) { return family.model_type == "mixtral"; }
bool IsQwen3Moe(const Family& family) { return family.model_type == "qwen3_moe"; }

// Keys that change the arithmetic in ways that no family above has, and those that only families with experts have.
constexpr std::array<const char*, 3> kForeignKeys = {"attn_logit_softcapping", "final_logit_softcapping", "logit_scale"};
constexpr std::array<const char*, 2> kExpertKeys = {"num_local_experts", "num_experts"};

Result<const Family*> FamilyOf(const JsonFields& fields) {
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> type, fields.Text("model_type"));
  if (!type) return fields.Fault("model_type", "is missing");
  for (const Family& family : kFamilies) {
    if (family.model_type == *type) return &family;
  }
  return fields.Fault(
      "model_type",
      fmt::format("\"{}\" is not supported; llama, mistral, qwen2, qwen3, mixtral and qwen3_moe are", EscapeControl(*type)),
      ErrorCode::kUnsupported);
}

Result<RopeType> RopeTypeOf(const JsonFields& rope) {
  LORRY_ASSIGN_OR_RETURN(std::optional<std::string> name, rope.Text("rope_type"));
  if (!name) {
    LORRY_ASSIGN_OR_RETURN(name, rope.Text("type"));
  }
  if (!name || *name == "default") return RopeType::kDefault;
  if (*name == "linear") return RopeType::kLinear;
  if (*name == "dynamic") return RopeType::kDynamic;
  if (*name == "yarn") return RopeType::kYarn;
  if (*name == "longrope" || *name == "su") return RopeType::kLongRope;
  if (*name == "llama3") return RopeType::kLlama3;
  return rope.Fault("rope_type", fmt::format("\"{}\" is not supported", EscapeControl(*name)), ErrorCode::kUnsupported);
}

template <class T>
void Take(const std::optional<T>& value, T* field) {
  if (value) *field = *value;
}

// The fields of one rope section, whichever of the two places it stands in.
Status ReadRopeSection(const JsonFields& section, int64_t max_positions, RopeConfig* rope) {
  LORRY_ASSIGN_OR_RETURN(rope->type, RopeTypeOf(section));
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> factor, section.Number("factor"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> low, section.Number("low_freq_factor"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> high, section.Number("high_freq_factor"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> fast, section.Number("beta_fast"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> slow, section.Number("beta_slow"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> truncate, section.Bool("truncate"));
  LORRY_ASSIGN_OR_RETURN(rope->attention_factor, section.Number("attention_factor"));
  LORRY_ASSIGN_OR_RETURN(rope->mscale, section.Number("mscale"));
  LORRY_ASSIGN_OR_RETURN(rope->mscale_all_dim, section.Number("mscale_all_dim"));
  LORRY_ASSIGN_OR_RETURN(rope->long_factor, section.Numbers("long_factor"));
  LORRY_ASSIGN_OR_RETURN(rope->short_factor, section.Numbers("short_factor"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> original, section.Int("original_max_position_embeddings", 1, kMaxSize));
  Take(factor, &rope->factor);
  Take(low, &rope->low_freq_factor);
  Take(high, &rope->high_freq_factor);
  Take(fast, &rope->beta_fast);
  Take(slow, &rope->beta_slow);
  Take(truncate, &rope->truncate);
  rope->original_max_position_embeddings = original.value_or(max_positions);
  const bool stretched = rope->type != RopeType::kDefault;
  if (stretched && rope->type == RopeType::kLongRope && !factor) {
    rope->factor = static_cast<double>(max_positions) / static_cast<double>(rope->original_max_position_embeddings);
  } else if (stretched && !factor) {
    return section.Fault("factor", "is missing");
  }
  if (!(rope->factor > 0)) return section.Fault("factor", "must be above 0");
  if (rope->type == RopeType::kLlama3 && !(rope->high_freq_factor > rope->low_freq_factor && rope->low_freq_factor > 0)) {
    return section.Fault("high_freq_factor", "must be above low_freq_factor, and that above 0");
  }
  return OkStatus();
}

Result<RopeConfig> ReadRope(const JsonFields& fields, const Family& family, const std::string& file, int64_t max_positions) {
  RopeConfig rope;
  rope.theta = family.default_theta;
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> theta, fields.Number("rope_theta"));
  Take(theta, &rope.theta);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {  // transformers 4, transformers 5
    const nlohmann::json* section = fields.Find(key);
    if (section == nullptr) continue;
    if (!section->is_object()) return fields.Fault(key, "is not an object");
    const JsonFields inner(*section, file, std::string(key) + ".");
    LORRY_TRY(ReadRopeSection(inner, max_positions, &rope));
    LORRY_ASSIGN_OR_RETURN(const std::optional<double> inner_theta, inner.Number("rope_theta"));
    Take(inner_theta, &rope.theta);
    LORRY_ASSIGN_OR_RETURN(const std::optional<double> partial, inner.Number("partial_rotary_factor"));
    if (partial.value_or(1.0) != 1.0) {
      return inner.Fault("partial_rotary_factor", "other than 1 is not supported", ErrorCode::kUnsupported);
    }
  }
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> partial, fields.Number("partial_rotary_factor"));
  if (partial.value_or(1.0) != 1.0) {
    return fields.Fault("partial_rotary_factor", "other than 1 is not supported", ErrorCode::kUnsupported);
  }
  if (!(rope.theta > 0)) return fields.Fault("rope_theta", "must be above 0");
  return rope;
}

// How far back each layer sees. Mistral and Mixtral: every layer; Qwen: only with use_sliding_window, from max_window_layers on,
// unless layer_types says it layer by layer; Qwen3-MoE: with use_sliding_window, every layer.
Result<std::vector<int64_t>> ReadWindows(const JsonFields& fields, const Family& family, int64_t layers) {
  std::vector<int64_t> windows(static_cast<size_t>(layers), 0);
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> stated, fields.Int("sliding_window", 1, kMaxSize));
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> use, fields.Bool("use_sliding_window"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> first, fields.Int("max_window_layers", 0, kMaxLayers));
  LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> types, fields.Texts("layer_types"));
  if (family.model_type == "llama") return windows;
  if (IsMixtral(family) || (IsQwen3Moe(family) && use.value_or(false))) windows.assign(windows.size(), stated.value_or(0));
  if (IsMixtral(family) || IsQwen3Moe(family)) return windows;
  if (!types.empty()) {
    if (types.size() != windows.size()) {
      return fields.Fault("layer_types", fmt::format("has {} entries for {} layers", types.size(), layers));
    }
    for (size_t i = 0; i < types.size(); ++i) {
      if (types[i] == "full_attention") continue;
      if (types[i] != "sliding_attention") {
        return fields.Fault("layer_types", fmt::format("\"{}\" is not supported", EscapeControl(types[i])),
                            ErrorCode::kUnsupported);
      }
      if (!stated) return fields.Fault("sliding_window", "is missing");
      windows[i] = *stated;
    }
    return windows;
  }
  if (family.model_type == "mistral") {
    const bool absent = !fields.Has("sliding_window") && !fields.HasNull("sliding_window");
    windows.assign(windows.size(), absent ? family.default_window : stated.value_or(0));
  } else if (use.value_or(false) && stated) {
    for (size_t i = static_cast<size_t>(first.value_or(28)); i < windows.size(); ++i) windows[i] = *stated;
  }
  return windows;
}

Result<std::vector<int32_t>> ReadTokenIds(const JsonFields& fields, const std::string& key) {
  std::vector<int32_t> ids;
  const nlohmann::json* value = fields.Find(key);
  if (value == nullptr) return ids;
  const nlohmann::json list = value->is_array() ? *value : nlohmann::json::array({*value});
  for (const nlohmann::json& item : list) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0 || item.get<int64_t>() > kMaxSize) {
      return fields.Fault(key, "is not a token id or a list of them");
    }
    ids.push_back(static_cast<int32_t>(item.get<int64_t>()));
  }
  return ids;
}

Result<std::optional<int32_t>> ReadTokenId(const JsonFields& fields, const std::string& key) {
  LORRY_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, ReadTokenIds(fields, key));
  if (ids.empty()) return std::optional<int32_t>();
  return std::optional<int32_t>(ids.front());
}

Status ReadSizes(const JsonFields& fields, const Family& family, ModelConfig* config) {
  LORRY_ASSIGN_OR_RETURN(config->vocab_size, fields.RequiredInt("vocab_size", 1, kMaxSize));
  LORRY_ASSIGN_OR_RETURN(config->hidden_size, fields.RequiredInt("hidden_size", 1, kMaxSize));
  LORRY_ASSIGN_OR_RETURN(config->intermediate_size, fields.RequiredInt("intermediate_size", 1, kMaxSize));
  LORRY_ASSIGN_OR_RETURN(config->layers, fields.RequiredInt("num_hidden_layers", 1, kMaxLayers));
  LORRY_ASSIGN_OR_RETURN(config->heads, fields.RequiredInt("num_attention_heads", 1, 1 << 20));
  LORRY_ASSIGN_OR_RETURN(config->max_positions, fields.RequiredInt("max_position_embeddings", 1, kMaxSize));
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> kv_heads, fields.Int("num_key_value_heads", 1, 1 << 20));
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> head_dim, fields.Int("head_dim", 2, 1 << 16));
  config->kv_heads = kv_heads.value_or(config->heads);
  if (config->heads % config->kv_heads != 0) {
    return fields.Fault("num_key_value_heads", fmt::format("{} does not divide the {} heads", config->kv_heads, config->heads));
  }
  if (head_dim) {
    config->head_dim = *head_dim;
  } else if (family.default_head_dim > 0) {
    config->head_dim = family.default_head_dim;
  } else if (config->hidden_size % config->heads != 0) {
    return fields.Fault("num_attention_heads",
                        fmt::format("{} does not divide hidden_size {}", config->heads, config->hidden_size));
  } else {
    config->head_dim = config->hidden_size / config->heads;
  }
  if (config->head_dim % 2 != 0) return fields.Fault("head_dim", "must be even");
  return OkStatus();
}

Status ReadSwitches(const JsonFields& fields, const Family& family, ModelConfig* config) {
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> eps, fields.Number("rms_norm_eps"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> act, fields.Text("hidden_act"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> tied, fields.Bool("tie_word_embeddings"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> attention_bias, fields.Bool("attention_bias"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> mlp_bias, fields.Bool("mlp_bias"));
  config->rms_norm_eps = eps.value_or(family.default_eps);
  if (!(config->rms_norm_eps > 0)) return fields.Fault("rms_norm_eps", "must be above 0");
  if (act && *act != "silu" && *act != "swish") {
    return fields.Fault("hidden_act", fmt::format("\"{}\" is not supported; silu is", EscapeControl(*act)),
                        ErrorCode::kUnsupported);
  }
  config->tied_embeddings = tied.value_or(false);
  const bool biases = attention_bias.value_or(false) && family.model_type != "mistral" && !IsMixtral(family);
  config->qkv_bias = family.model_type == "qwen2" || biases;
  config->o_bias = family.model_type != "qwen2" && biases;
  config->mlp_bias = family.model_type == "llama" && mlp_bias.value_or(false);
  config->qk_norm = family.model_type == "qwen3" || IsQwen3Moe(family);
  for (const char* key : {"dtype", "torch_dtype"}) {
    LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> name, fields.Text(key));
    if (!name) continue;
    const Result<DType> dtype = DTypeFromTorchName(*name);
    if (!dtype.ok()) return fields.Fault(key, dtype.error().message, ErrorCode::kUnsupported);
    config->dtype = *dtype;
  }
  return OkStatus();
}

// Which layers have experts. transformers: modeling_qwen3_moe.py, Qwen3MoeDecoderLayer.
Status ReadSparseLayers(const JsonFields& fields, ModelConfig* config) {
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> step, fields.Int("decoder_sparse_step", 1, kMaxLayers));
  config->sparse_layers.assign(static_cast<size_t>(config->layers), true);
  for (int64_t layer = 0; layer < config->layers; ++layer) {
    config->sparse_layers[static_cast<size_t>(layer)] = (layer + 1) % step.value_or(1) == 0;
  }
  const nlohmann::json* dense = fields.Find("mlp_only_layers");
  if (dense == nullptr) return OkStatus();
  if (!dense->is_array()) return fields.Fault("mlp_only_layers", "is not a list of layer numbers");
  for (const nlohmann::json& layer : *dense) {
    if (!layer.is_number_integer()) return fields.Fault("mlp_only_layers", "is not a list of layer numbers");
    const auto index = layer.get<int64_t>();  // transformers passes over numbers of no layer
    if (index >= 0 && index < config->layers) config->sparse_layers[static_cast<size_t>(index)] = false;
  }
  return OkStatus();
}

Status ReadExperts(const JsonFields& fields, const Family& family, ModelConfig* config) {
  if (!IsMixtral(family) && !IsQwen3Moe(family)) {
    for (const char* key : kExpertKeys) {
      if (fields.Has(key)) return fields.Fault(key, "is not supported", ErrorCode::kUnsupported);
    }
    return OkStatus();
  }
  // transformers 5 writes num_local_experts for both families; the hub's Qwen3-MoE files say num_experts.
  const char* key = fields.Has("num_experts") ? "num_experts" : "num_local_experts";
  LORRY_ASSIGN_OR_RETURN(config->experts, fields.RequiredInt(key, 1, kMaxExperts / config->layers));
  LORRY_ASSIGN_OR_RETURN(config->experts_per_token, fields.RequiredInt("num_experts_per_tok", 1, kMaxExperts));
  if (config->experts_per_token > config->experts) {
    return fields.Fault("num_experts_per_tok",
                        fmt::format("{} is more than the {} experts", config->experts_per_token, config->experts));
  }
  if (IsMixtral(family)) {
    config->sparse_block = "block_sparse_moe";
    config->expert_linears = {"w1", "w3", "w2"};
    config->expert_size = config->intermediate_size;
    config->renormalize_experts = true;
    config->sparse_layers.assign(static_cast<size_t>(config->layers), true);
    LORRY_ASSIGN_OR_RETURN(const std::optional<double> jitter, fields.Number("router_jitter_noise"));
    Take(jitter, &config->router_jitter);
    return OkStatus();
  }
  LORRY_ASSIGN_OR_RETURN(config->expert_size, fields.RequiredInt("moe_intermediate_size", 1, kMaxSize));
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> renormalize, fields.Bool("norm_topk_prob"));
  config->renormalize_experts = renormalize.value_or(false);
  return ReadSparseLayers(fields, config);
}

}  // namespace

Result<ModelConfig> ParseModelConfig(const nlohmann::json& json, const std::string& file) {
  const JsonFields fields(json, file);
  if (!json.is_object()) return fields.Fault("", "is not a JSON object");
  LORRY_ASSIGN_OR_RETURN(const Family* family, FamilyOf(fields));
  for (const char* key : kForeignKeys) {
    if (fields.Has(key)) return fields.Fault(key, "is not supported", ErrorCode::kUnsupported);
  }
  ModelConfig config;
  if (const nlohmann::json* quantization = fields.Find("quantization_config")) {
    LORRY_TRY(CheckQuantizationConfig(*quantization, file));
    config.stored_nf4 = true;
  }
  config.model_type = family->model_type;
  config.architecture = family->architecture;
  LORRY_TRY(ReadSizes(fields, *family, &config));
  LORRY_TRY(ReadSwitches(fields, *family, &config));
  LORRY_TRY(ReadExperts(fields, *family, &config));
  LORRY_ASSIGN_OR_RETURN(config.rope, ReadRope(fields, *family, file, config.max_positions));
  if (config.rope.type == RopeType::kLongRope) {
    const size_t pairs = static_cast<size_t>(config.head_dim / 2);
    if (config.rope.long_factor.size() != pairs || config.rope.short_factor.size() != pairs) {
      return fields.Fault("rope_scaling", fmt::format("needs {} values in long_factor and in short_factor", pairs));
    }
  }
  LORRY_ASSIGN_OR_RETURN(config.window, ReadWindows(fields, *family, config.layers));
  LORRY_ASSIGN_OR_RETURN(config.bos_id, ReadTokenId(fields, "bos_token_id"));
  LORRY_ASSIGN_OR_RETURN(config.pad_id, ReadTokenId(fields, "pad_token_id"));
  LORRY_ASSIGN_OR_RETURN(config.eos_ids, ReadTokenIds(fields, "eos_token_id"));
  return config;
}

Result<ModelConfig> ParseModelConfigText(std::string_view text, const std::string& file) {
  Result<nlohmann::json> json = ParseJson(text, {.max_bytes = kMaxConfigBytes});
  if (!json.ok()) {
    Error error = std::move(json).error();
    error.file = file;
    return error;
  }
  return ParseModelConfig(*json, file);
}

Result<ModelConfig> ReadModelConfig(const std::filesystem::path& config_json) {
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(config_json.string(), kMaxConfigBytes));
  return ParseModelConfigText(text, config_json.string());
}

Result<GenerationConfig> ParseGenerationConfig(const nlohmann::json& json, const std::string& file) {
  const JsonFields fields(json, file);
  if (!json.is_object()) return fields.Fault("", "is not a JSON object");
  GenerationConfig config;
  LORRY_ASSIGN_OR_RETURN(config.eos_ids, ReadTokenIds(fields, "eos_token_id"));
  LORRY_ASSIGN_OR_RETURN(config.bos_id, ReadTokenId(fields, "bos_token_id"));
  LORRY_ASSIGN_OR_RETURN(config.pad_id, ReadTokenId(fields, "pad_token_id"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> sample, fields.Bool("do_sample"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> temperature, fields.Number("temperature"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> top_p, fields.Number("top_p"));
  LORRY_ASSIGN_OR_RETURN(const std::optional<int64_t> top_k, fields.Int("top_k", 0, kMaxSize));
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> penalty, fields.Number("repetition_penalty"));
  Take(sample, &config.do_sample);
  Take(temperature, &config.temperature);
  Take(top_p, &config.top_p);
  Take(top_k, &config.top_k);
  Take(penalty, &config.repetition_penalty);
  return config;
}

}  // namespace lorry
