#include "lora/merge.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <unordered_map>

#include "lora/merge_kernel.h"

namespace lorry {
namespace {

constexpr int64_t kRowsPerTask = 64;

// Which adapted linear a weight belongs to. A mixture of experts has tens of thousands.
class LinearsByName {
 public:
  explicit LinearsByName(const Adapter& adapter) {
    for (const AdaptedLinear& linear : adapter.linears()) linears_.emplace(linear.module + ".weight", &linear);
  }
  const AdaptedLinear* Find(const std::string& weight) const {  // nullptr: none
    const auto found = linears_.find(weight);
    return found == linears_.end() ? nullptr : found->second;
  }

 private:
  std::unordered_map<std::string, const AdaptedLinear*> linears_;
};

// A row of W + scaling * B A, to DoRA's length.
void TurnToLength(float* row, int64_t count, float magnitude) {
  double square = 0.0;
  for (int64_t i = 0; i < count; ++i) square += static_cast<double>(row[i]) * row[i];
  const auto factor = static_cast<float>(magnitude / std::sqrt(square));
  for (int64_t i = 0; i < count; ++i) row[i] *= factor;
}

// values [out, in]: the base's in, the merged ones out.
void Fold(float* values, const AdaptedLinear& linear, const float* adapter_values) {
  const float* const b = adapter_values + linear.b_offset;
  const LowRankProduct product{adapter_values + linear.a_offset, linear.r, linear.in, static_cast<float>(linear.scaling)};
  at::parallel_for(0, linear.out, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      AddLowRankRow(values + row * linear.in, b + row * linear.r, product);
      if (linear.dora) TurnToLength(values + row * linear.in, linear.in, adapter_values[linear.MagnitudeOffset() + row]);
    }
  });
}

}  // namespace

at::Tensor MergedWeight(const at::Tensor& weight, const AdaptedLinear& linear, const at::Tensor& adapter_values) {
  const at::Tensor merged = weight.to(at::kCPU, at::kFloat, false, /*copy=*/true).contiguous();
  Fold(merged.data_ptr<float>(), linear, adapter_values.to(at::kCPU).const_data_ptr<float>());
  return merged.to(weight.device(), weight.scalar_type());
}

WeightPatch MergePatch(const Adapter& adapter) {
  return [&adapter, linears = LinearsByName(adapter)](const std::string& name, at::Tensor weight) -> at::Tensor {
    const AdaptedLinear* linear = linears.Find(name);
    return linear == nullptr ? weight : MergedWeight(weight.to(at::kFloat), *linear, adapter.values());
  };
}

ReadWeight MergedRead(const Adapter& adapter) {
  return [&adapter, linears = LinearsByName(adapter)](const TensorView& stored, std::span<float> values) -> Status {
    LORRY_TRY(ReadStoredWeight(stored, values));
    const AdaptedLinear* linear = linears.Find(stored.name);
    if (linear != nullptr) Fold(values.data(), *linear, adapter.values().const_data_ptr<float>());
    return OkStatus();
  };
}

Status CheckFinite(const Adapter& adapter) {
  for (const Adapter::Slot& slot : adapter.Slots()) {
    if (at::isfinite(adapter.values().narrow(0, slot.offset, slot.size())).all().item<bool>()) continue;
    Error error = MakeError(ErrorCode::kData, "holds a value that is not finite", "did its training diverge?");
    error.key = slot.name;
    return error;
  }
  return OkStatus();
}

}  // namespace lorry
