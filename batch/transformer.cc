// Shapes: T tokens of a call, M model width, H query heads, K key heads, D head size, I the MLP's width, N wanted rows,
// V vocabulary.
#include "batch/transformer.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <new>

#include "model/net/attention_kernel.h"
#include "model/net/norm.h"
#include "model/net/row_kernels.h"

namespace lorry {
namespace {

SeparateAdapter::LowRank Fuse(const Adapter& adapter, const ModelConfig& config, int64_t layer,
                              std::initializer_list<LinearKind> kinds, Precision precision, int64_t expert = kNoExpert) {
  SeparateAdapter::LowRank fused;
  std::vector<at::Tensor> a_parts;
  int64_t rank = 0;
  for (const LinearKind kind : kinds) {
    const AdaptedLinear* linear = adapter.Find(layer, kind, expert);
    fused.a_begin.push_back(rank);
    if (linear == nullptr) {
      fused.b.emplace_back();
      continue;
    }
    a_parts.push_back(Adapter::ViewA(*linear, adapter.values()));
    // B [out, r] is the right-hand matrix of (A x) B^T: element (row of r, column of out).
    const int64_t out = LinearKindShape(config, kind, expert != kNoExpert).first;
    fused.b.emplace_back(precision, linear->r, out)
        .PackFloats(adapter.values().const_data_ptr<float>() + linear->b_offset, {0, 0, linear->r, out, 1, linear->r},
                    static_cast<float>(linear->scaling));
    rank += linear->r;
  }
  if (!a_parts.empty()) fused.a = Linear({{at::cat(a_parts), at::Tensor()}}, precision, false);
  return fused;
}

RowsIn In(const at::Tensor& x) { return {static_cast<const std::byte*>(x.const_data_ptr()), x.stride(0)}; }
RowsOut Out(const at::Tensor& x) { return {static_cast<std::byte*>(x.data_ptr()), x.stride(0)}; }

// y = linear(x), plus its low-rank part where there is one, plus `residual` where it is defined.
void Apply(const Linear& linear, const SeparateAdapter::LowRank* low_rank, const at::Tensor& x, const at::Tensor& residual,
           const at::Tensor& y) {
  std::vector<JoinedTerm> joined;
  if (low_rank != nullptr && low_rank->a.defined()) {
    const at::Tensor a_TR = low_rank->a.Apply(x);
    for (size_t part = 0; part < low_rank->b.size(); ++part) {
      const PackedMatrix& b = low_rank->b[part];
      joined.push_back(b.k() == 0 ? JoinedTerm{} : JoinedTerm{a_TR.narrow(1, low_rank->a_begin[part], b.k()), &b});
    }
  }
  linear.ApplyInto(x, joined, residual, y);
}

}  // namespace

SeparateAdapter::SeparateAdapter(const ModelConfig& config, const Adapter& adapter, Precision precision) {
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const auto fuse = [&](std::initializer_list<LinearKind> kinds) { return Fuse(adapter, config, layer, kinds, precision); };
    layers_.push_back({fuse({LinearKind::kQ, LinearKind::kK, LinearKind::kV}),
                       fuse({LinearKind::kO}),
                       fuse({LinearKind::kGate, LinearKind::kUp}),
                       fuse({LinearKind::kDown}),
                       Fuse(adapter, config, layer, {LinearKind::kRouter}, Precision::kFp32),
                       {}});
    for (int64_t expert = 0; config.IsSparse(layer) && expert < config.experts; ++expert) {
      layers_.back().experts.push_back({Fuse(adapter, config, layer, {LinearKind::kGate, LinearKind::kUp}, precision, expert),
                                        Fuse(adapter, config, layer, {LinearKind::kDown}, precision, expert)});
    }
  }
}

// [layers, 2 (keys, values), capacity, K, D], of the model's precision.
class TransformerModel::Memory : public SequenceMemory {
 public:
  Memory(int64_t layers, int64_t row_bytes, int64_t capacity)
      : SequenceMemory(capacity),
        row_bytes_(row_bytes),
        layers_(layers),
        bytes_(new std::byte[static_cast<size_t>(layers * 2 * capacity * row_bytes)]) {}

