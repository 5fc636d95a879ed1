// A folder that tests/golden/make_decoder.py or make_nf4.py wrote: a tiny checkpoint, an adapter, documents, and what
// transformers and PEFT computed from them. LibTorch before Catch2: both have a CHECK, and the later one counts.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "lora/lora_model.h"
#include "lora/peft_files.h"
#include "model/format/safetensors.h"

namespace lorry {

template <class T>
T Expect(Result<T> result) {
  if (!result.ok()) FAIL(result.error().Format());
  return std::move(result).value();
}

// Where the cases of make_decoder.py lie: LORRY_DECODER_CASES names another folder of them (tests/live/families_live.py).
inline std::filesystem::path DecoderCasesFolder() {
  const char* given = std::getenv("LORRY_DECODER_CASES");
  return given != nullptr ? given : "tests/golden/decoder";
}

inline std::vector<std::string> DecoderCaseNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(DecoderCasesFolder())) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct GoldenCase {
  explicit GoldenCase(std::filesystem::path folder)
      : path(std::move(folder)),
        directory(Expect(ModelDirectory::Open(path))),
        expected(Expect(SafetensorsFile::Open(path / "expected.safetensors"))) {
    const nlohmann::json documents = Json("batch.json");
    for (const auto& document : documents) {
      batch.Append(document["ids"].get<std::vector<int32_t>>(), document["loss"].get<std::vector<uint8_t>>());
    }
  }
  nlohmann::json Json(const std::string& name) const {
    std::ifstream file(path / name);
    return nlohmann::json::parse(file);
  }
  at::Tensor Get(const std::string& tensor) const {
    const TensorView* view = expected.Find(tensor);
    REQUIRE(view != nullptr);
    if (view->dtype == DType::kF64) {
      return at::from_blob(const_cast<std::byte*>(view->bytes.data()), view->shape, at::kDouble).clone();
    }
    return Expect(ViewOf(*view)).clone();
  }
  // Of all documents, one below the other.
  at::Tensor Logits(const std::string& kind) const {
    std::vector<at::Tensor> parts;
    for (int64_t d = 0; d < batch.Documents(); ++d) parts.push_back(Get(kind + "." + std::to_string(d)).to(at::kDouble));
    return at::cat(parts);
  }
  std::unique_ptr<LoraModel> Model(Precision precision, const LoadOptions& options = {.for_training = true}) const {
    auto base = Expect(DecoderWeights::Load(directory, precision, options));
    return Expect(LoraModel::Create(base, Expect(ReadPeftAdapter(path / "adapter", directory.config()))));
  }

  std::filesystem::path path;
  ModelDirectory directory;
  SafetensorsFile expected;
  PackedBatch batch;
};

inline double Furthest(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}
// L2 of the difference over L2.
inline double Distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  return (x - y).norm().item<double>() / (y.norm().item<double>() + 1e-30);
}

// The batch's loss, and each matrix's gradient within `bound` of the recorded one.
inline LossSum CheckLossAndGradients(const LoraModel& model, const GoldenCase& golden, double bound) {
  at::Tensor gradient = at::full({model.adapter().ParameterCount()}, 99.0f);
  const LossSum loss = Expect(model.ForwardBackward(golden.batch, gradient, {}));
  CHECK(loss.loss == Approx(golden.Get("loss").item<double>()).epsilon(1e-6));
  for (const Adapter::Slot& slot : model.adapter().Slots()) {
    INFO(slot.name);
    const at::Tensor ours = gradient.narrow(0, slot.offset, slot.size()).view(slot.shape);
    CHECK(Distance(ours, golden.Get("grad." + slot.name)) < bound);
  }
  return loss;
}

// AdamW of torch at its defaults, without weight decay.
struct PlainAdam {
  at::Tensor m, v;
  int64_t step = 0;
  void Step(at::Tensor& values, const at::Tensor& gradient, const at::Tensor& learning_rate) {
    if (step++ == 0) m = at::zeros_like(values), v = at::zeros_like(values);
    m.mul_(0.9).add_(gradient, 0.1);
    v.mul_(0.999).addcmul_(gradient, gradient, 0.001);
    const double correction = 1 - std::pow(0.9, step), spread = std::sqrt(1 - std::pow(0.999, step));
    values.sub_(learning_rate / correction * m / (v.sqrt() / spread).add_(1e-8));
  }
};

}  // namespace lorry
