#include "model/net/row_kernels.h"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "model/net/vector_build.h"

namespace lorry {
namespace {

static LORRY_INLINE float SumLanes(const float* lanes) {
  float sum = 0.0f;
  for (int l = 0; l < kLanes; ++l) sum += lanes[l];
  return sum;
}

template <class T>
static LORRY_INLINE float InverseRms(const T* x, int64_t n, double eps) {
  float lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] += ToFloat(x[j + l]) * ToFloat(x[j + l]);
  for (int l = 0; j < n; ++j, ++l) lanes[l] += ToFloat(x[j]) * ToFloat(x[j]);
  return 1.0f / std::sqrt(SumLanes(lanes) / static_cast<float>(n) + static_cast<float>(eps));
}

struct NormArgs {
  RowsIn x;
  const float* weight;
  double eps;
  int64_t columns;
  RowsOut y;
  RowsIn dy, add;  // backward only
};

template <class T>
static LORRY_INLINE void NormBody(const NormArgs& a, int64_t row) {
  const T* x = reinterpret_cast<const T*>(a.x.start) + row * a.x.stride;
  T* y = reinterpret_cast<T*>(a.y.start) + row * a.y.stride;
  const float inverse = InverseRms(x, a.columns, a.eps);
  for (int64_t j = 0; j < a.columns; ++j) Store(y + j, ToFloat(x[j]) * inverse * a.weight[j]);
}

// y = x r w with r = (mean(x^2) + eps)^-1/2, so dx = r (w dy - x r^2 mean(w dy x)).
template <class T>
static LORRY_INLINE void NormBackwardBody(const NormArgs& a, int64_t row) {
  const T* x = reinterpret_cast<const T*>(a.x.start) + row * a.x.stride;
  const T* dy = reinterpret_cast<const T*>(a.dy.start) + row * a.dy.stride;
  T* dx = reinterpret_cast<T*>(a.y.start) + row * a.y.stride;
  const float r = InverseRms(x, a.columns, a.eps);
  float lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= a.columns; j += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] += ToFloat(dy[j + l]) * a.weight[j + l] * ToFloat(x[j + l]);
  for (int l = 0; j < a.columns; ++j, ++l) lanes[l] += ToFloat(dy[j]) * a.weight[j] * ToFloat(x[j]);
  const float along = SumLanes(lanes) / static_cast<float>(a.columns) * r * r;
  if (a.add.start != nullptr) {
    const T* add = reinterpret_cast<const T*>(a.add.start) + row * a.add.stride;
    for (j = 0; j < a.columns; ++j) Store(dx + j, r * (a.weight[j] * ToFloat(dy[j]) - ToFloat(x[j]) * along) + ToFloat(add[j]));
  } else {
    for (j = 0; j < a.columns; ++j) Store(dx + j, r * (a.weight[j] * ToFloat(dy[j]) - ToFloat(x[j]) * along));
  }
}

struct ScaleArgs {
  RowsIn x;
  const float *scale, *shift;
  RowsIn add;
  int64_t columns;
  RowsOut y;
};

template <class T>
static LORRY_INLINE void ScaleBody(const ScaleArgs& a, int64_t row) {
  const T* x = reinterpret_cast<const T*>(a.x.start) + row * a.x.stride;
  const T* add = a.add.start == nullptr ? nullptr : reinterpret_cast<const T*>(a.add.start) + row * a.add.stride;
  T* y = reinterpret_cast<T*>(a.y.start) + row * a.y.stride;
  for (int64_t j = 0; j < a.columns; ++j) {
    float value = ToFloat(x[j]) * a.scale[j];
    if (a.shift != nullptr) value += a.shift[j];
    if (add != nullptr) value += ToFloat(add[j]);
    Store(y + j, value);
  }
}

struct ColumnDotArgs {
  RowsIn x, y;
  int64_t rows, columns;
  float* out;
};
constexpr int64_t kDotColumns = 32;  // together
constexpr int64_t kDotRows = 64;     // summed in fp32 before they join the rest

template <class T>
static LORRY_INLINE void ColumnDotBody(const ColumnDotArgs& a, int64_t block) {
  const int64_t first = block * kDotColumns, count = std::min(kDotColumns, a.columns - first);
  double sums[kDotColumns] = {};
  for (int64_t row = 0; row < a.rows;) {
    float stretch[kDotColumns] = {};
    for (const int64_t end = std::min(a.rows, row + kDotRows); row < end; ++row) {
      const T* x = reinterpret_cast<const T*>(a.x.start) + row * a.x.stride + first;
      const T* y = reinterpret_cast<const T*>(a.y.start) + row * a.y.stride + first;
      for (int64_t j = 0; j < count; ++j) stretch[j] += ToFloat(x[j]) * ToFloat(y[j]);
    }
    for (int64_t j = 0; j < count; ++j) sums[j] += stretch[j];
  }
  for (int64_t j = 0; j < count; ++j) a.out[first + j] = static_cast<float>(sums[j]);
}

