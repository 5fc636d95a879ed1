// Norm, rotary positions, SwiGLU, attention and the head: each fast path against its plain form in double.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <array>
#include <catch2/catch.hpp>
#include <cmath>

#include "base/random.h"
#include "model/net/attention.h"
#include "model/net/dropout.h"
#include "model/net/norm.h"
#include "model/net/output_head.h"
#include "model/net/packed_batch.h"
#include "model/net/rope.h"
#include "model/net/swiglu.h"
#include "model/net/tensor_rows.h"

namespace lorry {
namespace {

at::Tensor Draw(at::IntArrayRef shape, at::ScalarType dtype) {
  static at::Generator generator = at::detail::createCPUGenerator(17);
  return at::randn(shape, generator, at::kFloat).to(dtype);
}

// L2 of the difference over L2.
double Distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  return (x - y).norm().item<double>() / (y.norm().item<double>() + 1e-30);
}

// One rounding to bf16 is at most 2^-9 of a number; a chain of two or three of them is below 1e-2. fp32: sums of up to 4,200.
double Tolerance(at::ScalarType dtype) { return dtype == at::kBFloat16 ? 1e-2 : 3e-6; }

const std::vector<at::ScalarType> kDtypes = {at::kFloat, at::kBFloat16};

struct AttentionCase {
  int64_t heads, kv_heads, d, window;
  std::vector<int32_t> starts;
};
const std::vector<AttentionCase> kAttention = {
    {1, 1, 8, 0, {0, 1}},       {4, 2, 10, 0, {0, 1, 34, 39}},  {9, 3, 64, 0, {0, 33, 97, 230}},
    {6, 1, 18, 0, {0, 70, 75}}, {3, 3, 40, 7, {0, 5, 64, 101}}, {2, 1, 34, 33, {0, 120}},
};

}  // namespace

TEST_CASE("RMSNorm and its gradient", "[kernels]") {
  for (const at::ScalarType dtype : kDtypes) {
    for (const int64_t width : {3, 16, 36, 577}) {
      const at::Tensor x = Draw({5, width}, dtype), dy = Draw({5, width}, dtype), passing = Draw({5, width}, dtype),
                       w = Draw({width}, at::kFloat);
      const at::Tensor wide_x = x.to(at::kDouble).requires_grad_(true);
      const at::Tensor y = wide_x * at::rsqrt(wide_x.square().mean(-1, true) + 1e-5) * w.to(at::kDouble);
      y.backward(dy.to(at::kDouble));
      CHECK(Distance(RmsNorm(x, w, 1e-5), y.detach()) < Tolerance(dtype));
      CHECK(Distance(RmsNormPlain(x, w, 1e-5), y.detach()) < Tolerance(dtype));
      CHECK(Distance(RmsNormBackward(dy, x, w, 1e-5), wide_x.grad()) < Tolerance(dtype));
      CHECK(Distance(RmsNormBackwardPlain(dy, x, w, 1e-5), wide_x.grad()) < Tolerance(dtype));
      CHECK(Distance(RmsNormBackward(dy, x, w, 1e-5, passing), wide_x.grad() + passing.to(at::kDouble)) < Tolerance(dtype));
    }
  }
}

TEST_CASE("SwiGLU and its gradient", "[kernels]") {
  for (const at::ScalarType dtype : kDtypes) {
    for (const int64_t width : {1, 17, 50}) {
      const at::Tensor gate_up = Draw({6, 2 * width}, dtype), dy = Draw({6, width}, dtype);
      const at::Tensor wide = gate_up.to(at::kDouble).requires_grad_(true);
      const auto halves = wide.chunk(2, -1);
      const at::Tensor y = at::silu(halves[0]) * halves[1];
      y.backward(dy.to(at::kDouble));
      CHECK(Distance(SwiGlu(gate_up), y.detach()) < Tolerance(dtype));
      for (const SwiGluGradients& found : {SwiGluBackward(dy, gate_up), SwiGluBackwardPlain(dy, gate_up)}) {
        CHECK(Distance(found.d_gate_up, wide.grad()) < Tolerance(dtype));
        CHECK(Distance(found.y, y.detach()) < Tolerance(dtype));
      }
    }
  }
}

