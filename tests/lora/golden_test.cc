// What transformers and PEFT computed from tiny checkpoints of each family in odd shapes (tests/golden/make_decoder.py), computed
// by us.
#include "tests/lora/golden_case.h"

#include <ATen/Parallel.h>

#include <thread>

#include "base/files.h"
#include "lora/merge.h"

namespace lorry {
namespace {

const std::vector<std::string> kCases = DecoderCaseNames();

struct Golden : GoldenCase {
  explicit Golden(const std::string& name) : GoldenCase(DecoderCasesFolder() / name) {}
};

}  // namespace

TEST_CASE("fp32 logits are transformers', and no farther from its fp64 ones than three times its own", "[golden]") {
  for (const std::string& name : kCases) {
    INFO(name);
    const Golden golden(name);
    const auto model = golden.Model(Precision::kFp32);
    const at::Tensor ours = Expect(model->Logits(golden.batch));
    const at::Tensor theirs = golden.Logits("logits"), exact = golden.Logits("logits64");
    CHECK(Furthest(ours, theirs) < 5e-4);
    CHECK(Furthest(ours, exact) <= 3 * Furthest(theirs, exact));

    Adapter none = Expect(Adapter::Create(golden.directory.config(), {}));
    const auto base = Expect(LoraModel::Create(Expect(DecoderWeights::Load(golden.directory, Precision::kFp32, {})), none));
    CHECK(Furthest(Expect(base->Logits(golden.batch)), golden.Logits("base_logits")) < 5e-4);
  }
}

TEST_CASE("loss and adapter gradients are PEFT's", "[golden]") {
  for (const std::string& name : kCases) {
    INFO(name);
    const Golden golden(name);
    const auto model = golden.Model(Precision::kFp32);
    const LossSum loss = CheckLossAndGradients(*model, golden, 1e-5);
    const LossSum without_gradient = Expect(model->EvalLoss(golden.batch));
    CHECK(without_gradient.loss == loss.loss);
    CHECK(without_gradient.target_tokens == loss.target_tokens);
  }
}

TEST_CASE("each step at 2e-4 has PEFT's loss", "[golden]") {
  for (const std::string& name : kCases) {
    INFO(name);
    const Golden golden(name);
    const auto model = golden.Model(Precision::kFp32);
    const nlohmann::json steps = golden.Json("steps.json");
    at::Tensor rates = at::full({model->adapter().ParameterCount()}, 2e-4);
    for (const Adapter::Slot& slot : model->adapter().Slots()) {
      if (slot.kind != Adapter::SlotKind::kA) rates.narrow(0, slot.offset, slot.size()).mul_(steps["b_factor"].get<double>());
    }
    at::Tensor gradient = at::empty({model->adapter().ParameterCount()}, at::kFloat);
    PlainAdam optimizer;
    double worst = 0.0;
    for (const double expected : steps["losses"].get<std::vector<double>>()) {
      const LossSum loss = Expect(model->ForwardBackward(golden.batch, gradient, {}));
      const auto tokens = static_cast<double>(loss.target_tokens);
      worst = std::max(worst, std::abs(loss.loss / tokens - expected));
      optimizer.Step(model->adapter().values(), gradient / tokens, rates);
      model->AdapterChanged();
    }
    CHECK(worst < 2e-5);
    if (std::getenv("LORRY_DECODER_CASES") == nullptr) continue;
    WARN(name << ": farthest of " << steps["losses"].size() << " losses " << worst << " from PEFT's (PEFT in fp64 strays "
              << steps["fp64_distance"].get<double>() << ")");
  }
}

TEST_CASE("bf16 follows fp32 at bf16's distance", "[golden]") {
  if (!CpuHasBf16()) return;
  for (const std::string& name : kCases) {
    INFO(name);
    const Golden golden(name);
    const auto model = golden.Model(Precision::kBf16);
    CHECK(Distance(Expect(model->Logits(golden.batch)), golden.Logits("logits64")) < 0.03);
    at::Tensor gradient = at::full({model->adapter().ParameterCount()}, 99.0f);
    const LossSum loss = Expect(model->ForwardBackward(golden.batch, gradient, {}));
    CHECK(loss.loss == Approx(golden.Get("loss").item<double>()).epsilon(0.01));
    for (const Adapter::Slot& slot : model->adapter().Slots()) {
      INFO(slot.name);
      const at::Tensor ours = gradient.narrow(0, slot.offset, slot.size()).view(slot.shape);
      // An expert's few tokens do not average their roundings out: PEFT's own bf16 is up to 0.06 from its fp64 there.
      CHECK(Distance(ours, golden.Get("grad." + slot.name)) < (slot.in_sparse_mlp ? 0.15 : 0.06));
    }
  }
}

TEST_CASE("the same micro-batch gives the same bits, whatever else runs", "[golden]") {
  for (const std::string name : {"gqa_tied", "qwen3_moe_all_linear_one_dense"}) {
    const Golden golden(name);
    for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
      if (precision == Precision::kBf16 && !CpuHasBf16()) continue;
      const auto model = golden.Model(precision);
      std::vector<at::Tensor> gradients(4);
      std::vector<std::thread> lanes;
      for (at::Tensor& gradient : gradients) {
        lanes.emplace_back([&] {
          at::set_num_threads(1);
          gradient = at::empty({model->adapter().ParameterCount()}, at::kFloat);
          (void)model->ForwardBackward(golden.batch, gradient, {});
        });
      }
      for (std::thread& lane : lanes) lane.join();
      for (const at::Tensor& gradient : gradients) CHECK(at::equal(gradient, gradients[0]));
    }
  }
}

