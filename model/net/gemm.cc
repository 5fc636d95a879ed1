#include "model/net/gemm.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "model/net/gemm_block.h"
#include "model/net/vector_build.h"

namespace lorry {
namespace {

// Share of the core's L2 that rows of x may fill while the panels pass by. How many rows that are changes no bit.
int64_t CacheBytes() {
  static const int64_t bytes = [] {
    const int64_t l2 = ::sysconf(_SC_LEVEL2_CACHE_SIZE);
    return std::clamp<int64_t>(l2 * 3 / 8, 128 << 10, 768 << 10);
  }();
  return bytes;
}

constexpr int64_t kMaxTerms = 4;

struct Block {
  const float* sums;  // [32, 32]
  int64_t rows, columns;
  int64_t row, column;  // of its first element in the result
};

template <class T, bool kAccumulate>
static LORRY_INLINE void StoreRow(const float* sums, int64_t n, const float* bias, const T* residual, T* y) {
  for (int64_t j = 0; j < n; ++j) {
    float value = sums[j];
    if (bias != nullptr) value += bias[j];
    if (residual != nullptr) value += ToFloat(residual[j]);
    if constexpr (kAccumulate) value += ToFloat(y[j]);
    Store(y + j, value);
  }
}

template <class T>
static LORRY_INLINE void StoreBody(const Block& block, const GemmResult& result) {
  T* y = static_cast<T*>(result.y) + block.row * result.y_stride + block.column;
  const float* bias = result.bias == nullptr ? nullptr : result.bias + block.column;
  const T* residual = nullptr;
  if (result.residual != nullptr) {
    residual = static_cast<const T*>(result.residual) + block.row * result.residual_stride + block.column;
  }
  const bool plain = block.columns == kPanel && bias == nullptr;
  for (int64_t r = 0; r < block.rows; ++r) {
    const float* sums = block.sums + r * kPanel;
    if (result.accumulate) {
      StoreRow<T, true>(sums, block.columns, bias, residual, y);
    } else if (plain && residual == nullptr) {
      for (int64_t j = 0; j < kPanel; ++j) Store(y + j, sums[j]);
    } else if (plain) {
      for (int64_t j = 0; j < kPanel; ++j) Store(y + j, sums[j] + ToFloat(residual[j]));
    } else {
      StoreRow<T, false>(sums, block.columns, bias, residual, y);
    }
    y += result.y_stride;
    if (residual != nullptr) residual += result.residual_stride;
  }
}

LORRY_VECTOR_KERNEL(StoreFp32, StoreBody<float>, (const Block& block, const GemmResult& result), (block, result))
LORRY_VECTOR_KERNEL(StoreBf16, StoreBody<Bf16>, (const Block& block, const GemmResult& result), (block, result))

// Rows of x that the innermost product may read whole: x itself, or a copy where x ends within a tile or a pair.
class Rows {
 public:
  Rows(const GemmTerm& term, int64_t first, int64_t rows) {
    const Precision precision = term.b->precision();
    const int64_t bytes = ElementBytes(precision), whole = precision == Precision::kBf16 ? RoundUp(rows, 16) : rows;
    const auto* x = static_cast<const std::byte*>(term.x) + first * term.x_stride * bytes;
    stride_bytes_ = term.x_stride * bytes;
    start_ = x;
    const bool padded = term.b->k() != term.b->k_padded();
    copy_from_ = padded ? 0 : rows == whole ? whole : rows / kPanel * kPanel;
    if (copy_from_ == whole) return;
    copy_stride_bytes_ = term.b->k_padded() * bytes;
    copy_.resize(static_cast<size_t>((whole - copy_from_) * copy_stride_bytes_ + 64));
    for (int64_t r = copy_from_; r < rows; ++r) {
      std::memcpy(Copy(r), x + r * stride_bytes_, static_cast<size_t>(term.b->k() * bytes));
    }
  }
  const std::byte* at(int64_t row) const { return row < copy_from_ ? start_ + row * stride_bytes_ : Copy(row); }
  int64_t StrideBytes(int64_t row) const { return row < copy_from_ ? stride_bytes_ : copy_stride_bytes_; }

