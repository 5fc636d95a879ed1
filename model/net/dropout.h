// Inverted dropout on rows: an element is zero with probability p, else x / (1 - p). Source: "Dropout: A Simple Way to Prevent
// Neural Networks from Overfitting", Srivastava et al. 2014. No LibTorch here.
//
// Which elements go follows from the key, the row and the column alone (Philox4x32-10 by counter), so that the mask is made again
// in the backward pass instead of kept, and no order of work changes a bit. p is taken to the nearest 1/65536.
#pragma once

#include <array>
#include <cstdint>

#include "model/net/row_kernels.h"

namespace lorry {

// One mask. Made once per use: the same arguments give the same mask, for ever.
struct DropoutMask {
  double p = 0.0;  // 0 <= p < 1
  std::array<uint32_t, 2> key{}, stream{};
};

// Of one matrix's input: `layer` and `kind` say which, the rest when.
struct DropoutKey {
  uint64_t seed = 0;
  uint64_t step = 0;         // optimizer steps done before
  uint64_t micro_batch = 0;  // of the step, whichever rank or lane computes it
};
DropoutMask MakeDropoutMask(double p, const DropoutKey& key, uint64_t layer, uint64_t kind);

// y = dropped x, plus `add` where add.start is not null; y may be add.
void DropRows(Precision precision, RowsIn x, const DropoutMask& mask, RowsIn add, int64_t rows, int64_t columns, RowsOut y);

}  // namespace lorry