TEST_CASE("an adapter folded into the weights gives the adapter's logits", "[golden]") {
  for (const std::string& name : kCases) {
    const Golden golden(name);
    const Adapter adapter = Expect(ReadPeftAdapter(golden.path / "adapter", golden.directory.config()));
    LoadOptions options;
    options.patch = MergePatch(adapter);
    Adapter zeros = Expect(Adapter::Create(golden.directory.config(), {}));
    const auto merged =
        Expect(LoraModel::Create(Expect(DecoderWeights::Load(golden.directory, Precision::kFp32, options)), zeros));
    CHECK(Furthest(Expect(merged->Logits(golden.batch)), golden.Logits("logits64")) < 5e-4);
  }
}

TEST_CASE("an adapter's files keep every bit, and are the same each time", "[golden]") {
  for (const std::string& name : kCases) {
    const Golden golden(name);
    const TempDirectory out;
    const Adapter adapter = Expect(ReadPeftAdapter(golden.path / "adapter", golden.directory.config()));
    REQUIRE(WritePeftAdapter(out.path() + "/a", adapter).ok());
    REQUIRE(WritePeftAdapter(out.path() + "/b", adapter).ok());
    for (const char* file : {"/adapter_model.safetensors", "/adapter_config.json"}) {
      CHECK(Expect(ReadFile(out.path() + "/a" + file)) == Expect(ReadFile(out.path() + "/b" + file)));
    }
    CHECK(Expect(ReadFile(out.path() + "/a/adapter_model.safetensors")) ==
          Expect(ReadFile((golden.path / "adapter/adapter_model.safetensors").string())));
    const Adapter again = Expect(ReadPeftAdapter(out.path() + "/a", golden.directory.config()));
    CHECK(at::equal(again.values(), adapter.values()));
    CHECK(again.linears()[0].scaling == adapter.linears()[0].scaling);
  }
}

TEST_CASE("experts fused as PEFT has them on transformers 5 give its logits", "[golden]") {
  int64_t compared = 0;
  for (const std::string& name : kCases) {
    if (!std::filesystem::exists(DecoderCasesFolder() / name / "fused")) continue;
    INFO(name);
    ++compared;
    const Golden golden(name);
    const Adapter adapter = Expect(ReadPeftAdapter(golden.path / "fused", golden.directory.config()));
    CHECK(adapter.config().was_fused);
    const auto model = Expect(LoraModel::Create(Expect(DecoderWeights::Load(golden.directory, Precision::kFp32, {})), adapter));
    const at::Tensor ours = Expect(model->Logits(golden.batch)), theirs = golden.Logits("fused_logits"),
                     exact = golden.Logits("fused_logits64");
    CHECK(Furthest(ours, theirs) < 5e-4);
    CHECK(Furthest(ours, exact) <= 3 * Furthest(theirs, exact));
    // Written expert by expert, it is read as the same.
    const TempDirectory out;
    REQUIRE(WritePeftAdapter(out.path(), adapter).ok());
    const Adapter again = Expect(ReadPeftAdapter(out.path(), golden.directory.config()));
    CHECK(at::equal(again.values(), adapter.values()));
    CHECK_FALSE(again.config().was_fused);
  }
  CHECK((compared > 0 || std::getenv("LORRY_DECODER_CASES") != nullptr));
}

