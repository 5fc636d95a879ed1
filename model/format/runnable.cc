// What of the configurations that can be read model/net can compute.
#include <fmt/format.h>

#include "base/text.h"
#include "model/format/model_config.h"

namespace lorry {
namespace {

const char* NameOf(RopeType type) {
  switch (type) {
    case RopeType::kDefault:
      return "default";
    case RopeType::kLinear:
      return "linear";
    case RopeType::kDynamic:
      return "dynamic";
    case RopeType::kYarn:
      return "yarn";
    case RopeType::kLongRope:
      return "longrope";
    case RopeType::kLlama3:
      return "llama3";
  }
  return "?";
}

}  // namespace

Status CheckRunnable(const ModelConfig& config, const std::string& file) {
  const auto refuse = [&file](const char* key, const std::string& value, const char* instead) {
    Error error = MakeError(ErrorCode::kUnsupported, fmt::format("{}: not in this version", EscapeControl(value)), instead);
    error.file = file;
    error.key = key;
    return error;
  };
  if (config.qk_norm) return refuse("model_type", config.model_type, "llama, mistral and qwen2 are");
  if (config.hidden_act != "silu") return refuse("hidden_act", config.hidden_act, "silu is");
  if (config.head_dim % 2 != 0) return refuse("head_dim", fmt::format("{}", config.head_dim), "rotary positions turn pairs");
  const RopeType rope = config.rope.type;
  if (rope != RopeType::kDefault && rope != RopeType::kLinear && rope != RopeType::kLlama3) {
    return refuse("rope_scaling.rope_type", NameOf(rope), "default, linear and llama3 are");
  }
  return OkStatus();
}

}  // namespace lorry
