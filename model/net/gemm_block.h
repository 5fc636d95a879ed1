// The innermost product: a block of at most 32 rows times one packed panel of 32 columns. What attention and Gemm are
// made of; gemm_test holds each build against the plain one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "model/net/precision.h"

namespace lorry {

// c [rows, 32] (row stride c_stride) = or += x [rows, k_padded] panel. `rows` is 16 or 32 for bf16 (whole tiles), 1..32 for
// fp32; all of x's rows and k_padded columns are read.
using BlockProduct = void (*)(const void* x, int64_t x_stride, const std::byte* panel, int64_t k_padded, float* c,
                              int64_t c_stride, int64_t rows, bool accumulate);

// The fastest of this CPU.
BlockProduct BlockProductFor(Precision precision);

void BlockProductAmx(const void* x, int64_t x_stride, const std::byte* panel, int64_t k_padded, float* c, int64_t c_stride,
                     int64_t rows, bool accumulate);
void BlockProductAvx512Bf16(const void* x, int64_t x_stride, const std::byte* panel, int64_t k_padded, float* c, int64_t c_stride,
                            int64_t rows, bool accumulate);
void BlockProductFp32(const void* x, int64_t x_stride, const std::byte* panel, int64_t k_padded, float* c, int64_t c_stride,
                      int64_t rows, bool accumulate);
// The twin: bf16 by three nested loops, any CPU.
void BlockProductBf16Plain(const void* x, int64_t x_stride, const std::byte* panel, int64_t k_padded, float* c, int64_t c_stride,
                           int64_t rows, bool accumulate);

// REQUIRED around calls of BlockProductAmx on each thread: loads the tiles' shape and puts back the one that was there
// (oneDNN keeps its own between calls). Does nothing where there is no AMX.
class TileScope {
 public:
  TileScope();
  ~TileScope();
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;

 private:
  alignas(64) std::array<std::byte, 64> before_;
};

}  // namespace lorry
