// What config.json says of a decoder: everything that changes its arithmetic, for the Llama, Mistral, Qwen2 and Qwen3 families
// and those with a mixture of experts, Mixtral and Qwen3-MoE.
//
// Both spellings are read: transformers 4 (rope_theta + rope_scaling, torch_dtype) and 5 (rope_parameters, dtype). What a
// family fixes in code (Qwen2's biases, Qwen3's norms on q and k) is spelled out here, so that a reader of ModelConfig needs
// no family names. A field that would change the arithmetic and is not understood is an error, never skipped.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "model/format/dtype.h"

namespace lorry {

enum class RopeType { kDefault, kLinear, kDynamic, kYarn, kLongRope, kLlama3 };

// Rotary positions. Fields beyond theta have a meaning only for the types named beside them.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;                           // linear, dynamic, yarn, longrope, llama3
  double low_freq_factor = 1.0;                  // llama3
  double high_freq_factor = 4.0;                 // llama3
  int64_t original_max_position_embeddings = 0;  // dynamic, yarn, longrope, llama3: the length before stretching
  std::optional<double> attention_factor;    // yarn, longrope: cos and sin are multiplied by it; absent: by the type's formula
  double beta_fast = 32.0, beta_slow = 1.0;  // yarn
  std::optional<double> mscale, mscale_all_dim;   // yarn
  bool truncate = true;                           // yarn
  std::vector<double> long_factor, short_factor;  // longrope, one per pair of dimensions
};

struct ModelConfig {
  std::string model_type;    // "llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3_moe"
  std::string architecture;  // "LlamaForCausalLM", ...
  int64_t vocab_size = 0;    // rows of the embedding; may exceed the tokenizer's
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;  // of a dense MLP
  int64_t layers = 0;
  int64_t heads = 0;  // query heads
  int64_t kv_heads = 0;
  int64_t head_dim = 0;       // may differ from hidden_size / heads
  int64_t max_positions = 0;  // max_position_embeddings
  double rms_norm_eps = 1e-6;
  std::string hidden_act = "silu";
  RopeConfig rope;
  bool tied_embeddings = false;  // the head is the embedding; lm_head.weight is absent from the files
  bool qkv_bias = false;         // q_proj, k_proj, v_proj
  bool o_bias = false;           // o_proj
  bool mlp_bias = false;
  bool qk_norm = false;  // RMSNorm over head_dim on q and k, before RoPE
  // One per layer: how many positions back a token sees, itself included; 0 = all.
  std::vector<int64_t> window;

  // Mixture of experts. 0 experts: each layer's MLP is dense, and the rest means nothing.
  int64_t experts = 0;
  int64_t experts_per_token = 0;
  int64_t expert_size = 0;           // the intermediate size of one expert
  bool renormalize_experts = false;  // a token's routing weights are divided by their sum
  double router_jitter = 0.0;        // training multiplies what the sparse MLP reads by noise in 1 +- this
  std::vector<bool> sparse_layers;   // one per layer, whether its MLP is experts; empty without experts
  const char* sparse_block = "mlp";  // below the layer: the router is BLOCK.gate, an expert's linears BLOCK.experts.E.NAME
  std::array<const char*, 3> expert_linears = {"gate_proj", "up_proj", "down_proj"};
  bool IsSparse(int64_t layer) const { return experts > 0 && sparse_layers[static_cast<size_t>(layer)]; }

  DType dtype = DType::kF32;  // of the stored weights
  bool stored_nf4 = false;    // quantization_config: linears are stored as bitsandbytes' NF4 (nf4_checkpoint.h)
  std::optional<int32_t> bos_id, pad_id;
  std::vector<int32_t> eos_ids;  // config.json has one or a list

  // The longest sequence that can be written token by token: keys once computed stay, so a longrope model's, whose positions turn
  // otherwise in longer sequences, ends where that begins. Training reads whole sequences, up to max_positions.
  int64_t GenerationPositions() const;

  // Weights of the layers, embedding (and head where it is not tied) and norms; the largest int64 where they are more.
  int64_t ParameterCount() const;
};

// `file` stands in error texts. Limits: every size is positive and below 2^31, layers at most 10,000.
Result<ModelConfig> ParseModelConfig(const nlohmann::json& config, const std::string& file);
Result<ModelConfig> ParseModelConfigText(std::string_view text, const std::string& file);
Result<ModelConfig> ReadModelConfig(const std::filesystem::path& config_json);

// What generation_config.json (or, without it, config.json) says of how to sample.
struct GenerationConfig {
  std::vector<int32_t> eos_ids;
  std::optional<int32_t> bos_id, pad_id;
  bool do_sample = false;
  double temperature = 1.0;
  double top_p = 1.0;
  int64_t top_k = 50;
  double repetition_penalty = 1.0;
};
Result<GenerationConfig> ParseGenerationConfig(const nlohmann::json& config, const std::string& file);

// One expected tensor of a model of this configuration, under its Hugging Face name.
struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
};
std::vector<ExpectedTensor> ExpectedTensors(const ModelConfig& config);

// "model.layers.0.mlp.gate", "model.layers.0.mlp.experts.4.up_proj": as transformers 4 calls them, and files since.
// linear: 0 gate, 1 up, 2 down. REQUIRES: a sparse layer.
std::string RouterModule(const ModelConfig& config, int64_t layer);
std::string ExpertModule(const ModelConfig& config, int64_t layer, int64_t expert, int linear);

// The linear layers that an adapter may target ("model.layers.0.self_attn.q_proj", [out, in]), in the model's order, experts one
// by one; the output head is not among them (PEFT's all-linear leaves it out too), nor are the dense MLPs that stand among sparse
// ones (PEFT on transformers 5 takes their names for the experts').
std::vector<ExpectedTensor> LinearModules(const ModelConfig& config);

// Routers and experts once more, as adapters made by PEFT on transformers 5 call them, which has a layer's experts in two weights
// (lora/fused_experts.h); [out, in] of one expert. Empty without experts.
std::vector<ExpectedTensor> FusedModules(const ModelConfig& config);

}  // namespace lorry
