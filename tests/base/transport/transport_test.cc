#include <sys/stat.h>
#include <catch2/catch.hpp>

#include "base/files.h"
#include "base/transport/dealer_link.h"
#include "base/transport/keys.h"
#include "base/transport/lock_self_test.h"
#include "base/transport/poller.h"
#include "base/transport/router_port.h"
#include "base/transport/zap_handler.h"

namespace lorry {
namespace {

struct Port {
  std::shared_ptr<TransportContext> context = TransportContext::Make();
  KeyPair server = MakeKeyPair();
  KeyPair friendly = MakeKeyPair();
  std::unique_ptr<ZapHandler> handler;
  std::unique_ptr<RouterPort> port;

  Port() {
    handler = std::move(*ZapHandler::Start(context, {{"test", [this] { return std::set<std::string>{friendly.public_key}; }}}));
    auto opened = RouterPort::Open(context, handler.get(), {"tcp://127.0.0.1:*", "test", server});
    REQUIRE(opened.ok());
    port = std::move(*opened);
  }
  ~Port() {
    port.reset();
    handler.reset();
  }
  std::unique_ptr<DealerLink> Connect(const KeyPair& keys) {
    return std::move(*DealerLink::Connect(TransportContext::Make(), {port->endpoint(), server.public_key, keys}));
  }
  std::optional<Received> Receive() {
    Poller poller;
    poller.Watch(*port, 1);
    poller.Wait(Millis(3000));
    return port->Receive();
  }
};

TEST_CASE("a message and its answer, with the key that the handshake proved") {
  Port port;
  auto link = port.Connect(port.friendly);
  REQUIRE(link->Send("hello", Millis(3000)).ok());
  auto received = port.Receive();
  REQUIRE(received.has_value());
  CHECK(received->bytes == "hello");
  CHECK(received->user == port.friendly.public_key);
  REQUIRE(port.port->Send(received->peer, "welcome").ok());
  CHECK(link->Receive(Millis(3000)) == "welcome");
  CHECK_FALSE(link->Refusal().has_value());
}

TEST_CASE("a wrong key and no key are refused") {
  Port port;
  auto stranger = port.Connect(MakeKeyPair());
  CHECK_FALSE(stranger->Send("let me in", Millis(700)).ok());
  REQUIRE(stranger->Refusal().has_value());
  CHECK(stranger->Refusal()->code == ErrorCode::kNotAllowed);
  CHECK_FALSE(port.port->Receive().has_value());
  auto no_key = TryHandshake(TransportContext::Make()->raw(), port.port->endpoint(), port.server.public_key, std::nullopt);
  REQUIRE(no_key.ok());
  CHECK_FALSE(*no_key);
}

TEST_CASE("without a handler, or with one that lets everyone in, the port does not open") {
  auto context = TransportContext::Make();
  auto without = RouterPort::Open(context, nullptr, {"tcp://127.0.0.1:*", "test", MakeKeyPair()});
  REQUIRE_FALSE(without.ok());
  CHECK(without.error().code == ErrorCode::kNotAllowed);
}

TEST_CASE("a message to a peer that is gone is refused, and one while there is no connection is not queued") {
  Port port;
  auto link = port.Connect(port.friendly);
  REQUIRE(link->Send("one", Millis(3000)).ok());
  auto received = port.Receive();
  REQUIRE(received.has_value());
  link.reset();
  Status sent = OkStatus();
  for (int i = 0; i < 300 && sent.ok(); ++i) {
    Poller poller;
    poller.Watch(*port.port, 1);
    poller.Wait(Millis(10));
    sent = port.port->Send(received->peer, "too late");
  }
  CHECK_FALSE(sent.ok());
  auto nobody = DealerLink::Connect(TransportContext::Make(), {"tcp://127.0.0.1:9", MakeKeyPair().public_key, MakeKeyPair()});
  CHECK_FALSE((*nobody)->Send("hello").ok());
}

TEST_CASE("keys on disk: private ones are private, pairs belong together") {
  TempDirectory home;
  REQUIRE(MakeHomeKeys(home.path()).ok());
  const std::string keys = KeysDirectory(home.path());
  auto pair = ReadKeyPair(keys, "scheduler");
  REQUIRE(pair.ok());
  CHECK(pair->public_key.size() == 40);
  struct stat about;
  REQUIRE(stat((keys + "/scheduler.secret").c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0600);
  REQUIRE(MakeHomeKeys(home.path()).ok());
  CHECK(ReadKeyPair(keys, "scheduler")->public_key == pair->public_key);

  CHECK(AllowedClientKeys(home.path()).size() == 1);
  REQUIRE(MakeDirectories(keys + "/clients").ok());
  REQUIRE(WriteFileAtomically(keys + "/clients/laptop.public", MakeKeyPair().public_key + "\n").ok());
  REQUIRE(WriteFileAtomically(keys + "/clients/broken.public", "not a key\n").ok());
  CHECK(AllowedClientKeys(home.path()).size() == 2);

  REQUIRE(chmod((keys + "/client.secret").c_str(), 0644) == 0);
  auto open = ReadKeyPair(keys, "client");
  REQUIRE_FALSE(open.ok());
  CHECK(open.error().code == ErrorCode::kNotAllowed);
  REQUIRE(WriteFileAtomically(keys + "/worker.public", MakeKeyPair().public_key).ok());
  CHECK(ReadKeyPair(keys, "worker").error().code == ErrorCode::kData);
}

}  // namespace
}  // namespace lorry
