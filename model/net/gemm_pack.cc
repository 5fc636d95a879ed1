#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "model/net/gemm.h"
#include "model/net/vector_build.h"

namespace lorry {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20, kPage = 4096;

static LORRY_INLINE void Convert(float* to, float x) { *to = x; }
static LORRY_INLINE void Convert(Bf16* to, float x) { Store(to, x); }
static LORRY_INLINE Bf16 Scaled(Bf16 x, float) { return x; }
static LORRY_INLINE float Scaled(float x, float scale) { return x * scale; }
static LORRY_INLINE void Convert(Bf16* to, Bf16 x) { *to = x; }

// Where element (k, column) of a panel stands.
template <class T>
static LORRY_INLINE int64_t PanelIndex(int64_t k, int64_t column) {
  if constexpr (sizeof(T) == 2) return (k / 2) * 2 * kPanel + column * 2 + k % 2;
  return k * kPanel + column;
}

// Rows of the source are contiguous: two rows interleave (bf16), one is copied (fp32).
template <class From, class To>
static LORRY_INLINE void FromRows(const From* x, int64_t stride, int64_t rows, int64_t columns, float scale, To* panel) {
  constexpr int64_t kTogether = sizeof(To) == 2 ? 2 : 1;
  int64_t k = 0;
  if (columns == kPanel) {
    for (; k + kTogether <= rows; k += kTogether) {
      To* to = panel + k * kPanel;
      const From* row = x + k * stride;
      if constexpr (kTogether == 2) {
        for (int64_t j = 0; j < kPanel; ++j) {
          Convert(to + 2 * j, Scaled(row[j], scale));
          Convert(to + 2 * j + 1, Scaled(row[stride + j], scale));
        }
      } else {
        for (int64_t j = 0; j < kPanel; ++j) Convert(to + j, Scaled(row[j], scale));
      }
    }
  }
  for (; k < rows; ++k)
    for (int64_t j = 0; j < columns; ++j) Convert(panel + PanelIndex<To>(k, j), Scaled(x[k * stride + j], scale));
}

// Columns of the source are contiguous.
template <class From, class To>
static LORRY_INLINE void FromColumns(const From* x, int64_t stride, int64_t rows, int64_t columns, float scale, To* panel) {
  for (int64_t j = 0; j < columns; ++j) {
    const From* column = x + j * stride;
    int64_t k = 0;
    if constexpr (sizeof(From) == 2) {
      for (; k + 2 <= rows; k += 2) std::memcpy(panel + PanelIndex<To>(k, j), column + k, 4);
    }
    for (; k < rows; ++k) Convert(panel + PanelIndex<To>(k, j), Scaled(column[k], scale));
  }
}

#define LORRY_PACK_KERNEL(name, body, From, To)                                                               \
  LORRY_VECTOR_KERNEL(name, (body<From, To>),                                                                 \
                      (const From* x, int64_t stride, int64_t rows, int64_t columns, float scale, To* panel), \
                      (x, stride, rows, columns, scale, panel))

LORRY_PACK_KERNEL(RowsFloatToFloat, FromRows, float, float)
LORRY_PACK_KERNEL(RowsFloatToBf16, FromRows, float, Bf16)
LORRY_PACK_KERNEL(RowsBf16, FromRows, Bf16, Bf16)
LORRY_PACK_KERNEL(ColumnsFloatToFloat, FromColumns, float, float)
LORRY_PACK_KERNEL(ColumnsFloatToBf16, FromColumns, float, Bf16)
LORRY_PACK_KERNEL(ColumnsBf16, FromColumns, Bf16, Bf16)

// One panel's share of a part: `x` is its first element.
void PackPanelPart(Precision to, bool from_floats, const std::byte* x, const PackedMatrix::Part& part, int64_t columns,
                   float scale, std::byte* panel) {
  const auto* floats = reinterpret_cast<const float*>(x);
  const auto* halves = reinterpret_cast<const Bf16*>(x);
  const bool by_rows = part.column_stride == 1;
  const int64_t stride = by_rows ? part.row_stride : part.column_stride;
  if (to == Precision::kFp32) {
    auto* out = reinterpret_cast<float*>(panel);
    (by_rows ? RowsFloatToFloat : ColumnsFloatToFloat)(floats, stride, part.rows, columns, scale, out);
  } else if (from_floats) {
    auto* out = reinterpret_cast<Bf16*>(panel);
    (by_rows ? RowsFloatToBf16 : ColumnsFloatToBf16)(floats, stride, part.rows, columns, scale, out);
  } else {
    auto* out = reinterpret_cast<Bf16*>(panel);
    (by_rows ? RowsBf16 : ColumnsBf16)(halves, stride, part.rows, columns, 1.0f, out);
  }
}

void PackPart(PackedMatrix& matrix, bool from_floats, const void* values, const PackedMatrix::Part& part, float scale) {
  const Precision precision = matrix.precision();
  const int64_t source_bytes = from_floats ? 4 : ElementBytes(precision);
  constexpr int64_t kColumnBytes = 4;  // a float, or a pair
  for (int64_t column = 0; column < part.columns;) {
    const int64_t at = part.n_offset + column, within = at % kPanel, here = std::min(kPanel - within, part.columns - column);
    const auto* x = static_cast<const std::byte*>(values) + column * part.column_stride * source_bytes;
    std::byte* panel = matrix.panel(at / kPanel) + part.k_offset * kPanel * ElementBytes(precision) + within * kColumnBytes;
    PackPanelPart(precision, from_floats, x, part, here, scale, panel);
    column += here;
  }
}

void ZeroTail(Precision precision, int64_t rows, int64_t columns, int64_t rows_padded, std::byte* panel) {
  const int64_t row_bytes = kPanel * ElementBytes(precision);
  const int64_t from = columns < kPanel ? 0 : rows / 2 * 2;
  std::memset(panel + from * row_bytes, 0, static_cast<size_t>((rows_padded - from) * row_bytes));
}

}  // namespace

