#include "model/net/experts.h"

#include <ATen/Parallel.h>

#include <algorithm>

namespace lorry {
namespace {

constexpr int64_t kRowsPerTask = 16;

// One token's picks, in ascending order of expert.
struct Pick {
  int64_t expert;
  float weight;
};

void PicksOf(const int64_t* experts, const float* probabilities, bool renormalize, std::vector<Pick>& picks) {
  float sum = 0.0f;
  for (size_t i = 0; i < picks.size(); ++i) sum += probabilities[i];
  for (size_t i = 0; i < picks.size(); ++i) picks[i] = {experts[i], renormalize ? probabilities[i] / sum : probabilities[i]};
  std::sort(picks.begin(), picks.end(), [](const Pick& a, const Pick& b) { return a.expert < b.expert; });
}

// Calls work(type tag, row) for each of `rows` rows, of fp32 or bf16.
template <class Work>
void ForRows(const at::Tensor& like, int64_t rows, const Work& work) {
  at::parallel_for(0, rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      if (like.scalar_type() == at::kBFloat16) {
        work(at::BFloat16(), row);
      } else {
        work(float(), row);
      }
    }
  });
}

void CheckRows(const at::Tensor& x) {
  TORCH_CHECK(
      x.is_cpu() && x.dim() == 2 && x.stride(1) == 1 && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16),
      "experts read rows of fp32 or bf16 on the CPU, got ", x.sizes(), " of ", x.scalar_type());
}

}  // namespace

Routing Route(const at::Tensor& logits_TE, int64_t k, bool renormalize) {
  TORCH_CHECK(logits_TE.is_cpu() && logits_TE.scalar_type() == at::kFloat, "a router's logits are fp32");
  const int64_t tokens = logits_TE.size(0), experts = logits_TE.size(1);
  Routing routing;
  routing.renormalized = renormalize;
  routing.probabilities_TE = at::softmax(logits_TE, -1);
  const auto [top_TK, index_TK] = at::topk(routing.probabilities_TE, k, -1);
  const at::Tensor top = top_TK.contiguous(), index = index_TK.contiguous();
  std::vector<Pick> picks(static_cast<size_t>(tokens * k));
  std::vector<Pick> of_token(static_cast<size_t>(k));
  routing.begin.assign(static_cast<size_t>(experts) + 1, 0);
  for (int64_t t = 0; t < tokens; ++t) {
    PicksOf(index.const_data_ptr<int64_t>() + t * k, top.const_data_ptr<float>() + t * k, renormalize, of_token);
    std::copy(of_token.begin(), of_token.end(), picks.begin() + t * k);
    for (const Pick& pick : of_token) ++routing.begin[static_cast<size_t>(pick.expert) + 1];
  }
  for (size_t e = 0; e < static_cast<size_t>(experts); ++e) routing.begin[e + 1] += routing.begin[e];
  routing.tokens_S = at::empty({tokens * k}, at::kLong);
  routing.weights_S = at::empty({tokens * k}, at::kFloat);
  std::vector<int64_t> next(routing.begin.begin(), routing.begin.end() - 1);
  for (int64_t s = 0; s < tokens * k; ++s) {
    const Pick& pick = picks[static_cast<size_t>(s)];
    const int64_t at = next[static_cast<size_t>(pick.expert)]++;
    routing.tokens_S.data_ptr<int64_t>()[at] = s / k;
    routing.weights_S.data_ptr<float>()[at] = pick.weight;
  }
  return routing;
}

at::Tensor RouteBackward(const Routing& routing, const at::Tensor& weighted_S) {
  const int64_t tokens = routing.probabilities_TE.size(0), experts = routing.probabilities_TE.size(1);
  const auto* token = routing.tokens_S.const_data_ptr<int64_t>();
  const auto *weight = routing.weights_S.const_data_ptr<float>(), *weighted = weighted_S.const_data_ptr<float>();
  std::vector<float> sums(static_cast<size_t>(tokens), 0.0f);
  for (int64_t s = 0; s < weighted_S.numel(); ++s) sums[static_cast<size_t>(token[s])] += weighted[s];
  // With p the softmax over all experts and w = p: dl = w dw - p sum(w dw). Renormalised, w is the softmax over the picked ones
  // alone, and the others' logits have no part in it.
  at::Tensor gradient = at::zeros({tokens, experts}, at::kFloat);
  auto* out = gradient.data_ptr<float>();
  if (!routing.renormalized) {
    const auto* probability = routing.probabilities_TE.const_data_ptr<float>();
    for (int64_t i = 0; i < tokens * experts; ++i) out[i] = -probability[i] * sums[static_cast<size_t>(i / experts)];
  }
  for (size_t e = 0; e + 1 < routing.begin.size(); ++e) {
    for (int64_t s = routing.begin[e]; s < routing.begin[e + 1]; ++s) {
      const float passed = routing.renormalized ? weight[s] * sums[static_cast<size_t>(token[s])] : 0.0f;
      out[token[s] * experts + static_cast<int64_t>(e)] += weighted[s] - passed;
    }
  }
  return gradient;
}

