#include "model/format/dtype.h"

#include <array>
#include <bit>
#include <cstring>

#include <fmt/format.h>

namespace lorry {
namespace {

struct DTypeInfo {
  DType dtype;
  size_t size;
  std::string_view name;
  std::string_view torch_name;  // empty for types that no weight has
};

constexpr std::array<DTypeInfo, 15> kDTypes = {{
    {DType::kBool, 1, "BOOL", ""},
    {DType::kU8, 1, "U8", ""},
    {DType::kI8, 1, "I8", ""},
    {DType::kF8E5M2, 1, "F8_E5M2", ""},
    {DType::kF8E4M3, 1, "F8_E4M3", ""},
    {DType::kI16, 2, "I16", ""},
    {DType::kU16, 2, "U16", ""},
    {DType::kF16, 2, "F16", "float16"},
    {DType::kBF16, 2, "BF16", "bfloat16"},
    {DType::kI32, 4, "I32", ""},
    {DType::kU32, 4, "U32", ""},
    {DType::kF32, 4, "F32", "float32"},
    {DType::kF64, 8, "F64", "float64"},
    {DType::kI64, 8, "I64", ""},
    {DType::kU64, 8, "U64", ""},
}};

const DTypeInfo& Info(DType dtype) { return kDTypes[static_cast<size_t>(dtype)]; }

template <class T, class Convert>
void Read(std::span<const std::byte> bytes, std::span<float> values, Convert convert) {
  for (size_t i = 0; i < values.size(); ++i) {
    T stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = convert(stored);
  }
}

template <class T, class Convert>
void Write(std::span<const float> values, std::span<std::byte> bytes, Convert convert) {
  for (size_t i = 0; i < values.size(); ++i) {
    const T stored = convert(values[i]);
    std::memcpy(bytes.data() + i * sizeof(T), &stored, sizeof(T));
  }
}

}  // namespace

size_t SizeOf(DType dtype) { return Info(dtype).size; }
std::string_view NameOf(DType dtype) { return Info(dtype).name; }
std::string_view TorchNameOf(DType dtype) { return Info(dtype).torch_name; }

Result<DType> DTypeFromName(std::string_view safetensors_name) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.name == safetensors_name) return info.dtype;
  }
  return MakeError(ErrorCode::kUnsupported, fmt::format("element type \"{}\" is not known", safetensors_name));
}

Result<DType> DTypeFromTorchName(std::string_view name) {
  if (name == "fp32") return DType::kF32;
  if (name == "bf16") return DType::kBF16;
  if (name == "fp16") return DType::kF16;
  for (const DTypeInfo& info : kDTypes) {
    if (!info.torch_name.empty() && info.torch_name == name) return info.dtype;
  }
  return MakeError(ErrorCode::kUnsupported, fmt::format("element type \"{}\" is not known", name),
                   "use float32, bfloat16 or float16");
}

float HalfToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // subnormal, and exact in float
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

float BFloat16ToFloat(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t FloatToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);  // quiet NaN
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // rounds to 65520 or more: infinity
  if (magnitude >= 0x38800000u) {                       // a normal half
    const uint32_t rebased = magnitude - (112u << 23);
    return static_cast<uint16_t>(sign | ((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13));
  }
  // Adding 0.5 puts the last bit of a subnormal half at the last bit of the sum, so the addition itself rounds.
  const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
  return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0.5f)));
}

Status ToFloat(DType dtype, std::span<const std::byte> bytes, std::span<float> values) {
  switch (dtype) {
    case DType::kF32:
      if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
      return OkStatus();
    case DType::kF64:
      Read<double>(bytes, values, [](double v) { return static_cast<float>(v); });
      return OkStatus();
    case DType::kF16:
      Read<uint16_t>(bytes, values, HalfToFloat);
      return OkStatus();
    case DType::kBF16:
      Read<uint16_t>(bytes, values, BFloat16ToFloat);
      return OkStatus();
    default:
      return MakeError(ErrorCode::kUnsupported, fmt::format("{} tensors are not weights", NameOf(dtype)));
  }
}

Status FromFloat(DType dtype, std::span<const float> values, std::span<std::byte> bytes) {
  switch (dtype) {
    case DType::kF32:
      if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
      return OkStatus();
    case DType::kF64:
      Write<double>(values, bytes, [](float v) { return static_cast<double>(v); });
      return OkStatus();
    case DType::kF16:
      Write<uint16_t>(values, bytes, FloatToHalf);
      return OkStatus();
    case DType::kBF16:
      Write<uint16_t>(values, bytes, FloatToBFloat16);
      return OkStatus();
    default:
      return MakeError(ErrorCode::kUnsupported, fmt::format("{} tensors are not weights", NameOf(dtype)));
  }
}

}  // namespace lorry
