#include "lora/adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <tuple>

#include "base/random.h"
#include "lora/target_match.h"

namespace lorry {
namespace {

constexpr std::array<const char*, kLinearKinds> kPaths = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                          "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                          "mlp.down_proj"};

// What may be adapted, in the flat vector's order: names and places, no ranks yet.
std::vector<AdaptedLinear> Candidates(const ModelConfig& model) {
  std::vector<AdaptedLinear> candidates;
  const auto append = [&](std::string module, int64_t layer, LinearKind kind, int64_t expert) {
    AdaptedLinear& linear = candidates.emplace_back();
    linear.module = std::move(module), linear.layer = layer, linear.kind = kind, linear.expert = expert;
    std::tie(linear.out, linear.in) = LinearKindShape(model, kind, expert != kNoExpert);
  };
  // PEFT on transformers 5 cannot adapt a dense MLP among sparse ones: it takes the names for the experts'.
  const int dense_kinds = model.experts > 0 ? static_cast<int>(LinearKind::kGate) : kLinearKinds;
  for (int64_t layer = 0; layer < model.layers; ++layer) {
    for (int i = 0; i < dense_kinds; ++i) {
      const auto kind = static_cast<LinearKind>(i);
      append(fmt::format("model.layers.{}.{}", layer, LinearKindPath(kind)), layer, kind, kNoExpert);
    }
    if (!model.IsSparse(layer)) continue;
    append(RouterModule(model, layer), layer, LinearKind::kRouter, kNoExpert);
    for (int64_t expert = 0; expert < model.experts; ++expert)
      for (int i = 0; i < 3; ++i) {
        append(ExpertModule(model, layer, expert, i), layer, static_cast<LinearKind>(static_cast<int>(LinearKind::kGate) + i),
               expert);
      }
  }
  return candidates;
}

bool InSparseMlp(const AdaptedLinear& linear) { return linear.expert != kNoExpert || linear.kind == LinearKind::kRouter; }

Error Unsupported(const AdaptedLinear& linear, std::string message, std::string hint) {
  return MakeError(ErrorCode::kUnsupported, fmt::format("{}: {}", linear.module, message), std::move(hint));
}

// PEFT on transformers 5 holds the experts' weights fused, gate with up, and reads these files into that. What it cannot read, or
// reads as something else, is not written.
Status CheckSparse(const Adapter& adapter) {
  const AdapterConfig& config = adapter.config();
  for (const AdaptedLinear& linear : adapter.linears()) {
    if (!InSparseMlp(linear)) continue;
    const std::string hint = "name attention's linears alone in target_modules, or switch it off";
    if (config.dora) return Unsupported(linear, "PEFT has no DoRA on experts and routers", hint);
    if (config.dropout != 0.0) return Unsupported(linear, "PEFT has no dropout on experts and routers", hint);
    if (config.rslora && linear.expert != kNoExpert && !config.was_fused) {
      return Unsupported(linear, "PEFT on transformers 5 reads rsLoRA on experts with another scale", hint);
    }
    const bool is_gate = linear.kind == LinearKind::kGate, is_up = linear.kind == LinearKind::kUp;
    if (!is_gate && !is_up) continue;
    const AdaptedLinear* other = adapter.Find(linear.layer, is_gate ? LinearKind::kUp : LinearKind::kGate, linear.expert);
    if (other == nullptr || other->r != linear.r || other->scaling != linear.scaling) {
      return Unsupported(linear, "an expert's gate and up are adapted together, at one rank and alpha",
                         "PEFT on transformers 5 holds them as one weight");
    }
  }
  return OkStatus();
}

double ScalingOf(const AdapterConfig& config, const TargetMatch& match) {
  const auto r = static_cast<double>(match.r);
  return match.alpha / (config.rslora ? std::sqrt(r) : r);
}

Status CheckDropout(double dropout, bool dora) {
  if (!(dropout >= 0.0 && dropout < 1.0)) return MakeError(ErrorCode::kSpec, "adapter dropout is outside 0 <= x < 1");
  if (dropout > 0.0 && dora) {
    return MakeError(ErrorCode::kUnsupported, "adapter dropout together with DoRA is not in this version",
                     "set adapter.dropout to 0");
  }
  return OkStatus();
}

}  // namespace

const char* LinearKindPath(LinearKind kind) { return kPaths[static_cast<size_t>(kind)]; }

std::pair<int64_t, int64_t> LinearKindShape(const ModelConfig& config, LinearKind kind, bool of_expert) {
  const int64_t inner = of_expert ? config.expert_size : config.intermediate_size;
  const int64_t queries = config.heads * config.head_dim, keys = config.kv_heads * config.head_dim;
  switch (kind) {
    case LinearKind::kQ:
      return {queries, config.hidden_size};
    case LinearKind::kK:
    case LinearKind::kV:
      return {keys, config.hidden_size};
    case LinearKind::kO:
      return {config.hidden_size, queries};
    case LinearKind::kGate:
    case LinearKind::kUp:
      return {inner, config.hidden_size};
    case LinearKind::kDown:
      return {config.hidden_size, inner};
    case LinearKind::kRouter:
      return {config.experts, config.hidden_size};
  }
  return {0, 0};
}

Result<Adapter> Adapter::Create(const ModelConfig& model, AdapterConfig config) {
  LORRY_TRY(CheckDropout(config.dropout, config.dora));
  std::vector<AdaptedLinear> candidates = Candidates(model);
  std::vector<std::string> modules;
  for (const AdaptedLinear& candidate : candidates) modules.push_back(candidate.module);
  LORRY_ASSIGN_OR_RETURN(const std::vector<TargetMatch> matches, MatchTargets(config, modules));
  Adapter adapter;
  int64_t offset = 0;
  auto match = matches.begin();
  for (size_t i = 0; i < modules.size() && match != matches.end(); ++i) {
    if (match->module != modules[i]) continue;
    AdaptedLinear& linear = candidates[i];
    if (match->r < 1 || match->r > 512) {
      return MakeError(ErrorCode::kSpec, fmt::format("{}: rank {} is outside 1..512", match->module, match->r));
    }
    linear.r = match->r;
    linear.scaling = ScalingOf(config, *match);
    linear.a_offset = offset;
    linear.b_offset = offset + linear.r * linear.in;
    linear.dora = config.dora;
    offset = linear.MagnitudeOffset() + (linear.dora ? linear.out : 0);
    adapter.linears_.push_back(std::move(linear));
    ++match;
  }
  adapter.config_ = std::move(config);
  LORRY_TRY(CheckSparse(adapter));
  adapter.values_ = at::zeros({offset}, at::kFloat);
  return adapter;
}

Status Adapter::SetDropout(double dropout) {
  LORRY_TRY(CheckDropout(dropout, config_.dora));
  config_.dropout = dropout;
  return OkStatus();
}

const AdaptedLinear* Adapter::Find(int64_t layer, LinearKind kind, int64_t expert) const {
  const auto place = [](const AdaptedLinear& linear) { return std::tuple(linear.layer, linear.expert, linear.kind); };
  const std::tuple wanted(layer, expert, kind);
  const auto found = std::lower_bound(linears_.begin(), linears_.end(), wanted,
                                      [&](const AdaptedLinear& linear, const auto& at) { return place(linear) < at; });
  return found != linears_.end() && place(*found) == wanted ? &*found : nullptr;
}

at::Tensor Adapter::ViewA(const AdaptedLinear& linear, const at::Tensor& flat) {
  return flat.narrow(0, linear.a_offset, linear.r * linear.in).view({linear.r, linear.in});
}

at::Tensor Adapter::ViewB(const AdaptedLinear& linear, const at::Tensor& flat) {
  return flat.narrow(0, linear.b_offset, linear.out * linear.r).view({linear.out, linear.r});
}

at::Tensor Adapter::ViewMagnitude(const AdaptedLinear& linear, const at::Tensor& flat) {
  return flat.narrow(0, linear.MagnitudeOffset(), linear.out);
}

int64_t Adapter::Slot::size() const { return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()); }