  std::byte* Row(size_t layer, int64_t which, int64_t position) const {
    return bytes_.get() + ((static_cast<int64_t>(layer) * 2 + which) * capacity_ + position) * row_bytes_;
  }
  void Advance(int64_t tokens) { length_ += tokens; }
  void CopyFrom(const Memory& from, int64_t tokens) {
    for (size_t layer = 0; layer < static_cast<size_t>(layers_); ++layer) {
      for (const int64_t which : {0, 1}) {
        std::memcpy(Row(layer, which, 0), from.Row(layer, which, 0), static_cast<size_t>(tokens * row_bytes_));
      }
    }
    length_ = tokens;
  }

 private:
  int64_t row_bytes_, layers_;
  std::unique_ptr<std::byte[]> bytes_;
};

// One call: pieces of one token first, then the longer ones.
struct TransformerModel::Plan {
  struct Part {
    Memory* memory;
    int64_t row;    // of the packed tokens
    int64_t begin;  // position in the sequence
    int64_t tokens;
  };
  std::vector<Part> parts;
  size_t single = 0;                 // parts of one token at the front
  int64_t rows = 0;                  // T
  at::Tensor ids;                    // [T] int32
  std::vector<int32_t> positions;    // [T]
  std::vector<int64_t> wanted_rows;  // in the order of the caller's pieces
};

// Of one call; each layer writes over it.
struct TransformerModel::Workspace {
  at::Tensor x_TM, norm_TM, qkv, attended, gate_up, mlp_TI;
  std::vector<AttentionSpan> spans;

  // What comes after the last layer's attention is computed for these rows alone, in their order.
  void Narrow(const std::vector<int64_t>& rows) {
    const auto count = static_cast<int64_t>(rows.size());
    const at::Tensor index = at::empty({count}, at::kLong);
    std::copy(rows.begin(), rows.end(), index.data_ptr<int64_t>());
    for (at::Tensor* kept : {&x_TM, &attended}) *kept = kept->index_select(0, index);
    for (at::Tensor* written : {&norm_TM, &gate_up, &mlp_TI}) *written = written->narrow(0, 0, count);
  }
};

TransformerModel::TransformerModel(std::shared_ptr<const DecoderWeights> weights, std::shared_ptr<const SeparateAdapter> adapter)
    : weights_(std::move(weights)), adapter_(std::move(adapter)) {}

int64_t TransformerModel::BytesPerToken() const {
  const ModelConfig& config = weights_->config();
  return config.layers * 2 * config.kv_heads * config.head_dim * ElementBytes(weights_->precision());
}

std::unique_ptr<SequenceMemory> TransformerModel::NewSequence(int64_t capacity) {
  const int64_t layers = weights_->config().layers;
  return std::make_unique<Memory>(layers, BytesPerToken() / (2 * layers), capacity);
}

void TransformerModel::CopyPrefix(const SequenceMemory& from, SequenceMemory& to, int64_t tokens) {
  static_cast<Memory&>(to).CopyFrom(static_cast<const Memory&>(from), tokens);
}

TransformerModel::Plan TransformerModel::MakePlan(std::span<const SequencePiece> pieces) const {
  Plan plan;
  std::vector<int64_t> first_row(pieces.size());
  // Which kernel attends to a token must follow from its position alone: one token that begins a block of the grid could
  // be a prompt's or a written one, and goes with the prompts.
  const auto is_single = [&](size_t i) { return pieces[i].ids.size() == 1 && pieces[i].sequence->length() % kPrefillGrid != 0; };
  for (const bool single : {true, false}) {
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (is_single(i) != single) continue;
      auto* memory = static_cast<Memory*>(pieces[i].sequence);
      first_row[i] = plan.rows;
      plan.parts.push_back({memory, plan.rows, memory->length(), static_cast<int64_t>(pieces[i].ids.size())});
      plan.rows += plan.parts.back().tokens;
    }
    if (single) plan.single = plan.parts.size();
  }
  plan.ids = at::empty({plan.rows}, at::kInt);
  plan.positions.resize(static_cast<size_t>(plan.rows));
  for (size_t i = 0; i < pieces.size(); ++i) {
    std::memcpy(plan.ids.data_ptr<int32_t>() + first_row[i], pieces[i].ids.data(), pieces[i].ids.size_bytes());
    for (const int32_t at : pieces[i].logits_at) plan.wanted_rows.push_back(first_row[i] + at);
  }
  for (const Plan::Part& part : plan.parts) {
    for (int64_t t = 0; t < part.tokens; ++t) {
      plan.positions[static_cast<size_t>(part.row + t)] = static_cast<int32_t>(part.begin + t);
    }
  }
  return plan;
}

