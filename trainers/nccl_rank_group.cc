#include "trainers/nccl_rank_group.h"

#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <nccl.h>

#include <cstdlib>
#include <cstring>
#include <utility>

namespace lorry::trainers {
namespace {

Status Check(ncclResult_t code, const char* what) {
  if (code == ncclSuccess) return OkStatus();
  return MakeError(ErrorCode::kUnreachable, std::string(what) + ": " + ncclGetErrorString(code));
}

class NcclGroup : public RankGroup {
 public:
  NcclGroup(std::unique_ptr<RankGroup> host, ncclComm_t communicator) : host_(std::move(host)), communicator_(communicator) {}
  // Not ncclCommDestroy, which waits for the other ranks: where this one ends by an error they wait for its values, and would
  // never hear of it. At the end of a run that succeeded nobody needs what may be under way: rank 0 has written the adapter.
  ~NcclGroup() override { ncclCommAbort(communicator_); }
  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }

  // One grouped call: NCCL pairs sends with receives whatever their order.
  Status Exchange(const std::vector<at::Tensor>& outgoing, std::vector<at::Tensor>& incoming) override {
    const cudaStream_t stream = c10::cuda::getCurrentCUDAStream().stream();
    LORRY_TRY(Check(ncclGroupStart(), "NCCL exchange"));
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      const auto sent = static_cast<size_t>(outgoing[peer].numel());
      const auto received = static_cast<size_t>(incoming[peer].numel());
      if (sent > 0) {
        LORRY_TRY(Check(ncclSend(outgoing[peer].const_data_ptr(), sent, ncclFloat, peer, communicator_, stream), "NCCL send"));
      }
      if (received > 0) {
        LORRY_TRY(Check(ncclRecv(incoming[peer].data_ptr(), received, ncclFloat, peer, communicator_, stream), "NCCL receive"));
      }
    }
    return Check(ncclGroupEnd(), "NCCL exchange");
  }

  // In place where `mine` is this rank's part of `whole`, as NCCL allows.
  Status GatherSlices(const at::Tensor& mine, at::Tensor& whole) override {
    const cudaStream_t stream = c10::cuda::getCurrentCUDAStream().stream();
    return Check(ncclAllGather(mine.const_data_ptr(), whole.data_ptr(), static_cast<size_t>(mine.numel()), ncclFloat,
                               communicator_, stream),
                 "NCCL gather");
  }

  Result<std::vector<std::string>> AllGather(const std::string& mine) override { return host_->AllGather(mine); }
  Result<std::string> Broadcast(const std::string& from_rank_0) override { return host_->Broadcast(from_rank_0); }
  Result<int64_t> Largest(int64_t mine) override { return host_->Largest(mine); }

 private:
  std::unique_ptr<RankGroup> host_;
  ncclComm_t communicator_;
};

int RankOnNode() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_LOCAL_RANK");
  return rank != nullptr ? std::atoi(rank) : 0;
}

}  // namespace

Result<at::Device> GpuOfThisRank() {
  const int devices = c10::cuda::device_count();
  const int rank = RankOnNode();
  if (rank >= devices) {
    return MakeError(ErrorCode::kSpec, fmt::format("rank {} of this node finds {} GPUs", rank, devices),
                     "one rank drives one GPU: see resources.gpus, and CUDA_VISIBLE_DEVICES");
  }
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(rank));
}

Result<std::unique_ptr<RankGroup>> NcclRankGroup(std::unique_ptr<RankGroup> host, const at::Device& gpu) {
  ncclUniqueId id{};
  std::string id_bytes;
  if (host->rank() == 0) {
    LORRY_TRY(Check(ncclGetUniqueId(&id), "NCCL start"));
    id_bytes.assign(id.internal, sizeof(id.internal));
  }
  LORRY_ASSIGN_OR_RETURN(id_bytes, host->Broadcast(id_bytes));
  if (id_bytes.size() != sizeof(id.internal)) {
    return MakeError(ErrorCode::kInternal, "NCCL start: the handshake has another size");
  }
  std::memcpy(id.internal, id_bytes.data(), sizeof(id.internal));
  c10::cuda::set_device(gpu.index());
  ncclComm_t communicator = nullptr;
  LORRY_TRY(Check(ncclCommInitRank(&communicator, host->size(), id, host->rank()), "NCCL start"));
  return std::unique_ptr<RankGroup>(std::make_unique<NcclGroup>(std::move(host), communicator));
}

std::string GpuDeviceName() {
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) return "gpu: none";
  return std::string("gpu: ") + properties.name;
}

}  // namespace lorry::trainers
