#include "model/net/nf4_panels.h"

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "model/net/vector_build.h"

namespace lorry {
namespace {

#define LORRY_TARGET_NF4 __attribute__((target("avx2,f16c")))

bool CpuHasNf4() {
  static const bool has = CpuHasAvx2() && __builtin_cpu_supports("f16c");
  return has;
}

// The sixteen numbers of one block, in two registers. A number is looked up among products that are already rounded: sixteen
// of them are made where 64 are read.
struct BlockValues {
  __m256 low, high;
};

LORRY_TARGET_NF4 inline __m256 RoundedTo(DType dtype, __m256 x) {
  if (dtype == DType::kF16) return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  if (dtype != DType::kBF16) return x;
  const __m256i bits = _mm256_castps_si256(x);  // round to nearest even, as FloatToBFloat16
  const __m256i even = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), even);
  return _mm256_castsi256_ps(_mm256_and_si256(sum, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}

LORRY_TARGET_NF4 inline BlockValues ValuesOf(float scale, DType dtype) {
  const float* codebook = Nf4Codebook().data();
  const __m256 factor = _mm256_set1_ps(scale);
  return {RoundedTo(dtype, _mm256_mul_ps(_mm256_loadu_ps(codebook), factor)),
          RoundedTo(dtype, _mm256_mul_ps(_mm256_loadu_ps(codebook + 8), factor))};
}

// Eight numbers of four bytes; the first of each byte's two is in its high four bits.
LORRY_TARGET_NF4 inline __m256 Eight(const uint8_t* packed, const BlockValues& values) {
  int word;
  std::memcpy(&word, packed, sizeof(word));
  const __m256i codes = _mm256_srlv_epi32(_mm256_set1_epi32(word), _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24));
  const __m256 low = _mm256_permutevar8x32_ps(values.low, codes), high = _mm256_permutevar8x32_ps(values.high, codes);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)));  // by bit 3 of the code
}

// Numbers within one block. `first` is even and `count` a multiple of 8.
LORRY_TARGET_NF4 void BlockAvx2(const Nf4Tensor& weight, int64_t first, int64_t count, float* values) {
  const BlockValues block = ValuesOf(weight.Scale(first / kNf4Block), weight.dtype);
  const uint8_t* packed = weight.packed.data() + first / 2;
  for (int64_t i = 0; i < count; i += 8) _mm256_storeu_ps(values + i, Eight(packed + i / 2, block));
}

// One row of 64 numbers by 32 rows into 64 by 32: eight by eight in registers.
LORRY_TARGET_NF4 void TransposeEight(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  __m256 r[8], t[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(from + i * from_stride);
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(to + i * to_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(to + (i + 4) * to_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

constexpr int64_t kTile = kNf4Block;  // numbers of each of 32 rows that are turned at once
using Tile = std::array<float, kPanel * kTile>;

LORRY_TARGET_NF4 void TransposeTile(const Tile& tile, float* panel) {
  for (int64_t j = 0; j < kPanel; j += 8)
    for (int64_t k = 0; k < kTile; k += 8) TransposeEight(tile.data() + j * kTile + k, kTile, panel + k * kPanel + j, kPanel);
}

// What is beyond the matrix in a panel: columns of the last one, and the padding along k.
void ZeroPadding(const PanelMatrix& matrix, int64_t columns, std::byte* panel) {
  const int64_t row_bytes = kPanel * ElementBytes(matrix.precision());
  const int64_t from = columns < kPanel ? 0 : matrix.k() / 2 * 2;
  std::memset(panel + from * row_bytes, 0, static_cast<size_t>((matrix.k_padded() - from) * row_bytes));
}

}  // namespace

void DequantizeNf4Run(const Nf4Tensor& weight, int64_t first, std::span<float> values) {
  const auto count = static_cast<int64_t>(values.size());
  for (int64_t done = 0; done < count;) {
    const int64_t at = first + done, here = std::min(count - done, kNf4Block - at % kNf4Block);
    const int64_t fast = CpuHasNf4() && at % 2 == 0 ? here / 8 * 8 : 0;
    if (fast > 0) BlockAvx2(weight, at, fast, values.data() + done);
    if (fast < here) {
      DequantizeNf4(weight, at + fast, values.subspan(static_cast<size_t>(done + fast), static_cast<size_t>(here - fast)));
    }
    done += here;
  }
}

Nf4Forward::Nf4Forward(Precision precision, std::shared_ptr<const Nf4Tensor> weight)
    : PanelMatrix(precision, weight->shape[1], weight->shape[0]), weight_(std::move(weight)) {}

const std::byte* Nf4Forward::Panel(int64_t index, std::byte* scratch) const {
  const int64_t columns = std::min(kPanel, n() - index * kPanel);
  ZeroPadding(*this, columns, scratch);
  alignas(64) Tile tile;
  for (int64_t from = 0; from < k(); from += kTile) {
    const int64_t here = std::min(kTile, k() - from);
    for (int64_t j = 0; j < columns; ++j) {
      const std::span<float> row(tile.data() + j * kTile, static_cast<size_t>(here));
      DequantizeNf4Run(*weight_, (index * kPanel + j) * k() + from, row);
    }
    if (precision() == Precision::kFp32 && here == kTile && columns == kPanel && CpuHasNf4()) {
      TransposeTile(tile, reinterpret_cast<float*>(scratch) + from * kPanel);
    } else {
      PackPanelFloats(precision(), tile.data(), {from, 0, here, columns, 1, kTile}, scratch);
    }
  }
  return scratch;
}

namespace {

int64_t RowsOf(const std::vector<std::shared_ptr<const Nf4Tensor>>& weights) {
  int64_t rows = 0;
  for (const auto& weight : weights) rows += weight->shape[0];
  return rows;
}

}  // namespace

Nf4Backward::Nf4Backward(Precision precision, std::vector<std::shared_ptr<const Nf4Tensor>> weights)
    : PanelMatrix(precision, RowsOf(weights), weights[0]->shape[1]), weights_(std::move(weights)) {}

const std::byte* Nf4Backward::Panel(int64_t index, std::byte* scratch) const {
  const int64_t columns = std::min(kPanel, n() - index * kPanel);
  ZeroPadding(*this, columns, scratch);
  alignas(64) std::array<float, 2 * kPanel> pair;  // two rows: bf16 panels are made of pairs
  int64_t k = 0;
  for (const auto& weight : weights_) {
    for (int64_t row = 0; row < weight->shape[0]; ++row, ++k) {
      const int64_t first = row * n() + index * kPanel;
      if (precision() == Precision::kFp32) {
        float* to = reinterpret_cast<float*>(scratch) + k * kPanel;
        DequantizeNf4Run(*weight, first, {to, static_cast<size_t>(columns)});
        continue;
      }
      DequantizeNf4Run(*weight, first, {pair.data() + (k % 2) * kPanel, static_cast<size_t>(columns)});
      if (k % 2 == 1) PackPanelFloats(precision(), pair.data(), {k - 1, 0, 2, columns, kPanel, 1}, scratch);
    }
  }
  if (precision() == Precision::kBf16 && k % 2 == 1) {
    PackPanelFloats(precision(), pair.data(), {k - 1, 0, 1, columns, kPanel, 1}, scratch);
  }
  return scratch;
}

}  // namespace lorry
