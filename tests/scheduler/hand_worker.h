// A worker over a real socket that says what a test tells it to.
#pragma once

#include <catch2/catch.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/transport/dealer_link.h"
#include "base/transport/keys.h"
#include "base/wire.h"

namespace lorry {

class HandWorker {
 public:
  HandWorker(const std::string& home, const std::string& endpoint) {
    auto link = DealerLink::Connect(TransportContext::Make(), {endpoint, *ReadPublicKey(home + "/keys/scheduler.public"),
                                                               *ReadKeyPair(home + "/keys", "worker")});
    link_ = std::move(*link);
  }
  wire::Welcome Hello(int cpus, const std::string& incarnation = "1", std::vector<wire::AttemptRef> holds = {}) {
    std::vector<wire::Device> devices;
    for (int i = 0; i < cpus; ++i) devices.push_back({DeviceId("n1/cpu-" + std::to_string(i)), "cpu", false, 0, "", ""});
    return HelloWith(std::move(devices), incarnation, std::move(holds));
  }
  wire::Welcome HelloWith(std::vector<wire::Device> devices, const std::string& incarnation = "1",
                          std::vector<wire::AttemptRef> holds = {}) {
    const wire::Hello hello{WorkerId("n1"), incarnation, "test", "here", "", std::move(devices), std::move(holds)};
    wire::Welcome welcome = Ask<wire::Welcome>(hello);
    session_ = welcome.session;
    return welcome;
  }
  template <class Body>
  void Say(const Body& body) {
    wire::Header header;
    header.session = session_;
    header.request = ++request_;
    REQUIRE(link_->Send(wire::EncodeMessage(header, body), Millis(3000)).ok());
  }
  // The next message of this kind; others are passed over.
  template <class Body>
  Body Expect() {
    for (int i = 0; i < 50; ++i) {
      auto bytes = link_->Receive(Millis(3000));
      if (!bytes.has_value()) break;
      auto message = wire::ParseMessage(*bytes);
      REQUIRE(message.ok());
      if (message->header.type == Body::kType) return *wire::DecodeBody<Body>(*message);
    }
    FAIL("no " << wire::TypeName(Body::kType) << " came");
    return Body();
  }
  template <class Answer, class Body>
  Answer Ask(const Body& body) {
    Say(body);
    return Expect<Answer>();
  }

 private:
  std::unique_ptr<DealerLink> link_;
  uint64_t session_ = 0;
  uint64_t request_ = 0;
};

}  // namespace lorry
