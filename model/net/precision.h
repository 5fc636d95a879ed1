// What numbers a model computes in, and what this CPU can do. No LibTorch here.
#pragma once

#include <cstdint>

namespace lorry {

// kBf16: weights and activations in bfloat16, every sum in fp32.
enum class Precision : uint8_t { kFp32, kBf16 };

constexpr int64_t ElementBytes(Precision precision) { return precision == Precision::kBf16 ? 2 : 4; }

// AVX-512 BF16 or AMX: bf16 products at full rate. Without either, train and infer in fp32.
bool CpuHasBf16();
// AMX with bf16 tiles, and the kernel's leave to use them (asked for once per process).
bool CpuHasAmx();
// AVX-512 F, BW, DQ, VL.
bool CpuHasAvx512();
// "amx-bf16", "avx512-bf16", "avx512", "avx2" or "x86-64": what the kernels of `precision` use here. Results are the same
// bytes only where this is the same.
const char* InstructionSet(Precision precision);

// bfloat16 as it lies in memory.
struct Bf16 {
  uint16_t bits;
};

}  // namespace lorry