void FreePanels::operator()(std::byte* p) const {
  if (mapped > 0) {
    munmap(p, static_cast<size_t>(mapped));
  } else {
    std::free(p);
  }
}

PanelMemory MakePanelMemory(int64_t bytes) {
  if (bytes < kHugePage) {
    const auto size = static_cast<size_t>(RoundUp(std::max<int64_t>(bytes, 1), 64));
    PanelMemory memory(static_cast<std::byte*>(std::aligned_alloc(64, size)));
    if (memory == nullptr) throw std::bad_alloc();
    std::memset(memory.get(), 0, size);
    return memory;
  }
  // Mapped by itself: the heap would waste up to a huge page before each matrix, and a third of a small model's weights
  // (measured).
  const int64_t size = RoundUp(bytes, kPage), whole = size + kHugePage;
  void* const mapping = mmap(nullptr, static_cast<size_t>(whole), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  auto* const begin = static_cast<std::byte*>(mapping);
  const auto address = reinterpret_cast<uintptr_t>(mapping);
  const int64_t before = RoundUp(static_cast<int64_t>(address), kHugePage) - static_cast<int64_t>(address);
  if (before > 0) munmap(begin, static_cast<size_t>(before));
  munmap(begin + before + size, static_cast<size_t>(whole - before - size));
  madvise(begin + before, static_cast<size_t>(size), MADV_HUGEPAGE);  // fewer TLB misses; only a wish
  return PanelMemory(begin + before, FreePanels{size});
}

PackedMatrix::PackedMatrix(Precision precision, int64_t k, int64_t n) : PanelMatrix(precision, k, n) {
  data_ = MakePanelMemory(Bytes());
}

void PackedMatrix::Pack(const void* values, const Part& part) {
  PackPart(*this, precision() == Precision::kFp32, values, part, 1.0f);
}

void PackedMatrix::PackFloats(const float* values, const Part& part, float scale) { PackPart(*this, true, values, part, scale); }

void PackRows(Precision precision, const void* x, int64_t x_stride, int64_t rows, int64_t columns, int64_t rows_padded,
              std::byte* panel) {
  ZeroTail(precision, rows, columns, rows_padded, panel);
  const PackedMatrix::Part part{0, 0, rows, columns, x_stride, 1};
  PackPanelPart(precision, precision == Precision::kFp32, static_cast<const std::byte*>(x), part, columns, 1.0f, panel);
}

void PackRowsTransposed(Precision precision, const void* x, int64_t x_stride, int64_t rows, int64_t columns, int64_t rows_padded,
                        std::byte* panel) {
  ZeroTail(precision, rows, columns, rows_padded, panel);
  const PackedMatrix::Part part{0, 0, rows, columns, 1, x_stride};
  PackPanelPart(precision, precision == Precision::kFp32, static_cast<const std::byte*>(x), part, columns, 1.0f, panel);
}

void PackPanelFloats(Precision precision, const float* values, const PackedMatrix::Part& part, std::byte* panel) {
  constexpr int64_t kColumnBytes = 4;  // a float, or a pair
  std::byte* to = panel + part.k_offset * kPanel * ElementBytes(precision) + part.n_offset * kColumnBytes;
  PackPanelPart(precision, true, reinterpret_cast<const std::byte*>(values), part, part.columns, 1.0f, to);
}

void AppendColumnSquares(const PanelMatrix& matrix, std::vector<double>& squares) {
  const PanelMemory scratch = matrix.MadeOnDemand() ? MakePanelMemory(matrix.PanelBytes()) : PanelMemory();
  for (int64_t index = 0; index < matrix.panels(); ++index) {
    const std::byte* panel = matrix.Panel(index, scratch.get());
    for (int64_t column = 0; column < std::min(kPanel, matrix.n() - index * kPanel); ++column) {
      double sum = 0.0;
      for (int64_t k = 0; k < matrix.k(); ++k) {
        const double value = matrix.precision() == Precision::kBf16
                                 ? ToFloat(reinterpret_cast<const Bf16*>(panel)[PanelIndex<Bf16>(k, column)])
                                 : reinterpret_cast<const float*>(panel)[PanelIndex<float>(k, column)];
        sum += value * value;
      }
      squares.push_back(sum);
    }
  }
}

}  // namespace lorry
