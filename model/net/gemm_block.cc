#include "model/net/gemm_block.h"

#include <immintrin.h>

#include <algorithm>

#include "model/net/vector_build.h"

namespace lorry {
namespace {

constexpr int kColumns = 32;

// fp32 sums begin anew every so many products and are then added up: rounding errors grow in proportion to a sum's length, and in
// one go over k the logits of a small decoder were 1.6 times as far from fp64's as a BLAS's.
constexpr int64_t kSumLength = 128;

// fp32: R rows x 32 columns of sums stay in registers while k runs.
template <int R>
static LORRY_INLINE void Fp32Rows(const float* x, int64_t x_stride, const float* panel, int64_t k, float* c, int64_t c_stride,
                                  bool accumulate) {
  float sum[R][kColumns] = {};
  for (int64_t i = 0; i < k; ++i) {
    const float* row = panel + i * kColumns;
    for (int r = 0; r < R; ++r) {
      const float value = x[r * x_stride + i];
      for (int j = 0; j < kColumns; ++j) sum[r][j] += value * row[j];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < kColumns; ++j) c[r * c_stride + j] = accumulate ? c[r * c_stride + j] + sum[r][j] : sum[r][j];
}

static LORRY_INLINE void Fp32Body(const float* x, int64_t x_stride, const float* panel, int64_t k, float* c, int64_t c_stride,
                                  int64_t rows, bool accumulate) {
  int64_t r = 0;
  for (; r + 2 <= rows; r += 2) Fp32Rows<2>(x + r * x_stride, x_stride, panel, k, c + r * c_stride, c_stride, accumulate);
  for (; r < rows; ++r) Fp32Rows<1>(x + r * x_stride, x_stride, panel, k, c + r * c_stride, c_stride, accumulate);
}

// The same with AVX-512: 12 rows x 2 registers. Each sum runs over k in the same order, whatever the number of rows.
template <int R>
LORRY_TARGET_AVX512 static inline void Fp32RowsAvx512(const float* x, int64_t x_stride, const float* panel, int64_t k, float* c,
                                                      int64_t c_stride, bool accumulate) {
  __m512 low[R], high[R];
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    low[r] = _mm512_setzero_ps();
    high[r] = _mm512_setzero_ps();
  }
  for (int64_t i = 0; i < k; ++i) {
    const __m512 b0 = _mm512_loadu_ps(panel + i * kColumns), b1 = _mm512_loadu_ps(panel + i * kColumns + 16);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      const __m512 value = _mm512_set1_ps(x[r * x_stride + i]);
      low[r] = _mm512_fmadd_ps(value, b0, low[r]);
      high[r] = _mm512_fmadd_ps(value, b1, high[r]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r) {
    float* to = c + r * c_stride;
    _mm512_storeu_ps(to, accumulate ? _mm512_add_ps(_mm512_loadu_ps(to), low[r]) : low[r]);
    _mm512_storeu_ps(to + 16, accumulate ? _mm512_add_ps(_mm512_loadu_ps(to + 16), high[r]) : high[r]);
  }
}

LORRY_TARGET_AVX512 static void Fp32BlockAvx512(const float* x, int64_t x_stride, const float* panel, int64_t k, float* c,
                                                int64_t c_stride, int64_t rows, bool accumulate) {
  int64_t r = 0;
  for (; r + 12 <= rows; r += 12) {
    Fp32RowsAvx512<12>(x + r * x_stride, x_stride, panel, k, c + r * c_stride, c_stride, accumulate);
  }
  for (; r + 4 <= rows; r += 4) Fp32RowsAvx512<4>(x + r * x_stride, x_stride, panel, k, c + r * c_stride, c_stride, accumulate);
  for (; r < rows; ++r) Fp32RowsAvx512<1>(x + r * x_stride, x_stride, panel, k, c + r * c_stride, c_stride, accumulate);
}

// With AVX2: 6 rows x 2 registers, so a panel is passed in two halves.
template <int R>
LORRY_TARGET_AVX2 static inline void Fp32RowsAvx2(const float* x, int64_t x_stride, const float* half_panel, int64_t k, float* c,
                                                  int64_t c_stride, bool accumulate) {
  __m256 low[R], high[R];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    low[r] = _mm256_setzero_ps();
    high[r] = _mm256_setzero_ps();
  }
  for (int64_t i = 0; i < k; ++i) {
    const __m256 b0 = _mm256_loadu_ps(half_panel + i * kColumns), b1 = _mm256_loadu_ps(half_panel + i * kColumns + 8);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const __m256 value = _mm256_broadcast_ss(x + r * x_stride + i);
      low[r] = _mm256_fmadd_ps(value, b0, low[r]);
      high[r] = _mm256_fmadd_ps(value, b1, high[r]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    float* to = c + r * c_stride;
    _mm256_storeu_ps(to, accumulate ? _mm256_add_ps(_mm256_loadu_ps(to), low[r]) : low[r]);
    _mm256_storeu_ps(to + 8, accumulate ? _mm256_add_ps(_mm256_loadu_ps(to + 8), high[r]) : high[r]);
  }
}

LORRY_TARGET_AVX2 static void Fp32BlockAvx2(const float* x, int64_t x_stride, const float* panel, int64_t k, float* c,
                                            int64_t c_stride, int64_t rows, bool accumulate) {
  for (int half = 0; half < kColumns; half += kColumns / 2) {
    const float* b = panel + half;
    float* y = c + half;
    int64_t r = 0;
    for (; r + 6 <= rows && rows - r != 8; r += 6) {  // a whole block is four times 6 and twice 4
      Fp32RowsAvx2<6>(x + r * x_stride, x_stride, b, k, y + r * c_stride, c_stride, accumulate);
    }
    for (; r + 4 <= rows; r += 4) Fp32RowsAvx2<4>(x + r * x_stride, x_stride, b, k, y + r * c_stride, c_stride, accumulate);
    for (; r + 2 <= rows; r += 2) Fp32RowsAvx2<2>(x + r * x_stride, x_stride, b, k, y + r * c_stride, c_stride, accumulate);
    if (r < rows) Fp32RowsAvx2<1>(x + r * x_stride, x_stride, b, k, y + r * c_stride, c_stride, accumulate);
  }
}

#define LORRY_TARGET_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

template <int R>
LORRY_TARGET_BF16 static inline void Bf16RowsAvx512(const Bf16* x, int64_t x_stride, const std::byte* panel, int64_t k, float* c,
                                                    int64_t c_stride, bool accumulate) {
  __m512 low[R], high[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    low[r] = accumulate ? _mm512_loadu_ps(c + r * c_stride) : _mm512_setzero_ps();
    high[r] = accumulate ? _mm512_loadu_ps(c + r * c_stride + 16) : _mm512_setzero_ps();
  }
  for (int64_t i = 0; i < k; i += 2) {
    const auto* row = reinterpret_cast<const __m512i*>(panel + i * kColumns * 2);
    const auto b0 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(row));
    const auto b1 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(row + 1));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      int pair;
      __builtin_memcpy(&pair, x + r * x_stride + i, sizeof pair);
      const auto value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      low[r] = _mm512_dpbf16_ps(low[r], value, b0);
      high[r] = _mm512_dpbf16_ps(high[r], value, b1);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    _mm512_storeu_ps(c + r * c_stride, low[r]);
    _mm512_storeu_ps(c + r * c_stride + 16, high[r]);
  }
}

// The memory form of a tile configuration (Intel SDM, LDTILECFG).
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes_per_row[16] = {};
  uint8_t rows[16] = {};
};

