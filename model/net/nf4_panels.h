// A frozen weight kept in NF4 (model/format/nf4.h) and multiplied as it is: Gemm asks for a panel, which is dequantized into a
// scratch that stays in the cache. The panels are, bit for bit, those of a PackedMatrix of the dequantized weight, so that a
// product's bits are the same whichever of the two it is made with.
//
// One copy of the four-bit codes serves both directions: W^T for y = x W^T, W for dx = dy W.
// No LibTorch here. Threads: const members from any number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/format/nf4.h"
#include "model/net/gemm.h"

namespace lorry {

// W^T [in, out] of one weight [out, in].
class Nf4Forward final : public PanelMatrix {
 public:
  Nf4Forward(Precision precision, std::shared_ptr<const Nf4Tensor> weight);
  bool MadeOnDemand() const override { return true; }
  const std::byte* Panel(int64_t index, std::byte* scratch) const override;

 private:
  std::shared_ptr<const Nf4Tensor> weight_;
};

// W [out, in], or several of one `in` below each other.
class Nf4Backward final : public PanelMatrix {
 public:
  Nf4Backward(Precision precision, std::vector<std::shared_ptr<const Nf4Tensor>> weights);
  bool MadeOnDemand() const override { return true; }
  const std::byte* Panel(int64_t index, std::byte* scratch) const override;

 private:
  std::vector<std::shared_ptr<const Nf4Tensor>> weights_;
};

// Elements [first, first + values.size()) of the row-major run: DequantizeNf4's numbers, faster.
void DequantizeNf4Run(const Nf4Tensor& weight, int64_t first, std::span<float> values);

}  // namespace lorry
