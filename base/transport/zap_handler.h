// Who may connect: the ZAP handler (ZeroMQ RFC 27) answers every CURVE handshake of its context from a list of public keys per
// domain. libzmq without a handler lets any key in, so a port proves before it opens that its handler refuses (router_port.h).
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/transport/context.h"

namespace lorry {

// One port's rule. `allowed_keys` is called in the handler's thread for each handshake; Z85 texts.
struct ZapDomain {
  std::string name;
  std::function<std::set<std::string>()> allowed_keys;
};

// A thread that lives as long as the object. Destroy it after the ports and before the context.
class ZapHandler {
 public:
  // Errors: kConflict where the context already has a handler.
  static Result<std::unique_ptr<ZapHandler>> Start(const std::shared_ptr<TransportContext>& context,
                                                   std::vector<ZapDomain> domains);
  ~ZapHandler();
  ZapHandler(const ZapHandler&) = delete;
  ZapHandler& operator=(const ZapHandler&) = delete;

  // While the port tests itself: one throw-away key that its domain lets in. Any thread.
  void AllowForTest(const std::string& public_key);
  void EndTest(const std::string& public_key);

 private:
  struct State;
  explicit ZapHandler(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
  std::thread thread_;
};

}  // namespace lorry
