#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include "model/format/export_gguf.h"

namespace lorry {
namespace {

Error Unsupported(const std::string& file, const char* key, std::string message) {
  Error error = MakeError(ErrorCode::kUnsupported, std::move(message), "export it as safetensors");
  error.file = file;
  error.key = key;
  return error;
}

bool IsLlama(const ModelConfig& config) { return config.model_type == "llama" || config.model_type == "mistral"; }

// What llama.cpp fixes for yarn, and a GGUF therefore need not say.
bool IsPlainYarn(const RopeConfig& rope) {
  const bool scaled = rope.attention_factor && std::abs(*rope.attention_factor - (0.1 * std::log(rope.factor) + 1.0)) > 1e-6;
  return !scaled && !rope.mscale && !rope.mscale_all_dim && rope.beta_fast == 32.0 && rope.beta_slow == 1.0 && rope.truncate;
}

Status AddRope(const ModelConfig& config, const std::string& file, const std::string& arch, std::vector<GgufPair>* pairs) {
  const RopeConfig& rope = config.rope;
  pairs->push_back({arch + ".rope.dimension_count", static_cast<uint32_t>(config.head_dim)});
  pairs->push_back({arch + ".rope.freq_base", static_cast<float>(rope.theta)});
  const bool written = rope.type == RopeType::kDefault || rope.type == RopeType::kLinear ||
                       (rope.type == RopeType::kYarn && IsPlainYarn(rope)) || (rope.type == RopeType::kLlama3 && IsLlama(config));
  if (!written) return Unsupported(file, "rope_scaling", "llama.cpp has no such rotary positions for this family");
  if (rope.type != RopeType::kLinear && rope.type != RopeType::kYarn) return OkStatus();
  pairs->push_back({arch + ".rope.scaling.type", std::string(rope.type == RopeType::kYarn ? "yarn" : "linear")});
  pairs->push_back({arch + ".rope.scaling.factor", static_cast<float>(rope.factor)});
  if (rope.original_max_position_embeddings > 0) {
    pairs->push_back(
        {arch + ".rope.scaling.original_context_length", static_cast<uint32_t>(rope.original_max_position_embeddings)});
  }
  return OkStatus();
}

// How far back a layer looks: one number for all of them, or none.
Status AddWindow(const ModelConfig& config, const std::string& file, const std::string& arch, std::vector<GgufPair>* pairs) {
  for (const int64_t window : config.window) {
    if (window == 0 && config.window.front() == 0) continue;
    if (config.model_type != "mistral" || window != config.window.front()) {
      return Unsupported(file, "sliding_window", "llama.cpp has no sliding window for this family");
    }
  }
  if (!config.window.empty() && config.window.front() > 0) {
    pairs->push_back({arch + ".attention.sliding_window", static_cast<uint32_t>(config.window.front())});
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<GgufPair>> GgufConfigPairs(const ModelConfig& config, const std::string& file) {
  const std::string arch = config.model_type == "mistral" ? "llama" : config.model_type;  // llama.cpp has one for both
  if (!IsLlama(config) && arch != "qwen2" && arch != "qwen3") {
    return Unsupported(file, "model_type",
                       fmt::format("\"{}\" cannot be written as GGUF; llama, mistral, qwen2 and qwen3 can", arch));
  }
  if (config.hidden_act != "silu")
    return Unsupported(file, "hidden_act", fmt::format("\"{}\" is not llama.cpp's", config.hidden_act));
  if (!IsLlama(config) && (config.o_bias || config.mlp_bias || config.qkv_bias != (arch == "qwen2"))) {
    return Unsupported(file, "attention_bias", "llama.cpp has no such biases for this family");
  }
  const auto number = [](int64_t value) { return static_cast<uint32_t>(value); };
  std::vector<GgufPair> pairs = {{"general.architecture", arch}, {"general.type", std::string("model")}};
  const auto add = [&](const char* key, GgufStored value) { pairs.push_back({arch + "." + key, std::move(value)}); };
  add("block_count", number(config.layers));
  add("context_length", number(config.max_positions));
  add("embedding_length", number(config.hidden_size));
  add("feed_forward_length", number(config.intermediate_size));
  add("vocab_size", number(config.vocab_size));
  add("attention.head_count", number(config.heads));
  add("attention.head_count_kv", number(config.kv_heads));
  add("attention.key_length", number(config.head_dim));
  add("attention.value_length", number(config.head_dim));
  add("attention.layer_norm_rms_epsilon", static_cast<float>(config.rms_norm_eps));
  LORRY_TRY(AddRope(config, file, arch, &pairs));
  LORRY_TRY(AddWindow(config, file, arch, &pairs));
  return pairs;
}

// As convert_hf_to_gguf.py (LlamaModel.generate_extra_tensors); transformers' modeling_rope_utils.py has the same rule.
std::vector<float> GgufRopeDivisors(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  if (rope.type != RopeType::kLlama3) return {};
  const auto original = static_cast<double>(rope.original_max_position_embeddings);
  std::vector<float> divisors;
  for (int64_t i = 0; i < config.head_dim; i += 2) {
    const double wavelength =
        2.0 * std::numbers::pi * std::pow(rope.theta, static_cast<double>(i) / static_cast<double>(config.head_dim));
    double divisor = 1.0;
    if (wavelength > original / rope.low_freq_factor) {
      divisor = rope.factor;
    } else if (wavelength >= original / rope.high_freq_factor) {
      const double smooth = (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      divisor = 1.0 / ((1.0 - smooth) / rope.factor + smooth);
    }
    divisors.push_back(static_cast<float>(divisor));
  }
  return divisors;
}

}  // namespace lorry
