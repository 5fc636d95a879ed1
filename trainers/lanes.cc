#include "trainers/lanes.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <new>
#include <string>
#include <string_view>

namespace lorry::trainers {
namespace {

Status Guarded(const std::function<Status(int64_t)>& work, int64_t item) {
  try {
    return work(item);
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorCode::kOutOfMemory, "out of memory", "lower training.tokens_per_step or dataset.max_length");
  } catch (const std::exception& exception) {
    const std::string_view text = exception.what();
    const bool memory = text.find("out of memory") != text.npos || text.find("can't allocate memory") != text.npos;
    return MakeError(memory ? ErrorCode::kOutOfMemory : ErrorCode::kInternal, std::string(text));
  }
}

}  // namespace

Lanes::Lanes(int lanes, int threads_per_lane) {
  for (int i = 0; i < lanes; ++i) threads_.emplace_back([this, threads_per_lane] { Run(threads_per_lane); });
}

Lanes::~Lanes() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Status Lanes::ForEach(int64_t first, int64_t last, const std::function<Status(int64_t)>& work) {
  std::unique_lock lock(mutex_);
  work_ = &work;
  next_ = first;
  last_ = last;
  error_.reset();
  wake_.notify_all();
  idle_.wait(lock, [&] { return next_ >= last_ && running_ == 0; });
  work_ = nullptr;
  if (error_) return *error_;
  return OkStatus();
}

void Lanes::Run(int threads_per_lane) {
  at::set_num_threads(threads_per_lane);
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return closing_ || next_ < last_; });
    if (closing_) return;
    const int64_t item = next_++;
    const std::function<Status(int64_t)>& work = *work_;
    ++running_;
    lock.unlock();
    const Status status = Guarded(work, item);
    lock.lock();
    --running_;
    if (!status.ok()) {
      if (!error_ || item < failed_at_) {
        error_ = status.error();
        failed_at_ = item;
      }
      next_ = last_;
    }
    if (next_ >= last_ && running_ == 0) idle_.notify_all();
  }
}

}  // namespace lorry::trainers