template <class T>
static LORRY_INLINE void RopeBody(const RopeRows& a, int64_t row) {
  const float* cos = a.cos + a.positions[row] * a.half;
  const float* sin = a.sin + a.positions[row] * a.half;
  for (int64_t head = 0; head < a.heads; ++head) {
    T* first = reinterpret_cast<T*>(a.x) + row * a.row_stride + head * a.head_stride;
    T* second = first + a.half;
    for (int64_t i = 0; i < a.half; ++i) {
      const float u = ToFloat(first[i]), v = ToFloat(second[i]), s = a.sign * sin[i];
      Store(first + i, u * cos[i] - v * s);
      Store(second + i, v * cos[i] + u * s);
    }
  }
}

struct SwiGluArgs {
  RowsIn gate_up;
  int64_t width;
  RowsOut y;
  RowsIn dy;  // backward only
  RowsOut d_gate_up;
};

template <class T>
static LORRY_INLINE void SwiGluBody(const SwiGluArgs& a, int64_t row) {
  const T* gate = reinterpret_cast<const T*>(a.gate_up.start) + row * a.gate_up.stride;
  const T* up = gate + a.width;
  T* y = reinterpret_cast<T*>(a.y.start) + row * a.y.stride;
  for (int64_t j = 0; j < a.width; ++j) {
    const float g = ToFloat(gate[j]);
    Store(y + j, g / (1.0f + VectorExp(-g)) * ToFloat(up[j]));
  }
}

template <class T>
static LORRY_INLINE void SwiGluBackwardBody(const SwiGluArgs& a, int64_t row) {
  const T* gate = reinterpret_cast<const T*>(a.gate_up.start) + row * a.gate_up.stride;
  const T* up = gate + a.width;
  const T* dy = reinterpret_cast<const T*>(a.dy.start) + row * a.dy.stride;
  T* d_gate = reinterpret_cast<T*>(a.d_gate_up.start) + row * a.d_gate_up.stride;
  T* d_up = d_gate + a.width;
  T* y = reinterpret_cast<T*>(a.y.start) + row * a.y.stride;
  // Five streams that do not overlap: too many for the compiler's own checks, and six times slower one by one.
#pragma GCC ivdep
  for (int64_t j = 0; j < a.width; ++j) {
    const float g = ToFloat(gate[j]), u = ToFloat(up[j]), d = ToFloat(dy[j]);
    const float sigmoid = 1.0f / (1.0f + VectorExp(-g));
    const float silu = g * sigmoid;
    Store(d_gate + j, d * u * (sigmoid + silu * (1.0f - sigmoid)));
    Store(d_up + j, d * silu);
    Store(y + j, silu * u);
  }
}

struct LogProbArgs {
  const float* logits;
  int64_t stride, columns;
  const int32_t* targets;
  float* log_prob;
  RowsOut d_logits;
};

// Exponentials are summed in fp32 over so many words: over all, the small ones vanish beside what the large ones made, and a loss
// over 49,152 words comes out 7e-6 low (torch's, with 8 lanes on AVX2, 1.5e-5).
constexpr int64_t kExpStretch = 512;
static_assert(kExpStretch % kLanes == 0);

template <class T>
static LORRY_INLINE void LogProbBody(const LogProbArgs& a, int64_t row) {
  const float* x = a.logits + row * a.stride;
  float lanes[kLanes];
  for (int l = 0; l < kLanes; ++l) lanes[l] = x[0];
  int64_t j = 0;
  for (; j + kLanes <= a.columns; j += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] = x[j + l] > lanes[l] ? x[j + l] : lanes[l];
  float max = lanes[0];
  for (int l = 1; l < kLanes; ++l) max = lanes[l] > max ? lanes[l] : max;
  for (; j < a.columns; ++j) max = x[j] > max ? x[j] : max;
  double sum = 0.0;
  for (j = 0; j < a.columns;) {
    const int64_t end = std::min(a.columns, j + kExpStretch);
    for (int l = 0; l < kLanes; ++l) lanes[l] = 0.0f;
    for (; j + kLanes <= end; j += kLanes)
      for (int l = 0; l < kLanes; ++l) lanes[l] += VectorExp(x[j + l] - max);
    for (int l = 0; j < end; ++j, ++l) lanes[l] += VectorExp(x[j] - max);
    sum += SumLanes(lanes);
  }
  const auto log_sum = static_cast<float>(std::log(sum));
  const int32_t target = a.targets[row];
  a.log_prob[row] = (x[target] - max) - log_sum;
  if (a.d_logits.start == nullptr) return;
  T* d = reinterpret_cast<T*>(a.d_logits.start) + row * a.d_logits.stride;
  for (j = 0; j < a.columns; ++j) Store(d + j, VectorExp(x[j] - max - log_sum));
  Store(d + target, std::expm1(a.log_prob[row]));  // p - 1, without cancellation where p is near 1
}

