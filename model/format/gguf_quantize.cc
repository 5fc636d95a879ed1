#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "model/format/dtype.h"
#include "model/format/gguf_write.h"

namespace lorry {
namespace {

constexpr size_t kBlock = 32;           // values of a Q8_0 block
constexpr size_t kBlockBytes = 2 + 32;  // d, one int8 for each value
constexpr float kLargestHalf = 65504.0f;

// d is the largest magnitude over 127; each value becomes the nearest whole number of d, halves away from zero. The division, the
// product and d's own rounding to half stand in ggml's order (ggml-quants.c), which decides about ties.
void QuantizeQ8_0(std::span<const float> values, std::span<std::byte> blocks) {
  for (size_t block = 0; block < values.size() / kBlock; ++block) {
    const float* const x = values.data() + block * kBlock;
    std::byte* const out = blocks.data() + block * kBlockBytes;
    float largest = 0.0f;
    for (size_t i = 0; i < kBlock; ++i) largest = std::max(largest, std::abs(x[i]));
    const float d = largest / 127.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    const uint16_t half = FloatToHalf(d);
    std::memcpy(out, &half, sizeof(half));
    for (size_t i = 0; i < kBlock; ++i) {
      // Of magnitudes below float's normal range 1 / d is infinite; ggml's cast of that is undefined.
      const float scaled = std::clamp(std::round(x[i] * inverse), -127.0f, 127.0f);
      out[2 + i] = static_cast<std::byte>(static_cast<int8_t>(std::isnan(scaled) ? 0.0f : scaled));
    }
  }
}

// The largest magnitude that the type holds.
float LargestOf(GgmlType type) {
  if (type == GgmlType::kF16) return kLargestHalf;
  return type == GgmlType::kQ8_0 ? kLargestHalf * 127.0f : std::numeric_limits<float>::max();
}

}  // namespace

Status Quantize(GgmlType type, std::span<const float> values, std::span<std::byte> blocks) {
  const float largest = LargestOf(type);
  for (const float value : values) {
    if (std::abs(value) <= largest) continue;  // false for a NaN
    return std::isfinite(value)
               ? MakeError(ErrorCode::kData, fmt::format("holds {}, more than {} can", value, NameOf(type)), "write F32")
               : MakeError(ErrorCode::kData, "holds a value that is not finite");
  }
  switch (type) {
    case GgmlType::kF32:
      return FromFloat(DType::kF32, values, blocks);
    case GgmlType::kF16:
      return FromFloat(DType::kF16, values, blocks);
    case GgmlType::kBF16:
      return FromFloat(DType::kBF16, values, blocks);
    case GgmlType::kQ8_0:
      QuantizeQ8_0(values, blocks);
      return OkStatus();
    default:
      return MakeError(ErrorCode::kUnsupported, fmt::format("writing {} is not in this version", NameOf(type)));
  }
}

}  // namespace lorry
