// Random numbers that belong to a purpose: each generator is keyed by (seed, what it is for, indices) and counts by itself, so
// that no draw depends on the order in which anything happens.
//
// Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Values; one thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

namespace lorry {

// One block of four words: the bare cipher.
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

class Random {
 public:
  // The same arguments give the same numbers, for ever: the key and the counter's upper half are the SHA-256 of them.
  Random(uint64_t seed, std::string_view purpose, std::initializer_list<uint64_t> indices = {});

  uint32_t Next32();
  uint64_t Next64();
  // In [0, 1), a multiple of 2^-53.
  double Uniform01();
  // In [0, n), without bias. REQUIRES: n > 0.
  uint64_t Below(uint64_t n);

 private:
  std::array<uint32_t, 2> key_{};
  std::array<uint32_t, 2> stream_{};
  uint64_t position_ = 0;  // words drawn
  uint64_t block_ = ~uint64_t{0};
  std::array<uint32_t, 4> words_{};
};

// Fisher-Yates, from the end.
template <class T>
void Shuffle(std::vector<T>& items, Random& random) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random.Below(i)]);
}

}  // namespace lorry