// Turns q and k of work.qkv [T, (H + 2K) D] to their positions, puts keys and values into the sequences' memories, and
// attends to them: work.attended [T, H D].
void TransformerModel::Attend(size_t layer, const Plan& plan, Workspace& work) const {
  const ModelConfig& config = weights_->config();
  const Precision precision = weights_->precision();
  const int64_t heads = config.heads, kv_heads = config.kv_heads, d = config.head_dim, element = ElementBytes(precision);
  const int64_t qkv_stride = (heads + 2 * kv_heads) * d;
  auto* qkv = static_cast<std::byte*>(work.qkv.data_ptr());
  if (config.qk_norm) {
    const LayerWeights& weights = weights_->layers()[layer];
    const at::Tensor heads_THD = work.qkv.view({plan.rows, heads + 2 * kv_heads, d});
    RmsNormHeads(heads_THD.narrow(1, 0, heads), weights.q_norm_D, config.rms_norm_eps);
    RmsNormHeads(heads_THD.narrow(1, heads, kv_heads), weights.k_norm_D, config.rms_norm_eps);
  }
  RopeRowsInPlace(precision, {.x = qkv,
                              .row_stride = qkv_stride,
                              .head_stride = d,
                              .rows = plan.rows,
                              .heads = heads + kv_heads,
                              .half = d / 2,
                              .positions = plan.positions.data(),
                              .cos = weights_->rope_cos().const_data_ptr<float>(),
                              .sin = weights_->rope_sin().const_data_ptr<float>()});
  auto* attended = static_cast<std::byte*>(work.attended.data_ptr());
  const auto row_bytes = static_cast<size_t>(kv_heads * d * element);
  work.spans.clear();
  for (const Plan::Part& part : plan.parts) {
    for (int64_t t = 0; t < part.tokens; ++t) {
      const std::byte* keys = qkv + ((part.row + t) * qkv_stride + heads * d) * element;
      std::memcpy(part.memory->Row(layer, 0, part.begin + t), keys, row_bytes);
      std::memcpy(part.memory->Row(layer, 1, part.begin + t), keys + row_bytes, row_bytes);
    }
    AttentionSpan span;
    span.queries = part.tokens;
    span.keys = part.begin + part.tokens;
    span.q = {qkv + part.row * qkv_stride * element, qkv_stride, d};
    span.k = {part.memory->Row(layer, 0, 0), kv_heads * d, d};
    span.v = {part.memory->Row(layer, 1, 0), kv_heads * d, d};
    span.out = {attended + part.row * heads * d * element, heads * d, d};
    work.spans.push_back(span);
  }
  const AttentionShape shape{precision, heads, kv_heads, d, config.window[layer], 1.0F / std::sqrt(static_cast<float>(d))};
  const std::span<const AttentionSpan> spans(work.spans);
  if (plan.single > 0) AttentionDecode(shape, spans.first(plan.single));
  if (plan.single < spans.size()) AttentionForward(shape, spans.subspan(plan.single));
}

void TransformerModel::DenseMlp(size_t layer, Workspace& work) const {
  const LayerWeights& weights = weights_->layers()[layer];
  const SeparateAdapter::Layer* low_rank = adapter_ ? &adapter_->layer(layer) : nullptr;
  Apply(weights.gate_up, low_rank ? &low_rank->gate_up : nullptr, work.norm_TM, {}, work.gate_up);
  SwiGluRows(weights_->precision(), In(work.gate_up), work.x_TM.size(0), weights_->config().intermediate_size, Out(work.mlp_TI));
  Apply(weights.down, low_rank ? &low_rank->down : nullptr, work.mlp_TI, work.x_TM, work.x_TM);
}

