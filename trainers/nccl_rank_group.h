// RankGroup over NCCL: tensors in GPU memory, one GPU per rank. What is small and on the host goes over MPI, which also carries
// NCCL's first handshake. Two bodies: nccl_rank_group.cc, and no_nccl_rank_group.cc for a program without CUDA, which says so.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>

#include "base/result.h"
#include "trainers/rank_group.h"

namespace lorry::trainers {

// The GPU that this process drives: its number among the ranks of its node. kUnsupported in a program without CUDA; kSpec
// where the node has no GPU for it.
Result<at::Device> GpuOfThisRank();

// Takes over `host`; the tensors of the group's calls lie on `gpu`, which no other rank uses, and which is the calling thread's
// device from now on. kUnsupported in a program without CUDA; kUnreachable where NCCL refuses.
Result<std::unique_ptr<RankGroup>> NcclRankGroup(std::unique_ptr<RankGroup> host, const at::Device& gpu);

// "gpu: NVIDIA H200"; "gpu: none" where there is none.
std::string GpuDeviceName();

}  // namespace lorry::trainers
