#include "lora/decoder_pass.h"

#include "model/net/attention.h"
#include "model/net/norm.h"
#include "model/net/swiglu.h"

namespace lorry {
namespace {

// Each token's row of the rotary tables.
at::Tensor Positions(const PackedBatch& batch, const DecoderWeights& base) {
  const ModelConfig& config = base.config();
  at::Tensor positions = at::empty({batch.Tokens()}, at::kInt);
  auto* out = positions.data_ptr<int32_t>();
  for (size_t d = 0; d + 1 < batch.document_starts.size(); ++d) {
    const int32_t begin = batch.document_starts[d], end = batch.document_starts[d + 1];
    const auto first = static_cast<int32_t>(FirstRopeRow(config.rope, end - begin, config.max_positions));
    for (int32_t t = begin; t < end; ++t) out[t] = first + t - begin;
  }
  return positions.to(base.device());
}

at::Tensor FromVector(const std::vector<int32_t>& values) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kInt);
  std::copy(values.begin(), values.end(), tensor.data_ptr<int32_t>());
  return tensor;
}

}  // namespace

DecoderPass::DecoderPass(const DecoderWeights& base, const std::vector<AdaptedLayer>& layers, const PackedBatch& batch,
                         WantedPositions wanted, const DropoutKey* dropout)
    : base_(base),
      config_(base.config()),
      layers_(layers),
      batch_(batch),
      wanted_(wanted),
      dropout_(dropout),
      positions_(Positions(batch, base)),
      predicting_(FromVector(batch.PredictingPositions()).to(base.device(), at::kLong)) {}

void DecoderPass::Forward(bool keep) {
  x_ = base_.Embed(FromVector(batch_.ids).to(base_.device()));
  for (size_t i = 0; i < layers_.size(); ++i) {
    Tape tape;
    x_ = LayerForward(i, x_, tape);
    if (keep) tapes_.push_back(std::move(tape));
  }
}

at::Tensor DecoderPass::FinalHidden() const { return RmsNorm(x_, base_.final_norm_M(), config_.rms_norm_eps); }

at::Tensor DecoderPass::TargetIds() const {
  std::vector<int32_t> targets;
  for (const int32_t position : batch_.PredictingPositions()) targets.push_back(batch_.ids[static_cast<size_t>(position) + 1]);
  return FromVector(targets);
}

void DecoderPass::Backward(const at::Tensor& d_hidden_NM, at::Tensor& gradient) {
  at::Tensor dx = RmsNormBackward(d_hidden_NM, x_, base_.final_norm_M(), config_.rms_norm_eps);
  x_.reset();
  for (size_t i = layers_.size(); i-- > 0;) {
    Tape tape = std::move(tapes_.back());
    tapes_.pop_back();
    dx = LayerBackward(i, dx, std::move(tape), gradient);
  }
}

int64_t DecoderPass::Window(size_t layer) const { return config_.window.empty() ? 0 : config_.window[layer]; }

bool DecoderPass::Narrows(size_t index) const { return wanted_ == WantedPositions::kPredicting && index + 1 == layers_.size(); }

at::Tensor DecoderPass::Narrow(size_t index, const at::Tensor& x) const {
  return Narrows(index) ? x.index_select(0, predicting_) : x;
}

at::Tensor DecoderPass::Widen(size_t index, const at::Tensor& dx) const {
  return Narrows(index) ? dx.new_zeros({batch_.Tokens(), dx.size(1)}).index_copy_(0, predicting_, dx) : dx;
}

DecoderPass::Heads DecoderPass::Split(const at::Tensor& qkv) const {
  const int64_t d = config_.head_dim, queries = config_.heads * d, keys = config_.kv_heads * d, rows = qkv.size(0);
  return {qkv.narrow(1, 0, queries).view({rows, config_.heads, d}),
          qkv.narrow(1, queries, keys).view({rows, config_.kv_heads, d}),
          qkv.narrow(1, queries + keys, keys).view({rows, config_.kv_heads, d})};
}

void DecoderPass::Rope(const at::Tensor& qkv, RopeDirection direction) const {
  const int64_t d = config_.head_dim, turned = config_.heads + config_.kv_heads;
  ApplyRope(qkv.narrow(1, 0, turned * d).view({qkv.size(0), turned, d}), positions_, base_.rope_cos(), base_.rope_sin(),
            direction);
}

void DecoderPass::Place(size_t index, const at::Tensor& qkv) const {
  const LayerWeights& weights = base_.layers()[index];
  if (config_.qk_norm) {
    const Heads heads = Split(qkv);
    RmsNormHeads(heads.q, weights.q_norm_D, config_.rms_norm_eps);
    RmsNormHeads(heads.k, weights.k_norm_D, config_.rms_norm_eps);
  }
  Rope(qkv, RopeDirection::kForward);
}

void DecoderPass::Unplace(size_t index, const at::Tensor& d_qkv, const at::Tensor& qkv) const {
  Rope(d_qkv, RopeDirection::kBackward);
  if (!config_.qk_norm) return;
  const LayerWeights& weights = base_.layers()[index];
  const Heads heads = Split(qkv), d_heads = Split(d_qkv);
  RmsNormHeadsBackward(d_heads.q, heads.q, weights.q_norm_D, config_.rms_norm_eps);
  RmsNormHeadsBackward(d_heads.k, heads.k, weights.k_norm_D, config_.rms_norm_eps);
}

