#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "model/format/model_config.h"

namespace lorry {
namespace {

struct Linear {
  std::string_view module;
  int64_t out, in;
  bool bias;
};

std::vector<Linear> AttentionLinears(const ModelConfig& config) {
  const int64_t width = config.hidden_size;
  const int64_t query = config.heads * config.head_dim;
  const int64_t key_value = config.kv_heads * config.head_dim;
  return {{"self_attn.q_proj", query, width, config.qkv_bias},
          {"self_attn.k_proj", key_value, width, config.qkv_bias},
          {"self_attn.v_proj", key_value, width, config.qkv_bias},
          {"self_attn.o_proj", width, query, config.o_bias}};
}

std::vector<Linear> DenseMlpLinears(const ModelConfig& config) {
  const int64_t width = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  return {{"mlp.gate_proj", inner, width, config.mlp_bias},
          {"mlp.up_proj", inner, width, config.mlp_bias},
          {"mlp.down_proj", width, inner, config.mlp_bias}};
}

// The router's and the experts' modules of one layer, whole names.
std::vector<ExpectedTensor> SparseMlpLinears(const ModelConfig& config, int64_t layer) {
  std::vector<ExpectedTensor> modules;
  const int64_t width = config.hidden_size, inner = config.expert_size;
  modules.push_back({RouterModule(config, layer), {config.experts, width}});
  for (int64_t expert = 0; expert < config.experts; ++expert) {
    modules.push_back({ExpertModule(config, layer, expert, 0), {inner, width}});
    modules.push_back({ExpertModule(config, layer, expert, 1), {inner, width}});
    modules.push_back({ExpertModule(config, layer, expert, 2), {width, inner}});
  }
  return modules;
}

}  // namespace

std::string RouterModule(const ModelConfig& config, int64_t layer) {
  return fmt::format("model.layers.{}.{}.gate", layer, config.sparse_block);
}

std::string ExpertModule(const ModelConfig& config, int64_t layer, int64_t expert, int linear) {
  return fmt::format("model.layers.{}.{}.experts.{}.{}", layer, config.sparse_block, expert,
                     config.expert_linears[static_cast<size_t>(linear)]);
}

std::vector<ExpectedTensor> ExpectedTensors(const ModelConfig& config) {
  std::vector<ExpectedTensor> tensors;
  const int64_t width = config.hidden_size;
  tensors.push_back({"model.embed_tokens.weight", {config.vocab_size, width}});
  const std::vector<Linear> attention = AttentionLinears(config), dense = DenseMlpLinears(config);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    tensors.push_back({prefix + "input_layernorm.weight", {width}});
    tensors.push_back({prefix + "post_attention_layernorm.weight", {width}});
    if (config.qk_norm) {
      tensors.push_back({prefix + "self_attn.q_norm.weight", {config.head_dim}});
      tensors.push_back({prefix + "self_attn.k_norm.weight", {config.head_dim}});
    }
    const auto append = [&](const std::vector<Linear>& linears) {
      for (const Linear& linear : linears) {
        tensors.push_back({fmt::format("{}{}.weight", prefix, linear.module), {linear.out, linear.in}});
        if (linear.bias) tensors.push_back({fmt::format("{}{}.bias", prefix, linear.module), {linear.out}});
      }
    };
    append(attention);
    if (!config.IsSparse(layer)) {
      append(dense);
      continue;
    }
    for (ExpectedTensor& module : SparseMlpLinears(config, layer)) {
      tensors.push_back({module.name + ".weight", std::move(module.shape)});
    }
  }
  tensors.push_back({"model.norm.weight", {width}});
  if (!config.tied_embeddings) tensors.push_back({"lm_head.weight", {config.vocab_size, width}});
  return tensors;
}

std::vector<ExpectedTensor> LinearModules(const ModelConfig& config) {
  std::vector<ExpectedTensor> modules;
  std::vector<Linear> linears = AttentionLinears(config);
  if (config.experts == 0) {
    for (const Linear& linear : DenseMlpLinears(config)) linears.push_back(linear);
  }
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const Linear& linear : linears) {
      modules.push_back({fmt::format("model.layers.{}.{}", layer, linear.module), {linear.out, linear.in}});
    }
    if (!config.IsSparse(layer)) continue;
    for (ExpectedTensor& module : SparseMlpLinears(config, layer)) modules.push_back(std::move(module));
  }
  return modules;
}

std::vector<ExpectedTensor> FusedModules(const ModelConfig& config) {
  std::vector<ExpectedTensor> modules;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    if (!config.IsSparse(layer)) continue;
    const std::string prefix = fmt::format("model.layers.{}.mlp.", layer);
    modules.push_back({prefix + "gate", {config.experts, config.hidden_size}});
    modules.push_back({prefix + "experts.base_layer", {2 * config.expert_size, config.hidden_size}});
    modules.push_back({prefix + "experts", {config.hidden_size, config.expert_size}});
  }
  return modules;
}

int64_t ModelConfig::GenerationPositions() const {
  if (rope.type != RopeType::kLongRope) return max_positions;
  return std::min(max_positions, rope.original_max_position_embeddings);
}

int64_t ModelConfig::ParameterCount() const {
  // Sizes are below 2^31 each; a file may claim so many that their products do not fit.
  int64_t count = 0;
  bool over = false;
  for (const ExpectedTensor& tensor : ExpectedTensors(*this)) {
    int64_t elements = 1;
    for (const int64_t size : tensor.shape) over = __builtin_mul_overflow(elements, size, &elements) || over;
    over = __builtin_add_overflow(count, elements, &count) || over;
  }
  return over ? std::numeric_limits<int64_t>::max() : count;
}

}  // namespace lorry
