// The sparse MLP: its routing and its sum over experts against a plain twin in double, in shapes that are multiples of nothing.
#include "model/net/experts.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "model/net/swiglu.h"

namespace lorry {
namespace {

struct Sizes {
  int64_t tokens, width, inner, experts, per_token;
  bool renormalize;
};
const std::vector<Sizes> kSizes = {
    {1, 5, 3, 2, 1, true},     {7, 19, 11, 5, 2, true},    {7, 19, 11, 5, 2, false},
    {70, 33, 17, 9, 8, false}, {41, 36, 50, 128, 4, true},
};

at::Tensor Draw(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
  static at::Generator generator = at::detail::createCPUGenerator(29);
  return at::randn(shape, generator, at::kFloat).to(dtype);
}

double Distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  return (x - y).norm().item<double>() / (y.norm().item<double>() + 1e-30);
}

struct Layer {
  Layer(const Sizes& sizes, at::ScalarType dtype) {
    for (int64_t e = 0; e < sizes.experts; ++e) {
      gate.push_back((Draw({sizes.inner, sizes.width}) / std::sqrt(sizes.width)).to(dtype));
      up.push_back((Draw({sizes.inner, sizes.width}) / std::sqrt(sizes.width)).to(dtype));
      down.push_back((Draw({sizes.width, sizes.inner}) / std::sqrt(sizes.inner)).to(dtype));
      const Precision precision = dtype == at::kBFloat16 ? Precision::kBf16 : Precision::kFp32;
      experts.push_back(
          {Linear({{gate.back(), {}}, {up.back(), {}}}, precision, false), Linear({{down.back(), {}}}, precision, false)});
    }
  }
  at::Tensor Run(const Routing& routing, const at::Tensor& x, const at::Tensor& residual) const {
    return SumOfExperts(routing, x, residual, [&](size_t e, const at::Tensor& rows) {
      return experts[e].down.Apply(SwiGlu(experts[e].gate_up.Apply(rows)));
    });
  }
  std::vector<at::Tensor> gate, up, down;
  std::vector<ExpertWeights> experts;
};

// Every expert on every token, weighted by a matrix [T, E] that is zero where a token does not go.
at::Tensor PlainWeights(const at::Tensor& logits, int64_t k, bool renormalize) {
  const at::Tensor probabilities = at::softmax(logits, -1);
  const at::Tensor mask = at::zeros_like(probabilities).scatter_(1, std::get<1>(at::topk(probabilities.detach(), k, -1)), 1.0);
  const at::Tensor kept = probabilities * mask;
  return renormalize ? kept / kept.sum(-1, true) : kept;
}
at::Tensor PlainSum(const Layer& layer, const at::Tensor& weights_TE, const at::Tensor& x, const at::Tensor& residual) {
  at::Tensor sum = residual.to(at::kDouble);
  const at::Tensor wide = x.to(at::kDouble);
  for (size_t e = 0; e < layer.experts.size(); ++e) {
    const at::Tensor inner =
        at::silu(wide.matmul(layer.gate[e].to(at::kDouble).t())) * wide.matmul(layer.up[e].to(at::kDouble).t());
    sum = sum + weights_TE.select(1, static_cast<int64_t>(e)).unsqueeze(1) * inner.matmul(layer.down[e].to(at::kDouble).t());
  }
  return sum;
}

// [T, E] of a Routing.
at::Tensor WeightsOf(const Routing& routing) {
  const at::Tensor weights = at::zeros(routing.probabilities_TE.sizes(), at::kFloat);
  for (size_t e = 0; e + 1 < routing.begin.size(); ++e) {
    weights.select(1, static_cast<int64_t>(e)).index_put_({routing.Tokens(e)}, routing.Weights(e));
  }
  return weights;
}

}  // namespace

TEST_CASE("a token goes to the experts of highest probability, a tie as torch.topk decides it", "[experts]") {
  for (const Sizes& sizes : kSizes) {
    const at::Tensor logits = Draw({sizes.tokens, sizes.experts});
    CHECK(Distance(WeightsOf(Route(logits, sizes.per_token, sizes.renormalize)),
                   PlainWeights(logits.to(at::kDouble), sizes.per_token, sizes.renormalize)) < 1e-6);
    const at::Tensor tied = at::round(logits);
    const Routing routing = Route(tied, sizes.per_token, sizes.renormalize);
    CHECK(Distance(WeightsOf(routing), PlainWeights(tied, sizes.per_token, sizes.renormalize)) < 1e-6);
    CHECK(routing.begin.back() == sizes.tokens * sizes.per_token);
    for (size_t e = 0; e + 1 < routing.begin.size(); ++e) {
      const at::Tensor tokens = routing.Tokens(e);
      CHECK(std::is_sorted(tokens.const_data_ptr<int64_t>(), tokens.const_data_ptr<int64_t>() + tokens.numel()));
    }
  }
}