void TransformerModel::SparseMlp(size_t layer, Workspace& work) const {
  const LayerWeights& weights = weights_->layers()[layer];
  const ModelConfig& config = weights_->config();
  const SeparateAdapter::Layer* low_rank = adapter_ ? &adapter_->layer(layer) : nullptr;
  const at::Tensor logits_TE = at::empty({work.x_TM.size(0), config.experts}, at::kFloat);
  Apply(weights.router, low_rank ? &low_rank->router : nullptr, work.norm_TM.to(at::kFloat), {}, logits_TE);
  const Routing routing = Route(logits_TE, config.experts_per_token, config.renormalize_experts);
  work.x_TM = SumOfExperts(routing, work.norm_TM, work.x_TM, [&](size_t e, const at::Tensor& x_nM) {
    const SeparateAdapter::Expert* beside = low_rank ? &low_rank->experts[e] : nullptr;
    const ExpertWeights& expert = weights.experts[e];
    const at::Tensor gate_up = at::empty({x_nM.size(0), 2 * config.expert_size}, x_nM.options());
    Apply(expert.gate_up, beside ? &beside->gate_up : nullptr, x_nM, {}, gate_up);
    const at::Tensor inner_nI = at::empty({x_nM.size(0), config.expert_size}, x_nM.options());
    SwiGluRows(weights_->precision(), In(gate_up), x_nM.size(0), config.expert_size, Out(inner_nI));
    const at::Tensor y_nM = at::empty_like(x_nM);
    Apply(expert.down, beside ? &beside->down : nullptr, inner_nI, {}, y_nM);
    return y_nM;
  });
}

at::Tensor TransformerModel::Hidden(const Plan& plan) const {
  const ModelConfig& config = weights_->config();
  const Precision precision = weights_->precision();
  const auto rows = [&](int64_t columns) { return at::empty({plan.rows, columns}, ToScalarType(precision)); };
  Workspace work{.x_TM = weights_->Embed(plan.ids),
                 .norm_TM = rows(config.hidden_size),
                 .qkv = rows((config.heads + 2 * config.kv_heads) * config.head_dim),
                 .attended = rows(config.heads * config.head_dim),
                 .gate_up = rows(2 * config.intermediate_size),
                 .mlp_TI = rows(config.intermediate_size),
                 .spans = {}};
  const auto norm = [&](const at::Tensor& weight_M) {
    NormRows(precision, In(work.x_TM), weight_M.const_data_ptr<float>(), config.rms_norm_eps, work.x_TM.size(0),
             config.hidden_size, Out(work.norm_TM));
  };
  for (size_t layer = 0; layer < weights_->layers().size(); ++layer) {
    const LayerWeights& weights = weights_->layers()[layer];
    const SeparateAdapter::Layer* low_rank = adapter_ ? &adapter_->layer(layer) : nullptr;
    norm(weights.attention_norm_M);
    Apply(weights.qkv, low_rank ? &low_rank->qkv : nullptr, work.norm_TM, {}, work.qkv);
    Attend(layer, plan, work);
    if (layer + 1 == weights_->layers().size()) {
      if (plan.wanted_rows.empty()) return {};
      work.Narrow(plan.wanted_rows);
    }
    Apply(weights.o, low_rank ? &low_rank->o : nullptr, work.attended, work.x_TM, work.x_TM);
    norm(weights.mlp_norm_M);
    if (weights.experts.empty()) {
      DenseMlp(layer, work);
    } else {
      SparseMlp(layer, work);
    }
  }
  norm(weights_->final_norm_M());
  return work.norm_TM;
}

std::vector<LogitsRow> TransformerModel::Logits(const at::Tensor& hidden_NM) {
  std::vector<LogitsRow> rows;
  if (!hidden_NM.defined()) return rows;
  logits_NV_ = weights_->head().Apply(hidden_NM);
  for (int64_t n = 0; n < hidden_NM.size(0); ++n) {
    rows.emplace_back(logits_NV_.const_data_ptr<float>() + n * logits_NV_.stride(0), static_cast<size_t>(vocab_size()));
  }
  return rows;
}

Result<std::vector<LogitsRow>> TransformerModel::Read(std::span<const SequencePiece> pieces) {
  const c10::InferenceMode inference;
  try {
    const Plan plan = MakePlan(pieces);
    std::vector<LogitsRow> rows = Logits(Hidden(plan));
    for (const Plan::Part& part : plan.parts) part.memory->Advance(part.tokens);
    return rows;
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorCode::kOutOfMemory, "not enough memory for a step of the engine");
  } catch (const c10::Error& e) {
    const bool memory = std::string_view(e.what()).find("allocate memory") != std::string_view::npos;
    return MakeError(memory ? ErrorCode::kOutOfMemory : ErrorCode::kInternal, e.what_without_backtrace());
  }
}

}  // namespace lorry
