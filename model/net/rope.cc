#include "model/net/rope.h"

#include <cmath>
#include <numbers>

#include "model/net/row_kernels.h"
#include "model/net/tensor_rows.h"

namespace lorry {
namespace {

// 1 / theta^(2 i / D), in fp32 as transformers computes it: its fp64 models keep these angles too.
at::Tensor InverseFrequencies(double theta, int64_t head_dim) {
  const at::Tensor exponents = at::arange(0, head_dim, 2, at::kLong).to(at::kFloat) / static_cast<double>(head_dim);
  return 1.0 / at::pow(at::Scalar(theta), exponents);
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

}  // namespace

Result<std::pair<at::Tensor, at::Tensor>> RopeTables(const RopeConfig& rope, int64_t head_dim, int64_t positions) {
  at::Tensor frequencies = InverseFrequencies(rope.theta, head_dim);
  switch (rope.type) {
    case RopeType::kDefault:
      break;
    case RopeType::kLinear:
      frequencies = frequencies / rope.factor;
      break;
    case RopeType::kLlama3:
      frequencies = Llama3Frequencies(rope, frequencies);
      break;
    default:
      return MakeError(ErrorCode::kUnsupported, "rope_scaling of this type is not in this version",
                       "default, linear and llama3 are");
  }
  const at::Tensor angles = at::outer(at::arange(positions, at::kLong).to(at::kFloat), frequencies);
  return std::pair{at::cos(angles).contiguous(), at::sin(angles).contiguous()};
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
