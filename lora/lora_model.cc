#include "lora/lora_model.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "lora/decoder_pass.h"

namespace lorry {
namespace {

AdaptedLayer MakeLayer(const DecoderWeights& base, const Adapter& adapter, int64_t index) {
  const LayerWeights& weights = base.layers()[static_cast<size_t>(index)];
  const auto find = [&](LinearKind kind) { return adapter.Find(index, kind); };
  const auto project = [&](const Linear& linear, std::vector<const AdaptedLinear*> parts) {
    return AdaptedProjection(linear, std::move(parts), adapter.config().dropout, base.precision(), base.device());
  };
  AdaptedLayer layer{project(weights.qkv, {find(LinearKind::kQ), find(LinearKind::kK), find(LinearKind::kV)}),
                     project(weights.o, {find(LinearKind::kO)}),
                     project(weights.gate_up, {find(LinearKind::kGate), find(LinearKind::kUp)}),
                     project(weights.down, {find(LinearKind::kDown)}),
                     {}};
  if (!weights.experts.empty()) layer.experts.emplace(base, adapter, index);
  return layer;
}

// Whether the model has this linear, of this shape.
bool Has(const ModelConfig& config, const AdaptedLinear& linear) {
  if (linear.layer >= config.layers || linear.expert >= config.experts) return false;
  const bool of_experts = linear.expert != kNoExpert || linear.kind == LinearKind::kRouter;
  if (of_experts && !config.IsSparse(linear.layer)) return false;
  return LinearKindShape(config, linear.kind, linear.expert != kNoExpert) == std::pair{linear.out, linear.in};
}

// LibTorch's exceptions end here.
template <class Work>
auto Guarded(Work work) -> decltype(work()) {
  try {
    const c10::NoGradGuard no_grad;
    return work();
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorCode::kOutOfMemory, "no memory for this micro-batch", "use smaller micro-batches");
  } catch (const c10::OutOfMemoryError& error) {
    return MakeError(ErrorCode::kOutOfMemory, error.what_without_backtrace(), "use smaller micro-batches");
  } catch (const c10::Error& error) {
    return MakeError(ErrorCode::kInternal, error.what_without_backtrace());
  }
}

double SumInOrder(const at::Tensor& values) {
  const float* v = values.const_data_ptr<float>();
  double sum = 0.0;
  for (int64_t i = 0; i < values.numel(); ++i) sum += v[i];
  return sum;
}

}  // namespace

struct LoraModel::State {
  std::shared_ptr<const DecoderWeights> base;
  Adapter adapter;
  std::vector<AdaptedLayer> layers;

  Status Check(const PackedBatch& batch) const {
    return CheckPackedBatch(batch, base->config().vocab_size, base->config().max_positions);
  }
};

LoraModel::LoraModel(std::unique_ptr<State> state) : state_(std::move(state)) {}
LoraModel::~LoraModel() = default;

Result<std::unique_ptr<LoraModel>> LoraModel::Create(std::shared_ptr<const DecoderWeights> base, Adapter adapter) {
  const ModelConfig& config = base->config();
  for (const AdaptedLinear& linear : adapter.linears()) {
    if (Has(config, linear)) continue;
    return MakeError(ErrorCode::kSpec,
                     fmt::format("the adapter's {} is [{}, {}], which this model has not", linear.module, linear.out, linear.in),
                     "was it trained on another base model?");
  }
  return Guarded([&]() -> Result<std::unique_ptr<LoraModel>> {
    auto state = std::make_unique<State>(State{std::move(base), std::move(adapter), {}});
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      state->layers.push_back(MakeLayer(*state->base, state->adapter, layer));
    }
    std::unique_ptr<LoraModel> model(new LoraModel(std::move(state)));
    model->AdapterChanged();
    return model;
  });
}

Adapter& LoraModel::adapter() { return state_->adapter; }
const Adapter& LoraModel::adapter() const { return state_->adapter; }
const DecoderWeights& LoraModel::base() const { return *state_->base; }

void LoraModel::AdapterChanged() {
  const c10::NoGradGuard no_grad;
  const at::Tensor& values = state_->adapter.values();
  for (AdaptedLayer& layer : state_->layers) {
    for (AdaptedProjection* projection : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) projection->Refresh(values);
    if (layer.experts) layer.experts->Refresh(values);
  }
}

void LoraModel::InitMagnitudes() {
  const c10::NoGradGuard no_grad;
  at::Tensor& values = state_->adapter.values();
  for (AdaptedLayer& layer : state_->layers)
    for (AdaptedProjection* projection : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) projection->WriteMagnitudes(values);
  AdapterChanged();
}

Result<LossSum> LoraModel::ForwardBackward(const PackedBatch& batch, at::Tensor gradient, const DropoutKey& dropout) const {
  LORRY_TRY(state_->Check(batch));
  return Guarded([&]() -> Result<LossSum> {
    const int64_t targets = batch.LossTokens();
    if (targets == 0) {
      gradient.zero_();
      return LossSum{};
    }
    DecoderPass pass(*state_->base, state_->layers, batch, WantedPositions::kPredicting, &dropout);
    pass.Forward(true);
    auto found = state_->base->head().TargetLogProbs(pass.FinalHidden(), pass.TargetIds(), true);
    const LossSum loss{-SumInOrder(found.log_probs_T), targets};
    pass.Backward(found.d_hidden_TM, gradient);
    return loss;
  });
}

Result<at::Tensor> LoraModel::TargetLogProbs(const PackedBatch& batch) const {
  LORRY_TRY(state_->Check(batch));
  return Guarded([&]() -> Result<at::Tensor> {
    if (batch.LossTokens() == 0) return at::empty({0}, at::kFloat);
    DecoderPass pass(*state_->base, state_->layers, batch, WantedPositions::kPredicting, nullptr);
    pass.Forward(false);
    return state_->base->head().TargetLogProbs(pass.FinalHidden(), pass.TargetIds(), false).log_probs_T;
  });
}

Result<LossSum> LoraModel::EvalLoss(const PackedBatch& batch) const {
  LORRY_ASSIGN_OR_RETURN(const at::Tensor log_probs, TargetLogProbs(batch));
  return LossSum{-SumInOrder(log_probs), log_probs.numel()};
}

Result<at::Tensor> LoraModel::Logits(const PackedBatch& batch) const {
  LORRY_TRY(state_->Check(batch));
  return Guarded([&]() -> Result<at::Tensor> {
    DecoderPass pass(*state_->base, state_->layers, batch, WantedPositions::kAll, nullptr);
    pass.Forward(false);
    return state_->base->head().Apply(pass.FinalHidden());
  });
}

}  // namespace lorry
