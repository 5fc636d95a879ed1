// A base kept in NF4: products against those of the dequantized weights, bit for bit, and training against what PEFT and
// bitsandbytes computed (tests/golden/make_nf4.py).
#include "tests/lora/golden_case.h"

#include <ATen/Parallel.h>

#include "base/files.h"
#include "model/format/nf4_checkpoint.h"

namespace lorry {
namespace {

std::shared_ptr<const Nf4Tensor> Quantized(int64_t out, int64_t in, at::ScalarType dtype, uint64_t seed) {
  at::manual_seed(seed);
  at::Tensor weight = at::randn({out, in}) * 0.05;
  weight.view({-1}).narrow(0, 0, weight.numel() / 4).mul_(at::rand({weight.numel() / 4}) > 0.3);
  return std::make_shared<const Nf4Tensor>(Expect(QuantizedTensor(weight.to(dtype))));
}

// Two linears side by side, in NF4 and dequantized.
struct Pair {
  Linear in_nf4, whole;
};
Pair MakePair(std::vector<int64_t> outs, int64_t in, at::ScalarType dtype, Precision precision) {
  std::vector<Nf4LinearPart> four_bits;
  std::vector<LinearPart> whole;
  for (size_t i = 0; i < outs.size(); ++i) {
    auto weight = Quantized(outs[i], in, dtype, 3 + i);
    const at::Tensor bias = i == 0 ? at::randn({outs[i]}) : at::Tensor();
    whole.push_back({DequantizedTensor(*weight), bias});
    four_bits.push_back({std::move(weight), bias});
  }
  return {Linear(four_bits, precision, true, at::kCPU), Linear(whole, precision, true)};
}

struct Shape {
  std::vector<int64_t> outs;
  int64_t in, rows;
};
const std::vector<Shape> kShapes = {{{1}, 1, 1},    {{33}, 64, 5},           {{64, 32}, 128, 300}, {{7, 5, 3}, 67, 33},
                                    {{40}, 1, 17},  {{96, 1}, 576, 270},     {{31}, 130, 64},      {{5, 64}, 200, 2},
                                    {{70}, 63, 41}, {{192, 64, 64}, 192, 90}};

struct Golden : GoldenCase {
  explicit Golden(const std::string& folder) : GoldenCase("tests/golden/nf4/" + folder) {}
  std::unique_ptr<LoraModel> Model(bool nf4, Precision precision = Precision::kFp32) const {
    return GoldenCase::Model(precision, {.for_training = true, .nf4 = nf4});
  }
};

}  // namespace

TEST_CASE("a linear in NF4 has the bits of its dequantized weights, both ways, on any number of threads", "[qlora]") {
  const Precision precision = GENERATE(Precision::kFp32, Precision::kBf16);
  const at::ScalarType dtype = GENERATE(at::kFloat, at::kBFloat16, at::kHalf);
  for (const Shape& shape : kShapes) {
    INFO("in " << shape.in << ", rows " << shape.rows << ", precision " << static_cast<int>(precision) << ", " << dtype);
    const Pair pair = MakePair(shape.outs, shape.in, dtype, precision);
    const at::Tensor x = at::randn({shape.rows, shape.in}).to(ToScalarType(precision));
    const at::Tensor dy = at::randn({shape.rows, pair.whole.out()}).to(ToScalarType(precision));
    for (const int threads : {1, 2}) {
      at::set_num_threads(threads);
      CHECK(at::equal(pair.in_nf4.Apply(x), pair.whole.Apply(x)));
      CHECK(at::equal(pair.in_nf4.ApplyTransposed(dy), pair.whole.ApplyTransposed(dy)));
    }
    at::set_num_threads(1);
    const int64_t row = shape.rows / 2;
    CHECK(at::equal(pair.in_nf4.Apply(x.narrow(0, row, 1)), pair.in_nf4.Apply(x).narrow(0, row, 1)));
  }
}

TEST_CASE("what joins a product joins one in NF4 too", "[qlora]") {
  const Pair pair = MakePair({70, 33}, 96, at::kFloat, Precision::kFp32);
  const int64_t rows = 40, rank = 4;
  const at::Tensor x = at::randn({rows, 96}), u = at::randn({rows, rank}), b = at::randn({rank, 70}), dy = at::randn({rows, 103});
  PackedMatrix up(Precision::kFp32, rank, 70), down(Precision::kFp32, rank, 96);
  up.Pack(b.const_data_ptr(), 70, 1);
  const at::Tensor a = at::randn({rank, 96});
  down.Pack(a.const_data_ptr(), 96, 1);
  const std::vector<JoinedTerm> joined = {{u, &up}, {}};
  const at::Tensor residual = at::randn({rows, 103});
  at::Tensor y_nf4 = at::empty({rows, 103}), y = at::empty({rows, 103}), dx_nf4 = at::ones({rows, 96}), dx = at::ones({rows, 96});
  pair.in_nf4.ApplyInto(x, joined, residual, y_nf4);
  pair.whole.ApplyInto(x, joined, residual, y);
  CHECK(at::equal(y_nf4, y));
  pair.in_nf4.ApplyTransposedInto(dy, {u, &down}, true, dx_nf4);
  pair.whole.ApplyTransposedInto(dy, {u, &down}, true, dx);
  CHECK(at::equal(dx_nf4, dx));
}

TEST_CASE("ATen dequantizes to the same numbers", "[qlora]") {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const auto& [out, in] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {7, 67}, {300, 64}, {33, 31}}) {
      const auto weight = Quantized(out, in, dtype, 9);
      const at::Tensor whole = DequantizedTensor(*weight);
      CHECK(whole.scalar_type() == dtype);
      CHECK(at::equal(Nf4OnDevice(*weight, at::kCPU).Dequantize(at::kFloat), whole.to(at::kFloat)));
      CHECK(at::equal(Nf4OnDevice(*weight, at::kCPU).Dequantize(at::kBFloat16), whole.to(at::kBFloat16)));
    }
  }
}

