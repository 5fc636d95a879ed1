// NVIDIA's management library, loaded when the program runs: a machine without a driver needs none to build or start Lorry.
// Source of the calls: the NVML API reference; the few types that are needed are declared in nvml.cc. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace lorry {

struct NvmlGpu {
  std::string uuid;     // "GPU-..."
  std::string name;     // "NVIDIA H100 80GB HBM3"
  uint64_t memory = 0;  // bytes
  std::string fault;    // why it takes no work: uncorrected memory errors, rows to be remapped; empty: well
};

class Nvml {
 public:
  // `library` is a path or "libnvidia-ml.so.1". Errors: kNotFound where there is no such library or no driver behind it.
  static Result<std::unique_ptr<Nvml>> Load(const std::string& library = "libnvidia-ml.so.1");
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  Result<std::vector<NvmlGpu>> Gpus() const;
  std::string DriverVersion() const;

 private:
  struct Calls;
  explicit Nvml(std::unique_ptr<Calls> calls);
  std::unique_ptr<Calls> calls_;
};

}  // namespace lorry
