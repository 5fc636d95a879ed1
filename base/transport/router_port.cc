#include "base/transport/router_port.h"

#include <fmt/format.h>

#include "base/transport/lock_self_test.h"
#include "base/transport/socket.h"
#include "base/transport/zap_handler.h"

namespace lorry {
namespace {

std::string LastEndpoint(void* socket) {
  char text[256];
  size_t size = sizeof(text);
  return zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, text, &size) == 0 ? std::string(text) : std::string();
}

}  // namespace

Result<std::unique_ptr<RouterPort>> RouterPort::Open(const std::shared_ptr<TransportContext>& context, ZapHandler* handler,
                                                     const RouterPortOptions& options) {
  std::unique_ptr<RouterPort> port(new RouterPort(context, zmq_socket(context->raw(), ZMQ_ROUTER)));
  void* socket = port->socket_;
  if (socket == nullptr) return socket::ZmqError(ErrorCode::kInternal, "cannot make a socket");
  socket::SetDefaults(socket);
  socket::SetInteger(socket, ZMQ_ROUTER_MANDATORY, 1);
  socket::SetInteger(socket, ZMQ_BACKLOG, 1024);
  socket::SetInteger(socket, ZMQ_CURVE_SERVER, 1);
  socket::SetText(socket, ZMQ_ZAP_DOMAIN, options.zap_domain);
  socket::SetText(socket, ZMQ_CURVE_SECRETKEY, options.keys.secret_key);
  // The lock is tried on this very socket, at an address that nobody knows, before the real one is opened.
  if (zmq_bind(socket, "tcp://127.0.0.1:*") != 0) return socket::ZmqError(ErrorCode::kConflict, "cannot listen on 127.0.0.1");
  const std::string private_endpoint = LastEndpoint(socket);
  LORRY_TRY(TestLock(context->raw(), handler, private_endpoint, options.keys.public_key));
  zmq_unbind(socket, private_endpoint.c_str());
  if (zmq_bind(socket, options.bind.c_str()) != 0) {
    return socket::ZmqError(ErrorCode::kConflict, fmt::format("cannot listen on {}", options.bind));
  }
  port->endpoint_ = LastEndpoint(socket);
  return port;
}

RouterPort::~RouterPort() {
  if (socket_ != nullptr) zmq_close(socket_);
}

std::optional<Received> RouterPort::Receive() {
  auto peer = socket::ReceiveFrame(socket_, ZMQ_DONTWAIT);
  if (!peer.has_value()) return std::nullopt;
  Received received;
  received.peer.bytes = std::move(*peer);
  if (socket::HasMoreFrames(socket_)) {
    received.bytes = socket::ReceiveFrame(socket_, ZMQ_DONTWAIT, &received.user).value_or("");
  }
  while (socket::HasMoreFrames(socket_)) socket::ReceiveFrame(socket_, ZMQ_DONTWAIT);
  return received;
}

Status RouterPort::Send(const PeerAddress& peer, const std::string& bytes) {
  if (zmq_send(socket_, peer.bytes.data(), peer.bytes.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ||
      zmq_send(socket_, bytes.data(), bytes.size(), ZMQ_DONTWAIT) < 0) {
    return socket::ZmqError(ErrorCode::kUnreachable, "cannot send to a peer");
  }
  return OkStatus();
}

}  // namespace lorry
