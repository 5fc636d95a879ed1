#include "base/transport/lock_self_test.h"

#include "base/transport/socket.h"
#include "base/transport/zap_handler.h"

namespace lorry {
namespace {

constexpr int kPatienceMillis = 5000;
constexpr int kRefusals = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                          ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_DISCONNECTED;

// The lock says whatever it was asked about; this says what that means.
Status Expect(const Result<bool>& let_in, bool expected, const char* who) {
  if (!let_in.ok()) return Because(std::string("self-test of the port's lock with ") + who, let_in.error());
  if (*let_in == expected) return OkStatus();
  return MakeError(ErrorCode::kNotAllowed,
                   std::string("self-test of the port's lock: ") + who + (expected ? " was refused" : " was let in") +
                       "; the port stays closed",
                   "the ZAP handler is not running or does not answer; this is a fault of the installation");
}

}  // namespace

Result<bool> TryHandshake(void* context, const std::string& endpoint, const std::string& server_public_key,
                          const std::optional<KeyPair>& keys) {
  void* peer = zmq_socket(context, ZMQ_DEALER);
  socket::SetDefaults(peer);
  if (keys.has_value()) {
    socket::SetText(peer, ZMQ_CURVE_SERVERKEY, server_public_key);
    socket::SetText(peer, ZMQ_CURVE_PUBLICKEY, keys->public_key);
    socket::SetText(peer, ZMQ_CURVE_SECRETKEY, keys->secret_key);
  }
  void* monitor = socket::OpenMonitor(context, peer, kRefusals | ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
  zmq_connect(peer, endpoint.c_str());
  const std::optional<int> event = socket::NextEvent(monitor, kPatienceMillis);
  socket::CloseMonitor(peer, monitor);
  zmq_close(peer);
  if (!event.has_value()) return MakeError(ErrorCode::kTimeout, "the handshake got no answer");
  return *event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
}

Status TestLock(void* context, ZapHandler* handler, const std::string& endpoint, const std::string& server_public_key) {
  LORRY_TRY(Expect(TryHandshake(context, endpoint, server_public_key, MakeKeyPair()), false, "a stranger's key"));
  LORRY_TRY(Expect(TryHandshake(context, endpoint, server_public_key, std::nullopt), false, "a peer without a key"));
  if (handler == nullptr) return MakeError(ErrorCode::kNotAllowed, "the port has no ZAP handler and stays closed");
  const KeyPair known = MakeKeyPair();
  handler->AllowForTest(known.public_key);
  const Result<bool> let_in = TryHandshake(context, endpoint, server_public_key, known);
  handler->EndTest(known.public_key);
  return Expect(let_in, true, "an allowed key");
}

}  // namespace lorry