TEST_CASE("the sum over experts is the plain one", "[experts]") {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    if (dtype == at::kBFloat16 && !CpuHasBf16()) continue;
    for (const Sizes& sizes : kSizes) {
      const Layer layer(sizes, dtype);
      const at::Tensor x = Draw({sizes.tokens, sizes.width}, dtype), residual = Draw({sizes.tokens, sizes.width}, dtype);
      const Routing routing = Route(Draw({sizes.tokens, sizes.experts}), sizes.per_token, sizes.renormalize);
      const at::Tensor expected = PlainSum(layer, WeightsOf(routing).to(at::kDouble), x, residual);
      // bf16 rounds three times on the way: gate and up, their product, the expert's result.
      CHECK(Distance(layer.Run(routing, x, residual), expected) < (dtype == at::kBFloat16 ? 1e-2 : 3e-6));
    }
  }
}

TEST_CASE("a token's bits depend on that token alone", "[experts]") {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    if (dtype == at::kBFloat16 && !CpuHasBf16()) continue;
    for (const Sizes& sizes : kSizes) {
      const Layer layer(sizes, dtype);
      const at::Tensor x = Draw({sizes.tokens, sizes.width}, dtype), residual = Draw({sizes.tokens, sizes.width}, dtype);
      const at::Tensor logits = Draw({sizes.tokens, sizes.experts});
      const auto run = [&](const at::Tensor& rows) {
        const Routing routing = Route(logits.index_select(0, rows), sizes.per_token, sizes.renormalize);
        return layer.Run(routing, x.index_select(0, rows), residual.index_select(0, rows));
      };
      const at::Tensor all = run(at::arange(sizes.tokens));
      CHECK(at::equal(run(at::arange(sizes.tokens - 1, -1, -1)), all.flip(0)));
      for (int64_t t = 0; t < sizes.tokens; ++t) CHECK(at::equal(run(at::full({1}, t, at::kLong))[0], all[t]));
      at::set_num_threads(3);
      CHECK(at::equal(run(at::arange(sizes.tokens)), all));
      at::set_num_threads(1);
    }
  }
}

TEST_CASE("the routers' gradient is autograd's", "[experts]") {
  for (const Sizes& sizes : kSizes) {
    const at::Tensor logits = Draw({sizes.tokens, sizes.experts});
    const Routing routing = Route(logits, sizes.per_token, sizes.renormalize);
    const at::Tensor d_weights = Draw({sizes.tokens, sizes.experts});  // by each weight, used or not
    std::vector<at::Tensor> weighted;
    for (size_t e = 0; e + 1 < routing.begin.size(); ++e) {
      weighted.push_back(routing.Weights(e) * d_weights.select(1, static_cast<int64_t>(e)).index_select(0, routing.Tokens(e)));
    }
    const at::Tensor wide = logits.to(at::kDouble).requires_grad_(true);
    (PlainWeights(wide, sizes.per_token, sizes.renormalize) * d_weights.to(at::kDouble)).sum().backward();
    const at::Tensor found = RouteBackward(routing, at::cat(weighted));
    if (sizes.renormalize && sizes.per_token == 1) {
      CHECK(found.abs().max().item<double>() < 1e-6);  // its one weight is 1, whatever the logits
    } else {
      CHECK(Distance(found, wide.grad()) < 1e-5);
    }
  }
}

TEST_CASE("rows by token", "[experts]") {
  const at::Tensor x = Draw({6, 37}), tokens = at::tensor({4, 0, 5}, at::kLong), weights = Draw({3});
  const at::Tensor rows = WeightedRows(x, tokens, weights);
  CHECK(at::equal(rows, x.index_select(0, tokens) * weights.unsqueeze(1)));
  at::Tensor sum = at::ones({6, 37}), expected = sum.clone();
  AddToTokens(rows, tokens, {}, sum);
  expected.index_add_(0, tokens, rows);
  CHECK(at::equal(sum, expected));
  CHECK(Distance(RowDots(x, x), x.square().sum(-1)) < 1e-6);

  const at::Tensor half = x.to(at::kBFloat16), wide = half.to(at::kFloat);
  CHECK(at::equal(WeightedRows(half, tokens, weights), WeightedRows(wide, tokens, weights).to(at::kBFloat16)));
  at::Tensor from_half = at::zeros({6, 37}), from_wide = from_half.clone();
  AddToTokens(half.narrow(0, 0, 3), tokens, weights, from_half);
  AddToTokens(wide.narrow(0, 0, 3), tokens, weights, from_wide);
  CHECK(at::equal(from_half, from_wide));
  CHECK(at::equal(RowDots(half, half), RowDots(wide, wide)));
}

}  // namespace lorry
