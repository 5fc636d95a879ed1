#include "base/transport/socket.h"

#include <atomic>
#include <cstdint>
#include <cstring>

#include <fmt/format.h>

#include "base/wire.h"

namespace lorry::socket {

void SetInteger(void* socket, int option, int value) { zmq_setsockopt(socket, option, &value, sizeof(value)); }

void SetText(void* socket, int option, std::string_view value) { zmq_setsockopt(socket, option, value.data(), value.size()); }

void SetDefaults(void* socket) {
  SetInteger(socket, ZMQ_LINGER, 0);
  SetInteger(socket, ZMQ_SNDHWM, 4000);
  SetInteger(socket, ZMQ_RCVHWM, 4000);
  const int64_t max_bytes = wire::kMaxMessageBytes;
  zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max_bytes, sizeof(max_bytes));
  SetInteger(socket, ZMQ_HEARTBEAT_IVL, 2000);
  SetInteger(socket, ZMQ_HEARTBEAT_TIMEOUT, 8000);
  SetInteger(socket, ZMQ_HEARTBEAT_TTL, 8000);
  SetInteger(socket, ZMQ_HANDSHAKE_IVL, 5000);
}

Error ZmqError(ErrorCode code, std::string_view what) {
  return MakeError(code, fmt::format("{}: {}", what, zmq_strerror(zmq_errno())));
}

std::optional<std::string> ReceiveFrame(void* socket, int flags, std::string* user) {
  zmq_msg_t frame;
  zmq_msg_init(&frame);
  int size;
  do {
    size = zmq_msg_recv(&frame, socket, flags);
  } while (size < 0 && zmq_errno() == EINTR);
  std::optional<std::string> bytes;
  if (size >= 0) {
    bytes.emplace(static_cast<const char*>(zmq_msg_data(&frame)), zmq_msg_size(&frame));
    const char* id = user == nullptr ? nullptr : zmq_msg_gets(&frame, "User-Id");
    if (id != nullptr) *user = id;
  }
  zmq_msg_close(&frame);
  return bytes;
}

bool HasMoreFrames(void* socket) {
  int more = 0;
  size_t size = sizeof(more);
  zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size);
  return more != 0;
}

void* OpenMonitor(void* context, void* watched, int events) {
  static std::atomic<uint64_t> counter{0};
  const std::string endpoint = fmt::format("inproc://monitor-{}", ++counter);
  if (zmq_socket_monitor(watched, endpoint.c_str(), events) != 0) return nullptr;
  void* monitor = zmq_socket(context, ZMQ_PAIR);
  SetInteger(monitor, ZMQ_LINGER, 0);
  zmq_connect(monitor, endpoint.c_str());
  return monitor;
}

std::optional<int> NextEvent(void* monitor, int timeout_ms) {
  zmq_pollitem_t item = {monitor, 0, ZMQ_POLLIN, 0};
  if (zmq_poll(&item, 1, timeout_ms) <= 0) return std::nullopt;
  std::optional<std::string> event = ReceiveFrame(monitor, ZMQ_DONTWAIT);
  while (event.has_value() && HasMoreFrames(monitor)) ReceiveFrame(monitor, ZMQ_DONTWAIT);
  if (!event.has_value() || event->size() < sizeof(uint16_t)) return std::nullopt;
  uint16_t number;
  std::memcpy(&number, event->data(), sizeof(number));
  return number;
}

void CloseMonitor(void* watched, void* monitor) {
  zmq_socket_monitor(watched, nullptr, 0);
  if (monitor != nullptr) zmq_close(monitor);
}

}  // namespace lorry::socket
