#include "model/format/model_config.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace lorry {
namespace {

using Json = nlohmann::json;

Json Base(const char* model_type) {
  return {{"model_type", model_type}, {"vocab_size", 100},        {"hidden_size", 64},        {"intermediate_size", 128},
          {"num_hidden_layers", 4},   {"num_attention_heads", 4}, {"num_key_value_heads", 2}, {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-5}};
}

Json With(Json config, const Json& more) {
  config.update(more);
  return config;
}

ModelConfig Parsed(const Json& json) {
  const Result<ModelConfig> config = ParseModelConfig(json, "config.json");
  if (!config.ok()) FAIL(config.error().Format());
  return *config;
}

TEST_CASE("families spell out what their code fixes") {
  const ModelConfig llama = Parsed(Base("llama"));
  CHECK(llama.head_dim == 16);
  CHECK_FALSE((llama.qkv_bias || llama.o_bias || llama.qk_norm || llama.tied_embeddings));
  const ModelConfig biased = Parsed(With(Base("llama"), {{"attention_bias", true}, {"mlp_bias", true}}));
  CHECK((biased.qkv_bias && biased.o_bias && biased.mlp_bias));
  const ModelConfig qwen2 = Parsed(Base("qwen2"));
  CHECK((qwen2.qkv_bias && !qwen2.o_bias));
  const ModelConfig qwen3 = Parsed(Base("qwen3"));
  CHECK(qwen3.head_dim == 128);
  CHECK((qwen3.qk_norm && !qwen3.qkv_bias));
  CHECK(Parsed(Base("mistral")).window == std::vector<int64_t>{4096, 4096, 4096, 4096});
  CHECK(Parsed(With(Base("mistral"), {{"sliding_window", nullptr}})).window == std::vector<int64_t>{0, 0, 0, 0});
}

TEST_CASE("rotary parameters are read in both spellings") {
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 32.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192}};
  const ModelConfig v4 = Parsed(With(Base("llama"), {{"rope_theta", 500000.0}, {"rope_scaling", llama3}}));
  const ModelConfig v5 = Parsed(With(Base("llama"), {{"rope_parameters", With(llama3, {{"rope_theta", 500000.0}})}}));
  for (const ModelConfig& config : {v4, v5}) {
    CHECK(config.rope.type == RopeType::kLlama3);
    CHECK(config.rope.theta == 500000.0);
    CHECK(config.rope.factor == 32.0);
    CHECK(config.rope.original_max_position_embeddings == 8192);
  }
  CHECK(Parsed(With(Base("llama"), {{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}})).rope.type == RopeType::kLinear);
  CHECK(Parsed(Base("llama")).rope.theta == 10000.0);
}

TEST_CASE("sliding windows of Qwen") {
  const Json window = {{"sliding_window", 32}, {"use_sliding_window", true}, {"max_window_layers", 2}};
  CHECK(Parsed(With(Base("qwen2"), window)).window == std::vector<int64_t>{0, 0, 32, 32});
  CHECK(Parsed(With(Base("qwen2"), {{"sliding_window", 32}, {"use_sliding_window", false}})).window ==
        std::vector<int64_t>{0, 0, 0, 0});
  const Json types = {{"sliding_window", 32},
                      {"layer_types", {"full_attention", "sliding_attention", "full_attention", "sliding_attention"}}};
  CHECK(Parsed(With(Base("qwen3"), types)).window == std::vector<int64_t>{0, 32, 0, 32});
}

TEST_CASE("ends of sequence are one id or several") {
  CHECK(Parsed(With(Base("llama"), {{"eos_token_id", 2}})).eos_ids == std::vector<int32_t>{2});
  CHECK(Parsed(With(Base("llama"), {{"eos_token_id", {2, 5}}})).eos_ids == std::vector<int32_t>{2, 5});
}

TEST_CASE("a longrope model writes as far as its first set of positions goes") {
  const Json pairs(std::vector<double>(8, 1.0));
  const Json longrope = With(
      Base("llama"),
      {{"rope_scaling",
        {{"rope_type", "longrope"}, {"long_factor", pairs}, {"short_factor", pairs}, {"original_max_position_embeddings", 32}}}});
  const ModelConfig config = Parsed(longrope);
  CHECK(config.GenerationPositions() == 32);
  CHECK(Parsed(Base("llama")).GenerationPositions() == Parsed(Base("llama")).max_positions);
}

