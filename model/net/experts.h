// The sparse MLP of a mixture of experts: a router picks for each token the k experts of highest probability, and the MLP's
// result is their results' sum, weighted by those probabilities.
//
// Source: transformers 5.23, modeling_mixtral.py and modeling_qwen3_moe.py. Softmax over all experts, then the top k (ties as
// torch.topk resolves them: it is that function), then, where the family renormalises, division by their sum. All of it in fp32,
// the router's own product included, in bf16 models too.
//
// Tokens are sorted by expert and each expert multiplies its own in one product. A token's sum goes through its experts in
// ascending order, in fp32, and is rounded once; so its bits depend on that token alone, not on which others went to the same
// expert, nor on threads or lanes.
//
// CPU only. Threads: all functions from any number of threads.
//
// Shapes: T tokens, M model width, E experts, K of them per token, S = T K tokens by expert, n those of one expert.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "model/net/linear.h"

namespace lorry {

struct ExpertWeights {
  Linear gate_up;  // [2 I, M]: parts gate, up
  Linear down;     // [M, I]
};

// Where each token goes.
struct Routing {
  at::Tensor probabilities_TE;  // fp32, over all experts
  at::Tensor tokens_S;          // int64: by expert, within one in the tokens' order
  at::Tensor weights_S;         // fp32: what that token takes of that expert
  std::vector<int64_t> begin;   // [E + 1]: expert e's are tokens_S[begin[e], begin[e + 1])
  bool renormalized = false;

  int64_t Count(size_t expert) const { return begin[expert + 1] - begin[expert]; }
  at::Tensor Tokens(size_t expert) const { return tokens_S.narrow(0, begin[expert], Count(expert)); }
  at::Tensor Weights(size_t expert) const { return weights_S.narrow(0, begin[expert], Count(expert)); }
};

// logits [T, E] fp32. REQUIRES: 1 <= k <= E.
Routing Route(const at::Tensor& logits_TE, int64_t k, bool renormalize);

// The gradient by the logits [T, E] fp32, from that by the routing weights times those weights themselves, [S] fp32: a softmax's
// gradient needs the product alone, and so nothing is divided by a weight that may be 0. Which experts were picked is a constant.
at::Tensor RouteBackward(const Routing& routing, const at::Tensor& weighted_S);

// residual [T, M] + the sum over each token's experts of weight * run(e, that expert's rows of x [n, M]) -> [T, M]. `run` is
// called for experts that have tokens, in ascending order.
at::Tensor SumOfExperts(const Routing& routing, const at::Tensor& x_TM, const at::Tensor& residual_TM,
                        const std::function<at::Tensor(size_t expert, const at::Tensor& x_nM)>& run);

// The pieces of it and of its gradient.
// sum[tokens[i]] += weights[i] * y[i]; sum [T, M] fp32, weights [n] fp32 or undefined: 1. No token twice.
void AddToTokens(const at::Tensor& y_nM, const at::Tensor& tokens_n, const at::Tensor& weights_n, at::Tensor& sum_TM);
// weights[i] * x[tokens[i]], of x's dtype.
at::Tensor WeightedRows(const at::Tensor& x_TM, const at::Tensor& tokens_n, const at::Tensor& weights_n);
// [n] fp32: the products a[i] . b[i], summed in order.
at::Tensor RowDots(const at::Tensor& a, const at::Tensor& b);

}  // namespace lorry
