#include "model/net/precision.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace lorry {
namespace {

struct CpuFeatures {
  bool avx512 = false, avx512_bf16 = false, amx_bf16 = false;
};

// Linux gives a process the tiles' 8 KB of state only when asked (arch/x86/include/uapi/asm/prctl.h).
bool AskForTiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

CpuFeatures Detect() {
  CpuFeatures found;
  found.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vl");
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!found.avx512 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  const unsigned subleaves = a;
  const bool tiles = (d >> 24 & 1u) != 0 && (d >> 22 & 1u) != 0;
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) found.avx512_bf16 = (a >> 5 & 1u) != 0;
  found.amx_bf16 = tiles && AskForTiles();
  return found;
}

const CpuFeatures& Features() {
  static const CpuFeatures features = Detect();
  return features;
}

}  // namespace

bool CpuHasBf16() { return Features().avx512_bf16 || Features().amx_bf16; }
bool CpuHasAmx() { return Features().amx_bf16; }
bool CpuHasAvx512() { return Features().avx512; }

const char* InstructionSet(Precision precision) {
  if (precision == Precision::kBf16 && CpuHasAmx()) return "amx-bf16";
  if (precision == Precision::kBf16 && CpuHasBf16()) return "avx512-bf16";
  if (CpuHasAvx512()) return "avx512";
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? "avx2" : "x86-64";
}

}  // namespace lorry
