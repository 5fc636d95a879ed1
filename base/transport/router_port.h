// The scheduler's side of a port: a ROUTER socket under CURVE that many peers connect to.
//
// A port opens only after a self-test in which its handler refuses a throw-away key and a peer without a key, and lets a known
// key in: a scheduler whose ZAP handler is missing or deaf opens nothing. Each message comes with the public key that the
// handshake proved, so that a session can be bound to it. One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/transport/context.h"
#include "base/transport/keys.h"

namespace lorry {

class ZapHandler;

// Where to send an answer: ZeroMQ's name of the connection. It dies with the connection and is made by our side.
struct PeerAddress {
  std::string bytes;
  friend auto operator<=>(const PeerAddress&, const PeerAddress&) = default;
};

struct Received {
  PeerAddress peer;
  std::string user;   // the peer's public key, Z85, from the handshake
  std::string bytes;  // one message (base/wire.h)
};

struct RouterPortOptions {
  std::string bind;  // "tcp://127.0.0.1:8601"; port 0 or * takes a free one
  std::string zap_domain;
  KeyPair keys;
};

class RouterPort {
 public:
  // Errors: kNotAllowed where the self-test shows that strangers would be let in; kConflict where the address is taken.
  static Result<std::unique_ptr<RouterPort>> Open(const std::shared_ptr<TransportContext>& context, ZapHandler* handler,
                                                  const RouterPortOptions& options);
  ~RouterPort();
  RouterPort(const RouterPort&) = delete;
  RouterPort& operator=(const RouterPort&) = delete;

  // "tcp://127.0.0.1:40123", with the port that was taken.
  const std::string& endpoint() const { return endpoint_; }
  // The next message that is there, without waiting.
  std::optional<Received> Receive();
  // Errors: kUnreachable where the peer is gone or does not read; the message is dropped then.
  Status Send(const PeerAddress& peer, const std::string& bytes);
  void* raw() const { return socket_; }  // for Poller

 private:
  RouterPort(std::shared_ptr<TransportContext> context, void* socket) : context_(std::move(context)), socket_(socket) {}
  std::shared_ptr<TransportContext> context_;
  void* socket_;
  std::string endpoint_;
};

}  // namespace lorry
