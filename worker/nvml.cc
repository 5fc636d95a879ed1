#include "worker/nvml.h"

#include <dlfcn.h>

#include <array>

#include <fmt/format.h>

namespace lorry {
namespace {

using NvmlDevice = struct NvmlDeviceOpaque*;
struct NvmlMemory {
  unsigned long long total, free, used;  // bytes
};
constexpr int kSuccess = 0;
constexpr int kUncorrectedErrors = 1;  // NVML_MEMORY_ERROR_TYPE_UNCORRECTED
constexpr int kVolatileErrors = 0;     // NVML_VOLATILE_ECC: since the driver was loaded

}  // namespace

struct Nvml::Calls {
  void* library = nullptr;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  const char* (*error_string)(int) = nullptr;
  int (*count)(unsigned*) = nullptr;
  int (*by_index)(unsigned, NvmlDevice*) = nullptr;
  int (*uuid)(NvmlDevice, char*, unsigned) = nullptr;
  int (*name)(NvmlDevice, char*, unsigned) = nullptr;
  int (*memory)(NvmlDevice, NvmlMemory*) = nullptr;
  int (*driver)(char*, unsigned) = nullptr;
  int (*ecc_errors)(NvmlDevice, int, int, unsigned long long*) = nullptr;  // absent in old drivers

  template <class Call>
  bool Find(const char* symbol, Call* call) {
    *call = reinterpret_cast<Call>(::dlsym(library, symbol));
    return *call != nullptr;
  }
  bool FindAll() {
    Find("nvmlDeviceGetTotalEccErrors", &ecc_errors);
    return Find("nvmlInit_v2", &init) && Find("nvmlShutdown", &shutdown) && Find("nvmlErrorString", &error_string) &&
           Find("nvmlDeviceGetCount_v2", &count) && Find("nvmlDeviceGetHandleByIndex_v2", &by_index) &&
           Find("nvmlDeviceGetUUID", &uuid) && Find("nvmlDeviceGetName", &name) && Find("nvmlDeviceGetMemoryInfo", &memory) &&
           Find("nvmlSystemGetDriverVersion", &driver);
  }
};

Nvml::Nvml(std::unique_ptr<Calls> calls) : calls_(std::move(calls)) {}

Nvml::~Nvml() {
  calls_->shutdown();
  ::dlclose(calls_->library);
}

Result<std::unique_ptr<Nvml>> Nvml::Load(const std::string& library) {
  auto calls = std::make_unique<Calls>();
  calls->library = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (calls->library == nullptr) {
    return MakeError(ErrorCode::kNotFound, fmt::format("no NVIDIA driver on this machine ({} cannot be loaded)", library),
                     "install the driver, or use --devices cpu:N");
  }
  if (!calls->FindAll()) {
    ::dlclose(calls->library);
    return MakeError(ErrorCode::kNotFound, fmt::format("{} is not NVIDIA's management library, or too old", library));
  }
  if (const int code = calls->init(); code != kSuccess) {
    Error error =
        MakeError(ErrorCode::kNotFound, fmt::format("the NVIDIA driver does not answer: {}", calls->error_string(code)));
    ::dlclose(calls->library);
    return error;
  }
  return std::unique_ptr<Nvml>(new Nvml(std::move(calls)));
}

Result<std::vector<NvmlGpu>> Nvml::Gpus() const {
  unsigned count = 0;
  const auto failure = [this](const char* what, int code) {
    return MakeError(ErrorCode::kInternal, fmt::format("NVML: {}: {}", what, calls_->error_string(code)));
  };
  if (const int code = calls_->count(&count); code != kSuccess) return failure("counting GPUs", code);
  std::vector<NvmlGpu> gpus;
  for (unsigned i = 0; i < count; ++i) {
    NvmlDevice device = nullptr;
    std::array<char, 96> text{};
    NvmlMemory memory{};
    NvmlGpu gpu;
    if (const int code = calls_->by_index(i, &device); code != kSuccess) return failure("opening a GPU", code);
    if (const int code = calls_->uuid(device, text.data(), text.size()); code != kSuccess) {
      return failure("reading a GPU's UUID", code);
    }
    gpu.uuid = text.data();
    if (const int code = calls_->name(device, text.data(), text.size()); code != kSuccess) {
      return failure("reading a GPU's name", code);
    }
    gpu.name = text.data();
    if (const int code = calls_->memory(device, &memory); code == kSuccess) {
      gpu.memory = memory.total;
    } else {
      gpu.fault = fmt::format("its memory cannot be read: {}", calls_->error_string(code));
    }
    unsigned long long errors = 0;
    if (calls_->ecc_errors != nullptr && calls_->ecc_errors(device, kUncorrectedErrors, kVolatileErrors, &errors) == kSuccess &&
        errors > 0) {
      gpu.fault = fmt::format("{} uncorrected memory errors", errors);
    }
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

std::string Nvml::DriverVersion() const {
  std::array<char, 96> text{};
  return calls_->driver(text.data(), text.size()) == kSuccess ? text.data() : "";
}

}  // namespace lorry
