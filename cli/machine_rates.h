// How fast this machine multiplies and copies: what `plan` stands on before there is a history of runs. Measured once, at the
// first `lorry up` of a home, in a quarter of a second, and kept in HOME/rates.json.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"

namespace lorry {

struct MachineRates {
  double fp32_gflops = 0;  // peak of one core, multiply and add as two
  double bf16_gflops = 0;  // likewise; equal to fp32_gflops where the core's bf16 dot products are no faster (AMX is not counted)
  double copy_gb_per_second = 0;
  std::string instructions;  // "avx512bf16", "avx512", "avx2", "baseline": what the peak was measured with
};

MachineRates MeasureMachineRates();

// nullopt where nothing was measured yet.
std::optional<MachineRates> ReadMachineRates(const std::string& home);
// Whether this machine computes bf16 at full rate, as its ranks ask before they choose fp32; true where nothing was measured yet.
inline bool ComputesBf16(const std::optional<MachineRates>& rates) { return !rates || rates->instructions == "avx512bf16"; }
Status WriteMachineRates(const std::string& home, const MachineRates& rates);

}  // namespace lorry
