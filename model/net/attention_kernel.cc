#include "model/net/attention_kernel.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "model/net/gemm.h"
#include "model/net/gemm_block.h"
#include "model/net/vector_build.h"

namespace lorry {
namespace {

// Memory that a task uses, kept from one to the next; what is taken is zeroed.
class TaskMemory {
 public:
  std::byte* Take(size_t slot, int64_t bytes) {
    std::vector<std::byte>& buffer = buffers_[slot];
    buffer.assign(static_cast<size_t>(bytes) + 64, std::byte{0});
    auto address = reinterpret_cast<uintptr_t>(buffer.data());
    return buffer.data() + (64 - address % 64) % 64;
  }

 private:
  std::array<std::vector<std::byte>, 12> buffers_;
};

struct SoftmaxRow {
  const float* scores;       // by key
  int64_t first, last;       // keys that the query sees
  int64_t pad_from, pad_to;  // zeros are written in [pad_from, first) and [last, pad_to)
  float scale;
};

// Writes exp((s - max) * scale) unnormalized; gives 1 / sum and the logarithm of the sum of exp(s * scale).
template <class T>
static LORRY_INLINE void SoftmaxBody(const SoftmaxRow& row, T* p, float* inverse_sum, float* log_sum_exp) {
  float lanes[kLanes];
  const float* s = row.scores;
  for (int l = 0; l < kLanes; ++l) lanes[l] = s[row.first];
  int64_t j = row.first;
  for (; j + kLanes <= row.last; j += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] = s[j + l] > lanes[l] ? s[j + l] : lanes[l];
  float max = lanes[0];
  for (int l = 1; l < kLanes; ++l) max = lanes[l] > max ? lanes[l] : max;
  for (; j < row.last; ++j) max = s[j] > max ? s[j] : max;

  for (int64_t k = row.pad_from; k < row.first; ++k) Store(p + k, 0.0f);
  for (int l = 0; l < kLanes; ++l) lanes[l] = 0.0f;
  for (j = row.first; j + kLanes <= row.last; j += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float e = VectorExp((s[j + l] - max) * row.scale);
      lanes[l] += e;
      Store(p + j + l, e);
    }
  }
  for (int l = 0; j < row.last; ++j, ++l) {
    const float e = VectorExp((s[j] - max) * row.scale);
    lanes[l] += e;
    Store(p + j, e);
  }
  for (int64_t k = row.last; k < row.pad_to; ++k) Store(p + k, 0.0f);
  float sum = 0.0f;
  for (int l = 0; l < kLanes; ++l) sum += lanes[l];
  *inverse_sum = 1.0f / sum;
  *log_sum_exp = max * row.scale + std::log(sum);
}
LORRY_VECTOR_KERNEL(SoftmaxFp32, SoftmaxBody<float>, (const SoftmaxRow& row, float* p, float* inverse_sum, float* log_sum_exp),
                    (row, p, inverse_sum, log_sum_exp))
LORRY_VECTOR_KERNEL(SoftmaxBf16, SoftmaxBody<Bf16>, (const SoftmaxRow& row, Bf16* p, float* inverse_sum, float* log_sum_exp),
                    (row, p, inverse_sum, log_sum_exp))

template <class T>
static LORRY_INLINE void ScaleRowBody(const float* x, int64_t n, float scale, T* y) {
  for (int64_t j = 0; j < n; ++j) Store(y + j, x[j] * scale);
}
LORRY_VECTOR_KERNEL(ScaleRowFp32, ScaleRowBody<float>, (const float* x, int64_t n, float scale, float* y), (x, n, scale, y))
LORRY_VECTOR_KERNEL(ScaleRowBf16, ScaleRowBody<Bf16>, (const float* x, int64_t n, float scale, Bf16* y), (x, n, scale, y))

void ScaleRow(Precision precision, const float* x, int64_t n, float scale, std::byte* y) {
  if (precision == Precision::kBf16) return ScaleRowBf16(x, n, scale, reinterpret_cast<Bf16*>(y));
  ScaleRowFp32(x, n, scale, reinterpret_cast<float*>(y));
}

// One key head of one span.
struct Task {
  const AttentionShape& shape;
  const AttentionSpan& span;
  int64_t kv_head;
  TaskMemory& memory;

