#include "model/net/arithmetic.h"

#include <ATen/Version.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

namespace lorry {
namespace {

constexpr int kKernelVersion = 2;  // raise it when a kernel of model/net or lora gives other bits for the same input

}  // namespace

std::string CpuArithmetic(Precision precision) { return std::string("cpu: ") + InstructionSet(precision); }

std::string LibraryVersions() {
  return fmt::format("kernels {}; LibTorch {} ({}); {}; {}", kKernelVersion, TORCH_VERSION, at::get_cpu_capability(),
                     at::get_mkldnn_version(), at::get_mkl_version());
}

}  // namespace lorry