#define LORRY_TARGET_AMX __attribute__((target("amx-tile,amx-bf16,avx512f")))

LORRY_TARGET_AMX void LoadConfig(const void* config) { _tile_loadconfig(config); }
LORRY_TARGET_AMX void StoreConfig(void* config) { _tile_storeconfig(config); }

}  // namespace

void BlockProductFp32(const void* x, int64_t x_stride, const std::byte* panel, int64_t k_padded, float* c, int64_t c_stride,
                      int64_t rows, bool accumulate) {
  const auto* values = static_cast<const float*>(x);
  const auto* columns = reinterpret_cast<const float*>(panel);
  const auto block = CpuHasAvx512() ? Fp32BlockAvx512 : CpuHasAvx2() ? Fp32BlockAvx2 : Fp32Body;
  for (int64_t from = 0; from < k_padded; from += kSumLength) {
    block(values + from, x_stride, columns + from * kColumns, std::min(kSumLength, k_padded - from), c, c_stride, rows,
          accumulate || from > 0);
  }
}

void BlockProductBf16Plain(const void* x, int64_t x_stride, const std::byte* panel, int64_t k_padded, float* c, int64_t c_stride,
                           int64_t rows, bool accumulate) {
  const auto* values = static_cast<const Bf16*>(x);
  const auto* pairs = reinterpret_cast<const Bf16*>(panel);
  for (int64_t r = 0; r < rows; ++r) {
    for (int j = 0; j < kColumns; ++j) {
      float sum = accumulate ? c[r * c_stride + j] : 0.0f;
      for (int64_t i = 0; i < k_padded; ++i) {
        sum += ToFloat(values[r * x_stride + i]) * ToFloat(pairs[(i / 2) * 2 * kColumns + j * 2 + i % 2]);
      }
      c[r * c_stride + j] = sum;
    }
  }
}

