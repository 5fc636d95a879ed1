#include "lora/expert_mlp.h"

#include "model/net/swiglu.h"

namespace lorry {

AdaptedExperts::AdaptedExperts(const DecoderWeights& base, const Adapter& adapter, int64_t index)
    : per_token_(base.config().experts_per_token),
      renormalize_(base.config().renormalize_experts),
      router_(base.layers()[static_cast<size_t>(index)].router, {adapter.Find(index, LinearKind::kRouter)}, 0.0, Precision::kFp32,
              base.device()) {
  const std::vector<ExpertWeights>& weights = base.layers()[static_cast<size_t>(index)].experts;
  for (size_t e = 0; e < weights.size(); ++e) {
    const auto find = [&](LinearKind kind) { return adapter.Find(index, kind, static_cast<int64_t>(e)); };
    const std::vector<const AdaptedLinear*> gate_up = {find(LinearKind::kGate), find(LinearKind::kUp)};
    const std::vector<const AdaptedLinear*> down = {find(LinearKind::kDown)};
    Expert& expert =
        experts_.emplace_back(Expert{AdaptedProjection(weights[e].gate_up, gate_up, 0.0, base.precision(), base.device()),
                                     AdaptedProjection(weights[e].down, down, 0.0, base.precision(), base.device()),
                                     {}});
    for (const AdaptedLinear* linear : {gate_up[0], gate_up[1], down[0]}) {
      if (linear != nullptr) expert.adapted.push_back(linear);
    }
  }
}

void AdaptedExperts::Refresh(const at::Tensor& values) {
  router_.Refresh(values);
  for (Expert& expert : experts_) {
    expert.gate_up.Refresh(values);
    expert.down.Refresh(values);
  }
}

at::Tensor AdaptedExperts::Forward(const at::Tensor& x_TM, const at::Tensor& residual_TM, Tape& tape) const {
  auto router = router_.Forward(x_TM.to(at::kFloat), {}, nullptr);
  tape.u_router = std::move(router.u);
  tape.routing = Route(router.y, per_token_, renormalize_);
  tape.experts.resize(experts_.size());
  return SumOfExperts(tape.routing, x_TM, residual_TM, [&](size_t e, const at::Tensor& x_nM) {
    Tape::Expert& kept = tape.experts[e];
    auto gate_up = experts_[e].gate_up.Forward(x_nM, {}, nullptr);
    kept.gate_up = std::move(gate_up.y), kept.u_gate_up = std::move(gate_up.u);
    auto down = experts_[e].down.Forward(SwiGlu(kept.gate_up), {}, nullptr);
    kept.u_down = std::move(down.u);
    return down.y;
  });
}

void AdaptedExperts::ExpertBackward(size_t index, const at::Tensor& d_y_TM, const at::Tensor& x_TM, const Tape& tape,
                                    at::Tensor& d_x_TM, at::Tensor weighted_n, at::Tensor& gradient) const {
  const Expert& expert = experts_[index];
  const Tape::Expert& kept = tape.experts[index];
  const at::Tensor tokens_n = tape.routing.Tokens(index);
  const at::Tensor d_down = WeightedRows(d_y_TM, tokens_n, tape.routing.Weights(index));
  const auto down = expert.down.BackwardInput(d_down, true, nullptr);
  const SwiGluGradients activation = SwiGluBackward(down.dx, kept.gate_up);
  weighted_n.copy_(RowDots(activation.y, down.dx));
  expert.down.BackwardMatrices(activation.y, kept.u_down, d_down, down.du, gradient, nullptr);
  const auto gate_up = expert.gate_up.BackwardInput(activation.d_gate_up, true, nullptr);
  expert.gate_up.BackwardMatrices(x_TM.index_select(0, tokens_n), kept.u_gate_up, activation.d_gate_up, gate_up.du, gradient,
                                  nullptr);
  AddToTokens(gate_up.dx, tokens_n, {}, d_x_TM);
}

at::Tensor AdaptedExperts::Backward(const at::Tensor& d_y_TM, const at::Tensor& x_TM, const Tape& tape,
                                    at::Tensor& gradient) const {
  at::Tensor d_x_TM = at::zeros(x_TM.sizes(), at::kFloat);
  const at::Tensor weighted_S = at::empty_like(tape.routing.weights_S);
  for (size_t e = 0; e < experts_.size(); ++e) {
    const int64_t count = tape.routing.Count(e);
    if (count > 0) {
      ExpertBackward(e, d_y_TM, x_TM, tape, d_x_TM, weighted_S.narrow(0, tape.routing.begin[e], count), gradient);
      continue;
    }
    for (const AdaptedLinear* linear : experts_[e].adapted) {
      Adapter::ViewA(*linear, gradient).zero_();
      Adapter::ViewB(*linear, gradient).zero_();
    }
  }
  const at::Tensor d_logits_TE = RouteBackward(tape.routing, weighted_S);
  const auto router = router_.BackwardInput(d_logits_TE, true, nullptr);
  router_.BackwardMatrices(x_TM.to(at::kFloat), tape.u_router, d_logits_TE, router.du, gradient, nullptr);
  return d_x_TM.add_(router.dx).to(x_TM.scalar_type());
}

}  // namespace lorry
