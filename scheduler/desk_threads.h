// A few threads for what may take its time: pieces of blobs, reports over the books. Work is done in the order it came in, by
// whichever thread is free.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lorry {

class DeskThreads {
 public:
  explicit DeskThreads(int count);
  ~DeskThreads();  // what was not begun is dropped
  DeskThreads(const DeskThreads&) = delete;
  DeskThreads& operator=(const DeskThreads&) = delete;
  void Post(std::function<void()> work);

 private:
  void Run();
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> work_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace lorry
