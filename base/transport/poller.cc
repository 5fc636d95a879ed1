#include "base/transport/poller.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include "base/transport/dealer_link.h"
#include "base/transport/router_port.h"

namespace lorry {

void Poller::Watch(const DealerLink& link, uint64_t name) { watched_.push_back({link.raw(), 0, name}); }

void Poller::Watch(const RouterPort& port, uint64_t name) { watched_.push_back({port.raw(), 0, name}); }

void Poller::Watch(int fd, uint64_t name) { watched_.push_back({nullptr, fd, name}); }

void Poller::Clear() { watched_.clear(); }

std::vector<uint64_t> Poller::Wait(Millis timeout) {
  std::vector<zmq_pollitem_t> items;
  items.reserve(watched_.size());
  for (const Watched& watched : watched_) items.push_back({watched.socket, watched.fd, ZMQ_POLLIN, 0});
  std::vector<uint64_t> ready;
  if (zmq_poll(items.data(), static_cast<int>(items.size()), timeout.count()) <= 0) return ready;
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].revents != 0) ready.push_back(watched_[i].name);
  }
  return ready;
}

WakeUp::WakeUp() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

WakeUp::~WakeUp() { close(fd_); }

void WakeUp::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t written = write(fd_, &one, sizeof(one));
}

void WakeUp::Clear() {
  uint64_t count;
  [[maybe_unused]] ssize_t got = read(fd_, &count, sizeof(count));
}

}  // namespace lorry
