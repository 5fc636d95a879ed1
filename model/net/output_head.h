// The output head: from hidden states to logits over the vocabulary, and to the log-probability of given targets with its
// gradient by the hidden state, found in the same pass. Only rows that have a target come here, 128 (on a GPU 1,024) at a time,
// so that logits of a micro-batch are never whole in memory.
//
// The head is frozen. Threads: const members from any number of threads.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "model/net/linear.h"

namespace lorry {

class OutputHead {
 public:
  OutputHead() = default;
  // weight [V, M] on the device it shall stay on.
  OutputHead(const at::Tensor& weight_VM, Precision precision, bool backward);

  // Logits, fp32 [T, V], not rounded in between.
  at::Tensor Apply(const at::Tensor& hidden_TM) const;

  struct Targets {
    at::Tensor log_probs_T;  // fp32, on the CPU
    at::Tensor d_hidden_TM;  // of -sum(log_probs); undefined where no gradient was asked for
  };
  // targets [T] int32 on the CPU, each in [0, V).
  Targets TargetLogProbs(const at::Tensor& hidden_TM, const at::Tensor& targets_T, bool gradient) const;

  int64_t ResidentBytes() const;

 private:
  int64_t vocabulary_ = 0, width_ = 0;
  Precision precision_ = Precision::kFp32;
  std::vector<Linear> slices_;  // CPU: 4096 words each, so that both products stay in the cache
  at::Tensor plain_weight_;     // elsewhere
};

}  // namespace lorry