TEST_CASE("rotary positions turn pairs, and back", "[kernels]") {
  RopeConfig config;
  const RopeTables tables = MakeRopeTables(config, 10, 40);
  const at::Tensor positions = at::tensor({0, 3, 39, 1}, at::kInt);
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor all = Draw({4, 5 * 10 + 7}, dtype);
    at::Tensor turned = all.clone();
    const auto heads = [](const at::Tensor& x) { return x.narrow(1, 0, 50).view({4, 5, 10}); };
    ApplyRope(heads(turned), positions, tables.cos, tables.sin);
    const at::Tensor expected = ApplyRopePlain(heads(all).to(at::kDouble), positions, tables.cos, tables.sin);
    CHECK(Distance(heads(turned), expected) < Tolerance(dtype));
    CHECK(at::equal(turned.narrow(1, 50, 7), all.narrow(1, 50, 7)));
    ApplyRope(heads(turned), positions, tables.cos, tables.sin, RopeDirection::kBackward);
    CHECK(Distance(turned, all) < Tolerance(dtype));
  }
}

TEST_CASE("a longrope model has a second set of rows, for longer sequences", "[kernels]") {
  RopeConfig config;
  config.type = RopeType::kLongRope;
  config.original_max_position_embeddings = 16;
  config.short_factor = {1, 1, 1, 1, 1}, config.long_factor = {2, 2, 2, 2, 2};
  const RopeTables tables = MakeRopeTables(config, 10, 40);
  REQUIRE(tables.cos.size(0) == 80);
  CHECK(FirstRopeRow(config, 16, 40) == 0);
  CHECK(FirstRopeRow(config, 17, 40) == 40);
  CHECK(Distance(tables.sin[40 + 6], tables.sin[3]) < 1e-6);  // half as fast
}

TEST_CASE("columns scaled, and summed over rows", "[kernels]") {
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor x = Draw({131, 45}, dtype), y = Draw({131, 45}, dtype), add = Draw({131, 45}, dtype);
    const at::Tensor scale = Draw({45}, at::kFloat), shift = Draw({45}, at::kFloat), sums = at::empty({45}, at::kFloat);
    const at::Tensor scaled = at::empty_like(x), both = at::empty_like(x);
    const auto* s = scale.const_data_ptr<float>();
    ScaleRows(PrecisionOf(x), RowsOf(x), s, nullptr, {}, 131, 45, MutableRowsOf(scaled));
    ScaleRows(PrecisionOf(x), RowsOf(x), s, shift.const_data_ptr<float>(), RowsOf(add), 131, 45, MutableRowsOf(both));
    ColumnDots(PrecisionOf(x), RowsOf(x), RowsOf(y), 131, 45, sums.data_ptr<float>());
    const at::Tensor wide = x.to(at::kDouble);
    CHECK(Distance(scaled, wide * scale) < Tolerance(dtype));
    CHECK(Distance(both, wide * scale + shift + add) < Tolerance(dtype));
    CHECK(Distance(sums, (wide * y).sum(0)) < 3e-6);
  }
}

