#include "tests/batch/tiny_model.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/random.h"
#include "model/format/model_config.h"
#include "model/format/safetensors.h"

namespace lorry {
namespace {

using nlohmann::json;

// How byte-level tokenizers spell a byte: as itself where that can be printed, else as a character from 256 on.
std::string Spelling(int byte) {
  const auto printable = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  int point = byte;
  if (!printable(byte)) {
    point = 256;
    for (int b = 0; b < byte; ++b) point += !printable(b);
  }
  if (point < 0x80) return std::string(1, static_cast<char>(point));
  return {static_cast<char>(0xc0 | (point >> 6)), static_cast<char>(0x80 | (point & 0x3f))};
}

json AddedToken(int id, const char* text) {
  return {{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

json TinyConfig() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 64},
          {"intermediate_size", 96},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 32},
          {"vocab_size", 258},
          {"max_position_embeddings", 256},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", true},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"bos_token_id", 256},
          {"eos_token_id", 257},
          {"torch_dtype", "float32"}};
}

}  // namespace

std::string TinyTokenizerJson() {
  json vocabulary = json::object();
  for (int byte = 0; byte < 256; ++byte) vocabulary[Spelling(byte)] = byte;
  const json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  return json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", {AddedToken(256, "<s>"), AddedToken(257, "</s>")}},
              {"normalizer", nullptr},
              {"pre_tokenizer", byte_level},
              {"post_processor", nullptr},
              {"decoder", byte_level},
              {"model",
               {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", nullptr},
                {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr},
                {"fuse_unk", false},
                {"byte_fallback", false},
                {"ignore_merges", false},
                {"vocab", vocabulary},
                {"merges", json::array()}}}}
      .dump();
}

void WriteTinyModel(const std::string& directory, uint64_t seed) {
  const std::string config_text = TinyConfig().dump();
  REQUIRE(MakeDirectories(directory).ok());
  REQUIRE(WriteFileAtomically(directory + "/config.json", config_text).ok());
  REQUIRE(WriteFileAtomically(directory + "/generation_config.json", R"({"eos_token_id": 257, "bos_token_id": 256})").ok());
  REQUIRE(WriteFileAtomically(directory + "/tokenizer.json", TinyTokenizerJson()).ok());
  REQUIRE(WriteFileAtomically(directory + "/tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>"})").ok());
  REQUIRE(WriteFileAtomically(directory + "/chat_template.jinja", kTinyChatTemplate).ok());
  const auto config = ParseModelConfigText(config_text, "config.json");
  REQUIRE(config.ok());
  std::vector<TensorHead> heads;
  for (const ExpectedTensor& tensor : ExpectedTensors(*config)) heads.push_back({tensor.name, DType::kF32, tensor.shape});
  const Status written = WriteSafetensorsStreamed(
      directory + "/model.safetensors", heads, {{"format", "pt"}}, [&](const TensorHead& head, std::span<std::byte> bytes) {
        Random random(seed, head.name);
        const bool norm = head.shape.size() == 1;
        for (size_t at = 0; at < bytes.size(); at += sizeof(float)) {
          const auto value = static_cast<float>(norm ? 1.0 + 0.1 * random.Uniform01() : 0.5 * (random.Uniform01() - 0.5));
          std::memcpy(bytes.data() + at, &value, sizeof(value));
        }
        return OkStatus();
      });
  REQUIRE(written.ok());
}

}  // namespace lorry
