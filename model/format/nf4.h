// NF4: a weight as 4-bit codes with one scale for each 64 of them, byte for byte as bitsandbytes 0.50 makes and reads it on a CPU
// (github.com/bitsandbytes-foundation/bitsandbytes: backends/default/ops.py, csrc/cpu_ops.cpp). docs/formats/nf4.md has the
// arithmetic, and what of it differs between machines.
//
// A matrix is taken as one row-major run of numbers. No LibTorch here. Threads: const functions from any number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/format/dtype.h"

namespace lorry {

inline constexpr int64_t kNf4Block = 64;         // weights of one scale (absmax)
inline constexpr int64_t kNf4NestedBlock = 256;  // scales of one nested scale

// The sixteen numbers that a code stands for, ascending, in [-1, 1].
const std::array<float, 16>& Nf4Codebook();
// The 256 numbers of a quantized scale: create_dynamic_map() of bitsandbytes, ascending.
const std::array<float, 256>& DynamicCodebook();

// Scales that are themselves quantized ("double quantization"): scale i is codebook[codes[i]] * absmax[i / 256] + offset.
struct Nf4NestedScales {
  std::vector<uint8_t> codes;
  std::vector<float> absmax;
  std::vector<float> codebook;  // [256]; as it was stored, since old versions of bitsandbytes have another first entry
  float offset = 0.0f;
};

// A quantized weight. Owns its bytes.
struct Nf4Tensor {
  std::vector<int64_t> shape;
  DType dtype = DType::kF32;    // F32, BF16 or F16: a dequantized number is rounded to it
  std::vector<uint8_t> packed;  // two codes a byte, the first in the high four bits
  std::vector<float> absmax;    // one a block; empty where `nested` holds them
  std::optional<Nf4NestedScales> nested;

  int64_t ElementCount() const;
  int64_t BlockCount() const { return (ElementCount() + kNf4Block - 1) / kNf4Block; }
  int64_t Bytes() const;  // that it takes in memory
  float Scale(int64_t block) const;
};

struct Nf4Options {
  bool double_quantization = true;
  // The mean of the scales, which is subtracted before they are quantized. Where it is not given it is summed as torch does with
  // one thread; with more, torch's own last bit differs from 32,768 scales on.
  std::optional<float> offset;
};

// Quantizes numbers stored as `dtype` (F32, BF16, F16). kData where one is not finite; kUnsupported for other types.
// REQUIRES: `bytes` are as many as `shape` and `dtype` ask for.
Result<Nf4Tensor> QuantizeNf4(std::span<const std::byte> bytes, DType dtype, std::vector<int64_t> shape,
                              const Nf4Options& options);

// Elements [first, first + values.size()) as floats, rounded to the tensor's dtype.
void DequantizeNf4(const Nf4Tensor& tensor, int64_t first, std::span<float> values);

}  // namespace lorry
