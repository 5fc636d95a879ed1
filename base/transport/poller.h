// Waits for messages and for ordinary file descriptors in one place: the one blocking call of an event loop. One thread.
//
//   Poller poller;
//   poller.Watch(*link, kFromScheduler);
//   poller.Watch(fd, kFromRank);
//   for (int name : poller.Wait(Millis(100))) ...
#pragma once

#include <cstdint>
#include <vector>

#include "base/units.h"

namespace lorry {

class DealerLink;
class RouterPort;

class Poller {
 public:
  // `name` is given back by Wait. Watching a link again after Reconnect() is needed: its socket is a new one.
  void Watch(const DealerLink& link, uint64_t name);
  void Watch(const RouterPort& port, uint64_t name);
  void Watch(int fd, uint64_t name);
  void Clear();
  // The names of those that can be read now; empty when none could within `timeout` (negative: wait for ever).
  std::vector<uint64_t> Wait(Millis timeout);

 private:
  struct Watched {
    void* socket;
    int fd;
    uint64_t name;
  };
  std::vector<Watched> watched_;
};

// Lets another thread wake a Poller: watch fd(), call Wake() from anywhere, Clear() after waking.
class WakeUp {
 public:
  WakeUp();
  ~WakeUp();
  WakeUp(const WakeUp&) = delete;
  WakeUp& operator=(const WakeUp&) = delete;
  int fd() const { return fd_; }
  void Wake();
  void Clear();

 private:
  int fd_;
};

}  // namespace lorry
