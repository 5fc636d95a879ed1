#include "model/net/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "model/net/row_kernels.h"
#include "model/net/tensor_rows.h"

namespace lorry {
namespace {

// theta^(2 i / D), in fp32 as transformers computes it: its fp64 models keep these angles too.
at::Tensor WaveNumbers(double theta, int64_t head_dim) {
  const at::Tensor exponents = at::arange(0, head_dim, 2, at::kLong).to(at::kFloat) / static_cast<double>(head_dim);
  return at::pow(at::Scalar(theta), exponents);
}

// Llama 3: long waves are stretched by `factor`, short ones kept, those between blended.
at::Tensor Llama3Frequencies(const RopeConfig& rope, const at::Tensor& frequencies) {
  const double old_length = static_cast<double>(rope.original_max_position_embeddings);
  const at::Tensor wave_length = 2 * std::numbers::pi / frequencies;
  const double low_wave = old_length / rope.low_freq_factor, high_wave = old_length / rope.high_freq_factor;
  const at::Tensor stretched = at::where(wave_length > low_wave, frequencies / rope.factor, frequencies);
  const at::Tensor smooth = (old_length / wave_length - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  const at::Tensor blended = (1 - smooth) * stretched / rope.factor + smooth * stretched;
  const at::Tensor between = at::logical_and(wave_length >= high_wave, wave_length <= low_wave);
  return at::where(between, blended, stretched);
}

// The pair that makes `turns` full turns over the original length, as a fraction of pairs.
double PairOfTurns(const RopeConfig& rope, double turns, int64_t head_dim) {
  const auto length = static_cast<double>(rope.original_max_position_embeddings);
  return static_cast<double>(head_dim) * std::log(length / (turns * 2 * std::numbers::pi)) / (2 * std::log(rope.theta));
}

// YaRN: fast pairs keep their speed, slow ones are slowed down by `factor`, a ramp between.
at::Tensor YarnFrequencies(const RopeConfig& rope, int64_t head_dim) {
  const at::Tensor waves = WaveNumbers(rope.theta, head_dim);
  double low = PairOfTurns(rope, rope.beta_fast, head_dim), high = PairOfTurns(rope, rope.beta_slow, head_dim);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, static_cast<double>(head_dim - 1));
  if (low == high) high += 0.001;
  const at::Tensor ramp = at::clamp((at::arange(head_dim / 2, at::kFloat) - low) / (high - low), 0, 1);
  const at::Tensor kept = 1 - ramp;
  return 1.0 / (rope.factor * waves) * (1 - kept) + 1.0 / waves * kept;
}

double YarnScale(double factor, double weight) { return factor <= 1 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0; }

// What cos and sin are multiplied by.
double AttentionFactor(const RopeConfig& rope) {
  if (rope.attention_factor && (rope.type == RopeType::kYarn || rope.type == RopeType::kLongRope)) return *rope.attention_factor;
  if (rope.type == RopeType::kYarn) {
    const bool weighed = rope.mscale.value_or(0) != 0 && rope.mscale_all_dim.value_or(0) != 0;
    return weighed ? YarnScale(rope.factor, *rope.mscale) / YarnScale(rope.factor, *rope.mscale_all_dim)
                   : YarnScale(rope.factor, 1);
  }
  if (rope.type == RopeType::kLongRope && rope.factor > 1) {
    return std::sqrt(1 + std::log(rope.factor) / std::log(static_cast<double>(rope.original_max_position_embeddings)));
  }
  return 1.0;
}

at::Tensor LongRopeFrequencies(const RopeConfig& rope, const std::vector<double>& factors, int64_t head_dim) {
  const at::Tensor stretch = at::empty({head_dim / 2}, at::kFloat);
  std::copy(factors.begin(), factors.end(), stretch.data_ptr<float>());
  return 1.0 / (stretch * WaveNumbers(rope.theta, head_dim));
}

// One row of speeds for each set of positions.
std::vector<at::Tensor> Frequencies(const RopeConfig& rope, int64_t head_dim) {
  switch (rope.type) {
    case RopeType::kDefault:
    case RopeType::kDynamic:
      break;
    case RopeType::kLinear:
      return {1.0 / WaveNumbers(rope.theta, head_dim) / rope.factor};
    case RopeType::kLlama3:
      return {Llama3Frequencies(rope, 1.0 / WaveNumbers(rope.theta, head_dim))};
    case RopeType::kYarn:
      return {YarnFrequencies(rope, head_dim)};
    case RopeType::kLongRope:
      return {LongRopeFrequencies(rope, rope.short_factor, head_dim), LongRopeFrequencies(rope, rope.long_factor, head_dim)};
  }
  return {1.0 / WaveNumbers(rope.theta, head_dim)};
}

}  // namespace

RopeTables MakeRopeTables(const RopeConfig& rope, int64_t head_dim, int64_t positions) {
  const at::Tensor steps = at::arange(positions, at::kLong).to(at::kFloat);
  std::vector<at::Tensor> angles;
  for (const at::Tensor& frequencies : Frequencies(rope, head_dim)) angles.push_back(at::outer(steps, frequencies));
  const at::Tensor all = at::cat(angles);
  const double factor = AttentionFactor(rope);
  return {(at::cos(all) * factor).contiguous(), (at::sin(all) * factor).contiguous()};
}

int64_t FirstRopeRow(const RopeConfig& rope, int64_t length, int64_t positions) {
  return rope.type == RopeType::kLongRope && length > rope.original_max_position_embeddings ? positions : 0;
}

at::Tensor ApplyRopePlain(const at::Tensor& x_THD, const at::Tensor& positions, const at::Tensor& cos, const at::Tensor& sin,
                          RopeDirection direction) {
  const at::ScalarType wide = WideType(x_THD);
  const at::Tensor c = cos.index_select(0, positions).unsqueeze(1).to(wide);
  at::Tensor s = sin.index_select(0, positions).unsqueeze(1).to(wide);
  if (direction == RopeDirection::kBackward) s = -s;
  const std::vector<at::Tensor> halves = x_THD.to(wide).chunk(2, -1);
  return at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1).to(x_THD.scalar_type());
}

void ApplyRope(at::Tensor x_THD, const at::Tensor& positions, const at::Tensor& cos, const at::Tensor& sin,
               RopeDirection direction) {
  if (!HasKernel(x_THD)) {
    x_THD.copy_(ApplyRopePlain(x_THD, positions, cos, sin, direction));
    return;
  }
  TORCH_CHECK(x_THD.stride(2) == 1 && positions.scalar_type() == at::kInt, "rope: rows of heads and int32 positions");
  RopeRows rope;
  rope.x = static_cast<std::byte*>(x_THD.data_ptr());
  rope.row_stride = x_THD.stride(0), rope.head_stride = x_THD.stride(1);
  rope.rows = x_THD.size(0), rope.heads = x_THD.size(1), rope.half = x_THD.size(2) / 2;
  rope.positions = positions.const_data_ptr<int32_t>();
  rope.cos = cos.const_data_ptr<float>(), rope.sin = sin.const_data_ptr<float>();
  rope.sign = direction == RopeDirection::kForward ? 1.0f : -1.0f;
  RopeRowsInPlace(PrecisionOf(x_THD), rope);
}

}  // namespace lorry
