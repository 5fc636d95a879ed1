// The rank group over NCCL on this machine's GPUs, one rank a GPU: the sums have the bits of the CPU's. Without a GPU the program
// ends with the status that ctest counts as skipped.
#include "trainers/nccl_rank_group.h"

#define CATCH_CONFIG_RUNNER
#include <c10/cuda/CUDAFunctions.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <mutex>

#include "tests/trainers/plain_sum.h"
#include "tests/trainers/rank_threads.h"

namespace lorry::trainers {
namespace {

constexpr int kSkipped = 77;  // SKIP_RETURN_CODE in CMakeLists.txt

// A group that another owns, for NcclRankGroup, which takes its host group over.
class Borrowed : public RankGroup {
 public:
  explicit Borrowed(RankGroup& group) : group_(group) {}
  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }
  Status Exchange(const std::vector<at::Tensor>& outgoing, std::vector<at::Tensor>& incoming) override {
    return group_.Exchange(outgoing, incoming);
  }
  Status GatherSlices(const at::Tensor& mine, at::Tensor& whole) override { return group_.GatherSlices(mine, whole); }
  Result<std::vector<std::string>> AllGather(const std::string& mine) override { return group_.AllGather(mine); }
  Result<std::string> Broadcast(const std::string& from_rank_0) override { return group_.Broadcast(from_rank_0); }
  Result<int64_t> Largest(int64_t mine) override { return group_.Largest(mine); }

 private:
  RankGroup& group_;
};

TEST_CASE("NCCL's sums have the bits of the CPU's, for every number of ranks that this machine has GPUs for") {
  const int64_t length = 1037;  // a multiple of no number of ranks
  for (int ranks = 1; ranks <= c10::cuda::device_count(); ++ranks) {
    for (const int64_t leaves : {1, 5, 13}) {
      RankThreads threads(ranks);
      std::vector<std::string> outcome(static_cast<size_t>(ranks));
      std::mutex lock;
      threads.Run([&](RankGroup& host) {
        const at::Device gpu(at::kCUDA, static_cast<c10::DeviceIndex>(host.rank()));
        const Result<std::unique_ptr<RankGroup>> group = NcclRankGroup(std::make_unique<Borrowed>(host), gpu);
        std::string text = group.ok() ? "" : group.error().Format();
        if (group.ok() && !SumsLikeThePlainTwin(**group, gpu, leaves, 2, length)) text = "other bits";
        const std::lock_guard guard(lock);
        outcome[host.rank()] = text;
      });
      INFO("ranks " << ranks << " leaves " << leaves);
      CHECK(outcome == std::vector<std::string>(static_cast<size_t>(ranks)));
    }
  }
}

}  // namespace
}  // namespace lorry::trainers

int main(int argc, char** argv) {
  if (c10::cuda::device_count() == 0) {
    fmt::print("skipped: no GPU here\n");
    return lorry::trainers::kSkipped;
  }
  // The GPU's kernels, and with them all of CUDA's libraries: loaded only here, since a machine without a GPU need not have them.
  if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    fmt::print(stderr, "{}\n", ::dlerror());
    return 1;
  }
  return Catch::Session().run(argc, argv);
}