LORRY_TARGET_BF16 void BlockProductAvx512Bf16(const void* x, int64_t x_stride, const std::byte* panel, int64_t k_padded, float* c,
                                              int64_t c_stride, int64_t rows, bool accumulate) {
  const auto* values = static_cast<const Bf16*>(x);
  for (int64_t r = 0; r < rows; r += 8) {
    Bf16RowsAvx512<8>(values + r * x_stride, x_stride, panel, k_padded, c + r * c_stride, c_stride, accumulate);
  }
}

// Tiles: 0..3 sums (two rows of blocks by two columns), 4 and 5 from x, 6 and 7 from the panel.
LORRY_TARGET_AMX void BlockProductAmx(const void* x, int64_t x_stride, const std::byte* panel, int64_t k_padded, float* c,
                                      int64_t c_stride, int64_t rows, bool accumulate) {
  const auto* upper = static_cast<const Bf16*>(x);
  const auto* lower = upper + 16 * x_stride;
  const int64_t x_bytes = x_stride * 2, c_bytes = c_stride * 4;
  constexpr int64_t kPanelRow = kColumns * 4, kStep = 16 * kPanelRow;  // bytes of a pair of k; of 32 k
  const bool two = rows > 16;
  if (accumulate) {
    _tile_loadd(0, c, c_bytes);
    _tile_loadd(1, c + 16, c_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
  }
  if (two && accumulate) {
    _tile_loadd(2, c + 16 * c_stride, c_bytes);
    _tile_loadd(3, c + 16 * c_stride + 16, c_bytes);
  } else {
    _tile_zero(2);
    _tile_zero(3);
  }
  if (two) {
    for (int64_t i = 0; i < k_padded; i += 32, panel += kStep) {
      _tile_loadd(4, upper + i, x_bytes);
      _tile_loadd(6, panel, kPanelRow);
      _tile_loadd(7, panel + 64, kPanelRow);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(5, lower + i, x_bytes);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  } else {
    for (int64_t i = 0; i < k_padded; i += 32, panel += kStep) {
      _tile_loadd(4, upper + i, x_bytes);
      _tile_loadd(6, panel, kPanelRow);
      _tile_loadd(7, panel + 64, kPanelRow);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
    }
  }
  _tile_stored(0, c, c_bytes);
  _tile_stored(1, c + 16, c_bytes);
  if (two) {
    _tile_stored(2, c + 16 * c_stride, c_bytes);
    _tile_stored(3, c + 16 * c_stride + 16, c_bytes);
  }
}

BlockProduct BlockProductFor(Precision precision) {
  if (precision == Precision::kFp32) return BlockProductFp32;
  if (CpuHasAmx()) return BlockProductAmx;
  if (CpuHasBf16()) return BlockProductAvx512Bf16;
  return BlockProductBf16Plain;
}

TileScope::TileScope() {
  if (!CpuHasAmx()) return;
  StoreConfig(before_.data());
  static const TileConfig config = [] {
    TileConfig c;
    for (int t = 0; t < 8; ++t) c.bytes_per_row[t] = 64, c.rows[t] = 16;
    return c;
  }();
  LoadConfig(&config);
}

TileScope::~TileScope() {
  if (CpuHasAmx()) LoadConfig(before_.data());
}

}  // namespace lorry
