// Packed products against three nested loops in double, on shapes that are multiples of nothing; and that a row's bits
// depend on the row alone.
#include "model/net/gemm.h"

#include <omp.h>

#include <algorithm>
#include <array>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <vector>

#include "model/net/gemm_block.h"
#include "model/net/vector_build.h"

namespace lorry {
namespace {

template <class T>
constexpr Precision kPrecisionOf = sizeof(T) == 2 ? Precision::kBf16 : Precision::kFp32;

template <class T>
std::vector<T> Numbers(int64_t n, uint32_t seed) {
  std::vector<T> values(static_cast<size_t>(n));
  for (T& value : values) {
    seed = seed * 1664525u + 1013904223u;
    Store(&value, static_cast<float>(seed >> 8) / 8388608.0f - 1.0f);
  }
  return values;
}

struct Shape {
  int64_t rows, k, n;
};
const std::vector<Shape> kShapes = {{1, 1, 1}, {1, 32, 32}, {5, 7, 9}, {16, 64, 33}, {17, 31, 64}, {33, 65, 70}, {290, 48, 35}};

template <class T>
double At(const std::vector<T>& values, int64_t index) {
  return ToFloat(values[static_cast<size_t>(index)]);
}

// x [rows, k] W^T for W [n, k], in double.
template <class T>
double Expected(const std::vector<T>& x, const std::vector<T>& w, int64_t k, int64_t row, int64_t column) {
  double sum = 0.0;
  for (int64_t i = 0; i < k; ++i) sum += At(x, row * k + i) * At(w, column * k + i);
  return sum;
}

// Sums of up to a few hundred products of numbers below 1, in fp32.
constexpr double kTolerance = 5e-5;

}  // namespace

TEMPLATE_TEST_CASE("a product is what three loops give, in both orders of the weight", "[gemm]", float, Bf16) {
  const Precision precision = kPrecisionOf<TestType>;
  for (const Shape& s : kShapes) {
    INFO(s.rows << " x " << s.k << " x " << s.n);
    const auto x = Numbers<TestType>(s.rows * s.k, 1), w = Numbers<TestType>(s.n * s.k, 2),
               dy = Numbers<TestType>(s.rows * s.n, 3);
    PackedMatrix forward(precision, s.k, s.n), backward(precision, s.n, s.k);
    forward.Pack(w.data(), 1, s.k);
    backward.Pack(w.data(), s.k, 1);
    std::vector<float> y(static_cast<size_t>(s.rows * s.n)), dx(static_cast<size_t>(s.rows * s.k));
    const GemmTerm to_y{x.data(), s.k, &forward}, to_dx{dy.data(), s.n, &backward};
    Gemm({&to_y, 1}, s.rows, {y.data(), s.n, true});
    Gemm({&to_dx, 1}, s.rows, {dx.data(), s.k, true});
    double worst = 0.0;
    for (int64_t r = 0; r < s.rows; ++r) {
      for (int64_t c = 0; c < s.n; ++c) worst = std::max(worst, std::abs(At(y, r * s.n + c) - Expected(x, w, s.k, r, c)));
      for (int64_t i = 0; i < s.k; ++i) {
        double sum = 0.0;
        for (int64_t c = 0; c < s.n; ++c) sum += At(dy, r * s.n + c) * At(w, c * s.k + i);
        worst = std::max(worst, std::abs(At(dx, r * s.k + i) - sum));
      }
    }
    CHECK(worst < kTolerance);
  }
}

TEMPLATE_TEST_CASE("terms, bias, residual and accumulation add up", "[gemm]", float, Bf16) {
  const Precision precision = kPrecisionOf<TestType>;
  const int64_t rows = 37, k = 40, r = 32, n = 45;
  const auto x = Numbers<TestType>(rows * k, 1), w = Numbers<TestType>(n * k, 2), u = Numbers<TestType>(rows * r, 3),
             b = Numbers<TestType>(n * r, 4);
  const auto bias = Numbers<float>(n, 5), residual = Numbers<float>(rows * n, 6);
  PackedMatrix pw(precision, k, n), pb(precision, r, n);
  pw.Pack(w.data(), 1, k);
  pb.Pack(b.data(), 1, r);
  const std::array<GemmTerm, 2> terms{GemmTerm{x.data(), k, &pw}, GemmTerm{u.data(), r, &pb}};
  std::vector<float> y = residual;
  Gemm(terms, rows, {y.data(), n, true, false, bias.data(), y.data(), n});
  Gemm({terms.data(), 1}, rows, {y.data(), n, true, true});
  double worst = 0.0;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t c = 0; c < n; ++c) {
      const double expected = 2 * Expected(x, w, k, i, c) + Expected(u, b, r, i, c) + At(bias, c) + At(residual, i * n + c);
      worst = std::max(worst, std::abs(At(y, i * n + c) - expected));
    }
  CHECK(worst < kTolerance);
}

