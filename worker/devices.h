// The devices that this worker offers: CPU slots by number, GPUs as NVML finds them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/wire_worker.h"

namespace lorry {

struct DeviceRequest {
  int cpu_slots = 0;
  bool all_gpus = false;
  bool gpus_if_any = false;  // all of them where NVML answers, else none
};

// "cpu:2", "gpu:all", "cpu:8,gpu:all"; "" is what the machine has: a CPU slot for each core, and its GPUs. Errors: kUsage.
Result<DeviceRequest> ParseDeviceRequest(std::string_view text);

// Ids are "WORKER/cpu-0" and GPUs' UUIDs; the kind is "cpu", or the GPU's name as the price book calls it.
// Errors: kNotFound where GPUs are asked for and there are none. `nvml_library` as in Nvml::Load.
Result<std::vector<wire::Device>> FindDevices(const DeviceRequest& request, const WorkerId& worker,
                                              const std::string& nvml_library);

// The price book's word for a GPU: "NVIDIA H100 80GB HBM3" is "H100-80GB-HBM3", "NVIDIA GeForce RTX 4090" is
// "RTX-4090".
std::string GpuKind(std::string_view nvml_name);

// "avx512_bf16", "avx512", "avx2" or "baseline": what the byte promise of a CPU run holds for.
std::string CpuInstructionSet();

}  // namespace lorry