TEST_CASE("a configuration that is wrong or not understood is refused by its key") {
  struct Row {
    Json change;
    std::string key;
    ErrorCode code;
  };
  const Row rows[] = {
      {{{"model_type", "mamba"}}, "model_type", ErrorCode::kUnsupported},
      {{{"model_type", 3}}, "model_type", ErrorCode::kData},
      {{{"hidden_size", nullptr}}, "hidden_size", ErrorCode::kData},
      {{{"hidden_size", -64}}, "hidden_size", ErrorCode::kData},
      {{{"hidden_size", 64.5}}, "hidden_size", ErrorCode::kData},
      {{{"vocab_size", uint64_t{1} << 63}}, "vocab_size", ErrorCode::kData},
      {{{"num_hidden_layers", 10001}}, "num_hidden_layers", ErrorCode::kData},
      {{{"num_key_value_heads", 3}}, "num_key_value_heads", ErrorCode::kData},
      {{{"num_attention_heads", 6}}, "num_attention_heads", ErrorCode::kData},
      {{{"head_dim", 15}}, "head_dim", ErrorCode::kData},
      {{{"rms_norm_eps", 0}}, "rms_norm_eps", ErrorCode::kData},
      {{{"hidden_act", "gelu"}}, "hidden_act", ErrorCode::kUnsupported},
      {{{"quantization_config", Json::object()}}, "quantization_config.load_in_4bit", ErrorCode::kUnsupported},
      {{{"quantization_config", {{"quant_method", "gptq"}}}}, "quantization_config.quant_method", ErrorCode::kUnsupported},
      {{{"quantization_config", {{"load_in_8bit", true}}}}, "quantization_config.load_in_8bit", ErrorCode::kUnsupported},
      {{{"quantization_config", {{"load_in_4bit", true}}}}, "quantization_config.bnb_4bit_quant_type", ErrorCode::kUnsupported},
      {{{"quantization_config",
         {{"load_in_4bit", true}, {"bnb_4bit_quant_type", "nf4"}, {"bnb_4bit_quant_storage", "bfloat16"}}}},
       "quantization_config.bnb_4bit_quant_storage",
       ErrorCode::kUnsupported},
      {{{"rope_scaling", {{"rope_type", "spiral"}}}}, "rope_scaling.rope_type", ErrorCode::kUnsupported},
      {{{"rope_scaling", {{"rope_type", "linear"}}}}, "rope_scaling.factor", ErrorCode::kData},
      {{{"rope_scaling", 4}}, "rope_scaling", ErrorCode::kData},
      {{{"partial_rotary_factor", 0.5}}, "partial_rotary_factor", ErrorCode::kUnsupported},
      {{{"eos_token_id", "2"}}, "eos_token_id", ErrorCode::kData},
      {{{"torch_dtype", "int4"}}, "torch_dtype", ErrorCode::kUnsupported},
  };
  for (const Row& row : rows) {
    CAPTURE(row.key);
    const Result<ModelConfig> config = ParseModelConfig(With(Base("llama"), row.change), "config.json");
    REQUIRE_FALSE(config.ok());
    CHECK(config.error().file == "config.json");
    if (row.key == "num_attention_heads") {
      CHECK(config.error().key.find("num_") == 0);
    } else {
      CHECK(config.error().key == row.key);
    }
    CHECK(config.error().code == row.code);
  }
  CHECK_FALSE(ParseModelConfigText("{\"model_type\": ", "config.json").ok());
  CHECK_FALSE(ParseModelConfigText("[]", "config.json").ok());
}

Json Mixtral() { return With(Base("mixtral"), {{"num_local_experts", 8}, {"num_experts_per_tok", 2}}); }
Json Qwen3Moe() {
  return With(Base("qwen3_moe"), {{"num_experts", 5}, {"num_experts_per_tok", 2}, {"moe_intermediate_size", 48}});
}

