#include "worker/background.h"

#include <utility>

namespace lorry {

Background::Background() : thread_([this] { Run(); }) {}

Background::~Background() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Background::Do(std::function<Then()> work) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(work));
  }
  changed_.notify_all();
}

void Background::RunFinished() {
  wake_.Clear();
  std::deque<Then> finished;
  {
    const std::lock_guard lock(mutex_);
    finished.swap(finished_);
  }
  for (Then& then : finished) then();
}

void Background::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
    if (stop_) return;
    std::function<Then()> work = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    Then then = work();
    lock.lock();
    finished_.push_back(std::move(then));
    wake_.Wake();
  }
}

}  // namespace lorry