#define LORRY_ROW_KERNEL(name, body, Args)                                                                                    \
  LORRY_VECTOR_KERNEL(name##Fp32, body<float>, (const Args& args, int64_t row), (args, row))                                  \
  LORRY_VECTOR_KERNEL(name##Bf16, body<Bf16>, (const Args& args, int64_t row), (args, row))                                   \
  void name(Precision precision, const Args& args, int64_t rows) {                                                            \
    const auto one = precision == Precision::kBf16 ? name##Bf16 : name##Fp32;                                                 \
    _Pragma("omp parallel for schedule(static) if (omp_get_max_threads() > 1 && !omp_in_parallel())") for (int64_t row = 0;   \
                                                                                                           row < rows; ++row) \
        one(args, row);                                                                                                       \
  }

LORRY_ROW_KERNEL(RunNorm, NormBody, NormArgs)
LORRY_ROW_KERNEL(RunNormBackward, NormBackwardBody, NormArgs)
LORRY_ROW_KERNEL(RunScale, ScaleBody, ScaleArgs)
LORRY_ROW_KERNEL(RunColumnDot, ColumnDotBody, ColumnDotArgs)
LORRY_ROW_KERNEL(RunRope, RopeBody, RopeRows)
LORRY_ROW_KERNEL(RunSwiGlu, SwiGluBody, SwiGluArgs)
LORRY_ROW_KERNEL(RunSwiGluBackward, SwiGluBackwardBody, SwiGluArgs)
LORRY_ROW_KERNEL(RunLogProb, LogProbBody, LogProbArgs)

}  // namespace

void NormRows(Precision precision, RowsIn x, const float* weight, double eps, int64_t rows, int64_t columns, RowsOut y) {
  RunNorm(precision, NormArgs{x, weight, eps, columns, y, {}, {}}, rows);
}

void NormRowsBackward(Precision precision, RowsIn dy, RowsIn x, const float* weight, double eps, RowsIn add, int64_t rows,
                      int64_t columns, RowsOut dx) {
  RunNormBackward(precision, NormArgs{x, weight, eps, columns, dx, dy, add}, rows);
}

void RopeRowsInPlace(Precision precision, const RopeRows& rope) { RunRope(precision, rope, rope.rows); }

void ScaleRows(Precision precision, RowsIn x, const float* scale, const float* shift, RowsIn add, int64_t rows, int64_t columns,
               RowsOut y) {
  RunScale(precision, ScaleArgs{x, scale, shift, add, columns, y}, rows);
}

void ColumnDots(Precision precision, RowsIn x, RowsIn y, int64_t rows, int64_t columns, float* out) {
  RunColumnDot(precision, ColumnDotArgs{x, y, rows, columns, out}, (columns + kDotColumns - 1) / kDotColumns);
}

void SwiGluRows(Precision precision, RowsIn gate_up, int64_t rows, int64_t width, RowsOut y) {
  RunSwiGlu(precision, SwiGluArgs{gate_up, width, y, {}, {}}, rows);
}

void SwiGluRowsBackward(Precision precision, RowsIn dy, RowsIn gate_up, int64_t rows, int64_t width, RowsOut d_gate_up,
                        RowsOut y) {
  RunSwiGluBackward(precision, SwiGluArgs{gate_up, width, y, dy, d_gate_up}, rows);
}

void TargetLogProbRows(Precision precision, const float* logits, int64_t stride, int64_t rows, int64_t columns,
                       const int32_t* targets, float* log_prob, RowsOut d_logits) {
  RunLogProb(precision, LogProbArgs{logits, stride, columns, targets, log_prob, d_logits}, rows);
}

}  // namespace lorry
