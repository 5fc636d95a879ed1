#include "model/format/gguf_tensors.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"

namespace lorry {
namespace {

// Parts of names, Hugging Face first (gguf.constants.TENSOR_NAMES and gguf.tensor_mapping of the `gguf` package).
constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kParts = {{
    {"model.embed_tokens.", "token_embd."},
    {"model.norm.", "output_norm."},
    {"lm_head.", "output."},
    {"post_attention_layernorm.", "ffn_norm."},
    {"input_layernorm.", "attn_norm."},
    {"self_attn.q_proj.", "attn_q."},
    {"self_attn.k_proj.", "attn_k."},
    {"self_attn.v_proj.", "attn_v."},
    {"self_attn.o_proj.", "attn_output."},
    {"self_attn.q_norm.", "attn_q_norm."},
    {"self_attn.k_norm.", "attn_k_norm."},
    {"mlp.gate_proj.", "ffn_gate."},
    {"mlp.up_proj.", "ffn_up."},
    {"mlp.down_proj.", "ffn_down."},
}};
constexpr std::string_view kLayers = "model.layers.";

// Tensors that hold no weight: rotary tables, which config.json says in its own way.
bool IsTable(std::string_view name) { return name == "rope_freqs.weight" || name.ends_with(".attn_rot_embd.weight"); }

enum class Order { kHuggingFace, kLlamaCpp };

// llama.cpp keeps row 2d + j of a head where Hugging Face has row j * (rows / 2) + d, j = 0 or 1.
void ArrangeHeadRows(std::span<float> values, int64_t heads, int64_t columns, Order order) {
  const int64_t rows_per_head = static_cast<int64_t>(values.size()) / columns / heads;
  std::vector<float> head(static_cast<size_t>(rows_per_head * columns));
  for (int64_t h = 0; h < heads; ++h) {
    float* const base = values.data() + h * rows_per_head * columns;
    for (int64_t d = 0; d < rows_per_head / 2; ++d) {
      for (int64_t j = 0; j < 2; ++j) {
        const int64_t interleaved = 2 * d + j, halved = j * (rows_per_head / 2) + d;
        const auto [from, to] = order == Order::kHuggingFace ? std::pair(interleaved, halved) : std::pair(halved, interleaved);
        std::copy_n(base + from * columns, columns, head.data() + to * columns);
      }
    }
    std::copy(head.begin(), head.end(), base);
  }
}

// The rows of q and k that llama.cpp turns around; others are left as they are.
void Arrange(const ModelConfig& config, const TensorHead& head, std::span<float> values, Order order) {
  if (config.model_type != "llama" && config.model_type != "mistral") return;
  const bool query = head.name.find(".q_proj.") != std::string::npos;
  if (!query && head.name.find(".k_proj.") == std::string::npos) return;
  ArrangeHeadRows(values, query ? config.heads : config.kv_heads, head.shape.size() == 2 ? head.shape[1] : 1, order);
}

}  // namespace

std::string GgufNameOf(std::string_view name) {
  std::string result;
  if (name.starts_with(kLayers)) {
    name.remove_prefix(kLayers.size());
    const size_t dot = name.find('.');
    result = fmt::format("blk.{}.", name.substr(0, dot));
    name.remove_prefix(dot + 1);
  }
  for (const auto& [hugging_face, gguf] : kParts) {
    if (name.starts_with(hugging_face)) return result.append(gguf).append(name.substr(hugging_face.size()));
  }
  return result.append(name);
}

Status CheckTensors(const GgufFile& file, const ModelConfig& config) {
  const auto fault = [&file](ErrorCode code, std::string message) {
    Error error = MakeError(code, std::move(message));
    error.file = file.name();
    return error;
  };
  if (config.layers > static_cast<int64_t>(file.tensors().size())) {
    return fault(ErrorCode::kData, fmt::format("{} tensors for {} layers", file.tensors().size(), config.layers));
  }
  std::set<std::string> known;
  for (const ExpectedTensor& expected : ExpectedTensors(config)) {
    const std::string name = GgufNameOf(expected.name);
    const GgufTensor* tensor = file.Find(name);
    if (tensor == nullptr) return fault(ErrorCode::kData, fmt::format("tensor \"{}\" is missing", name));
    if (tensor->shape != expected.shape) {
      return fault(ErrorCode::kData, fmt::format("tensor \"{}\" has shape [{}]; its metadata asks for [{}]", name,
                                                 fmt::join(tensor->shape, ", "), fmt::join(expected.shape, ", ")));
    }
    known.insert(name);
  }
  for (const GgufTensor& tensor : file.tensors()) {
    if (known.contains(tensor.name) || IsTable(tensor.name)) continue;
    return fault(ErrorCode::kUnsupported,
                 fmt::format("tensor \"{}\" has no place in a {} model", EscapeControl(tensor.name), config.model_type));
  }
  return OkStatus();
}

void ReadGgufTensor(const GgufFile& file, const ModelConfig& config, const TensorHead& head, std::span<float> values) {
  const GgufTensor* tensor = file.Find(GgufNameOf(head.name));
  Dequantize(tensor->type, tensor->bytes, values);
  Arrange(config, head, values, Order::kHuggingFace);
}

void ArrangeForGguf(const ModelConfig& config, const TensorHead& head, std::span<float> values) {
  Arrange(config, head, values, Order::kLlamaCpp);
}

}  // namespace lorry
