// One source, three builds: a kernel body is written once as a force-inlined function and compiled for AVX-512, for AVX2
// with FMA, and for plain x86-64; the first that this CPU has is called.
//
//   static LORRY_INLINE void ScaleBody(float* x, int64_t n, float s) { for (...) x[i] *= s; }
//   LORRY_VECTOR_KERNEL(Scale, ScaleBody, (float* x, int64_t n, float s), (x, n, s))
//
// Bodies are loops that GCC vectorizes at -O3. A sum over a row is kept in kLanes partial sums, so that all builds add in
// the same order (they still differ in the last bit where one fuses a multiply with an add).
#pragma once

#include <bit>
#include <cstdint>

#include "model/net/precision.h"

#define LORRY_INLINE inline __attribute__((always_inline))
#define LORRY_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")))
#define LORRY_TARGET_AVX2 __attribute__((target("avx2,fma")))

#define LORRY_VECTOR_KERNEL(name, body, parameters, arguments)                \
  LORRY_TARGET_AVX512 static void name##Avx512 parameters { body arguments; } \
  LORRY_TARGET_AVX2 static void name##Avx2 parameters { body arguments; }     \
  static void name##Plain parameters { body arguments; }                      \
  void name parameters {                                                      \
    if (CpuHasAvx512()) return name##Avx512 arguments;                        \
    if (CpuHasAvx2()) return name##Avx2 arguments;                            \
    name##Plain arguments;                                                    \
  }

namespace lorry {

inline bool CpuHasAvx2() {
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
}

inline constexpr int kLanes = 16;

static LORRY_INLINE float ToFloat(float x) { return x; }
static LORRY_INLINE float ToFloat(Bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

// Round to nearest even. A NaN stays one unless all its mantissa bits are set, which no arithmetic makes.
static LORRY_INLINE uint16_t RoundToBf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
static LORRY_INLINE void Store(float* to, float x) { *to = x; }
static LORRY_INLINE void Store(Bf16* to, float x) { to->bits = RoundToBf16(x); }

// e^x within 2 units in the last place on [-87, 88], outside clamped; without branches, so that loops vectorize.
// Cody-Waite reduction by ln 2, then a polynomial on [-ln2/2, ln2/2] (coefficients of Cephes' expf).
static LORRY_INLINE float VectorExp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: the low bits hold the rounded quotient
  const float n = shifted - 12582912.0f;
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const uint32_t exponent = (std::bit_cast<uint32_t>(shifted) - 0x4b400000u + 127u) << 23;
  return p * std::bit_cast<float>(exponent);
}

}  // namespace lorry