std::vector<Adapter::Slot> Adapter::Slots() const {
  std::vector<Slot> slots;
  for (const AdaptedLinear& linear : linears_) {
    const std::string stem = "base_model.model." + linear.module;
    const bool sparse = InSparseMlp(linear);
    slots.push_back({stem + ".lora_A.weight", SlotKind::kA, linear.a_offset, {linear.r, linear.in}, sparse});
    slots.push_back({stem + ".lora_B.weight", SlotKind::kB, linear.b_offset, {linear.out, linear.r}, sparse});
    if (!linear.dora) continue;
    slots.push_back({stem + ".lora_magnitude_vector", SlotKind::kMagnitude, linear.MagnitudeOffset(), {linear.out}});
  }
  return slots;
}

Adapter Adapter::Clone() const {
  Adapter copy = *this;
  copy.values_ = values_.clone();
  return copy;
}

void InitAdapter(Adapter& adapter, uint64_t seed) {
  auto* values = adapter.values().data_ptr<float>();
  for (const AdaptedLinear& linear : adapter.linears()) {
    const auto layer = static_cast<uint64_t>(linear.layer), kind = static_cast<uint64_t>(linear.kind);
    Random random = linear.expert == kNoExpert ? Random(seed, "lora.init", {layer, kind})
                                               : Random(seed, "lora.init", {layer, kind, static_cast<uint64_t>(linear.expert)});
    const double bound = 1.0 / std::sqrt(static_cast<double>(linear.in));
    for (int64_t i = linear.a_offset; i < linear.b_offset; ++i) {
      values[i] = static_cast<float>((2.0 * random.Uniform01() - 1.0) * bound);
    }
    std::fill_n(values + linear.b_offset, linear.out * (linear.r + (linear.dora ? 1 : 0)), 0.0f);
  }
}

}  // namespace lorry
