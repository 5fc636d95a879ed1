#include "lora/fused_experts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>

#include "lora/target_match.h"

namespace lorry {
namespace {

enum class Fused : uint8_t { kGateUp, kDown, kRouter };
constexpr std::array kFused = {Fused::kGateUp, Fused::kDown, Fused::kRouter};
constexpr std::array<const char*, 3> kParameters = {"experts.gate_up_proj", "experts.down_proj", "gate.weight"};
constexpr std::array<const char*, 3> kTensors = {"experts.base_layer", "experts", "gate"};

Error Unsupported(std::string message) {
  Error error = MakeError(ErrorCode::kUnsupported, std::move(message), "PEFT on transformers 4 has experts one by one");
  error.key = "target_parameters";
  return error;
}

std::string ParameterName(int64_t layer, Fused fused) {
  return fmt::format("model.layers.{}.mlp.{}", layer, kParameters[static_cast<size_t>(fused)]);
}

// Rank and alpha of each fused parameter that is targeted: one for all sparse layers.
using Targets = std::array<std::optional<TargetMatch>, 3>;

Result<Targets> MatchParameters(const ModelConfig& model, const AdapterConfig& config) {
  AdapterConfig by_parameter = config;
  by_parameter.target_modules = config.target_parameters;
  by_parameter.targets_are_regex = false;
  std::vector<std::string> names;
  std::vector<Fused> kinds;
  for (int64_t layer = 0; layer < model.layers; ++layer)
    for (const Fused fused : kFused) {
      if (!model.IsSparse(layer)) continue;
      names.push_back(ParameterName(layer, fused));
      kinds.push_back(fused);
    }
  LORRY_ASSIGN_OR_RETURN(const std::vector<TargetMatch> matches, MatchTargets(by_parameter, names));
  Targets targets;
  std::array<size_t, 3> count{};
  for (const TargetMatch& match : matches) {
    const auto at = static_cast<size_t>(std::find(names.begin(), names.end(), match.module) - names.begin());
    const auto fused = static_cast<size_t>(kinds[at]);
    if (!targets[fused]) targets[fused] = match;
    if (targets[fused]->r != match.r || targets[fused]->alpha != match.alpha) {
      return Unsupported(
          fmt::format("{} has another rank or alpha than in other layers, which is not in this version", match.module));
    }
    ++count[fused];
  }
  for (size_t fused = 0; fused < targets.size(); ++fused) {
    if (targets[fused] && count[fused] != names.size() / kFused.size()) {
      return Unsupported(fmt::format("{} in some layers alone is not in this version", kParameters[fused]));
    }
  }
  return targets;
}

Result<const TensorView*> Get(const SafetensorsFile& file, const std::string& path, const std::string& name,
                              const std::vector<int64_t>& shape, std::set<std::string>& read) {
  const TensorView* stored = file.Find(name);
  if (stored == nullptr || stored->shape != shape) {
    const std::string found = stored == nullptr ? "is missing" : fmt::format("has shape [{}]", fmt::join(stored->shape, ", "));
    Error error = MakeError(ErrorCode::kData, fmt::format("{}, expected [{}]", found, fmt::join(shape, ", ")),
                            "was the adapter trained on another base model?");
    error.file = path;
    error.key = name;
    return error;
  }
  read.insert(name);
  return stored;
}

// The matrices of `linear` from those of the fused parameter `fused`, whose rows [row, row + linear.out) it is.
struct Source {
  std::vector<float> a, b;  // [r E, in], [out, r E]
  int64_t experts = 0, row = 0;
};

void Unfuse(const Source& source, const AdaptedLinear& linear, float* values) {
  const int64_t expert = linear.expert == kNoExpert ? 0 : linear.expert, columns = linear.r * source.experts;
  std::copy_n(source.a.begin() + expert * linear.r * linear.in, linear.r * linear.in, values + linear.a_offset);
  for (int64_t o = 0; o < linear.out; ++o)
    for (int64_t k = 0; k < linear.r; ++k) {
      values[linear.b_offset + o * linear.r + k] =
          source.b[static_cast<size_t>((source.row + o) * columns + k * source.experts + expert)];
    }
}

Result<Source> ReadSource(const SafetensorsFile& file, const std::string& path, const AdaptedLinear& like, int64_t experts,
                          std::set<std::string>& read) {
  const bool gate_up = like.kind == LinearKind::kGate;
  const Fused fused = gate_up ? Fused::kGateUp : like.kind == LinearKind::kDown ? Fused::kDown : Fused::kRouter;
  const std::string stem =
      fmt::format("base_model.model.model.layers.{}.mlp.{}.lora_", like.layer, kTensors[static_cast<size_t>(fused)]);
  const int64_t out = gate_up ? 2 * like.out : like.out;
  Source source;
  source.experts = fused == Fused::kRouter ? 1 : experts;
  const int64_t rows = like.r * source.experts;
  LORRY_ASSIGN_OR_RETURN(const TensorView* a, Get(file, path, stem + "A.weight", {rows, like.in}, read));
  LORRY_ASSIGN_OR_RETURN(const TensorView* b, Get(file, path, stem + "B.weight", {out, rows}, read));
  source.a.resize(static_cast<size_t>(rows * like.in));
  source.b.resize(static_cast<size_t>(out * rows));
  LORRY_TRY(ToFloat(a->dtype, a->bytes, source.a));
  LORRY_TRY(ToFloat(b->dtype, b->bytes, source.b));
  return source;
}

}  // namespace

Status UnfuseTargets(const ModelConfig& model, AdapterConfig& config) {
  if (model.experts == 0) return Unsupported("is for models with experts, and the base model has none");
  if (config.targets_are_regex || !config.exclude_modules.empty() || !config.layers_to_transform.empty()) {
    return Unsupported("is not in this version together with patterns, exclude_modules or layers_to_transform");
  }
  if (std::find(config.target_modules.begin(), config.target_modules.end(), "all-linear") != config.target_modules.end()) {
    return Unsupported("is not in this version together with all-linear");
  }
  for (const std::string& name : config.target_parameters) {
    const bool known = std::any_of(kFused.begin(), kFused.end(), [&](Fused fused) {
      const std::string whole = std::string("mlp.") + kParameters[static_cast<size_t>(fused)];
      return whole == name || whole.ends_with("." + name);
    });
    if (!known) return Unsupported(fmt::format("\"{}\" is not in this version", name));
  }
  LORRY_ASSIGN_OR_RETURN(const Targets targets, MatchParameters(model, config));
  if (targets[0].has_value() != targets[1].has_value()) {
    return Unsupported("one of gate_up_proj and down_proj without the other is not in this version");
  }
  const auto& [gate, up, down] = model.expert_linears;
  const std::array<std::vector<std::string>, 3> modules = {std::vector<std::string>{gate, up}, {down}, {"gate"}};
  const std::array<std::string, 3> patterns = {fmt::format(R"(experts\.\d+\.(?:{}|{}))", gate, up),
                                               fmt::format(R"(experts\.\d+\.{})", down),
                                               fmt::format(R"({}\.gate)", model.sparse_block)};
  for (size_t fused = 0; fused < targets.size(); ++fused) {
    if (!targets[fused]) continue;
    config.target_modules.insert(config.target_modules.end(), modules[fused].begin(), modules[fused].end());
    config.rank_pattern.insert(config.rank_pattern.begin(), {patterns[fused], targets[fused]->r});
    config.alpha_pattern.insert(config.alpha_pattern.begin(), {patterns[fused], targets[fused]->alpha});
  }
  config.target_parameters.clear();
  return OkStatus();
}

Status ReadFusedExperts(const SafetensorsFile& file, const std::string& path, const ModelConfig& model, Adapter& adapter,
                        std::set<std::string>& read) {
  auto* values = adapter.values().data_ptr<float>();
  for (int64_t layer = 0; layer < model.layers; ++layer)
    for (const LinearKind kind : {LinearKind::kGate, LinearKind::kDown, LinearKind::kRouter}) {
      const AdaptedLinear* first = adapter.Find(layer, kind, kind == LinearKind::kRouter ? kNoExpert : 0);
      if (first == nullptr) continue;
      LORRY_ASSIGN_OR_RETURN(Source source, ReadSource(file, path, *first, model.experts, read));
      for (int64_t expert = 0; expert < source.experts; ++expert) {
        const int64_t of = kind == LinearKind::kRouter ? kNoExpert : expert;
        source.row = 0;
        Unfuse(source, *adapter.Find(layer, kind, of), values);
        if (kind != LinearKind::kGate) continue;
        source.row = first->out;
        Unfuse(source, *adapter.Find(layer, LinearKind::kUp, of), values);
      }
    }
  return OkStatus();
}

}  // namespace lorry
