// Lanes: threads that compute micro-batches, each with a fixed number of threads of its own for its operations.
//
// A lane is a std::thread that lives as long as the run and sets its thread count once, before its first operation: results of
// floating-point products may depend on that count, which is therefore part of the job. Which lane computes which micro-batch
// is open (they take the next one when they are free); nothing in a result depends on it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/result.h"

namespace lorry::trainers {

class Lanes {
 public:
  Lanes(int lanes, int threads_per_lane);
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;
  ~Lanes();

  // Calls work(i) for each i in [first, last), once, on the lanes; returns when all are done. After an error no further one is
  // begun; of several errors the one with the smallest i comes back. Exceptions of LibTorch become errors: kOutOfMemory where
  // the allocator failed, else kInternal. Call from one thread.
  Status ForEach(int64_t first, int64_t last, const std::function<Status(int64_t)>& work);

  int size() const { return static_cast<int>(threads_.size()); }

 private:
  void Run(int threads_per_lane);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  const std::function<Status(int64_t)>* work_ = nullptr;  // while ForEach runs
  int64_t next_ = 0;
  int64_t last_ = 0;
  int64_t running_ = 0;
  int64_t failed_at_ = 0;
  std::optional<Error> error_;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace lorry::trainers
