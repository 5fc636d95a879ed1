#include "trainers/rank_group.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "trainers/ordered_sum.h"

namespace lorry::trainers {

static_assert(std::is_trivially_copyable_v<LossSum>);

namespace {

class SingleProcess : public RankGroup {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  Status Exchange(const std::vector<at::Tensor>&, std::vector<at::Tensor>&) override { return OkStatus(); }
  Status GatherSlices(const at::Tensor&, at::Tensor&) override { return OkStatus(); }
  Result<std::vector<std::string>> AllGather(const std::string& mine) override { return std::vector<std::string>{mine}; }
  Result<std::string> Broadcast(const std::string& from_rank_0) override { return from_rank_0; }
  Result<int64_t> Largest(int64_t mine) override { return mine; }
};

std::vector<SumNode> NodesOfRank(int64_t micro_batches, int rank, int ranks) {
  const MicroBatchRange range = MicroBatchesOfRank(micro_batches, rank, ranks);
  return CoveringNodes(micro_batches, range.first, range.last);
}

// My nodes cut into slices, those for one rank behind each other in one tensor.
std::vector<at::Tensor> CutForRanks(const std::vector<std::pair<SumNode, at::Tensor>>& nodes, int ranks, int64_t slice,
                                    const at::TensorOptions& options) {
  std::vector<at::Tensor> outgoing;
  for (int peer = 0; peer < ranks; ++peer) {
    at::Tensor parts = at::zeros({static_cast<int64_t>(nodes.size()) * slice}, options);
    for (size_t i = 0; i < nodes.size(); ++i) {
      const at::Tensor& values = nodes[i].second;
      const int64_t first = std::min(values.numel(), peer * slice);
      const int64_t count = std::min(values.numel(), (peer + 1) * slice) - first;
      parts.narrow(0, static_cast<int64_t>(i) * slice, count).copy_(values.narrow(0, first, count));
    }
    outgoing.push_back(std::move(parts));
  }
  return outgoing;
}

// Adds up, over the tree, this rank's slice of what every rank sent.
at::Tensor SumOfSlices(const std::vector<at::Tensor>& incoming, int64_t micro_batches, int64_t slice) {
  OrderedSum sum(micro_batches, nullptr);
  const int ranks = static_cast<int>(incoming.size());
  for (int peer = 0; peer < ranks; ++peer) {
    int64_t position = 0;
    for (const SumNode node : NodesOfRank(micro_batches, peer, ranks)) {
      sum.AddNode(node, incoming[peer].narrow(0, position, slice));
      position += slice;
    }
  }
  return sum.TakeNodes().front().second;
}

}  // namespace

Status RankGroup::Barrier() {
  LORRY_TRY(Largest(0));
  return OkStatus();
}

MicroBatchRange MicroBatchesOfRank(int64_t micro_batches, int rank, int ranks) {
  return {micro_batches * rank / ranks, micro_batches * (rank + 1) / ranks};
}

Result<at::Tensor> SumOverRanks(RankGroup& group, OrderedSum& mine, int64_t micro_batches, GradientBuffers& buffers) {
  std::vector<std::pair<SumNode, at::Tensor>> nodes = mine.TakeNodes();
  const int ranks = group.size();
  if (ranks == 1) return std::move(nodes.front().second);

  const int64_t slice = (buffers.length() + ranks - 1) / ranks;
  const at::TensorOptions options = at::TensorOptions(at::kFloat).device(buffers.device());
  const std::vector<at::Tensor> outgoing = CutForRanks(nodes, ranks, slice, options);
  for (auto& [node, values] : nodes) buffers.Give(std::move(values));
  std::vector<at::Tensor> incoming;
  for (int peer = 0; peer < ranks; ++peer) {
    const auto count = static_cast<int64_t>(NodesOfRank(micro_batches, peer, ranks).size());
    incoming.push_back(peer == group.rank() ? outgoing[peer] : at::empty({count * slice}, options));
  }
  LORRY_TRY(group.Exchange(outgoing, incoming));

  at::Tensor whole = at::empty({slice * ranks}, options);
  at::Tensor my_slice = whole.narrow(0, group.rank() * slice, slice);
  my_slice.copy_(SumOfSlices(incoming, micro_batches, slice));
  LORRY_TRY(group.GatherSlices(my_slice, whole));
  at::Tensor result = buffers.Take();
  result.copy_(whole.narrow(0, 0, buffers.length()));
  return result;
}

Result<LossSum> AddInOrder(RankGroup& group, std::vector<LossSum>& losses) {
  const auto count = static_cast<int64_t>(losses.size());
  if (group.size() > 1) {
    const auto bytes_of = [&](int rank) {
      const MicroBatchRange range = MicroBatchesOfRank(count, rank, group.size());
      return std::pair(losses.data() + range.first, static_cast<size_t>(range.last - range.first) * sizeof(LossSum));
    };
    const auto [first, length] = bytes_of(group.rank());
    LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                           group.AllGather(std::string(reinterpret_cast<const char*>(first), length)));
    for (int peer = 0; peer < group.size(); ++peer) {
      const auto [place, size] = bytes_of(peer);
      if (all[peer].size() != size) return MakeError(ErrorCode::kInternal, "ranks disagree about the step's micro-batches");
      std::memcpy(place, all[peer].data(), size);
    }
  }
  LossSum total;
  for (const LossSum& loss : losses) {
    total.loss += loss.loss;
    total.target_tokens += loss.target_tokens;
  }
  return total;
}

std::unique_ptr<RankGroup> SingleProcessGroup() { return std::make_unique<SingleProcess>(); }

}  // namespace lorry::trainers