  int64_t bytes = ElementBytes(shape.precision);
  int64_t d = shape.head_dim;
  int64_t d_inner = RoundUp(d, InnerMultiple(shape.precision));  // as inner size of a product
  int64_t d_panels = (d + kPanel - 1) / kPanel;
  int64_t keys_padded = RoundUp(span.keys, kPanel);
  int64_t group = shape.heads / shape.kv_heads;
  BlockProduct product = BlockProductFor(shape.precision);

  const std::byte* Row(const HeadRows& rows, int64_t row, int64_t head) const {
    return rows.start + (row * rows.row_stride + head * rows.head_stride) * bytes;
  }
  std::byte* MutableRow(const HeadRows& rows, int64_t row, int64_t head) const {
    return rows.start + (row * rows.row_stride + head * rows.head_stride) * bytes;
  }
  int64_t Position(int64_t query) const { return span.keys - span.queries + query; }
  int64_t FirstKey(int64_t query) const {
    return shape.window > 0 ? std::max<int64_t>(0, Position(query) - shape.window + 1) : 0;
  }
  // Rows of `head` copied next to each other, [rows_padded][d_inner], zeros around.
  void CopyRows(const HeadRows& from, int64_t head, int64_t first, int64_t rows, std::byte* to) const {
    for (int64_t r = 0; r < rows; ++r) {
      std::memcpy(to + r * d_inner * bytes, Row(from, first + r, head), static_cast<size_t>(d * bytes));
    }
  }
};

struct ForwardBuffers {
  std::byte *keys, *values, *queries, *weights;
  float* scores;
};

ForwardBuffers PackForward(const Task& t) {
  ForwardBuffers b;
  const int64_t panel_row = kPanel * t.bytes;
  b.keys = t.memory.Take(0, t.keys_padded * t.d_inner * t.bytes);
  b.values = t.memory.Take(1, t.d_panels * t.keys_padded * panel_row);
  b.queries = t.memory.Take(2, kPanel * t.d_inner * t.bytes);
  b.weights = t.memory.Take(3, kPanel * t.keys_padded * t.bytes);
  b.scores = reinterpret_cast<float*>(t.memory.Take(4, kPanel * t.keys_padded * 4));
  for (int64_t key = 0; key < t.span.keys; key += kPanel) {
    PackRowsTransposed(t.shape.precision, t.Row(t.span.k, key, t.kv_head), t.span.k.row_stride, t.d,
                       std::min(kPanel, t.span.keys - key), t.d_inner, b.keys + key * t.d_inner * t.bytes);
  }
  for (int64_t p = 0; p < t.d_panels; ++p) {
    PackRows(t.shape.precision, t.Row(t.span.v, 0, t.kv_head) + p * panel_row, t.span.v.row_stride, t.span.keys,
             std::min(kPanel, t.d - p * kPanel), t.keys_padded, b.values + p * t.keys_padded * panel_row);
  }
  return b;
}

// 32 queries of one head.
void ForwardBlock(const Task& t, const ForwardBuffers& b, int64_t head, int64_t first, int64_t rows) {
  const Precision precision = t.shape.precision;
  const int64_t tile_rows = precision == Precision::kBf16 ? RoundUp(rows, 16) : rows;
  const int64_t from = t.FirstKey(first) / kPanel * kPanel;
  const int64_t to = RoundUp(t.Position(first + rows - 1) + 1, kPanel);
  t.CopyRows(t.span.q, head, first, rows, b.queries);
  for (int64_t key = from; key < to; key += kPanel) {
    t.product(b.queries, t.d_inner, b.keys + key * t.d_inner * t.bytes, t.d_inner, b.scores + key, t.keys_padded, tile_rows,
              false);
  }
  std::array<float, kPanel> inverse_sum;
  for (int64_t r = 0; r < rows; ++r) {
    const SoftmaxRow row{b.scores + r * t.keys_padded, t.FirstKey(first + r), t.Position(first + r) + 1, from, to, t.shape.scale};
    std::byte* weights = b.weights + r * t.keys_padded * t.bytes;
    float log_sum_exp;
    if (precision == Precision::kBf16) {
      SoftmaxBf16(row, reinterpret_cast<Bf16*>(weights), &inverse_sum[static_cast<size_t>(r)], &log_sum_exp);
    } else {
      SoftmaxFp32(row, reinterpret_cast<float*>(weights), &inverse_sum[static_cast<size_t>(r)], &log_sum_exp);
    }
    if (t.span.log_sum_exp != nullptr) t.span.log_sum_exp[(first + r) * t.shape.heads + head] = log_sum_exp;
  }
  alignas(64) std::array<float, kPanel * kPanel> sums;
  for (int64_t p = 0; p < t.d_panels; ++p) {
    const std::byte* values = b.values + (p * t.keys_padded + from) * kPanel * t.bytes;
    t.product(b.weights + from * t.bytes, t.keys_padded, values, to - from, sums.data(), kPanel, tile_rows, false);
    for (int64_t r = 0; r < rows; ++r) {
      ScaleRow(precision, sums.data() + r * kPanel, std::min(kPanel, t.d - p * kPanel), inverse_sum[static_cast<size_t>(r)],
               t.MutableRow(t.span.out, first + r, head) + p * kPanel * t.bytes);
    }
  }
}

void ForwardTask(const Task& t) {
  if (t.span.queries == 0) return;
  const ForwardBuffers buffers = PackForward(t);
  for (int64_t head = t.kv_head * t.group; head < (t.kv_head + 1) * t.group; ++head)
    for (int64_t first = 0; first < t.span.queries; first += kPanel) {
      ForwardBlock(t, buffers, head, first, std::min(kPanel, t.span.queries - first));
    }
}

template <class T>
static LORRY_INLINE float DotBody(const T* a, const T* b, int64_t n) {
  float lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] += ToFloat(a[j + l]) * ToFloat(b[j + l]);
  for (int l = 0; j < n; ++j, ++l) lanes[l] += ToFloat(a[j]) * ToFloat(b[j]);
  float sum = 0.0f;
  for (int l = 0; l < kLanes; ++l) sum += lanes[l];
  return sum;
}

