#include "model/net/dropout.h"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "model/net/vector_build.h"

namespace lorry {
namespace {

constexpr int64_t kBlocks = 16;                 // ciphered side by side
constexpr int64_t kElements = 8;                // of a block: four words, two elements each
constexpr int64_t kSpan = kBlocks * kElements;  // columns together
constexpr double kSteps = 65536.0;

struct DropArgs {
  RowsIn x, add;
  DropoutMask mask;
  uint32_t threshold;  // 16-bit draws below it are dropped
  float scale;
  int64_t columns;
  RowsOut y;
};

// Philox4x32-10 of counters {first + i, row, stream}: element e of block i is half of words[(e / 2)][i].
static LORRY_INLINE void Cipher(const DropoutMask& mask, uint32_t first, uint32_t row, uint32_t words[4][kBlocks]) {
  for (int64_t i = 0; i < kBlocks; ++i) {
    words[0][i] = first + static_cast<uint32_t>(i), words[1][i] = row;
    words[2][i] = mask.stream[0], words[3][i] = mask.stream[1];
  }
  uint32_t k0 = mask.key[0], k1 = mask.key[1];
  for (int round = 0; round < 10; ++round) {
    for (int64_t i = 0; i < kBlocks; ++i) {
      const uint64_t p0 = uint64_t{0xD2511F53} * words[0][i], p1 = uint64_t{0xCD9E8D57} * words[2][i];
      const uint32_t w0 = static_cast<uint32_t>(p1 >> 32) ^ words[1][i] ^ k0;
      const uint32_t w2 = static_cast<uint32_t>(p0 >> 32) ^ words[3][i] ^ k1;
      words[0][i] = w0, words[1][i] = static_cast<uint32_t>(p1);
      words[2][i] = w2, words[3][i] = static_cast<uint32_t>(p0);
    }
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
}

template <class T>
static LORRY_INLINE void DropBody(const DropArgs& a, int64_t row) {
  const T* x = reinterpret_cast<const T*>(a.x.start) + row * a.x.stride;
  const T* add = a.add.start == nullptr ? nullptr : reinterpret_cast<const T*>(a.add.start) + row * a.add.stride;
  T* y = reinterpret_cast<T*>(a.y.start) + row * a.y.stride;
  uint32_t words[4][kBlocks];
  float kept[kSpan];
  for (int64_t begin = 0; begin < a.columns; begin += kSpan) {
    Cipher(a.mask, static_cast<uint32_t>(begin / kElements), static_cast<uint32_t>(row), words);
    for (int64_t w = 0; w < 4; ++w) {
      for (int64_t i = 0; i < kBlocks; ++i) {
        kept[(2 * w) * kBlocks + i] = (words[w][i] & 0xffffu) >= a.threshold ? a.scale : 0.0f;
        kept[(2 * w + 1) * kBlocks + i] = (words[w][i] >> 16) >= a.threshold ? a.scale : 0.0f;
      }
    }
    const int64_t count = std::min(kSpan, a.columns - begin);
    for (int64_t j = 0; j < count; ++j) {
      const float dropped = ToFloat(x[begin + j]) * kept[j];
      Store(y + begin + j, add == nullptr ? dropped : ToFloat(add[begin + j]) + dropped);
    }
  }
}

LORRY_VECTOR_KERNEL(DropRowFp32, DropBody<float>, (const DropArgs& args, int64_t row), (args, row))
LORRY_VECTOR_KERNEL(DropRowBf16, DropBody<Bf16>, (const DropArgs& args, int64_t row), (args, row))

}  // namespace

DropoutMask MakeDropoutMask(double p, const DropoutKey& key, uint64_t layer, uint64_t kind) {
  Random random(key.seed, "lora.dropout", {key.step, key.micro_batch, layer, kind});
  DropoutMask mask;
  mask.p = p;
  for (uint32_t* word : {&mask.key[0], &mask.key[1], &mask.stream[0], &mask.stream[1]}) *word = random.Next32();
  return mask;
}

void DropRows(Precision precision, RowsIn x, const DropoutMask& mask, RowsIn add, int64_t rows, int64_t columns, RowsOut y) {
  const double threshold = std::min(std::round(mask.p * kSteps), kSteps - 1);
  const DropArgs args{x,       add, mask, static_cast<uint32_t>(threshold), static_cast<float>(kSteps / (kSteps - threshold)),
                      columns, y};
  const auto one = precision == Precision::kBf16 ? DropRowBf16 : DropRowFp32;
#pragma omp parallel for schedule(static) if (omp_get_max_threads() > 1 && !omp_in_parallel())
  for (int64_t row = 0; row < rows; ++row) one(args, row);
}

}  // namespace lorry