at::Tensor DecoderPass::LayerForward(size_t index, const at::Tensor& x, Tape& tape) const {
  const AdaptedLayer& layer = layers_[index];
  const LayerWeights& weights = base_.layers()[index];
  tape.x = x;
  auto qkv = layer.qkv.Forward(RmsNorm(x, weights.attention_norm_M, config_.rms_norm_eps), {}, dropout_);
  // The norms' gradient needs what came in, attention's what came out: one is kept, the other made again.
  const at::Tensor placed = config_.qk_norm ? qkv.y.clone() : qkv.y;
  Place(index, placed);
  const Heads heads = Split(placed);
  tape.attended =
      CausalAttention(heads.q, DocumentSegments(batch_.document_starts, heads.k, heads.v), Window(index), &tape.log_sum_exp)
          .view({x.size(0), -1});
  tape.qkv = std::move(qkv.y), tape.u_qkv = std::move(qkv.u), tape.raw_qkv = std::move(qkv.raw);
  auto o = layer.o.Forward(Narrow(index, tape.attended), Narrow(index, x), dropout_);
  tape.x_middle = std::move(o.y), tape.u_o = std::move(o.u), tape.raw_o = std::move(o.raw);
  return MlpForward(index, tape);
}

at::Tensor DecoderPass::MlpForward(size_t index, Tape& tape) const {
  const AdaptedLayer& layer = layers_[index];
  const at::Tensor normed = RmsNorm(tape.x_middle, base_.layers()[index].mlp_norm_M, config_.rms_norm_eps);
  if (layer.experts) return layer.experts->Forward(normed, tape.x_middle, tape.experts);
  auto gate_up = layer.gate_up.Forward(normed, {}, dropout_);
  tape.gate_up = std::move(gate_up.y), tape.u_gate_up = std::move(gate_up.u), tape.raw_gate_up = std::move(gate_up.raw);
  auto down = layer.down.Forward(SwiGlu(tape.gate_up), tape.x_middle, dropout_);
  tape.u_down = std::move(down.u), tape.raw_down = std::move(down.raw);
  return down.y;
}

// From the gradient at the layer's end to that before its MLP.
at::Tensor DecoderPass::MlpBackward(size_t index, const at::Tensor& dx, const Tape& tape, at::Tensor& gradient) const {
  const AdaptedLayer& layer = layers_[index];
  const LayerWeights& weights = base_.layers()[index];
  if (layer.experts) {
    const at::Tensor normed = RmsNorm(tape.x_middle, weights.mlp_norm_M, config_.rms_norm_eps);
    const at::Tensor d_normed = layer.experts->Backward(dx, normed, tape.experts, gradient);
    return RmsNormBackward(d_normed, tape.x_middle, weights.mlp_norm_M, config_.rms_norm_eps, dx);
  }
  const at::Tensor d_down = layer.down.BackwardScale(dx, tape.raw_down, gradient);
  const auto down = layer.down.BackwardInput(d_down, true, dropout_);
  const SwiGluGradients activation = SwiGluBackward(down.dx, tape.gate_up);
  layer.down.BackwardMatrices(activation.y, tape.u_down, d_down, down.du, gradient, dropout_);
  const at::Tensor d_gate_up = layer.gate_up.BackwardScale(activation.d_gate_up, tape.raw_gate_up, gradient);
  const auto gate_up = layer.gate_up.BackwardInput(d_gate_up, true, dropout_);
  const at::Tensor normed = RmsNorm(tape.x_middle, weights.mlp_norm_M, config_.rms_norm_eps);
  layer.gate_up.BackwardMatrices(normed, tape.u_gate_up, d_gate_up, gate_up.du, gradient, dropout_);
  return RmsNormBackward(gate_up.dx, tape.x_middle, weights.mlp_norm_M, config_.rms_norm_eps, dx);
}

at::Tensor DecoderPass::LayerBackward(size_t index, const at::Tensor& dx_out, Tape tape, at::Tensor& gradient) const {
  const AdaptedLayer& layer = layers_[index];
  const LayerWeights& weights = base_.layers()[index];
  const at::Tensor dx_middle = MlpBackward(index, dx_out, tape, gradient);
  tape.gate_up.reset();
  tape.experts = {};
  const at::Tensor d_o = layer.o.BackwardScale(dx_middle, tape.raw_o, gradient);
  const auto o = layer.o.BackwardInput(d_o, true, dropout_);
  layer.o.BackwardMatrices(Narrow(index, tape.attended), tape.u_o, d_o, o.du, gradient, dropout_);
  at::Tensor placed = tape.qkv;
  if (config_.qk_norm) Place(index, placed = tape.qkv.clone());
  const at::Tensor d_qkv = at::empty_like(placed);
  const Heads heads = Split(placed), d_heads = Split(d_qkv);
  AttentionGradients gradients{d_heads.q, d_heads.k, d_heads.v};
  CausalAttentionBackward({Widen(index, o.dx).view_as(heads.q), heads.q, heads.k, heads.v, tape.attended.view_as(heads.q),
                           tape.log_sum_exp, batch_.document_starts, Window(index)},
                          gradients);
  Unplace(index, d_qkv, tape.qkv);
  const at::Tensor d_projected = layer.qkv.BackwardScale(d_qkv, tape.raw_qkv, gradient);
  const bool first = index == 0;  // nothing before it is trained
  const auto qkv = layer.qkv.BackwardInput(d_projected, !first, dropout_);
  const at::Tensor normed = RmsNorm(tape.x, weights.attention_norm_M, config_.rms_norm_eps);
  layer.qkv.BackwardMatrices(normed, tape.u_qkv, d_projected, qkv.du, gradient, dropout_);
  if (first) return {};
  return RmsNormBackward(qkv.dx, tape.x, weights.attention_norm_M, config_.rms_norm_eps, Widen(index, dx_middle));
}

}  // namespace lorry
