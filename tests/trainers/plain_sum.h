// What every rank group must give: the sum of a step's micro-batches, bit for bit that of a tree added up by recursion.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <utility>

#include "base/random.h"
#include "trainers/lanes.h"
#include "trainers/ordered_sum.h"
#include "trainers/rank_group.h"

namespace lorry::trainers {

// Values of very different size, so that another order of additions shows.
inline at::Tensor Leaf(int64_t leaf, int64_t length) {
  Random random(5, "test.leaf", {static_cast<uint64_t>(leaf)});
  at::Tensor values = at::empty({length}, at::kFloat);
  for (int64_t i = 0; i < length; ++i) {
    values.data_ptr<float>()[i] = static_cast<float>(std::ldexp(random.Uniform01() - 0.5, static_cast<int>(random.Below(20))));
  }
  return values;
}

// The plain twin: the tree by recursion.
inline at::Tensor PlainSum(int64_t leaves, int level, int64_t index, int64_t length) {
  if (level == 0) return Leaf(index, length);
  at::Tensor left = PlainSum(leaves, level - 1, 2 * index, length);
  if (((2 * index + 1) << (level - 1)) >= leaves) return left;
  return left + PlainSum(leaves, level - 1, 2 * index + 1, length);
}

inline at::Tensor PlainSum(int64_t leaves, int64_t length) {
  int level = 0;
  while ((int64_t{1} << level) < leaves) ++level;
  return PlainSum(leaves, level, 0, length);
}

inline bool SameBytes(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() == b.numel() && std::memcmp(a.const_data_ptr(), b.const_data_ptr(), static_cast<size_t>(a.nbytes())) == 0;
}

// Adds up this rank's micro-batches with `lanes` threads on `device`, then over the ranks of `group`.
inline bool SumsLikeThePlainTwin(RankGroup& group, const at::Device& device, int64_t leaves, int lanes, int64_t length) {
  GradientBuffers buffers(length, device);
  OrderedSum sum(leaves, &buffers);
  Lanes my_lanes(lanes, 1);
  const MicroBatchRange range = MicroBatchesOfRank(leaves, group.rank(), group.size());
  const Status status = my_lanes.ForEach(range.first, range.last, [&](int64_t leaf) {
    at::Tensor buffer = buffers.Take();
    buffer.copy_(Leaf(leaf, length));
    sum.AddLeaf(leaf, std::move(buffer));
    return OkStatus();
  });
  const Result<at::Tensor> total = SumOverRanks(group, sum, leaves, buffers);
  return status.ok() && total.ok() && SameBytes(total->cpu(), PlainSum(leaves, length));
}

}  // namespace lorry::trainers
