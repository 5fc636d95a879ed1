#include "worker/devices.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "worker/nvml.h"

namespace lorry {
namespace {

constexpr int kMostCpuSlots = 4096;

Error BadRequest(std::string_view text) {
  return MakeError(ErrorCode::kUsage, fmt::format("--devices {}: expected cpu:N, gpu:all, or both with a comma", text));
}

Result<int> ParseSlots(std::string_view number, std::string_view text) {
  int slots = 0;
  const auto [end, problem] = std::from_chars(number.data(), number.data() + number.size(), slots);
  if (problem != std::errc() || end != number.data() + number.size() || slots < 1 || slots > kMostCpuSlots) {
    return BadRequest(text);
  }
  return slots;
}

Result<std::vector<wire::Device>> FindGpus(const std::string& nvml_library) {
  LORRY_ASSIGN_OR_RETURN(const std::unique_ptr<Nvml> nvml, Nvml::Load(nvml_library));
  LORRY_ASSIGN_OR_RETURN(const std::vector<NvmlGpu> gpus, nvml->Gpus());
  if (gpus.empty()) return MakeError(ErrorCode::kNotFound, "there is no GPU on this machine", "use --devices cpu:N");
  std::vector<wire::Device> devices;
  for (const NvmlGpu& gpu : gpus) {
    wire::Device device;
    device.id = DeviceId(gpu.uuid);
    device.kind = GpuKind(gpu.name);
    device.gpu = true;
    device.memory = gpu.memory;
    device.fault = gpu.fault;
    device.about_json = nlohmann::json({{"name", gpu.name}, {"driver", nvml->DriverVersion()}}).dump();
    devices.push_back(std::move(device));
  }
  return devices;
}

}  // namespace

Result<DeviceRequest> ParseDeviceRequest(std::string_view text) {
  DeviceRequest request;
  if (text.empty()) {
    request.cpu_slots = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    request.gpus_if_any = true;
    return request;
  }
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    const std::string_view part = text.substr(begin, comma - begin);
    begin = comma + 1;
    if (part == "gpu:all" && !request.all_gpus) {
      request.all_gpus = true;
    } else if (part.starts_with("cpu:") && request.cpu_slots == 0) {
      LORRY_ASSIGN_OR_RETURN(request.cpu_slots, ParseSlots(part.substr(4), text));
    } else {
      return BadRequest(text);
    }
  }
  return request;
}

std::string GpuKind(std::string_view name) {
  std::string kind;
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find(' ', begin), name.size());
    const std::string_view word = name.substr(begin, end - begin);
    begin = end + 1;
    if (word.empty() || word == "NVIDIA" || word == "Tesla" || word == "GeForce") continue;
    kind += (kind.empty() ? "" : "-") + std::string(word);
  }
  return kind.empty() ? "gpu" : kind;
}

std::string CpuInstructionSet() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bf16")) return "avx512_bf16";
  if (__builtin_cpu_supports("avx512f")) return "avx512";
  if (__builtin_cpu_supports("avx2")) return "avx2";
#endif
  return "baseline";
}

Result<std::vector<wire::Device>> FindDevices(const DeviceRequest& request, const WorkerId& worker,
                                              const std::string& nvml_library) {
  std::vector<wire::Device> devices;
  const std::string about_cpu = nlohmann::json({{"instruction_set", CpuInstructionSet()}}).dump();
  for (int i = 0; i < request.cpu_slots; ++i) {
    wire::Device device;
    device.id = DeviceId(fmt::format("{}/cpu-{}", worker, i));
    device.kind = "cpu";
    device.about_json = about_cpu;
    devices.push_back(std::move(device));
  }
  if (!request.all_gpus && !request.gpus_if_any) return devices;
  const auto found = FindGpus(nvml_library);
  if (!found.ok()) return request.all_gpus ? Result<std::vector<wire::Device>>(found.error()) : devices;
  devices.insert(devices.end(), found->begin(), found->end());
  return devices;
}

}  // namespace lorry
