#include "cli/machine_rates.h"

#include <immintrin.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"

namespace lorry {
namespace {

constexpr double kSpanSeconds = 0.06;
constexpr int kChains = 12;  // independent sums: enough to hide the latency of a multiply-add, unrolled into registers
constexpr int kRounds = 20'000;
constexpr size_t kCopyBytes = 64 << 20;

// Of this thread's processor, so that what else runs on the machine does not make it look slower.
double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Runs `round` for kSpanSeconds and gives how often a second it ran.
template <class F>
double RoundsPerSecond(F round) {
  round();
  int64_t rounds = 0;
  const double begin = ThreadSeconds();
  double spent = 0;
  while (spent < kSpanSeconds) {
    round();
    ++rounds;
    spent = ThreadSeconds() - begin;
  }
  return static_cast<double>(rounds) / spent;
}

// The sums leave each loop through this, so that no compiler drops them.
volatile float result_sink;

#if defined(__x86_64__)
__attribute__((target("avx512f"))) void Avx512Round() {
  __m512 sums[kChains];
  for (auto& sum : sums) sum = _mm512_set1_ps(0.5f);
  const __m512 factor = _mm512_set1_ps(0.999f);
  for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm512_fmadd_ps(sum, factor, factor);
  }
  for (int i = 1; i < kChains; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  result_sink = _mm512_cvtss_f32(sums[0]);
}

__attribute__((target("avx512f,avx512bf16"))) void Bf16Round() {
  __m512 sums[kChains];
  for (auto& sum : sums) sum = _mm512_set1_ps(0.5f);
  const __m512bh factor = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f));
  for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, factor, factor);
  }
  for (int i = 1; i < kChains; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  result_sink = _mm512_cvtss_f32(sums[0]);
}

__attribute__((target("avx2,fma"))) void Avx2Round() {
  __m256 sums[kChains];
  for (auto& sum : sums) sum = _mm256_set1_ps(0.5f);
  const __m256 factor = _mm256_set1_ps(0.999f);
  for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm256_fmadd_ps(sum, factor, factor);
  }
  for (int i = 1; i < kChains; ++i) sums[0] = _mm256_add_ps(sums[0], sums[i]);
  result_sink = _mm256_cvtss_f32(sums[0]);
}
#endif

void BaselineRound() {
  float sums[kChains];
  for (float& sum : sums) sum = 0.5f;
  for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (float& sum : sums) sum = sum * 0.999f + 0.999f;
  }
  for (int i = 1; i < kChains; ++i) sums[0] += sums[i];
  result_sink = sums[0];
}

// Multiply-adds of one round, as GFLOPs, for `lanes` numbers in a register.
double GflopsOfRound(int lanes) { return 2.0 * lanes * kChains * kRounds * 1e-9; }

double CopyRate() {
  std::vector<char> from(kCopyBytes, 1), to(kCopyBytes);
  return RoundsPerSecond([&] { std::memcpy(to.data(), from.data(), kCopyBytes); }) * 2 * kCopyBytes * 1e-9;
}

}  // namespace

MachineRates MeasureMachineRates() {
  MachineRates rates;
  rates.copy_gb_per_second = CopyRate();
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    rates.instructions = "avx512";
    rates.fp32_gflops = RoundsPerSecond(Avx512Round) * GflopsOfRound(16);
    rates.bf16_gflops = rates.fp32_gflops;
    if (__builtin_cpu_supports("avx512bf16")) {
      rates.instructions = "avx512bf16";
      rates.bf16_gflops = std::max(rates.fp32_gflops, RoundsPerSecond(Bf16Round) * GflopsOfRound(32));
    }
    return rates;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    rates.instructions = "avx2";
    rates.fp32_gflops = rates.bf16_gflops = RoundsPerSecond(Avx2Round) * GflopsOfRound(8);
    return rates;
  }
#endif
  rates.instructions = "baseline";
  rates.fp32_gflops = rates.bf16_gflops = RoundsPerSecond(BaselineRound) * GflopsOfRound(1);
  return rates;
}

std::optional<MachineRates> ReadMachineRates(const std::string& home) {
  const Result<std::string> text = ReadFile(home + "/rates.json", 1 << 16);
  if (!text.ok()) return std::nullopt;
  const Result<nlohmann::json> json = ParseJson(*text);
  if (!json.ok() || !json->is_object()) return std::nullopt;
  MachineRates rates;
  rates.fp32_gflops = json->value("fp32_gflops", 0.0);
  rates.bf16_gflops = json->value("bf16_gflops", 0.0);
  rates.copy_gb_per_second = json->value("copy_gb_per_second", 0.0);
  rates.instructions = json->value("instructions", "");
  if (rates.fp32_gflops <= 0 || rates.bf16_gflops <= 0) return std::nullopt;
  return rates;
}

Status WriteMachineRates(const std::string& home, const MachineRates& rates) {
  const nlohmann::json json = {{"fp32_gflops", rates.fp32_gflops},
                               {"bf16_gflops", rates.bf16_gflops},
                               {"copy_gb_per_second", rates.copy_gb_per_second},
                               {"instructions", rates.instructions}};
  return WriteFileAtomically(home + "/rates.json", json.dump() + "\n");
}

}  // namespace lorry
