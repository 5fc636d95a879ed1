#include "base/random_key.h"

#include <sys/random.h>

#include <array>

#include "base/hash.h"

namespace lorry {

std::string RandomKey() {
  std::array<char, 16> bytes{};
  size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = getrandom(bytes.data() + have, bytes.size() - have, 0);
    if (got > 0) have += static_cast<size_t>(got);
  }
  return ToHex({bytes.data(), bytes.size()});
}

}  // namespace lorry
