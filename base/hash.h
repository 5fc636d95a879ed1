// Digests: SHA-256 names every blob, manifest and input; Git's SHA-1 is what Hugging Face clients expect of small files; CRC-32C
// guards records against torn or flipped bits, not against malice. Values; the functions are safe for any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry {

// 32 bytes of SHA-256.
class Digest {
 public:
  Digest() = default;
  explicit Digest(const std::array<uint8_t, 32>& bytes) : bytes_(bytes) {}
  // 64 lower-case hex digits, nothing else. Errors: kData.
  static Result<Digest> FromHex(std::string_view hex);
  std::string hex() const;
  const std::array<uint8_t, 32>& bytes() const { return bytes_; }
  friend auto operator<=>(const Digest&, const Digest&) = default;
  friend bool operator==(const Digest&, const Digest&) = default;

 private:
  std::array<uint8_t, 32> bytes_{};
};

// SHA-256 of a stream of bytes. Not for several threads at once.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void Update(std::string_view bytes);
  void Update(std::span<const std::byte> bytes);
  // REQUIRES: called once, last.
  Digest Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Digest Sha256Of(std::string_view bytes);
// Errors: kNotFound, kNotAllowed, kStorage.
Result<Digest> Sha256OfFile(const std::string& path);

// SHA-1 as Git names a blob: of "blob LENGTH\0" and the bytes; 40 hex digits.
std::string GitBlobSha1(std::string_view bytes);

// CRC-32C (Castagnoli, as in RFC 3720), continued from `crc` of earlier bytes.
uint32_t Crc32c(std::string_view bytes, uint32_t crc = 0);

// Lower-case hex of any bytes.
std::string ToHex(std::string_view bytes);

}  // namespace lorry

template <>
struct std::hash<lorry::Digest> {
  size_t operator()(const lorry::Digest& digest) const {
    size_t value = 0;
    for (size_t i = 0; i < sizeof(value); ++i) value = value << 8 | digest.bytes()[i];
    return value;
  }
};
