// Element-wise work on raw rows for the CPU: what norm.h, rope.h, swiglu.h and loss.h do for tensors. No LibTorch here.
//
// Values of `precision`, arithmetic in fp32, rounded once on the way out. Rows are split over the caller's OpenMP
// threads, which changes no bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/net/precision.h"

namespace lorry {

// [rows, columns] with `stride` elements from row to row.
struct RowsIn {
  const std::byte* start = nullptr;
  int64_t stride = 0;
};
struct RowsOut {
  std::byte* start = nullptr;
  int64_t stride = 0;
};

// y = x / sqrt(mean(x^2) + eps) * weight; y may be x.
void NormRows(Precision precision, RowsIn x, const float* weight, double eps, int64_t rows, int64_t columns, RowsOut y);
// dx = its gradient for dy, plus `add` where add.start is not null (the gradient that passes by); dx may be dy.
void NormRowsBackward(Precision precision, RowsIn dy, RowsIn x, const float* weight, double eps, RowsIn add, int64_t rows,
                      int64_t columns, RowsOut dx);

// Turns the pairs (x[i], x[i + half]) of each head by cos and sin ([positions, half]); `sign` -1 turns back.
struct RopeRows {
  std::byte* x = nullptr;
  int64_t row_stride = 0, head_stride = 0;  // elements
  int64_t rows = 0, heads = 0, half = 0;
  const int32_t* positions = nullptr;  // [rows]
  const float *cos = nullptr, *sin = nullptr;
  float sign = 1.0f;
};
void RopeRowsInPlace(Precision precision, const RopeRows& rope);

// y = x * scale + shift + add, scale and shift [columns]; shift and add.start may be null.
void ScaleRows(Precision precision, RowsIn x, const float* scale, const float* shift, RowsIn add, int64_t rows, int64_t columns,
               RowsOut y);
// out[j] = the sum over rows of x[row, j] * y[row, j], in the rows' order.
void ColumnDots(Precision precision, RowsIn x, RowsIn y, int64_t rows, int64_t columns, float* out);

// y [rows, width] = silu(gate) * up of gate_up [rows, 2 width].
void SwiGluRows(Precision precision, RowsIn gate_up, int64_t rows, int64_t width, RowsOut y);
// d_gate_up for dy, and y once more: the next gradient needs it, and it is cheap to have here.
void SwiGluRowsBackward(Precision precision, RowsIn dy, RowsIn gate_up, int64_t rows, int64_t width, RowsOut d_gate_up,
                        RowsOut y);

// Logits [rows, columns] fp32 and one target each: log_prob[r] = logits[r, target] - log sum exp(logits[r]).
// With d_logits.start not null: softmax(logits) - onehot(target) in `precision`, the gradient of -log_prob.
void TargetLogProbRows(Precision precision, const float* logits, int64_t stride, int64_t rows, int64_t columns,
                       const int32_t* targets, float* log_prob, RowsOut d_logits);

}  // namespace lorry
