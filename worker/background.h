// Work that would hold up the event loop (hashing, copying, linking files), done in one thread of its own; what follows from it
// runs in the loop again.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "base/transport/poller.h"

namespace lorry {

class Background {
 public:
  using Then = std::function<void()>;

  Background();
  // Waits for the work at hand; what has not begun is dropped.
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // `work` runs in the thread, one after the other; what it returns runs in RunFinished.
  void Do(std::function<Then()> work);

  // For the event loop: readable when something is finished.
  int fd() const { return wake_.fd(); }
  void RunFinished();

 private:
  void Run();

  WakeUp wake_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<Then()>> waiting_;
  std::deque<Then> finished_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace lorry
