// Sums of gradients that do not depend on who computed which micro-batch, nor on when it was ready.
//
// The tree. Leaf i is the gradient of micro-batch i of a step. Node (level, index) is the sum of node (level-1, 2*index) and
// node (level-1, 2*index+1); where the right one would start behind the last leaf, the node is the left one alone. So the tree
// depends on the number of micro-batches only. A floating-point addition gives the same bits in either order of its two
// operands, therefore any thread or rank may carry out any node.
//
// Threads: OrderedSum may be used by several lanes at once; the additions run outside its lock.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace lorry::trainers {

struct SumNode {
  int level = 0;
  int64_t index = 0;
  auto operator<=>(const SumNode&) const = default;
};

// The fewest nodes that together cover the leaves [first, last) of a tree with `leaves` leaves, in leaf order.
std::vector<SumNode> CoveringNodes(int64_t leaves, int64_t first, int64_t last);

// The root of a tree with `leaves` leaves.
SumNode RootNode(int64_t leaves);

// Gradient vectors that are free to be written: the steady state of a run allocates nothing.
class GradientBuffers {
 public:
  GradientBuffers(int64_t length, at::Device device) : length_(length), device_(device) {}
  at::Tensor Take();
  void Give(at::Tensor buffer);
  int64_t length() const { return length_; }
  const at::Device& device() const { return device_; }

 private:
  const int64_t length_;
  const at::Device device_;
  std::mutex mutex_;
  std::vector<at::Tensor> free_;
};

class OrderedSum {
 public:
  // Operands that were added away go back to `buffers`, which outlives the sum; null: they are freed.
  OrderedSum(int64_t leaves, GradientBuffers* buffers);

  // Takes the values of a leaf and adds up every node that is complete by it, in place. The tensor belongs to the sum from
  // now on. REQUIRES: each leaf once; all tensors of one shape, fp32.
  void AddLeaf(int64_t leaf, at::Tensor values);

  // The same for the sum of a whole node (received from another rank).
  void AddNode(SumNode node, at::Tensor values);

  // All nodes that could not be added up further, in leaf order; leaves the sum empty.
  std::vector<std::pair<SumNode, at::Tensor>> TakeNodes();

 private:
  const int64_t leaves_;
  GradientBuffers* const buffers_;
  std::mutex mutex_;
  std::map<SumNode, at::Tensor> waiting_;
};

}  // namespace lorry::trainers