TEMPLATE_TEST_CASE("a row's bits depend neither on other rows nor on threads", "[gemm]", float, Bf16) {
  const Precision precision = kPrecisionOf<TestType>;
  const int64_t rows = 1100, k = 96, n = 70;
  const auto x = Numbers<TestType>(rows * k, 1), w = Numbers<TestType>(n * k, 2);
  PackedMatrix packed(precision, k, n);
  packed.Pack(w.data(), 1, k);
  std::vector<float> all(static_cast<size_t>(rows * n));
  const GemmTerm term{x.data(), k, &packed};
  omp_set_num_threads(2);
  Gemm({&term, 1}, rows, {all.data(), n, true});
  omp_set_num_threads(1);
  for (const int64_t count : {1, 2, 15, 16, 17, 31, 33, 64, 100, 1000}) {
    const int64_t first = rows - count - 3 > 0 ? 3 : 0;
    std::vector<float> some(static_cast<size_t>(count * n));
    const GemmTerm part{x.data() + first * k, k, &packed};
    Gemm({&part, 1}, count, {some.data(), n, true});
    INFO(count << " rows");
    CHECK(std::memcmp(some.data(), all.data() + first * n, some.size() * 4) == 0);
  }
}

TEST_CASE("a product whose panel alone overflows the cache has the bits of its rows alone", "[gemm]") {
  const int64_t rows = 390, k = 9000, r = 16, n = 1573;
  const auto x = Numbers<float>(rows * k, 1), w = Numbers<float>(n * k, 2), u = Numbers<float>(rows * r, 3),
             b = Numbers<float>(n * r, 4), residual = Numbers<float>(rows * n, 5);
  PackedMatrix pw(Precision::kFp32, k, n), pb(Precision::kFp32, r, n);
  pw.Pack(w.data(), 1, k);
  pb.Pack(b.data(), 1, r);
  const auto product = [&](int64_t first, int64_t count) {
    const std::array<GemmTerm, 2> terms{GemmTerm{x.data() + first * k, k, &pw}, GemmTerm{u.data() + first * r, r, &pb}};
    std::vector<float> y(static_cast<size_t>(count * n));
    GemmResult result{y.data(), n, true};
    result.residual = residual.data() + first * n;
    result.residual_stride = n;
    Gemm(terms, count, result);
    return y;
  };
  const int threads = GENERATE(1, 2);
  omp_set_num_threads(threads);
  const std::vector<float> all = product(0, rows);
  omp_set_num_threads(1);
  for (const int64_t row : {int64_t{0}, int64_t{34}, int64_t{195}, rows - 1}) {
    INFO("row " << row << ", " << threads << " threads");
    CHECK(std::memcmp(product(row, 1).data(), all.data() + row * n, static_cast<size_t>(n) * 4) == 0);
  }
  const double expected = Expected(x, w, k, 5, 7) + Expected(u, b, r, 5, 7) + At(residual, 5 * n + 7);
  CHECK(std::abs(At(all, 5 * n + 7) - expected) < 1e-3);
}

TEST_CASE("fp32 rounding errors are those of short sums", "[gemm]") {
  const int64_t rows = 64, k = 1536, n = 64;
  const auto x = Numbers<float>(rows * k, 1), w = Numbers<float>(n * k, 2);
  PackedMatrix packed(Precision::kFp32, k, n);
  packed.Pack(w.data(), 1, k);
  std::vector<float> y(static_cast<size_t>(rows * n));
  const GemmTerm term{x.data(), k, &packed};
  Gemm({&term, 1}, rows, {y.data(), n, true});
  double ours = 0.0, in_one_go = 0.0;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < n; ++c) {
      const double expected = Expected(x, w, k, r, c);
      float sum = 0.0f;
      for (int64_t i = 0; i < k; ++i) sum = std::fma(x[static_cast<size_t>(r * k + i)], w[static_cast<size_t>(c * k + i)], sum);
      ours += std::pow(At(y, r * n + c) - expected, 2);
      in_one_go += std::pow(sum - expected, 2);
    }
  }
  INFO("root mean squares " << std::sqrt(ours / (rows * n)) << ", in one go " << std::sqrt(in_one_go / (rows * n)));
  CHECK(std::sqrt(ours) < 0.5 * std::sqrt(in_one_go));
}

