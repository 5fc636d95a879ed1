#include <array>
#include <cstring>

#include "model/format/dtype.h"
#include "model/format/gguf.h"

// Every formula is written as the `gguf` package computes it, so that the last bit agrees. The file is compiled with
// -ffp-contract=off: a fused multiply-add would round once where the authority rounds twice.
namespace lorry {
namespace {

constexpr size_t kSmallBlock = 32;   // Q4_0 .. Q8_0
constexpr size_t kSuperBlock = 256;  // the K types

struct TypeInfo {
  GgmlType type;
  GgmlBlock block;
  std::string_view name;
};

constexpr std::array<TypeInfo, 11> kTypes = {{
    {GgmlType::kF32, {1, 4}, "F32"},
    {GgmlType::kF16, {1, 2}, "F16"},
    {GgmlType::kQ4_0, {kSmallBlock, 18}, "Q4_0"},
    {GgmlType::kQ4_1, {kSmallBlock, 20}, "Q4_1"},
    {GgmlType::kQ5_0, {kSmallBlock, 22}, "Q5_0"},
    {GgmlType::kQ5_1, {kSmallBlock, 24}, "Q5_1"},
    {GgmlType::kQ8_0, {kSmallBlock, 34}, "Q8_0"},
    {GgmlType::kQ4_K, {kSuperBlock, 144}, "Q4_K"},
    {GgmlType::kQ5_K, {kSuperBlock, 176}, "Q5_K"},
    {GgmlType::kQ6_K, {kSuperBlock, 210}, "Q6_K"},
    {GgmlType::kBF16, {1, 2}, "BF16"},
}};

const TypeInfo& Info(GgmlType type) {
  for (const TypeInfo& info : kTypes) {
    if (info.type == type) return info;
  }
  return kTypes[0];
}

float HalfAt(const uint8_t* bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return HalfToFloat(bits);
}

uint32_t Word32At(const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

// d * (q - 8); the low nibbles are the first half of the block.
void BlockQ4_0(const uint8_t* in, float* out) {
  const float d = HalfAt(in);
  for (size_t i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((in[2 + i] & 0x0f) - 8);
    out[i + 16] = d * static_cast<float>((in[2 + i] >> 4) - 8);
  }
}

// d * q + m
void BlockQ4_1(const uint8_t* in, float* out) {
  const float d = HalfAt(in);
  const float m = HalfAt(in + 2);
  for (size_t i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(in[4 + i] & 0x0f) + m;
    out[i + 16] = d * static_cast<float>(in[4 + i] >> 4) + m;
  }
}

// Bit i of `high` is the fifth bit of value i.
int FiveBits(const uint8_t* low, uint32_t high, size_t i) {
  const int nibble = i < 16 ? low[i] & 0x0f : low[i - 16] >> 4;
  return nibble | static_cast<int>(((high >> i) & 1u) << 4);
}

void BlockQ5_0(const uint8_t* in, float* out) {
  const float d = HalfAt(in);
  const uint32_t high = Word32At(in + 2);
  for (size_t i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(FiveBits(in + 6, high, i) - 16);
}

void BlockQ5_1(const uint8_t* in, float* out) {
  const float d = HalfAt(in);
  const float m = HalfAt(in + 2);
  const uint32_t high = Word32At(in + 4);
  for (size_t i = 0; i < kSmallBlock; ++i) out[i] = d * static_cast<float>(FiveBits(in + 8, high, i)) + m;
}

void BlockQ8_0(const uint8_t* in, float* out) {
  const float d = HalfAt(in);
  for (size_t i = 0; i < kSmallBlock; ++i) out[i] = static_cast<float>(static_cast<int8_t>(in[2 + i])) * d;
}

// The eight 6-bit scales and minima of Q4_K and Q5_K, packed into 12 bytes: the first four of each stand in the low six
// bits of bytes 0..3 and 4..7; the others are four bits of bytes 8..11 and the two high bits of bytes 0..7.
struct ScaleAndMin {
  uint8_t scale, min;
};
ScaleAndMin ScaleAt(const uint8_t* packed, size_t group) {
  if (group < 4) return {static_cast<uint8_t>(packed[group] & 0x3f), static_cast<uint8_t>(packed[group + 4] & 0x3f)};
  const size_t i = group - 4;
  return {static_cast<uint8_t>((packed[8 + i] & 0x0f) | ((packed[i] >> 2) & 0x30)),
          static_cast<uint8_t>((packed[8 + i] >> 4) | ((packed[4 + i] >> 2) & 0x30))};
}

void BlockQ4_K(const uint8_t* in, float* out) {
  const float d = HalfAt(in);
  const float dmin = HalfAt(in + 2);
  const uint8_t* quants = in + 16;
  for (size_t group = 0; group < 8; ++group) {
    const ScaleAndMin packed = ScaleAt(in + 4, group);
    const float scale = d * static_cast<float>(packed.scale);
    const float min = dmin * static_cast<float>(packed.min);
    const uint8_t* row = quants + (group / 2) * 32;
    for (size_t i = 0; i < 32; ++i) {
      const int q = group % 2 == 0 ? row[i] & 0x0f : row[i] >> 4;
      out[group * 32 + i] = scale * static_cast<float>(q) - min;
    }
  }
}

void BlockQ5_K(const uint8_t* in, float* out) {
  const float d = HalfAt(in);
  const float dmin = HalfAt(in + 2);
  const uint8_t* high = in + 16;
  const uint8_t* quants = in + 48;
  for (size_t group = 0; group < 8; ++group) {
    const ScaleAndMin packed = ScaleAt(in + 4, group);
    const float scale = d * static_cast<float>(packed.scale);
    const float min = dmin * static_cast<float>(packed.min);
    const uint8_t* row = quants + (group / 2) * 32;
    for (size_t i = 0; i < 32; ++i) {
      const int nibble = group % 2 == 0 ? row[i] & 0x0f : row[i] >> 4;
      const int q = nibble | (((high[i] >> group) & 1) << 4);
      out[group * 32 + i] = scale * static_cast<float>(q) - min;
    }
  }
}

// Two halves of 128 values; in each, 64 bytes of low nibbles (twice) and 32 bytes of two high bits (four times).
void BlockQ6_K(const uint8_t* in, float* out) {
  const float d = HalfAt(in + 208);
  const uint8_t* scales = in + 192;
  for (size_t i = 0; i < kSuperBlock; ++i) {
    const size_t half = i / 128;
    const size_t at = i % 128;
    const uint8_t low_byte = in[half * 64 + at % 64];
    const uint8_t high_byte = in[128 + half * 32 + at % 32];
    const int low = at < 64 ? low_byte & 0x0f : low_byte >> 4;
    const int high = (high_byte >> (2 * (at / 32))) & 3;
    const float scale = d * static_cast<float>(static_cast<int8_t>(scales[i / 16]));
    out[i] = scale * static_cast<float>((low | (high << 4)) - 32);
  }
}

template <void (*kDequantizeBlock)(const uint8_t*, float*)>
void EachBlock(GgmlBlock block, std::span<const std::byte> blocks, std::span<float> values) {
  const auto* in = reinterpret_cast<const uint8_t*>(blocks.data());
  for (size_t i = 0; i < values.size() / block.elements; ++i) {
    kDequantizeBlock(in + i * block.bytes, values.data() + i * block.elements);
  }
}

}  // namespace

GgmlBlock BlockOf(GgmlType type) { return Info(type).block; }
std::string_view NameOf(GgmlType type) { return Info(type).name; }

void Dequantize(GgmlType type, std::span<const std::byte> blocks, std::span<float> values) {
  const GgmlBlock block = BlockOf(type);
  switch (type) {
    case GgmlType::kF32:
      (void)ToFloat(DType::kF32, blocks, values);
      return;
    case GgmlType::kF16:
      (void)ToFloat(DType::kF16, blocks, values);
      return;
    case GgmlType::kBF16:
      (void)ToFloat(DType::kBF16, blocks, values);
      return;
    case GgmlType::kQ4_0:
      EachBlock<BlockQ4_0>(block, blocks, values);
      return;
    case GgmlType::kQ4_1:
      EachBlock<BlockQ4_1>(block, blocks, values);
      return;
    case GgmlType::kQ5_0:
      EachBlock<BlockQ5_0>(block, blocks, values);
      return;
    case GgmlType::kQ5_1:
      EachBlock<BlockQ5_1>(block, blocks, values);
      return;
    case GgmlType::kQ8_0:
      EachBlock<BlockQ8_0>(block, blocks, values);
      return;
    case GgmlType::kQ4_K:
      EachBlock<BlockQ4_K>(block, blocks, values);
      return;
    case GgmlType::kQ5_K:
      EachBlock<BlockQ5_K>(block, blocks, values);
      return;
    case GgmlType::kQ6_K:
      EachBlock<BlockQ6_K>(block, blocks, values);
      return;
  }
}

}  // namespace lorry