 private:
  std::byte* Copy(int64_t row) { return copy_.data() + (row - copy_from_) * copy_stride_bytes_; }
  const std::byte* Copy(int64_t row) const { return copy_.data() + (row - copy_from_) * copy_stride_bytes_; }

  const std::byte* start_ = nullptr;
  int64_t stride_bytes_ = 0, copy_stride_bytes_ = 0, copy_from_ = 0;
  std::vector<std::byte> copy_;  // zeros where x has nothing
};

// Making a panel costs as much as multiplying it by a few rows: at least so many share it, though they overflow the cache.
constexpr int64_t kRowsOfMadePanel = 256;

int64_t RowsAtOnce(std::span<const GemmTerm> terms) {
  int64_t row_bytes = 0, least = kPanel;
  for (const GemmTerm& term : terms) {
    row_bytes += term.b->k_padded() * ElementBytes(term.b->precision());
    if (term.b->MadeOnDemand()) least = kRowsOfMadePanel;
  }
  return std::max(least, CacheBytes() / row_bytes / kPanel * kPanel);
}

// Where one thread has the panels of each term made; empty for terms whose panels lie ready.
class PanelScratch {
 public:
  explicit PanelScratch(std::span<const GemmTerm> terms) {
    for (size_t t = 0; t < terms.size(); ++t) {
      if (!terms[t].b->MadeOnDemand()) continue;
      const auto bytes = static_cast<size_t>(RoundUp(terms[t].b->PanelBytes(), kAlignment));
      memory_[t].reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes)));
      if (memory_[t] == nullptr) throw std::bad_alloc();
    }
  }
  std::byte* of(size_t term) const { return memory_[term].get(); }

 private:
  static constexpr int64_t kAlignment = 64;
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::array<std::unique_ptr<std::byte, Free>, kMaxTerms> memory_;
};

// One panel of columns for `rows` rows that stay in the cache.
void PanelProduct(std::span<const GemmTerm> terms, std::span<const Rows> x, int64_t first, int64_t rows, int64_t panel,
                  const PanelScratch& scratch, const GemmResult& result) {
  const Precision precision = terms[0].b->precision();
  const BlockProduct product = BlockProductFor(precision);
  const int64_t bytes = ElementBytes(precision);
  const int64_t columns = std::min(kPanel, terms[0].b->n() - panel * kPanel);
  std::array<const std::byte*, kMaxTerms> b;
  for (size_t t = 0; t < terms.size(); ++t) b[t] = terms[t].b->Panel(panel, scratch.of(t));
  alignas(64) std::array<float, kPanel * kPanel> sums;
  for (int64_t r = 0; r < rows; r += kPanel) {
    const int64_t here = std::min(kPanel, rows - r);
    const int64_t tile_rows = precision == Precision::kBf16 ? RoundUp(here, 16) : here;
    for (size_t t = 0; t < terms.size(); ++t) {
      product(x[t].at(r), x[t].StrideBytes(r) / bytes, b[t], terms[t].b->k_padded(), sums.data(), kPanel, tile_rows, t > 0);
    }
    const Block block{sums.data(), here, columns, first + r, panel * kPanel};
    result.fp32 || precision == Precision::kFp32 ? StoreFp32(block, result) : StoreBf16(block, result);
  }
}

bool SplitsOverThreads(int64_t panels) { return omp_get_max_threads() > 1 && panels > 1 && !omp_in_parallel(); }

}  // namespace

