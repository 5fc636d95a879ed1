#include "base/transport/dealer_link.h"

#include <fmt/format.h>

#include "base/transport/socket.h"

namespace lorry {

Result<std::unique_ptr<DealerLink>> DealerLink::Connect(const std::shared_ptr<TransportContext>& context,
                                                        const DealerLinkOptions& options) {
  std::unique_ptr<DealerLink> link(new DealerLink(context, options));
  LORRY_TRY(link->Open());
  return link;
}

DealerLink::~DealerLink() { Close(); }

Status DealerLink::Open() {
  socket_ = zmq_socket(context_->raw(), ZMQ_DEALER);
  if (socket_ == nullptr) return socket::ZmqError(ErrorCode::kInternal, "cannot make a socket");
  socket::SetDefaults(socket_);
  socket::SetInteger(socket_, ZMQ_IMMEDIATE, 1);
  socket::SetInteger(socket_, ZMQ_RECONNECT_IVL, 20);
  socket::SetInteger(socket_, ZMQ_RECONNECT_IVL_MAX, 500);
  socket::SetText(socket_, ZMQ_CURVE_SERVERKEY, options_.server_public_key);
  socket::SetText(socket_, ZMQ_CURVE_PUBLICKEY, options_.keys.public_key);
  socket::SetText(socket_, ZMQ_CURVE_SECRETKEY, options_.keys.secret_key);
  monitor_ = socket::OpenMonitor(context_->raw(), socket_, ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
  if (zmq_connect(socket_, options_.address.c_str()) != 0) {
    return socket::ZmqError(ErrorCode::kUsage, fmt::format("\"{}\" is not an address such as tcp://HOST:8601", options_.address));
  }
  return OkStatus();
}

void DealerLink::Close() {
  if (socket_ == nullptr) return;
  socket::CloseMonitor(socket_, monitor_);
  zmq_close(socket_);
  socket_ = nullptr;
  monitor_ = nullptr;
}

Status DealerLink::Reconnect() {
  Close();
  return Open();
}

Status DealerLink::Send(const std::string& bytes, Millis timeout) {
  zmq_pollitem_t item = {socket_, 0, ZMQ_POLLOUT, 0};
  if (timeout.count() > 0) zmq_poll(&item, 1, timeout.count());
  if (zmq_send(socket_, bytes.data(), bytes.size(), ZMQ_DONTWAIT) < 0) {
    return socket::ZmqError(ErrorCode::kUnreachable, fmt::format("no connection to {}", options_.address));
  }
  return OkStatus();
}

std::optional<std::string> DealerLink::Receive(Millis timeout) {
  if (timeout.count() > 0) {
    zmq_pollitem_t item = {socket_, 0, ZMQ_POLLIN, 0};
    zmq_poll(&item, 1, timeout.count());
  }
  auto bytes = socket::ReceiveFrame(socket_, ZMQ_DONTWAIT);
  while (bytes.has_value() && socket::HasMoreFrames(socket_)) socket::ReceiveFrame(socket_, ZMQ_DONTWAIT);
  return bytes;
}

void DealerLink::ReadMonitor() {
  while (const std::optional<int> event = socket::NextEvent(monitor_, 0)) {
    if (*event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) refused_ = true;
    if (*event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
      refused_ = false;
      ++connections_;
    }
  }
}

std::optional<Error> DealerLink::Refusal() {
  ReadMonitor();
  if (!refused_) return std::nullopt;
  return MakeError(ErrorCode::kNotAllowed, fmt::format("{} refuses this key", options_.address),
                   "ask whoever runs it to put your .public key into its keys/clients/ (a worker's into keys/workers/)");
}

uint64_t DealerLink::connections() {
  ReadMonitor();
  return connections_;
}

}  // namespace lorry
