// A fake communicator for tests: the ranks of a group as threads of one process, messages as copies.
#pragma once

#include <algorithm>
#include <barrier>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "trainers/rank_group.h"

namespace lorry::trainers {

// Runs `body` once per rank, each on a thread of its own, and waits for all. Messages are delivered at the end of a collective.
class RankThreads {
 public:
  explicit RankThreads(int ranks) : ranks_(ranks), barrier_(ranks), texts_(ranks), numbers_(ranks), tensors_(ranks) {}

  void Run(const std::function<void(RankGroup&)>& body) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks_; ++rank) {
      threads.emplace_back([this, rank, &body] {
        Member member(*this, rank);
        body(member);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  class Member : public RankGroup {
   public:
    Member(RankThreads& all, int rank) : all_(all), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return all_.ranks_; }

    Status Exchange(const std::vector<at::Tensor>& outgoing, std::vector<at::Tensor>& incoming) override {
      all_.tensors_[rank_] = outgoing;
      all_.barrier_.arrive_and_wait();
      for (int peer = 0; peer < size(); ++peer) {
        if (peer != rank_) incoming[peer].copy_(all_.tensors_[peer][rank_]);
      }
      all_.barrier_.arrive_and_wait();
      return OkStatus();
    }
    Status GatherSlices(const at::Tensor& mine, at::Tensor& whole) override {
      all_.tensors_[rank_] = {mine};
      all_.barrier_.arrive_and_wait();
      for (int peer = 0; peer < size(); ++peer) {
        if (peer != rank_) whole.narrow(0, peer * mine.numel(), mine.numel()).copy_(all_.tensors_[peer][0]);
      }
      all_.barrier_.arrive_and_wait();
      return OkStatus();
    }
    Result<std::vector<std::string>> AllGather(const std::string& mine) override {
      all_.texts_[rank_] = mine;
      all_.barrier_.arrive_and_wait();
      std::vector<std::string> texts = all_.texts_;
      all_.barrier_.arrive_and_wait();
      return texts;
    }
    Result<std::string> Broadcast(const std::string& from_rank_0) override {
      LORRY_ASSIGN_OR_RETURN(const std::vector<std::string> texts, AllGather(from_rank_0));
      return texts[0];
    }
    Result<int64_t> Largest(int64_t mine) override {
      all_.numbers_[rank_] = mine;
      all_.barrier_.arrive_and_wait();
      const int64_t largest = *std::max_element(all_.numbers_.begin(), all_.numbers_.end());
      all_.barrier_.arrive_and_wait();
      return largest;
    }

   private:
    RankThreads& all_;
    const int rank_;
  };

  const int ranks_;
  std::barrier<> barrier_;
  std::vector<std::string> texts_;
  std::vector<int64_t> numbers_;
  std::vector<std::vector<at::Tensor>> tensors_;
};

}  // namespace lorry::trainers