TEMPLATE_TEST_CASE("x^T y over many rows, either way round", "[gemm]", float, Bf16) {
  const Precision precision = kPrecisionOf<TestType>;
  for (const Shape& s : std::vector<Shape>{{1, 3, 5}, {31, 16, 40}, {300, 20, 33}, {257, 96, 31}}) {
    const int64_t m = s.k;
    const auto x = Numbers<TestType>(s.rows * m, 1), y = Numbers<TestType>(s.rows * s.n, 2);
    std::vector<float> out(static_cast<size_t>(m * s.n)), turned(out.size());
    GemmTransposed({precision, x.data(), m, m, y.data(), s.n, s.n, s.rows, 2.0f, out.data(), s.n, false});
    GemmTransposed({precision, x.data(), m, m, y.data(), s.n, s.n, s.rows, 2.0f, turned.data(), m, true});
    double worst = 0.0;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < s.n; ++j) {
        double sum = 0.0;
        for (int64_t r = 0; r < s.rows; ++r) sum += 2.0 * At(x, r * m + i) * At(y, r * s.n + j);
        worst = std::max({worst, std::abs(At(out, i * s.n + j) - sum), std::abs(At(turned, j * m + i) - sum)});
      }
    CHECK(worst < 2 * kTolerance);
  }
}

TEST_CASE("each build of the bf16 block agrees with the plain one", "[gemm]") {
  const int64_t k = 96;
  const auto x = Numbers<Bf16>(32 * k, 1), w = Numbers<Bf16>(32 * k, 2);
  PackedMatrix packed(Precision::kBf16, k, 32);
  packed.Pack(w.data(), 1, k);
  std::vector<float> plain(32 * 32, 0.5f);
  BlockProductBf16Plain(x.data(), k, packed.panel(0), k, plain.data(), 32, 32, true);
  const auto check = [&](BlockProduct product) {
    for (const int64_t rows : {16, 32}) {
      std::vector<float> c(32 * 32, 0.5f);
      const TileScope tiles;
      product(x.data(), k, packed.panel(0), k, c.data(), 32, rows, true);
      for (int64_t i = 0; i < rows * 32; ++i) {
        CHECK(c[static_cast<size_t>(i)] == Approx(plain[static_cast<size_t>(i)]).margin(kTolerance));
      }
    }
  };
  if (CpuHasAmx()) check(BlockProductAmx);
  if (__builtin_cpu_supports("avx512bf16")) check(BlockProductAvx512Bf16);
}

TEST_CASE("a part of a packed matrix can be filled by itself, from fp32 with a factor", "[gemm]") {
  const int64_t k = 10, n = 40, k_offset = 3, n_offset = GENERATE(0, 16, 21, 32);
  const bool by_rows = GENERATE(true, false);
  const auto w = Numbers<float>(k * n, 1);
  const int64_t row_stride = by_rows ? n : 1, column_stride = by_rows ? 1 : k;
  PackedMatrix packed(Precision::kFp32, k_offset + k, n_offset + n + 5);
  packed.PackFloats(w.data(), {k_offset, n_offset, k, n, row_stride, column_stride}, 3.0f);
  std::vector<float> x(static_cast<size_t>(packed.k()), 1.0f), y(static_cast<size_t>(packed.n()), -1.0f);
  const GemmTerm term{x.data(), packed.k(), &packed};
  Gemm({&term, 1}, 1, {y.data(), packed.n(), true});
  INFO("at column " << n_offset << (by_rows ? ", by rows" : ", by columns"));
  for (int64_t column = 0; column < packed.n(); ++column) {
    const int64_t inside = column - n_offset;
    double sum = 0.0;
    for (int64_t i = 0; i < k && inside >= 0 && inside < n; ++i) sum += 3.0 * At(w, i * row_stride + inside * column_stride);
    CHECK(At(y, column) == Approx(sum).margin(kTolerance));
  }
}

}  // namespace lorry
