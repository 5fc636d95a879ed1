// CURVE keys: each program has a pair, in HOME/keys as NAME.public (mode 0644) and NAME.secret (mode 0600), in Z85 text of 40
// characters. Who may speak to a port is a list of public keys: the home's own, and those of remote peers in keys/clients/ and
// keys/workers/ (one *.public file each). Pure functions over files; any thread.
#pragma once

#include <set>
#include <string>

#include "base/result.h"

namespace lorry {

struct KeyPair {
  std::string public_key;  // Z85
  std::string secret_key;  // Z85; never logged, never in an error text
};

// A new pair from the system's randomness.
KeyPair MakeKeyPair();

// DIRECTORY/NAME.public and .secret, durably; the secret is never readable by others, not even for a moment.
Status WriteKeyPair(const std::string& directory, const std::string& name, const KeyPair& pair);
// Errors: kNotFound; kNotAllowed where the secret's mode lets others read it; kData where it is not Z85 of 32 bytes or the two do
// not belong together.
Result<KeyPair> ReadKeyPair(const std::string& directory, const std::string& name);
Result<std::string> ReadPublicKey(const std::string& path);

// HOME/keys/{scheduler,worker,client}: makes those that are not there.
Status MakeHomeKeys(const std::string& home);
std::string KeysDirectory(const std::string& home);

// Public keys that may use the client port: keys/client.public and keys/clients/*.public; likewise for the worker port.
// Read anew for each handshake, so that a key that is added or removed counts at once.
std::set<std::string> AllowedClientKeys(const std::string& home);
std::set<std::string> AllowedWorkerKeys(const std::string& home);

}  // namespace lorry
