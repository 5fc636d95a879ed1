#include "base/random.h"

#include <catch2/catch.hpp>
#include <map>

using namespace lorry;

// The known answers of the authors' own test (Random123, kat_vectors, philox4x32-10).
TEST_CASE("Philox equals its known answers") {
  CHECK(Philox4x32({0, 0, 0, 0}, {0, 0}) == std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a generator depends on its key alone") {
  Random a(7, "data order", {3}), b(7, "data order", {3}), other(7, "data order", {4}), purpose(7, "dropout", {3});
  const uint64_t first = a.Next64();
  CHECK(first == b.Next64());
  CHECK(first != other.Next64());
  CHECK(first != purpose.Next64());
}

TEST_CASE("numbers below n are all as likely, and a shuffle loses nothing") {
  Random random(1, "test");
  std::map<uint64_t, int> counts;
  for (int i = 0; i < 60'000; ++i) ++counts[random.Below(6)];
  CHECK(counts.size() == 6);
  for (const auto& [value, count] : counts) CHECK(std::abs(count - 10'000) < 500);  // five standard deviations
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) sum += random.Uniform01();
  CHECK(sum / 10'000 == Approx(0.5).margin(0.015));
  std::vector<int> items(100);
  for (int i = 0; i < 100; ++i) items[i] = i;
  auto shuffled = items;
  Shuffle(shuffled, random);
  CHECK(shuffled != items);
  std::sort(shuffled.begin(), shuffled.end());
  CHECK(shuffled == items);
}