struct DecodeRow {
  const std::byte *q, *k, *v;
  int64_t k_stride, v_stride;  // elements
  int64_t first, last, d;
  float scale;
  float *scores, *sums;  // [last], [d]
};

// The same arithmetic as a block of one query, key by key.
template <class T>
static LORRY_INLINE void DecodeBody(const DecodeRow& row, float* log_sum_exp, T* out) {
  const T* q = reinterpret_cast<const T*>(row.q);
  const T* k = reinterpret_cast<const T*>(row.k);
  const T* v = reinterpret_cast<const T*>(row.v);
  for (int64_t j = row.first; j < row.last; ++j) row.scores[j] = DotBody(q, k + j * row.k_stride, row.d);
  float inverse_sum;
  SoftmaxBody(SoftmaxRow{row.scores, row.first, row.last, row.first, row.last, row.scale}, row.scores, &inverse_sum, log_sum_exp);
  for (int64_t i = 0; i < row.d; ++i) row.sums[i] = 0.0f;
  for (int64_t j = row.first; j < row.last; ++j) {
    const float weight = row.scores[j];
    const T* value = v + j * row.v_stride;
    for (int64_t i = 0; i < row.d; ++i) row.sums[i] += weight * ToFloat(value[i]);
  }
  for (int64_t i = 0; i < row.d; ++i) Store(out + i, row.sums[i] * inverse_sum);
}
LORRY_VECTOR_KERNEL(DecodeFp32, DecodeBody<float>, (const DecodeRow& row, float* log_sum_exp, float* out),
                    (row, log_sum_exp, out))
LORRY_VECTOR_KERNEL(DecodeBf16, DecodeBody<Bf16>, (const DecodeRow& row, float* log_sum_exp, Bf16* out), (row, log_sum_exp, out))