TEST_CASE("dropout is Philox by row and column, the same mask each time", "[kernels]") {
  const DropoutMask mask = MakeDropoutMask(0.3, {7, 3, 2}, 5, 1);
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor x = Draw({9, 300}, dtype), add = Draw({9, 300}, dtype), y = at::empty_like(x), sum = at::empty_like(x);
    DropRows(PrecisionOf(x), RowsOf(x), mask, {}, 9, 300, MutableRowsOf(y));
    DropRows(PrecisionOf(x), RowsOf(x), mask, RowsOf(add), 9, 300, MutableRowsOf(sum));
    const at::Tensor kept = at::zeros({9, 300}, at::kDouble);
    constexpr uint32_t kThreshold = 19661;  // 0.3 * 65536
    for (uint32_t row = 0; row < 9; ++row) {
      for (uint32_t column = 0; column < 300; ++column) {
        const uint32_t element = column % 128 / 16, block = column / 128 * 16 + column % 16;
        const auto words = Philox4x32({block, row, mask.stream[0], mask.stream[1]}, mask.key);
        const uint32_t drawn = element % 2 == 0 ? words[element / 2] & 0xffffu : words[element / 2] >> 16;
        if (drawn >= kThreshold) kept[row][column] = 65536.0 / (65536.0 - kThreshold);
      }
    }
    CHECK(Distance(y, x.to(at::kDouble) * kept) < Tolerance(dtype));
    CHECK(Distance(sum, x.to(at::kDouble) * kept + add) < Tolerance(dtype));
  }
  const at::Tensor ones = at::ones({400, 512}, at::kFloat), y = at::empty_like(ones), other = at::empty_like(ones);
  DropRows(Precision::kFp32, RowsOf(ones), mask, {}, 400, 512, MutableRowsOf(y));
  CHECK(y.mean().item<double>() == Approx(1.0).margin(0.01));
  CHECK((y == 0).to(at::kFloat).mean().item<double>() == Approx(0.3).margin(0.01));
  for (const DropoutMask& another : {MakeDropoutMask(0.3, {7, 4, 2}, 5, 1), MakeDropoutMask(0.3, {7, 3, 1}, 5, 1),
                                     MakeDropoutMask(0.3, {7, 3, 2}, 4, 1), MakeDropoutMask(0.3, {7, 3, 2}, 5, 2)}) {
    DropRows(Precision::kFp32, RowsOf(ones), another, {}, 400, 512, MutableRowsOf(other));
    CHECK((y == other).to(at::kFloat).mean().item<double>() == Approx(0.58).margin(0.02));  // 0.7^2 + 0.3^2
  }
}

TEST_CASE("norms of heads, in place between their neighbours", "[kernels]") {
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor all = Draw({7, 3 * 18 + 5}, dtype), dy = Draw({7, 3, 18}, dtype), w = Draw({18}, at::kFloat);
    at::Tensor normed = all.clone(), dx = dy.clone();
    const auto heads = [](const at::Tensor& x) { return x.narrow(1, 0, 54).view({7, 3, 18}); };
    RmsNormHeads(heads(normed), w, 1e-6);
    CHECK(Distance(heads(normed), RmsNormPlain(heads(all).to(at::kDouble), w, 1e-6)) < Tolerance(dtype));
    CHECK(at::equal(normed.narrow(1, 54, 5), all.narrow(1, 54, 5)));
    RmsNormHeadsBackward(dx, heads(all), w, 1e-6);
    CHECK(Distance(dx, RmsNormBackwardPlain(dy.to(at::kDouble), heads(all).to(at::kDouble), w, 1e-6)) < Tolerance(dtype));
  }
}