TEST_CASE("noise in a router is refused in training alone", "[golden]") {
  const Golden golden("mixtral_attention");
  const TempDirectory noisy;
  for (const char* file : {"config.json", "model.safetensors"}) {
    std::filesystem::copy(golden.path / file, std::filesystem::path(noisy.path()) / file);
  }
  nlohmann::json config = golden.Json("config.json");
  config["router_jitter_noise"] = 0.1;
  REQUIRE(WriteFileAtomically(noisy.path() + "/config.json", config.dump()).ok());
  const ModelDirectory directory = Expect(ModelDirectory::Open(noisy.path()));
  CHECK(DecoderWeights::Load(directory, Precision::kFp32, {}).ok());
  const auto training = DecoderWeights::Load(directory, Precision::kFp32, {.for_training = true});
  REQUIRE_FALSE(training.ok());
  CHECK(training.error().code == ErrorCode::kUnsupported);
  CHECK(training.error().message.find("router_jitter_noise") != std::string::npos);
}

TEST_CASE("an adapter of another base is refused by name", "[golden]") {
  const Golden golden("gqa_tied"), other("one_kv_head_biased");
  const auto result = ReadPeftAdapter(golden.path / "adapter", other.directory.config());
  REQUIRE(!result.ok());
  CHECK(result.error().code == ErrorCode::kData);
  CHECK(result.error().Format().find("another base") != std::string::npos);
}

TEST_CASE("DoRA begins as the base, each magnitude its row's length", "[golden]") {
  const std::string name = "llama_dora_biased";
  if (std::find(kCases.begin(), kCases.end(), name) == kCases.end()) return;
  const Golden golden(name);
  AdapterConfig config;
  config.r = 3, config.dora = true;
  Adapter adapter = Expect(Adapter::Create(golden.directory.config(), config));
  InitAdapter(adapter, 5);
  const auto model = Expect(
      LoraModel::Create(Expect(DecoderWeights::Load(golden.directory, Precision::kFp32, {.for_training = true})), adapter));
  model->InitMagnitudes();
  CHECK(Furthest(Expect(model->Logits(golden.batch)), golden.Logits("base_logits")) < 5e-4);
  for (const AdaptedLinear& linear : model->adapter().linears()) {
    const at::Tensor weight = Expect(ViewOf(Expect(golden.directory.Get(linear.module + ".weight"))));
    const at::Tensor lengths = at::linalg_vector_norm(weight.to(at::kDouble), 2, {1});
    CHECK(Distance(Adapter::ViewMagnitude(linear, model->adapter().values()), lengths) < 1e-6);
  }
}

TEST_CASE("with dropout the gradient is that of the loss with the same masks", "[golden]") {
  const std::string name = "gqa_tied";
  if (std::find(kCases.begin(), kCases.end(), name) == kCases.end()) return;
  const Golden golden(name);
  Adapter adapter = Expect(ReadPeftAdapter(golden.path / "adapter", golden.directory.config()));
  REQUIRE(adapter.SetDropout(0.25).ok());
  const auto model = Expect(
      LoraModel::Create(Expect(DecoderWeights::Load(golden.directory, Precision::kFp32, {.for_training = true})), adapter));
  const DropoutKey key{11, 4, 2};
  at::Tensor& values = model->adapter().values();
  at::Tensor gradient = at::empty_like(values), ignored = at::empty_like(values);
  const LossSum loss = Expect(model->ForwardBackward(golden.batch, gradient, key));
  CHECK(Expect(model->ForwardBackward(golden.batch, ignored, key)).loss == loss.loss);
  CHECK(Expect(model->ForwardBackward(golden.batch, ignored, {11, 5, 2})).loss != loss.loss);
  CHECK(Expect(model->EvalLoss(golden.batch)).loss == Approx(golden.Get("loss").item<double>()).epsilon(1e-6));
  // Along each matrix by itself, so that no part of the gradient hides behind another.
  const at::Tensor start = values.clone();
  for (const Adapter::Slot& slot : model->adapter().Slots()) {
    INFO(slot.name);
    const at::Tensor along = gradient.narrow(0, slot.offset, slot.size());
    const double step = 3e-2 / along.norm().item<double>();
    const auto loss_at = [&](double distance) {
      values.copy_(start);
      values.narrow(0, slot.offset, slot.size()).add_(along, distance);
      model->AdapterChanged();
      return Expect(model->ForwardBackward(golden.batch, ignored, key)).loss;
    };
    const double slope = (loss_at(step) - loss_at(-step)) / (2 * step);
    CHECK(slope == Approx(along.square().sum().item<double>()).epsilon(5e-3));
  }
}

}  // namespace lorry
