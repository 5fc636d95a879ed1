#include "trainers/ordered_sum.h"

#include <algorithm>

namespace lorry::trainers {
namespace {

int64_t FirstLeaf(SumNode node) { return node.index << node.level; }

bool IsRoot(int64_t leaves, SumNode node) { return node.index == 0 && (int64_t{1} << node.level) >= leaves; }

SumNode Sibling(SumNode node) { return {node.level, node.index ^ 1}; }

SumNode Parent(SumNode node) { return {node.level + 1, node.index / 2}; }

}  // namespace

std::vector<SumNode> CoveringNodes(int64_t leaves, int64_t first, int64_t last) {
  std::vector<SumNode> nodes;
  while (first < last) {
    SumNode node{0, first};
    // Grow while the parent still begins here and ends (the tree's ragged edge included) within the range.
    while (!IsRoot(leaves, node) && FirstLeaf(Parent(node)) == first &&
           std::min(leaves, (Parent(node).index + 1) << (node.level + 1)) <= last) {
      node = Parent(node);
    }
    nodes.push_back(node);
    first = std::min(leaves, (node.index + 1) << node.level);
  }
  return nodes;
}

SumNode RootNode(int64_t leaves) { return CoveringNodes(leaves, 0, leaves).front(); }

at::Tensor GradientBuffers::Take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      at::Tensor buffer = std::move(free_.back());
      free_.pop_back();
      return buffer;
    }
  }
  return at::empty({length_}, at::TensorOptions(at::kFloat).device(device_));
}

void GradientBuffers::Give(at::Tensor buffer) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(buffer));
}

OrderedSum::OrderedSum(int64_t leaves, GradientBuffers* buffers) : leaves_(leaves), buffers_(buffers) {}

void OrderedSum::AddLeaf(int64_t leaf, at::Tensor values) { AddNode({0, leaf}, std::move(values)); }

void OrderedSum::AddNode(SumNode node, at::Tensor values) {
  while (!IsRoot(leaves_, node)) {
    if (FirstLeaf(Sibling(node)) < leaves_) {
      at::Tensor other;
      {
        const std::lock_guard lock(mutex_);
        const auto found = waiting_.find(Sibling(node));
        if (found == waiting_.end()) {
          waiting_.emplace(node, std::move(values));
          return;
        }
        other = std::move(found->second);
        waiting_.erase(found);
      }
      values.add_(other);
      if (buffers_ != nullptr) buffers_->Give(std::move(other));
    }
    node = Parent(node);
  }
  const std::lock_guard lock(mutex_);
  waiting_.emplace(node, std::move(values));
}

std::vector<std::pair<SumNode, at::Tensor>> OrderedSum::TakeNodes() {
  const std::lock_guard lock(mutex_);
  std::vector<std::pair<SumNode, at::Tensor>> nodes(waiting_.begin(), waiting_.end());
  waiting_.clear();
  std::sort(nodes.begin(), nodes.end(), [](const auto& a, const auto& b) { return FirstLeaf(a.first) < FirstLeaf(b.first); });
  return nodes;
}

}  // namespace lorry::trainers