// Rows that fit the cache together, then panel by panel: a panel is read from memory once for all of these rows.
void Gemm(std::span<const GemmTerm> terms, int64_t rows, const GemmResult& result) {
  const int64_t step = RowsAtOnce(terms);
  const int64_t panels = terms[0].b->panels();
  const bool split = SplitsOverThreads(panels);
  std::vector<PanelScratch> scratch;  // one a thread, made here: nothing may throw inside a parallel region
  for (int thread = 0; thread < (split ? omp_get_max_threads() : 1); ++thread) scratch.emplace_back(terms);
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t here = std::min(step, rows - first);
    std::vector<Rows> x;
    x.reserve(kMaxTerms);
    for (const GemmTerm& term : terms) x.emplace_back(term, first, here);
#pragma omp parallel if (split)
    {
      const TileScope tiles;
      const PanelScratch& own = scratch[static_cast<size_t>(omp_get_thread_num())];
#pragma omp for schedule(static)
      for (int64_t panel = 0; panel < panels; ++panel) PanelProduct(terms, x, first, here, panel, own, result);
    }
  }
}

namespace {

constexpr int64_t kInnerRows = 256;  // of x and y taken at once: their panels stay in L1

template <class T>
static LORRY_INLINE void TransposeBody(const T* x, int64_t stride, int64_t rows, int64_t m, T* out) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < m; ++i) out[i * kInnerRows + r] = x[r * stride + i];
}

void TransposeRows(Precision precision, const std::byte* x, int64_t stride, int64_t rows, int64_t m, std::byte* out) {
  if (precision == Precision::kBf16) {
    TransposeBody(reinterpret_cast<const Bf16*>(x), stride, rows, m, reinterpret_cast<Bf16*>(out));
  } else {
    TransposeBody(reinterpret_cast<const float*>(x), stride, rows, m, reinterpret_cast<float*>(out));
  }
}

void WriteScaled(const GemmTransposedArgs& args, const std::vector<float>& sums, int64_t sums_stride) {
  for (int64_t i = 0; i < args.m; ++i) {
    const float* row = sums.data() + i * sums_stride;
    if (args.transpose_out) {
      for (int64_t j = 0; j < args.n; ++j) args.out[j * args.out_stride + i] = args.scale * row[j];
    } else {
      for (int64_t j = 0; j < args.n; ++j) args.out[i * args.out_stride + j] = args.scale * row[j];
    }
  }
}

}  // namespace

void GemmTransposed(const GemmTransposedArgs& args) {
  const int64_t bytes = ElementBytes(args.precision);
  const int64_t m_padded = RoundUp(args.m, 16), n_padded = RoundUp(args.n, kPanel), panels = n_padded / kPanel;
  const BlockProduct product = BlockProductFor(args.precision);
  std::vector<float> sums(static_cast<size_t>(m_padded * n_padded), 0.0f);
  std::vector<std::byte> left(static_cast<size_t>(m_padded * kInnerRows * bytes));
  const bool split = SplitsOverThreads(panels);
  for (int64_t first = 0; first < args.rows; first += kInnerRows) {
    const int64_t rows = std::min(kInnerRows, args.rows - first);
    const int64_t padded = RoundUp(rows, InnerMultiple(args.precision));
    if (rows < kInnerRows) std::fill(left.begin(), left.end(), std::byte{0});
    const auto* x = static_cast<const std::byte*>(args.x) + first * args.x_stride * bytes;
    TransposeRows(args.precision, x, args.x_stride, rows, args.m, left.data());
#pragma omp parallel if (split)
    {
      const TileScope tiles;
      alignas(64) std::array<std::byte, kInnerRows * kPanel * 4> panel;
#pragma omp for schedule(static)
      for (int64_t p = 0; p < panels; ++p) {
        const auto* y = static_cast<const std::byte*>(args.y) + (first * args.y_stride + p * kPanel) * bytes;
        PackRows(args.precision, y, args.y_stride, rows, std::min(kPanel, args.n - p * kPanel), padded, panel.data());
        for (int64_t i = 0; i < m_padded; i += kPanel) {
          product(left.data() + i * kInnerRows * bytes, kInnerRows, panel.data(), padded, sums.data() + i * n_padded + p * kPanel,
                  n_padded, std::min(kPanel, m_padded - i), first > 0);
        }
      }
    }
  }
  WriteScaled(args, sums, n_padded);
}

}  // namespace lorry
