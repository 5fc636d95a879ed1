#include "trainers/adamw.h"

#include <algorithm>
#include <cmath>

namespace lorry::trainers {
namespace {

constexpr int64_t kNormBlock = 4096;

}  // namespace

struct AdamW::Coefficients {
  float decay;          // 1 - lr * weight_decay
  float step_size;      // lr / (1 - beta1^t)
  float root_of_bias2;  // sqrt(1 - beta2^t)
  float one_minus_beta1;
  float beta2;
  float one_minus_beta2;
  float epsilon;
};

AdamW::AdamW(AdamWOptions options, int64_t length, const at::Device& device)
    : options_(options),
      first_moment_(at::zeros({length}, at::TensorOptions(at::kFloat).device(device))),
      second_moment_(at::zeros({length}, at::TensorOptions(at::kFloat).device(device))) {}

void AdamW::Update(at::Tensor& values, const at::Tensor& gradient, double learning_rate, std::span<const RateGroup> groups) {
  ++updates_;
  const RateGroup whole{0, values.numel(), 1.0};
  if (groups.empty()) groups = std::span(&whole, 1);
  for (const RateGroup& group : groups) {
    const double rate = learning_rate * group.factor;
    const double bias1 = 1.0 - std::pow(options_.beta1, static_cast<double>(updates_));
    const double bias2 = 1.0 - std::pow(options_.beta2, static_cast<double>(updates_));
    const Coefficients c{.decay = static_cast<float>(1.0 - rate * options_.weight_decay),
                         .step_size = static_cast<float>(rate / bias1),
                         .root_of_bias2 = static_cast<float>(std::sqrt(bias2)),
                         .one_minus_beta1 = static_cast<float>(1.0 - options_.beta1),
                         .beta2 = static_cast<float>(options_.beta2),
                         .one_minus_beta2 = static_cast<float>(1.0 - options_.beta2),
                         .epsilon = static_cast<float>(options_.epsilon)};
    if (values.is_cpu()) {
      UpdateOnHost(values, gradient, c, group);
    } else {
      UpdateOnDevice(values, gradient, c, group);
    }
  }
}

// Vectors of any width give the same bits: every operation is rounded by itself, and a fused multiply-add is not allowed.
#pragma GCC push_options
#pragma GCC optimize("O3", "no-math-errno", "fp-contract=off")
void AdamW::UpdateOnHost(at::Tensor& values, const at::Tensor& gradient, const Coefficients& c, RateGroup group) {
  float* __restrict value = values.data_ptr<float>();
  float* __restrict m = first_moment_.data_ptr<float>();
  float* __restrict v = second_moment_.data_ptr<float>();
  const float* __restrict g = gradient.const_data_ptr<float>();
  for (int64_t i = group.first; i < group.last; ++i) {
    m[i] = m[i] + c.one_minus_beta1 * (g[i] - m[i]);
    v[i] = v[i] * c.beta2 + c.one_minus_beta2 * g[i] * g[i];
    const float denominator = std::sqrt(v[i]) / c.root_of_bias2 + c.epsilon;
    value[i] = value[i] * c.decay - c.step_size * m[i] / denominator;
  }
}
#pragma GCC pop_options

void AdamW::UpdateOnDevice(at::Tensor& values, const at::Tensor& gradient, const Coefficients& c, RateGroup group) {
  const int64_t count = group.last - group.first;
  at::Tensor value = values.narrow(0, group.first, count);
  at::Tensor m = first_moment_.narrow(0, group.first, count);
  at::Tensor v = second_moment_.narrow(0, group.first, count);
  const at::Tensor g = gradient.narrow(0, group.first, count);
  value.mul_(c.decay);
  m.lerp_(g, c.one_minus_beta1);
  v.mul_(c.beta2).addcmul_(g, g, c.one_minus_beta2);
  value.addcdiv_(m, v.sqrt().div_(c.root_of_bias2).add_(c.epsilon), -c.step_size);
}

void AdamW::Restore(int64_t updates, const at::Tensor& first_moment, const at::Tensor& second_moment) {
  updates_ = updates;
  first_moment_.copy_(first_moment);
  second_moment_.copy_(second_moment);
}

double OrderedNorm(const at::Tensor& values) {
  const at::Tensor host = values.cpu();
  const float* x = host.const_data_ptr<float>();
  double total = 0;
  for (int64_t first = 0; first < host.numel(); first += kNormBlock) {
    const int64_t last = std::min(host.numel(), first + kNormBlock);
    // Four running sums let the compiler use vectors without reordering anything that it may not.
    double sums[4] = {0, 0, 0, 0};
    int64_t i = first;
    for (; i + 4 <= last; i += 4) {
      for (int64_t k = 0; k < 4; ++k) sums[k] += static_cast<double>(x[i + k]) * static_cast<double>(x[i + k]);
    }
    for (; i < last; ++i) sums[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    total += (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
  return std::sqrt(total);
}

double ClipByNorm(at::Tensor& gradient, double max_norm) {
  const double norm = OrderedNorm(gradient);
  if (max_norm > 0) {
    const double factor = max_norm / (norm + 1e-6);
    if (factor < 1.0) gradient.mul_(static_cast<float>(factor));
  }
  return norm;
}

}  // namespace lorry::trainers
