// NVIDIA's management library as far as worker/nvml.h calls it, with the GPUs of $FAKE_NVML: "NAME|MEMORY_BYTES|ECC_ERRORS;...".
// NAME "broken" is a GPU whose memory cannot be read. Without the variable the driver does not answer.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Gpu {
  std::string name;
  unsigned long long memory = 0;
  unsigned long long errors = 0;
};

std::vector<Gpu>& Gpus() {
  static std::vector<Gpu> gpus;
  return gpus;
}

Gpu* AtHandle(void* device) { return &Gpus()[reinterpret_cast<uintptr_t>(device) - 1]; }

int Copy(const std::string& text, char* to, unsigned size) {
  std::snprintf(to, size, "%s", text.c_str());
  return 0;
}

}  // namespace

extern "C" {

int nvmlInit_v2() {
  const char* text = std::getenv("FAKE_NVML");
  if (text == nullptr) return 9;
  Gpus().clear();
  std::istringstream gpus(text);
  for (std::string one; std::getline(gpus, one, ';');) {
    std::istringstream fields(one);
    Gpu gpu;
    std::string memory, errors;
    std::getline(fields, gpu.name, '|');
    std::getline(fields, memory, '|');
    std::getline(fields, errors, '|');
    gpu.memory = std::stoull(memory);
    gpu.errors = std::stoull(errors);
    Gpus().push_back(gpu);
  }
  return 0;
}
int nvmlShutdown() { return 0; }
const char* nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "Unknown Error"; }
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = static_cast<unsigned>(Gpus().size());
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = reinterpret_cast<void*>(static_cast<uintptr_t>(index) + 1);
  return 0;
}
int nvmlDeviceGetUUID(void* device, char* text, unsigned size) {
  return Copy("GPU-" + std::to_string(reinterpret_cast<uintptr_t>(device) - 1), text, size);
}
int nvmlDeviceGetName(void* device, char* text, unsigned size) { return Copy(AtHandle(device)->name, text, size); }
int nvmlDeviceGetMemoryInfo(void* device, unsigned long long* total_free_used) {
  if (AtHandle(device)->name == "broken") return 999;
  total_free_used[0] = AtHandle(device)->memory;
  return 0;
}
int nvmlSystemGetDriverVersion(char* text, unsigned size) { return Copy("580.65", text, size); }
int nvmlDeviceGetTotalEccErrors(void* device, int, int, unsigned long long* errors) {
  *errors = AtHandle(device)->errors;
  return 0;
}
}
