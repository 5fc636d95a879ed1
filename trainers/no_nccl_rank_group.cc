// nccl_rank_group.h in a program without CUDA.
#include "trainers/nccl_rank_group.h"

namespace lorry::trainers {
namespace {

Error NoCuda() {
  return MakeError(ErrorCode::kUnsupported, "this build has no CUDA", "use resources: {cpus: N}, or build with LORRY_CUDA");
}

}  // namespace

Result<at::Device> GpuOfThisRank() { return NoCuda(); }

Result<std::unique_ptr<RankGroup>> NcclRankGroup(std::unique_ptr<RankGroup>, const at::Device&) { return NoCuda(); }

std::string GpuDeviceName() { return "gpu: none"; }

}  // namespace lorry::trainers
