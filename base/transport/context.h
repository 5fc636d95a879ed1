// One ZeroMQ context: its I/O thread and the names of its inproc endpoints. Shared by the sockets made of it; any thread.
#pragma once

#include <memory>

namespace lorry {

class TransportContext {
 public:
  static std::shared_ptr<TransportContext> Make();
  ~TransportContext();
  TransportContext(const TransportContext&) = delete;
  TransportContext& operator=(const TransportContext&) = delete;
  void* raw() const { return raw_; }  // for base/transport alone

 private:
  explicit TransportContext(void* raw) : raw_(raw) {}
  void* raw_;
};

}  // namespace lorry
