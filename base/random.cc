#include "base/random.h"

#include <cstring>
#include <string>

#include "base/hash.h"

namespace lorry {

std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr uint32_t kMultiply0 = 0xD2511F53, kMultiply1 = 0xCD9E8D57, kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{kMultiply0} * counter[0];
    const uint64_t b = uint64_t{kMultiply1} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

Random::Random(uint64_t seed, std::string_view purpose, std::initializer_list<uint64_t> indices) {
  std::string name;
  const auto append = [&](uint64_t value) {
    for (int i = 0; i < 8; ++i) name.push_back(static_cast<char>(value >> (8 * i)));
  };
  append(seed);
  append(purpose.size());
  name += purpose;
  for (const uint64_t index : indices) append(index);
  const Digest digest = Sha256Of(name);
  std::memcpy(key_.data(), digest.bytes().data(), 8);
  std::memcpy(stream_.data(), digest.bytes().data() + 8, 8);
}

uint32_t Random::Next32() {
  const uint64_t block = position_ / 4;
  if (block != block_) {
    words_ = Philox4x32({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), stream_[0], stream_[1]}, key_);
    block_ = block;
  }
  return words_[position_++ % 4];
}

uint64_t Random::Next64() {
  const uint64_t low = Next32();
  return uint64_t{Next32()} << 32 | low;
}

double Random::Uniform01() { return static_cast<double>(Next64() >> 11) * 0x1.0p-53; }

uint64_t Random::Below(uint64_t n) {
  const uint64_t limit = n * (~uint64_t{0} / n);  // the largest multiple of n, so that every rest is as likely
  uint64_t value;
  do value = Next64();
  while (value >= limit);
  return value % n;
}

}  // namespace lorry
