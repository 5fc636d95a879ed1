// nccl_rank_group.h in a build without CUDA.
#include "trainers/nccl_rank_group.h"

namespace lorry::trainers {

Result<std::unique_ptr<RankGroup>> NcclRankGroup(std::unique_ptr<RankGroup>) {
  return MakeError(ErrorCode::kUnsupported, "this build has no CUDA", "use resources: {cpus: N}, or build with LORRY_CUDA");
}

at::Device DeviceOfRank(int) { return at::Device(at::kCPU); }

std::string GpuDeviceName() { return "gpu: none"; }

}  // namespace lorry::trainers