TEST_CASE("families with experts") {
  const ModelConfig mixtral =
      Parsed(With(Mixtral(), {{"sliding_window", 9}, {"attention_bias", true}, {"rms_norm_eps", nullptr}}));
  CHECK((mixtral.experts == 8 && mixtral.experts_per_token == 2 && mixtral.expert_size == 128 && mixtral.renormalize_experts));
  CHECK((!mixtral.qkv_bias && !mixtral.qk_norm && mixtral.IsSparse(0) && mixtral.IsSparse(3)));
  CHECK(mixtral.window == std::vector<int64_t>(4, 9));
  CHECK(mixtral.rope.theta == 1e6);
  CHECK(mixtral.rms_norm_eps == 1e-5);
  CHECK(Parsed(Mixtral()).window == std::vector<int64_t>(4, 0));
  CHECK(Parsed(With(Mixtral(), {{"router_jitter_noise", 0.1}})).router_jitter == 0.1);

  const ModelConfig qwen = Parsed(Qwen3Moe());
  CHECK((qwen.experts == 5 && qwen.expert_size == 48 && !qwen.renormalize_experts && qwen.qk_norm && qwen.head_dim == 16));
  CHECK(qwen.sparse_layers == std::vector<bool>(4, true));
  CHECK(Parsed(With(Qwen3Moe(), {{"norm_topk_prob", true}})).renormalize_experts);
  CHECK(Parsed(With(Qwen3Moe(), {{"decoder_sparse_step", 2}})).sparse_layers == std::vector<bool>{false, true, false, true});
  CHECK(Parsed(With(Qwen3Moe(), {{"mlp_only_layers", {0, 2, 9}}})).sparse_layers == std::vector<bool>{false, true, false, true});
  CHECK(Parsed(With(Qwen3Moe(), {{"sliding_window", 7}})).window == std::vector<int64_t>(4, 0));
  CHECK(Parsed(With(Qwen3Moe(), {{"sliding_window", 7}, {"use_sliding_window", true}})).window == std::vector<int64_t>(4, 7));
  // As transformers 5 writes it.
  CHECK(Parsed(With(Qwen3Moe(), {{"num_experts", nullptr}, {"num_local_experts", 5}})).experts == 5);

  const std::vector<std::pair<Json, std::string>> refused = {
      {With(Mixtral(), {{"num_experts_per_tok", 9}}), "num_experts_per_tok"},
      {With(Mixtral(), {{"num_local_experts", 0}}), "num_local_experts"},
      {With(Qwen3Moe(), {{"moe_intermediate_size", nullptr}}), "moe_intermediate_size"},
      {With(Qwen3Moe(), {{"mlp_only_layers", 3}}), "mlp_only_layers"},
      {With(Base("llama"), {{"num_local_experts", 8}}), "num_local_experts"},
  };
  for (const auto& [json, key] : refused) {
    const Result<ModelConfig> config = ParseModelConfig(json, "config.json");
    REQUIRE_FALSE(config.ok());
    CHECK(config.error().key == key);
  }
}

TEST_CASE("tensors of experts are called as in the hub's files") {
  const ModelConfig mixtral = Parsed(Mixtral());
  CHECK(RouterModule(mixtral, 3) == "model.layers.3.block_sparse_moe.gate");
  CHECK(ExpertModule(mixtral, 0, 7, 1) == "model.layers.0.block_sparse_moe.experts.7.w3");
  CHECK(ExpectedTensors(mixtral).size() == 3 + 4 * (2 + 4 + 1 + 8 * 3));
  CHECK(LinearModules(mixtral).size() == 4 * (4 + 1 + 8 * 3));

  // Layer 1 is dense: its tensors are read, and nothing of its MLP is adapted.
  const ModelConfig qwen = Parsed(With(Qwen3Moe(), {{"mlp_only_layers", {1}}}));
  const std::vector<ExpectedTensor> linears = LinearModules(qwen);
  CHECK(linears.size() == 4 * 4 + 3 * (1 + 5 * 3));
  CHECK(linears[4].name == "model.layers.0.mlp.gate");
  CHECK(linears[4].shape == std::vector<int64_t>{5, 64});
  CHECK(linears[7].name == "model.layers.0.mlp.experts.0.down_proj");
  CHECK(linears[7].shape == std::vector<int64_t>{64, 48});
  CHECK(ExpectedTensors(qwen).size() == 3 + 4 * (4 + 4) + 3 * (1 + 5 * 3) + 3);
}

TEST_CASE("tensors and linear modules follow from the configuration") {
  const ModelConfig config = Parsed(With(Base("qwen2"), {{"tie_word_embeddings", true}}));
  CHECK(LinearModules(config).size() == 28);
  CHECK(LinearModules(config)[1].name == "model.layers.0.self_attn.k_proj");
  CHECK(LinearModules(config)[1].shape == std::vector<int64_t>{32, 64});
  CHECK(ExpectedTensors(config).size() == 2 + 4 * (2 + 7 + 3));
  CHECK(config.ParameterCount() == 100 * 64 + 64 + 4 * (2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 64 + 2 * 32 + 3 * 64 * 128));
}

}  // namespace
}  // namespace lorry
