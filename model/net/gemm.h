// Matrix products for frozen weights and small adapters on the CPU: y = sum over terms of x W, with W packed beforehand.
//
// Why our own: an element of the result is summed in one order that depends on nothing but the term's inner size. So a
// row's bits do not depend on how many rows stand beside it, on threads, or on what another lane does (measured: oneDNN's
// packed linears on AMX differ with the number of rows, MKL's below 64). And a low-rank term joins the base's product in
// the same pass over y.
//
// bf16 inputs are multiplied with AMX tiles or AVX-512 BF16 into fp32 sums; fp32 ones with fused multiply-adds.
// No LibTorch here. Threads: all functions may be called from many threads; a product splits its columns over the caller's
// OpenMP threads (at::set_num_threads), which changes no bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/net/precision.h"

namespace lorry {

inline constexpr int64_t kPanel = 32;  // columns of a packed panel, and rows of a block
constexpr int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Inner sizes are padded to this many.
constexpr int64_t InnerMultiple(Precision precision) { return precision == Precision::kBf16 ? 32 : 1; }

// A right-hand matrix [k, n] that is read as panels of 32 columns, each [k_padded][32] (bf16: [k_padded / 2][32][2], pairs along
// k), zeros in the padding.
class PanelMatrix {
 public:
  PanelMatrix() = default;
  PanelMatrix(Precision precision, int64_t k, int64_t n)
      : precision_(precision), k_(k), n_(n), k_padded_(RoundUp(k, InnerMultiple(precision))) {}
  PanelMatrix(PanelMatrix&&) = default;
  PanelMatrix& operator=(PanelMatrix&&) = default;
  virtual ~PanelMatrix() = default;

  Precision precision() const { return precision_; }
  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  int64_t k_padded() const { return k_padded_; }
  int64_t panels() const { return (n_ + kPanel - 1) / kPanel; }
  int64_t PanelBytes() const { return k_padded_ * kPanel * ElementBytes(precision_); }

  // True: a panel is made each time it is asked for, in `scratch` (PanelBytes(), at a multiple of 64); else it lies ready.
  virtual bool MadeOnDemand() const = 0;
  virtual const std::byte* Panel(int64_t index, std::byte* scratch) const = 0;

 private:
  Precision precision_ = Precision::kFp32;
  int64_t k_ = 0, n_ = 0, k_padded_ = 0;
};

// Zeros, at a multiple of 64 or, where there is much of it, of a huge page. std::bad_alloc where there is none.
struct FreePanels {
  int64_t mapped = 0;  // bytes; 0: from the heap
  void operator()(std::byte* p) const;
};
using PanelMemory = std::unique_ptr<std::byte[], FreePanels>;
PanelMemory MakePanelMemory(int64_t bytes);

// One whose panels lie in memory, which it owns.
class PackedMatrix final : public PanelMatrix {
 public:
  PackedMatrix() = default;
  // Room for [k, n], zeros.
  PackedMatrix(Precision precision, int64_t k, int64_t n);

  // Fills the part that begins at (k_offset, n_offset): element (row, column) of it is
  // values[row * row_stride + column * column_stride]; one of the strides is 1. Values of the matrix's precision; the
  // second form takes fp32 values times `scale`. REQUIRES: for bf16, k_offset even.
  struct Part {
    int64_t k_offset = 0, n_offset = 0;
    int64_t rows = 0, columns = 0;
    int64_t row_stride = 1, column_stride = 1;
  };
  void Pack(const void* values, const Part& part);
  void PackFloats(const float* values, const Part& part, float scale);
  // The whole matrix at once.
  void Pack(const void* values, int64_t row_stride, int64_t column_stride) {
    Pack(values, {0, 0, k(), n(), row_stride, column_stride});
  }

  bool MadeOnDemand() const override { return false; }
  const std::byte* Panel(int64_t index, std::byte*) const override { return panel(index); }
  const std::byte* panel(int64_t index) const { return data_.get() + index * PanelBytes(); }
  std::byte* panel(int64_t index) { return data_.get() + index * PanelBytes(); }
  int64_t Bytes() const { return panels() * PanelBytes(); }

 private:
  PanelMemory data_;
};

// Packs a panel that is not kept: columns [0, columns) of a row-major x [rows, columns], columns <= 32, into `panel`
// ([rows_padded][32], zeros where x has nothing). REQUIRES: rows_padded a multiple of InnerMultiple.
void PackRows(Precision precision, const void* x, int64_t x_stride, int64_t rows, int64_t columns, int64_t rows_padded,
              std::byte* panel);
// The same for the transposed x: column j of the panel is row j of x [columns, rows].
void PackRowsTransposed(Precision precision, const void* x, int64_t x_stride, int64_t rows, int64_t columns, int64_t rows_padded,
                        std::byte* panel);
// Fills the part of one panel that begins at row part.k_offset (even, for bf16) and column part.n_offset of it with fp32 values.
void PackPanelFloats(Precision precision, const float* values, const PackedMatrix::Part& part, std::byte* panel);

// Appends the sum of squares of each of the n columns, fp64, added in order.
void AppendColumnSquares(const PanelMatrix& matrix, std::vector<double>& squares);

// x [rows, b->k()], row-major with `x_stride` elements from row to row, of b's precision.
struct GemmTerm {
  const void* x = nullptr;
  int64_t x_stride = 0;
  const PanelMatrix* b = nullptr;
};

// y [rows, n]: element type, where, and what is added.
struct GemmResult {
  void* y = nullptr;
  int64_t y_stride = 0;
  bool fp32 = false;               // else the terms' precision
  bool accumulate = false;         // y += (fp32 only)
  const float* bias = nullptr;     // [n]
  const void* residual = nullptr;  // [rows, n] of y's type; may be y itself
  int64_t residual_stride = 0;
};

// REQUIRES: 1..4 terms of one precision and one n.
void Gemm(std::span<const GemmTerm> terms, int64_t rows, const GemmResult& result);

// out [m, n] = scale * x^T y over `rows` rows, fp32, both inputs row-major: gradients of the small matrices; m is a rank, or that
// of several adapters side by side. `transpose_out` writes out as [n, m]. out_stride in elements.
struct GemmTransposedArgs {
  Precision precision = Precision::kFp32;
  const void* x = nullptr;  // [rows, m]
  int64_t x_stride = 0, m = 0;
  const void* y = nullptr;  // [rows, n]
  int64_t y_stride = 0, n = 0;
  int64_t rows = 0;
  float scale = 1.0f;
  float* out = nullptr;
  int64_t out_stride = 0;
  bool transpose_out = false;
};
void GemmTransposed(const GemmTransposedArgs& args);

}  // namespace lorry
