// RankGroup over NCCL: tensors in GPU memory, one GPU per rank. What is small and on the host goes over MPI, which also carries
// NCCL's first handshake. Built with LORRY_CUDA; without it the functions say so.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>

#include "base/result.h"
#include "trainers/rank_group.h"

namespace lorry::trainers {

// Takes over `host`. kUnsupported in a build without CUDA; kUnreachable where NCCL refuses.
Result<std::unique_ptr<RankGroup>> NcclRankGroup(std::unique_ptr<RankGroup> host);

// The GPU that a rank drives: its number among the ranks of its node.
at::Device DeviceOfRank(int rank);

// "gpu: NVIDIA H200"; "gpu: none" where there is none.
std::string GpuDeviceName();

}  // namespace lorry::trainers
