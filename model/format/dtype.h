// Element types of stored tensors, and the conversions between them and float.
//
// The order of the enumerators is the one in which safetensors files sort their tensors (larger ones first), so that our
// files are byte-equal to those of the `safetensors` package. Source: https://github.com/huggingface/safetensors (README).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace lorry {

enum class DType { kBool, kU8, kI8, kF8E5M2, kF8E4M3, kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kF64, kI64, kU64 };

size_t SizeOf(DType dtype);            // bytes of one element
std::string_view NameOf(DType dtype);  // "F32", "BF16", ... as safetensors writes them
Result<DType> DTypeFromName(std::string_view safetensors_name);
// "float32", "bfloat16", "float16" as config.json, PEFT and the command line's --dtype write them; fp32 and bf16 too.
Result<DType> DTypeFromTorchName(std::string_view name);
std::string_view TorchNameOf(DType dtype);  // REQUIRES: kF64, kF32, kF16 or kBF16

float HalfToFloat(uint16_t bits);
float BFloat16ToFloat(uint16_t bits);
uint16_t FloatToHalf(float value);      // round to nearest even; NaN stays NaN
uint16_t FloatToBFloat16(float value);  // round to nearest even; NaN stays NaN

// Whole arrays, from and to little-endian bytes. Only F64, F32, F16 and BF16 are numbers in this sense: others are kUnsupported.
// REQUIRES: bytes.size() == values.size() * SizeOf(dtype).
Status ToFloat(DType dtype, std::span<const std::byte> bytes, std::span<float> values);
Status FromFloat(DType dtype, std::span<const float> values, std::span<std::byte> bytes);

}  // namespace lorry