TEST_CASE("attention and its gradient, over documents of odd lengths", "[kernels]") {
  for (const at::ScalarType dtype : kDtypes) {
    for (const AttentionCase& c : kAttention) {
      INFO(c.heads << " heads of " << c.d << ", window " << c.window);
      const int64_t rows = c.starts.back(), width = (c.heads + 2 * c.kv_heads) * c.d;
      const at::Tensor qkv = Draw({rows, width}, dtype), d_out = Draw({rows, c.heads, c.d}, dtype);
      const auto split = [&](const at::Tensor& x) {
        return std::array{x.narrow(1, 0, c.heads * c.d).view({rows, c.heads, c.d}),
                          x.narrow(1, c.heads * c.d, c.kv_heads * c.d).view({rows, c.kv_heads, c.d}),
                          x.narrow(1, (c.heads + c.kv_heads) * c.d, c.kv_heads * c.d).view({rows, c.kv_heads, c.d})};
      };
      const at::Tensor wide = qkv.to(at::kDouble).requires_grad_(true);
      const auto [wq, wk, wv] = split(wide);
      std::vector<at::Tensor> plain_out;
      for (const AttentionSegment& s : DocumentSegments(c.starts, wk, wv)) {
        const at::Tensor q = wq.narrow(0, s.query_start, s.queries).transpose(0, 1);
        const at::Tensor k = s.k_LHD.repeat_interleave(c.heads / c.kv_heads, 1).transpose(0, 1);
        const at::Tensor v = s.v_LHD.repeat_interleave(c.heads / c.kv_heads, 1).transpose(0, 1);
        const at::Tensor position = at::arange(s.queries), distance = position.unsqueeze(1) - position.unsqueeze(0);
        at::Tensor hidden = distance < 0;
        if (c.window > 0) hidden = hidden.logical_or(distance >= c.window);
        const at::Tensor scores =
            (at::matmul(q, k.transpose(1, 2)) / std::sqrt(static_cast<double>(c.d))).masked_fill(hidden, -INFINITY);
        plain_out.push_back(at::matmul(at::softmax(scores, -1), v).transpose(0, 1));
      }
      const at::Tensor expected = at::cat(plain_out);
      expected.backward(d_out.to(at::kDouble));

      const auto [q, k, v] = split(qkv);
      at::Tensor log_sum_exp;
      const at::Tensor out = CausalAttention(q, DocumentSegments(c.starts, k, v), c.window, &log_sum_exp);
      CHECK(Distance(out, expected.detach()) < Tolerance(dtype));
      CHECK(Distance(CausalAttentionPlain(q, DocumentSegments(c.starts, k, v), c.window), expected.detach()) < Tolerance(dtype));
      const AttentionGradientInputs in{d_out, q, k, v, out, log_sum_exp, c.starts, c.window};
      for (const auto backward : {CausalAttentionBackward, CausalAttentionBackwardPlain}) {
        const at::Tensor d_qkv = at::full_like(qkv, 99.0);
        const auto [dq, dk, dv] = split(d_qkv);
        AttentionGradients gradients{dq, dk, dv};
        backward(in, gradients);
        CHECK(Distance(d_qkv, wide.grad()) < Tolerance(dtype));
      }
    }
  }
}

TEST_CASE("a query over a cache: decode and blocked attention agree with the plain form", "[kernels]") {
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor q = Draw({4, 6, 20}, dtype), long_k = Draw({90, 2, 20}, dtype), long_v = Draw({90, 2, 20}, dtype);
    std::vector<AttentionSegment> one_each;
    for (const int64_t keys : {1, 33, 64, 90}) {
      one_each.push_back({static_cast<int64_t>(one_each.size()), 1, long_k.narrow(0, 0, keys), long_v.narrow(0, 0, keys)});
    }
    const at::Tensor expected = CausalAttentionPlain(q.to(at::kDouble), [&] {
      auto wide = one_each;
      for (AttentionSegment& s : wide) s.k_LHD = s.k_LHD.to(at::kDouble), s.v_LHD = s.v_LHD.to(at::kDouble);
      return wide;
    }());
    CHECK(Distance(CausalAttention(q, one_each), expected) < Tolerance(dtype));
    const std::vector<AttentionSegment> chunk = {{0, 4, long_k, long_v}};  // four queries at the end of a longer cache
    const std::vector<AttentionSegment> wide_chunk = {{0, 4, long_k.to(at::kDouble), long_v.to(at::kDouble)}};
    CHECK(Distance(CausalAttention(q, chunk), CausalAttentionPlain(q.to(at::kDouble), wide_chunk)) < Tolerance(dtype));
  }
}