TEST_CASE("loss and gradients on a stored checkpoint are those of PEFT and bitsandbytes", "[qlora][golden]") {
  const Golden golden("double");
  const auto model = golden.Model(true);
  CHECK(Furthest(Expect(model->Logits(golden.batch)), golden.Logits("logits")) < 5e-4);
  CheckLossAndGradients(*model, golden, 2e-5);
}

TEST_CASE("twenty steps on NF4 have the losses of PEFT and bitsandbytes", "[qlora][golden]") {
  const Golden golden("double");
  const auto model = golden.Model(true);
  at::Tensor gradient = at::empty({model->adapter().ParameterCount()}, at::kFloat);
  const at::Tensor rates = at::full_like(gradient, 2e-4);
  PlainAdam optimizer;
  double worst = 0.0;
  for (const double expected : golden.Json("steps.json").get<std::vector<double>>()) {
    const LossSum loss = Expect(model->ForwardBackward(golden.batch, gradient, {}));
    const auto tokens = static_cast<double>(loss.target_tokens);
    worst = std::max(worst, std::abs(loss.loss / tokens - expected));
    optimizer.Step(model->adapter().values(), gradient / tokens, rates);
    model->AdapterChanged();
  }
  CHECK(worst < 2e-5);
}

TEST_CASE("a 4-bit checkpoint trains to the same bits whether it stays in NF4 or not, in less memory", "[qlora]") {
  const Golden golden("double");
  const auto in_nf4 = golden.Model(true), whole = golden.Model(false);
  at::Tensor a = at::empty({in_nf4->adapter().ParameterCount()}, at::kFloat), b = at::empty_like(a);
  CHECK(Expect(in_nf4->ForwardBackward(golden.batch, a, {})).loss == Expect(whole->ForwardBackward(golden.batch, b, {})).loss);
  CHECK(at::equal(a, b));
  const auto linear_bytes = [](const LoraModel& model) {
    int64_t bytes = 0;
    for (const LayerWeights& layer : model.base().layers()) {
      for (const Linear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) bytes += linear->ResidentBytes();
    }
    return bytes;
  };
  // Four bits and a little against twice 32; each small matrix carries a kilobyte of codebook.
  CHECK(linear_bytes(*in_nf4) - 14 * 1024 < linear_bytes(*whole) / 12);
}

TEST_CASE("a plain base is quantized as it would be stored", "[qlora]") {
  const ModelDirectory plain = Expect(ModelDirectory::Open("tests/golden/decoder/gqa_tied"));
  const TempDirectory temp;
  REQUIRE(WriteNf4Checkpoint(plain, temp.path(), {}).ok());
  const ModelDirectory stored = Expect(ModelDirectory::Open(temp.path()));
  const auto layer = [](const ModelDirectory& directory) {
    return Expect(DecoderWeights::Load(directory, Precision::kFp32, {.for_training = true, .nf4 = true}));
  };
  const auto from_plain = layer(plain), from_stored = layer(stored);
  const at::Tensor x = at::randn({5, plain.config().hidden_size});
  for (size_t i = 0; i < from_plain->layers().size(); ++i) {
    CHECK(at::equal(from_plain->layers()[i].qkv.Apply(x), from_stored->layers()[i].qkv.Apply(x)));
    CHECK(at::equal(from_plain->layers()[i].gate_up.Apply(x), from_stored->layers()[i].gate_up.Apply(x)));
  }
}

TEST_CASE("a linear that a checkpoint leaves whole stays so", "[qlora]") {
  const ModelDirectory directory = Expect(ModelDirectory::Open("tests/golden/nf4/single"));
  const auto in_nf4 = Expect(DecoderWeights::Load(directory, Precision::kFp32, {.for_training = true, .nf4 = true}));
  const auto whole = Expect(DecoderWeights::Load(directory, Precision::kFp32, {.for_training = true}));
  const at::Tensor x = at::randn({5, directory.config().hidden_size});
  for (size_t i = 0; i < 2; ++i) CHECK(at::equal(in_nf4->layers()[i].qkv.Apply(x), whole->layers()[i].qkv.Apply(x)));
}

}  // namespace lorry