void DecodeTask(const Task& t) {
  auto* scores = reinterpret_cast<float*>(t.memory.Take(0, t.span.keys * 4));
  auto* sums = reinterpret_cast<float*>(t.memory.Take(1, t.d * 4));
  for (int64_t head = t.kv_head * t.group; head < (t.kv_head + 1) * t.group; ++head) {
    const DecodeRow row{t.Row(t.span.q, 0, head),
                        t.Row(t.span.k, 0, t.kv_head),
                        t.Row(t.span.v, 0, t.kv_head),
                        t.span.k.row_stride,
                        t.span.v.row_stride,
                        t.FirstKey(0),
                        t.span.keys,
                        t.d,
                        t.shape.scale,
                        scores,
                        sums};
    std::byte* out = t.MutableRow(t.span.out, 0, head);
    float log_sum_exp;
    if (t.shape.precision == Precision::kBf16) {
      DecodeBf16(row, &log_sum_exp, reinterpret_cast<Bf16*>(out));
    } else {
      DecodeFp32(row, &log_sum_exp, reinterpret_cast<float*>(out));
    }
    if (t.span.log_sum_exp != nullptr) t.span.log_sum_exp[head] = log_sum_exp;
  }
}

template <class RunTask>
void ForEachTask(const AttentionShape& shape, std::span<const AttentionSpan> spans, RunTask run) {
  const auto tasks = static_cast<int64_t>(spans.size()) * shape.kv_heads;
  const bool split = omp_get_max_threads() > 1 && tasks > 1 && !omp_in_parallel();
#pragma omp parallel if (split)
  {
    const TileScope tiles;
    TaskMemory memory;
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < tasks; ++i) {
      run(Task{shape, spans[static_cast<size_t>(i / shape.kv_heads)], i % shape.kv_heads, memory});
    }
  }
}

}  // namespace

void AttentionForward(const AttentionShape& shape, std::span<const AttentionSpan> spans) {
  ForEachTask(shape, spans, [](const Task& task) { ForwardTask(task); });
}

void AttentionDecode(const AttentionShape& shape, std::span<const AttentionSpan> spans) {
  ForEachTask(shape, spans, [](const Task& task) { DecodeTask(task); });
}