TEST_CASE("a document's attention has the same bits alone and among others", "[kernels]") {
  for (const at::ScalarType dtype : kDtypes) {
    const at::Tensor q = Draw({200, 4, 16}, dtype), k = Draw({200, 2, 16}, dtype), v = Draw({200, 2, 16}, dtype);
    at::set_num_threads(2);
    const at::Tensor together = CausalAttention(q, DocumentSegments({0, 50, 133, 200}, k, v));
    at::set_num_threads(1);
    const at::Tensor alone =
        CausalAttention(q.narrow(0, 50, 83), DocumentSegments({0, 83}, k.narrow(0, 50, 83), v.narrow(0, 50, 83)));
    CHECK(at::equal(together.narrow(0, 50, 83), alone));
  }
}

TEST_CASE("the head's log-probabilities and their gradient", "[kernels]") {
  for (const at::ScalarType dtype : kDtypes) {
    const Precision precision = dtype == at::kFloat ? Precision::kFp32 : Precision::kBf16;
    const int64_t rows = 150, width = 20, words = 4200;
    const at::Tensor weight = (Draw({words, width}, at::kFloat) * 0.3).to(dtype), hidden = Draw({rows, width}, dtype);
    const at::Tensor targets = at::arange(rows, at::kInt) * 27;
    const at::Tensor wide = hidden.to(at::kDouble).requires_grad_(true);
    const at::Tensor log_probs = at::log_softmax(at::matmul(wide, weight.to(at::kDouble).t()), -1)
                                     .gather(1, targets.to(at::kLong).unsqueeze(1))
                                     .squeeze(1);
    (-log_probs.sum()).backward();
    const OutputHead head(weight, precision, true);
    const OutputHead::Targets found = head.TargetLogProbs(hidden, targets, true);
    CHECK(Distance(found.log_probs_T, log_probs.detach()) < Tolerance(dtype));
    CHECK(Distance(found.d_hidden_TM, wide.grad()) < Tolerance(dtype));
    CHECK(at::equal(head.TargetLogProbs(hidden, targets, false).log_probs_T, found.log_probs_T));
    CHECK(Distance(head.Apply(hidden), at::matmul(hidden.to(at::kDouble), weight.to(at::kDouble).t())) < 1e-6);
  }
}

TEST_CASE("log-probabilities over many words are not low", "[kernels]") {
  const int64_t rows = 32, width = 25, words = 49152;
  const at::Tensor weight = Draw({words, width}, at::kFloat), hidden = Draw({rows, width}, at::kFloat);
  const at::Tensor targets = at::arange(rows, at::kInt) * 1000;
  const OutputHead head(weight, Precision::kFp32, false);
  const at::Tensor exact = at::log_softmax(head.Apply(hidden).to(at::kDouble), -1).gather(1, targets.to(at::kLong).unsqueeze(1));
  const at::Tensor found = head.TargetLogProbs(hidden, targets, false).log_probs_T.to(at::kDouble);
  CHECK(std::abs((found - exact.squeeze(1)).mean().item<double>()) < 8e-7);
}

TEST_CASE("targets of a packed batch are shifted within each document", "[packed_batch]") {
  PackedBatch batch;
  batch.Append({5, 6, 7}, {1, 0, 1});
  batch.Append({8}, {1});
  batch.Append({9, 1}, {0, 1});
  CHECK(batch.PredictingPositions() == std::vector<int32_t>{1, 4});
  CHECK(batch.LossTokens() == 2);
  CHECK(CheckPackedBatch(batch, 10, 3).ok());
  CHECK(CheckPackedBatch(batch, 9, 3).error().message.find("token id 9 at position 4") != std::string::npos);
  CHECK(CheckPackedBatch(batch, 10, 2).error().code == ErrorCode::kData);
  batch.loss.pop_back();
  CHECK(!CheckPackedBatch(batch, 10, 3).ok());
  CHECK(!CheckPackedBatch({}, 10, 3).ok());
}

}  // namespace lorry
