// The ranks of one run, and what they do together. One interface: alone, over MPI (CPU memory), over NCCL (GPU memory).
//
// All calls are collective: every rank makes the same calls in the same order, from its main thread. A failure here means that
// another rank is gone; the run ends and is resumed from its checkpoint.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "lora/lora_model.h"

namespace lorry::trainers {

class OrderedSum;
class GradientBuffers;

class RankGroup {
 public:
  virtual ~RankGroup() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Sends outgoing[r] to rank r and fills incoming[r] from it, for every r but one's own: 1-D fp32 tensors whose lengths both
  // sides know; a length of 0 is not sent.
  virtual Status Exchange(const std::vector<at::Tensor>& outgoing, std::vector<at::Tensor>& incoming) = 0;

  // Every rank's slice into `whole`, whose r-th of size() equal parts is rank r's. `mine` may be that part of `whole` itself.
  virtual Status GatherSlices(const at::Tensor& mine, at::Tensor& whole) = 0;

  // Small host-side data. AllGather: one string per rank, in rank order. Broadcast: rank 0's bytes to all.
  virtual Result<std::vector<std::string>> AllGather(const std::string& mine) = 0;
  virtual Result<std::string> Broadcast(const std::string& from_rank_0) = 0;

  // The largest of all ranks' values: how ranks agree to stop.
  virtual Result<int64_t> Largest(int64_t mine) = 0;

  Status Barrier();
};

// The micro-batches of a step that a rank computes: a contiguous block, whose sizes differ by at most one.
struct MicroBatchRange {
  int64_t first = 0;
  int64_t last = 0;  // exclusive
};
MicroBatchRange MicroBatchesOfRank(int64_t micro_batches, int rank, int ranks);

// The sum over all micro-batches of the step, the same bits on every rank and for every number of ranks: each rank adds up
// whole nodes of its own (`mine`, see ordered_sum.h), sends each rank its slice of them, adds its slice over the same tree, and
// gathers the slices. A rank without micro-batches gives an empty `mine`. The result is a vector of `buffers`, to be given back.
Result<at::Tensor> SumOverRanks(RankGroup& group, OrderedSum& mine, int64_t micro_batches, GradientBuffers& buffers);

// The losses of all micro-batches (each rank gives those of its block; the others' entries are filled in), added in their order.
Result<LossSum> AddInOrder(RankGroup& group, std::vector<LossSum>& losses);

std::unique_ptr<RankGroup> SingleProcessGroup();

// REQUIRES: MPI is initialised (see MpiSession), and outlives the group.
std::unique_ptr<RankGroup> MpiRankGroup();

// MPI for the life of a process. Does nothing where the process was not started by mpirun with more than one rank.
class MpiSession {
 public:
  static Result<std::unique_ptr<MpiSession>> Start();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  ~MpiSession();
  bool active() const { return active_; }
  // Ends all ranks at once, with this exit status; returns only where MPI is not active.
  void Abort(int exit_status);

 private:
  explicit MpiSession(bool active) : active_(active) {}
  bool active_;
};

}  // namespace lorry::trainers
