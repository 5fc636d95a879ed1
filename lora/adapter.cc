#include "lora/adapter.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include "base/random.h"
#include "lora/target_match.h"

namespace lorry {
namespace {

constexpr std::array<const char*, kLinearKinds> kPaths = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                          "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                          "mlp.down_proj"};

std::string ModuleName(int64_t layer, LinearKind kind) { return fmt::format("model.layers.{}.{}", layer, LinearKindPath(kind)); }

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

std::pair<int64_t, int64_t> LinearKindShape(const ModelConfig& config, LinearKind kind) {
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
      return {config.intermediate_size, config.hidden_size};
    case LinearKind::kDown:
      return {config.hidden_size, config.intermediate_size};
  }
  return {0, 0};
}

Result<Adapter> Adapter::Create(const ModelConfig& model, AdapterConfig config) {
  LORRY_TRY(CheckDropout(config.dropout, config.dora));
  std::vector<std::string> modules;
  for (int64_t layer = 0; layer < model.layers; ++layer)
    for (int kind = 0; kind < kLinearKinds; ++kind) modules.push_back(ModuleName(layer, static_cast<LinearKind>(kind)));
  LORRY_ASSIGN_OR_RETURN(const std::vector<TargetMatch> matches, MatchTargets(config, modules));
  Adapter adapter;
  int64_t offset = 0;
  auto match = matches.begin();
  for (size_t i = 0; i < modules.size() && match != matches.end(); ++i) {
    if (match->module != modules[i]) continue;
    if (match->r < 1 || match->r > 512) {
      return MakeError(ErrorCode::kSpec, fmt::format("{}: rank {} is outside 1..512", match->module, match->r));
    }
    AdaptedLinear linear{match->module, static_cast<int64_t>(i) / kLinearKinds, static_cast<LinearKind>(i % kLinearKinds)};
    std::tie(linear.out, linear.in) = LinearKindShape(model, linear.kind);
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
  adapter.values_ = at::zeros({offset}, at::kFloat);
  return adapter;
}

Status Adapter::SetDropout(double dropout) {
  LORRY_TRY(CheckDropout(dropout, config_.dora));
  config_.dropout = dropout;
  return OkStatus();
}

const AdaptedLinear* Adapter::Find(int64_t layer, LinearKind kind) const {
  for (const AdaptedLinear& linear : linears_)
    if (linear.layer == layer && linear.kind == kind) return &linear;
  return nullptr;
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
    slots.push_back({stem + ".lora_A.weight", SlotKind::kA, linear.a_offset, {linear.r, linear.in}});
    slots.push_back({stem + ".lora_B.weight", SlotKind::kB, linear.b_offset, {linear.out, linear.r}});
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
    Random random(seed, "lora.init", {static_cast<uint64_t>(linear.layer), static_cast<uint64_t>(linear.kind)});
    const double bound = 1.0 / std::sqrt(static_cast<double>(linear.in));
    for (int64_t i = linear.a_offset; i < linear.b_offset; ++i) {
      values[i] = static_cast<float>((2.0 * random.Uniform01() - 1.0) * bound);
    }
    std::fill_n(values + linear.b_offset, linear.out * (linear.r + (linear.dora ? 1 : 0)), 0.0f);
  }
}

}  // namespace lorry