at::Tensor SumOfExperts(const Routing& routing, const at::Tensor& x_TM, const at::Tensor& residual_TM,
                        const std::function<at::Tensor(size_t expert, const at::Tensor& x_nM)>& run) {
  at::Tensor sum_TM = at::zeros(residual_TM.sizes(), at::kFloat);
  for (size_t expert = 0; expert + 1 < routing.begin.size(); ++expert) {
    if (routing.Count(expert) == 0) continue;
    const at::Tensor tokens_n = routing.Tokens(expert);
    AddToTokens(run(expert, x_TM.index_select(0, tokens_n)), tokens_n, routing.Weights(expert), sum_TM);
  }
  return sum_TM.add_(residual_TM).to(residual_TM.scalar_type());
}

void AddToTokens(const at::Tensor& y_nM, const at::Tensor& tokens_n, const at::Tensor& weights_n, at::Tensor& sum_TM) {
  CheckRows(y_nM);
  const int64_t width = y_nM.size(1), y_stride = y_nM.stride(0);
  const auto* tokens = tokens_n.const_data_ptr<int64_t>();
  const float* weights = weights_n.defined() ? weights_n.const_data_ptr<float>() : nullptr;
  const void* const y_start = y_nM.const_data_ptr();
  auto* const sum_start = sum_TM.data_ptr<float>();
  ForRows(y_nM, y_nM.size(0), [&](auto tag, int64_t row) {
    const auto* y = static_cast<const decltype(tag)*>(y_start) + row * y_stride;
    float* sum = sum_start + tokens[row] * width;
    const float weight = weights == nullptr ? 1.0f : weights[row];
    for (int64_t i = 0; i < width; ++i) sum[i] += weight * static_cast<float>(y[i]);
  });
}

at::Tensor WeightedRows(const at::Tensor& x_TM, const at::Tensor& tokens_n, const at::Tensor& weights_n) {
  CheckRows(x_TM);
  const int64_t width = x_TM.size(1), x_stride = x_TM.stride(0);
  const at::Tensor rows_nM = at::empty({tokens_n.size(0), width}, x_TM.options());
  const auto* tokens = tokens_n.const_data_ptr<int64_t>();
  const auto* weights = weights_n.const_data_ptr<float>();
  const void* const x_start = x_TM.const_data_ptr();
  void* const out_start = rows_nM.data_ptr();
  ForRows(x_TM, tokens_n.size(0), [&](auto tag, int64_t row) {
    using T = decltype(tag);
    const auto* x = static_cast<const T*>(x_start) + tokens[row] * x_stride;
    auto* out = static_cast<T*>(out_start) + row * width;
    for (int64_t i = 0; i < width; ++i) out[i] = static_cast<T>(weights[row] * static_cast<float>(x[i]));
  });
  return rows_nM;
}

at::Tensor RowDots(const at::Tensor& a, const at::Tensor& b) {
  CheckRows(a);
  CheckRows(b);
  const at::Tensor dots = at::empty({a.size(0)}, at::kFloat);
  auto* out = dots.data_ptr<float>();
  const void *const a_start = a.const_data_ptr(), *const b_start = b.const_data_ptr();
  const int64_t width = a.size(1), a_stride = a.stride(0), b_stride = b.stride(0);
  ForRows(a, a.size(0), [&](auto tag, int64_t row) {
    using T = decltype(tag);
    const auto *x = static_cast<const T*>(a_start) + row * a_stride, *y = static_cast<const T*>(b_start) + row * b_stride;
    double sum = 0.0;  // what a router learns is the small difference of such sums
    for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(static_cast<float>(x[i])) * static_cast<float>(y[i]);
    out[row] = static_cast<float>(sum);
  });
  return dots;
}

}  // namespace lorry
