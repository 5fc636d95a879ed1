// The self-test of a port's lock: does a peer with this key, or with none, get through the handshake?
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "base/transport/keys.h"

namespace lorry {

class ZapHandler;

// Connects to the CURVE server that listens on `endpoint`. True: let in; false: refused. Errors: kTimeout where neither happened.
Result<bool> TryHandshake(void* context, const std::string& endpoint, const std::string& server_public_key,
                          const std::optional<KeyPair>& keys);

// Strangers and peers without a key must be refused, a key that the handler allows must be let in. `handler` may be null: then
// the test fails as it should. Errors: kNotAllowed.
Status TestLock(void* context, ZapHandler* handler, const std::string& endpoint, const std::string& server_public_key);

}  // namespace lorry
