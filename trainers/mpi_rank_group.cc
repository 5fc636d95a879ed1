// RankGroup over MPI. Tensors are in host memory; messages above 2^30 values are sent in pieces, since MPI counts in int.
#define OMPI_SKIP_MPICXX 1  // the C interface alone
#include <mpi.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "trainers/rank_group.h"

namespace lorry::trainers {
namespace {

constexpr int64_t kPiece = int64_t{1} << 28;  // values in one message

Status Check(int code, const char* what) {
  if (code == MPI_SUCCESS) return OkStatus();
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return MakeError(ErrorCode::kUnreachable, std::string(what) + ": " + std::string(text, static_cast<size_t>(length)));
}

class MpiGroup : public RankGroup {
 public:
  MpiGroup() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Status Exchange(const std::vector<at::Tensor>& outgoing, std::vector<at::Tensor>& incoming) override {
    std::vector<MPI_Request> requests;
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      LORRY_TRY(InPieces(incoming[peer], [&](float* values, int count, int tag) {
        return MPI_Irecv(values, count, MPI_FLOAT, peer, tag, MPI_COMM_WORLD, &requests.emplace_back());
      }));
      LORRY_TRY(InPieces(outgoing[peer], [&](float* values, int count, int tag) {
        return MPI_Isend(values, count, MPI_FLOAT, peer, tag, MPI_COMM_WORLD, &requests.emplace_back());
      }));
    }
    return Check(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI exchange");
  }

  Status GatherSlices(const at::Tensor& mine, at::Tensor& whole) override {
    std::vector<MPI_Request> requests;
    const int64_t slice = mine.numel();
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      LORRY_TRY(InPieces(whole.narrow(0, peer * slice, slice), [&](float* values, int count, int tag) {
        return MPI_Irecv(values, count, MPI_FLOAT, peer, tag, MPI_COMM_WORLD, &requests.emplace_back());
      }));
      LORRY_TRY(InPieces(mine, [&](float* values, int count, int tag) {
        return MPI_Isend(values, count, MPI_FLOAT, peer, tag, MPI_COMM_WORLD, &requests.emplace_back());
      }));
    }
    return Check(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI gather");
  }

  Result<std::vector<std::string>> AllGather(const std::string& mine) override {
    std::vector<std::string> all;
    for (int root = 0; root < size_; ++root) {
      LORRY_ASSIGN_OR_RETURN(std::string part, BroadcastFrom(root, root == rank_ ? mine : std::string()));
      all.push_back(std::move(part));
    }
    return all;
  }

  Result<std::string> Broadcast(const std::string& from_rank_0) override { return BroadcastFrom(0, from_rank_0); }

  Result<int64_t> Largest(int64_t mine) override {
    int64_t largest = mine;
    LORRY_TRY(Check(MPI_Allreduce(&mine, &largest, 1, MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD), "MPI agreement"));
    return largest;
  }

 private:
  template <class Send>
  static Status InPieces(const at::Tensor& tensor, const Send& send) {
    float* values = tensor.data_ptr<float>();
    int tag = 0;
    for (int64_t at = 0; at < tensor.numel(); at += kPiece, ++tag) {
      LORRY_TRY(Check(send(values + at, static_cast<int>(std::min(kPiece, tensor.numel() - at)), tag), "MPI message"));
    }
    return OkStatus();
  }

  Result<std::string> BroadcastFrom(int root, std::string bytes) {
    int64_t length = static_cast<int64_t>(bytes.size());
    LORRY_TRY(Check(MPI_Bcast(&length, 1, MPI_INT64_T, root, MPI_COMM_WORLD), "MPI broadcast"));
    bytes.resize(static_cast<size_t>(length));
    for (int64_t at = 0; at < length; at += kPiece) {
      const int count = static_cast<int>(std::min(kPiece, length - at));
      LORRY_TRY(Check(MPI_Bcast(bytes.data() + at, count, MPI_BYTE, root, MPI_COMM_WORLD), "MPI broadcast"));
    }
    return bytes;
  }

  int rank_ = 0;
  int size_ = 1;
};

}  // namespace

std::unique_ptr<RankGroup> MpiRankGroup() { return std::make_unique<MpiGroup>(); }

Result<std::unique_ptr<MpiSession>> MpiSession::Start() {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  const bool active = size != nullptr && std::string_view(size) != "1";
  if (active) {
    int provided = 0;
    LORRY_TRY(Check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI start"));
  }
  return std::unique_ptr<MpiSession>(new MpiSession(active));
}

MpiSession::~MpiSession() {
  if (active_) MPI_Finalize();
}

void MpiSession::Abort(int exit_status) {
  if (active_) MPI_Abort(MPI_COMM_WORLD, exit_status);
}

}  // namespace lorry::trainers
