#include "lora/merge.h"

namespace lorry {

at::Tensor MergedWeight(const at::Tensor& weight, const AdaptedLinear& linear, const at::Tensor& adapter_values) {
  const at::Tensor a = Adapter::ViewA(linear, adapter_values).to(weight.device());
  const at::Tensor b = Adapter::ViewB(linear, adapter_values).to(weight.device());
  at::Tensor merged = at::addmm(weight.to(at::kFloat), b, a, 1.0, linear.scaling);
  if (linear.dora) {
    const at::Tensor magnitude = Adapter::ViewMagnitude(linear, adapter_values).to(weight.device());
    merged.mul_((magnitude / at::linalg_vector_norm(merged, 2, {1})).unsqueeze(1));
  }
  return merged.to(weight.scalar_type());
}

WeightPatch MergePatch(const Adapter& adapter) {
  return [&adapter](const std::string& name, at::Tensor weight) -> at::Tensor {
    constexpr std::string_view kSuffix = ".weight";
    if (!name.ends_with(kSuffix)) return weight;
    const std::string_view module(name.data(), name.size() - kSuffix.size());
    for (const AdaptedLinear& linear : adapter.linears())
      if (linear.module == module) return MergedWeight(weight.to(at::kFloat), linear, adapter.values());
    return weight;
  };
}

}  // namespace lorry