namespace {

constexpr int64_t kBlock = kPanel * kPanel;

// 32 queries (columns) by 32 keys (rows).
struct GradientBlock {
  const float* scores;     // [key][query]
  const float* d_weights;  // [key][query]
  const float* log_sum_exp;
  const float* delta;  // by query: sum over d of d_out * out
  int64_t first_key, first_position, queries, window, keys;
  float scale;
};

// weights and d_scores row-major by key, and d_scores packed as right-hand panel with keys as inner size.
template <class T>
static LORRY_INLINE void GradientBody(const GradientBlock& b, T* weights, T* d_scores, T* packed) {
  for (int64_t r = 0; r < kPanel; ++r) {
    const int64_t key = b.first_key + r;
    // Query column c stands at first_position + c and sees keys (position - window, position].
    const int64_t from = key - b.first_position;
    const int64_t to = key >= b.keys ? 0 : b.window > 0 ? std::min(b.queries, from + b.window) : b.queries;
    float w[kPanel], ds[kPanel];
    for (int64_t c = 0; c < kPanel; ++c) {
      const float e = VectorExp(b.scores[r * kPanel + c] * b.scale - b.log_sum_exp[c]);
      w[c] = c >= from && c < to ? e : 0.0f;
      ds[c] = w[c] * (b.d_weights[r * kPanel + c] - b.delta[c]) * b.scale;
    }
    for (int64_t c = 0; c < kPanel; ++c) {
      Store(weights + r * kPanel + c, w[c]);
      Store(d_scores + r * kPanel + c, ds[c]);
    }
    if constexpr (sizeof(T) == 4) {
      for (int64_t c = 0; c < kPanel; ++c) Store(packed + r * kPanel + c, ds[c]);
    } else {
      T* pair = packed + r / 2 * 2 * kPanel + r % 2;
      for (int64_t c = 0; c < kPanel; ++c) Store(pair + 2 * c, ds[c]);
    }
  }
}
LORRY_VECTOR_KERNEL(GradientFp32, GradientBody<float>, (const GradientBlock& b, float* weights, float* d_scores, float* packed),
                    (b, weights, d_scores, packed))
LORRY_VECTOR_KERNEL(GradientBf16, GradientBody<Bf16>, (const GradientBlock& b, Bf16* weights, Bf16* d_scores, Bf16* packed),
                    (b, weights, d_scores, packed))

template <class T>
static LORRY_INLINE void DotRowBody(const std::byte* a, const std::byte* b, int64_t n, float* out) {
  *out = DotBody(reinterpret_cast<const T*>(a), reinterpret_cast<const T*>(b), n);
}
LORRY_VECTOR_KERNEL(DotFp32, DotRowBody<float>, (const std::byte* a, const std::byte* b, int64_t n, float* out), (a, b, n, out))
LORRY_VECTOR_KERNEL(DotBf16, DotRowBody<Bf16>, (const std::byte* a, const std::byte* b, int64_t n, float* out), (a, b, n, out))

struct BackwardBuffers {
  std::byte *keys, *values, *keys_transposed;  // [L][d], [L][d], [d][L]
  std::byte *query_columns, *d_out_columns;    // right-hand panels with d as inner size
  std::byte *query_rows, *d_out_rows;          // right-hand panels with queries as inner size
  std::byte *weights, *d_scores, *packed;      // one block each
  float *dk, *dv;                              // [L][d_panels * 32]
};

BackwardBuffers PackBackward(const Task& t) {
  BackwardBuffers b;
  const int64_t block = kBlock * t.bytes;
  b.keys = t.memory.Take(0, t.keys_padded * t.d_inner * t.bytes);
  b.values = t.memory.Take(1, t.keys_padded * t.d_inner * t.bytes);
  b.keys_transposed = t.memory.Take(2, t.d_panels * kPanel * t.keys_padded * t.bytes);
  b.query_columns = t.memory.Take(3, 2 * kPanel * t.d_inner * t.bytes);
  b.d_out_columns = b.query_columns + kPanel * t.d_inner * t.bytes;
  b.query_rows = t.memory.Take(4, 2 * t.d_panels * block);
  b.d_out_rows = b.query_rows + t.d_panels * block;
  b.weights = t.memory.Take(5, 3 * block);
  b.d_scores = b.weights + block;
  b.packed = b.d_scores + block;
  b.dk = reinterpret_cast<float*>(t.memory.Take(6, 2 * t.keys_padded * t.d_panels * kPanel * 4));
  b.dv = b.dk + t.keys_padded * t.d_panels * kPanel;
  t.CopyRows(t.span.k, t.kv_head, 0, t.span.keys, b.keys);
  t.CopyRows(t.span.v, t.kv_head, 0, t.span.keys, b.values);
  for (int64_t key = 0; key < t.span.keys; ++key)
    for (int64_t i = 0; i < t.d; ++i) {
      std::memcpy(b.keys_transposed + (i * t.keys_padded + key) * t.bytes, b.keys + (key * t.d_inner + i) * t.bytes,
                  static_cast<size_t>(t.bytes));
    }
  return b;
}

// What a block of queries brings along.
struct QueryBlock {
  int64_t head, first, rows;
  std::array<float, kPanel> log_sum_exp{}, delta{};
};

QueryBlock PackQueries(const Task& t, const BackwardBuffers& b, int64_t head, int64_t first, int64_t rows) {
  QueryBlock q{head, first, rows};
  const Precision precision = t.shape.precision;
  for (int64_t r = 0; r < rows; ++r) {
    const auto i = static_cast<size_t>(r);
    q.log_sum_exp[i] = t.span.log_sum_exp[(first + r) * t.shape.heads + head];
    (precision == Precision::kBf16 ? DotBf16 : DotFp32)(t.Row(t.span.d_out, first + r, head), t.Row(t.span.out, first + r, head),
                                                        t.d, &q.delta[i]);
  }
  const std::byte* queries = t.Row(t.span.q, first, head);
  const std::byte* d_out = t.Row(t.span.d_out, first, head);
  PackRowsTransposed(precision, queries, t.span.q.row_stride, t.d, rows, t.d_inner, b.query_columns);
  PackRowsTransposed(precision, d_out, t.span.d_out.row_stride, t.d, rows, t.d_inner, b.d_out_columns);
  for (int64_t p = 0; p < t.d_panels; ++p) {
    const int64_t columns = std::min(kPanel, t.d - p * kPanel), offset = p * kPanel * t.bytes;
    PackRows(precision, queries + offset, t.span.q.row_stride, rows, columns, kPanel, b.query_rows + p * kBlock * t.bytes);
    PackRows(precision, d_out + offset, t.span.d_out.row_stride, rows, columns, kPanel, b.d_out_rows + p * kBlock * t.bytes);
  }
  return q;
}

// Adds to dk and dv of 32 keys and to the 32 queries' gradient dq [d][query].
void BackwardBlock(const Task& t, const BackwardBuffers& b, const QueryBlock& q, int64_t key, float* dq) {
  alignas(64) std::array<float, kBlock> scores, d_weights;
  const int64_t row = key * t.d_inner * t.bytes;
  t.product(b.keys + row, t.d_inner, b.query_columns, t.d_inner, scores.data(), kPanel, kPanel, false);
  t.product(b.values + row, t.d_inner, b.d_out_columns, t.d_inner, d_weights.data(), kPanel, kPanel, false);
  const GradientBlock block{scores.data(),       d_weights.data(), q.log_sum_exp.data(), q.delta.data(), key,
                            t.Position(q.first), q.rows,           t.shape.window,       t.span.keys,    t.shape.scale};
  if (t.shape.precision == Precision::kBf16) {
    GradientBf16(block, reinterpret_cast<Bf16*>(b.weights), reinterpret_cast<Bf16*>(b.d_scores),
                 reinterpret_cast<Bf16*>(b.packed));
  } else {
    GradientFp32(block, reinterpret_cast<float*>(b.weights), reinterpret_cast<float*>(b.d_scores),
                 reinterpret_cast<float*>(b.packed));
  }
  const int64_t width = t.d_panels * kPanel;
  for (int64_t p = 0; p < t.d_panels; ++p) {
    const int64_t at = key * width + p * kPanel, panel = p * kBlock * t.bytes;
    t.product(b.weights, kPanel, b.d_out_rows + panel, kPanel, b.dv + at, width, kPanel, true);
    t.product(b.d_scores, kPanel, b.query_rows + panel, kPanel, b.dk + at, width, kPanel, true);
    t.product(b.keys_transposed + (p * kPanel * t.keys_padded + key) * t.bytes, t.keys_padded, b.packed, kPanel, dq + p * kBlock,
              kPanel, kPanel, true);
  }
}

void BackwardQueries(const Task& t, const BackwardBuffers& b, int64_t head, int64_t first, int64_t rows) {
  const QueryBlock queries = PackQueries(t, b, head, first, rows);
  auto* dq = reinterpret_cast<float*>(t.memory.Take(7, t.d_panels * kBlock * 4));
  const int64_t from = t.FirstKey(first) / kPanel * kPanel;
  for (int64_t key = from; key <= t.Position(first + rows - 1); key += kPanel) BackwardBlock(t, b, queries, key, dq);
  std::array<float, kPanel> row;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t p = 0; p < t.d_panels; ++p) {
      const int64_t columns = std::min(kPanel, t.d - p * kPanel);
      for (int64_t i = 0; i < columns; ++i) row[static_cast<size_t>(i)] = dq[(p * kPanel + i) * kPanel + r];
      ScaleRow(t.shape.precision, row.data(), columns, 1.0f, t.MutableRow(t.span.dq, first + r, head) + p * kPanel * t.bytes);
    }
  }
}

void BackwardTask(const Task& t) {
  const BackwardBuffers b = PackBackward(t);
  for (int64_t head = t.kv_head * t.group; head < (t.kv_head + 1) * t.group; ++head)
    for (int64_t first = 0; first < t.span.queries; first += kPanel) {
      BackwardQueries(t, b, head, first, std::min(kPanel, t.span.queries - first));
    }
  const int64_t width = t.d_panels * kPanel;
  for (int64_t key = 0; key < t.span.keys; ++key) {
    ScaleRow(t.shape.precision, b.dk + key * width, t.d, 1.0f, t.MutableRow(t.span.dk, key, t.kv_head));
    ScaleRow(t.shape.precision, b.dv + key * width, t.d, 1.0f, t.MutableRow(t.span.dv, key, t.kv_head));
  }
}

}  // namespace

void AttentionBackward(const AttentionShape& shape, std::span<const AttentionSpan> spans) {
  ForEachTask(shape, spans, [](const Task& task) { BackwardTask(task); });
}

}  // namespace lorry
