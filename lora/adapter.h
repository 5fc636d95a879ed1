// A LoRA adapter: for each adapted linear W [out, in] two small matrices A [r, in] and B [out, r], so that the layer
// gives W x + scaling * B (A x). Formats and names are PEFT's (github.com/huggingface/peft, tuners/lora).
//
// With DoRA ("DoRA: Weight-Decomposed Low-Rank Adaptation", arXiv 2402.09353) each row j of W + scaling * B A is turned to length
// m_j: V = W + scaling * B A, and the layer gives (m / |V|) * (V x), a row's length |V_j| being taken as a constant by gradients.
//
// All values lie in one flat fp32 tensor, and gradients in another of the same layout: an optimizer, a sum over ranks
// and a checkpoint each see one vector. The order is fixed by layer, then by LinearKind, experts one by one at the layer's end,
// then A before B before m; it depends only on the base model and the adapter's configuration.
//
// Mixtures of experts: each expert's linears have their own matrices, as in PEFT on transformers 4 (names and files), and the
// router may have some. What PEFT does with them otherwise is refused by name: DoRA, rsLoRA and dropout on them.
//
// Threads: values may be read by many threads while no one writes.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/format/model_config.h"

namespace lorry {

// The linears of one decoder layer, in the order of transformers' modules; the router's is beside them.
enum class LinearKind : uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown, kRouter };
inline constexpr int kLinearKinds = 7;  // of a dense layer

inline constexpr int64_t kNoExpert = -1;

// "self_attn.q_proj", ..., "mlp.down_proj". REQUIRES: not kRouter, whose name is the family's (RouterModule).
const char* LinearKindPath(LinearKind kind);
// Rows and columns of its weight [out, in]; of any one expert with `of_expert`.
std::pair<int64_t, int64_t> LinearKindShape(const ModelConfig& config, LinearKind kind, bool of_expert = false);

// What adapter_config.json says, as far as it changes the result.
struct AdapterConfig {
  int64_t r = 8;
  double alpha = 8.0;
  double dropout = 0.0;  // of A's input while training; 0 <= dropout < 1; not together with dora
  bool rslora = false;   // scaling alpha / sqrt(r) in place of alpha / r
  bool dora = false;
  // Either a list of names (exact, or a suffix after a dot) or, with one entry and `targets_are_regex`, a Python regex
  // that matches whole module names. "all-linear" (any case) as the only entry means each linear but the head.
  std::vector<std::string> target_modules = {"all-linear"};
  bool targets_are_regex = false;
  // Only as read from a file: weights of a mixture of experts that PEFT holds fused (fused_experts.h); target_modules may be
  // empty.
  std::vector<std::string> target_parameters;
  bool was_fused = false;  // it had some: what it computes can be had, and trained on it cannot be
  std::vector<std::string> exclude_modules;
  bool excludes_are_regex = false;
  std::vector<int64_t> layers_to_transform;                   // empty: all
  std::vector<std::pair<std::string, int64_t>> rank_pattern;  // first that matches (.*\.)?(KEY)$, in file order
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::string base_model_name_or_path;
};

// One adapted linear and where its matrices lie in the flat vector.
struct AdaptedLinear {
  std::string module;  // "model.layers.0.self_attn.q_proj"
  int64_t layer = 0;
  LinearKind kind = LinearKind::kQ;
  int64_t expert = kNoExpert;  // or whose gate, up or down it is
  int64_t in = 0, out = 0, r = 0;
  double scaling = 1.0;
  int64_t a_offset = 0;  // A [r, in], row-major, at values[a_offset]
  int64_t b_offset = 0;  // B [out, r] at values[b_offset] == a_offset + r * in
  bool dora = false;
  int64_t MagnitudeOffset() const { return b_offset + out * r; }  // m [out] there, with dora
};

class Adapter {
 public:
  // All zeros, on the CPU, for the linears of `model` that `config` names. kSpec if it names none (the error lists the
  // module names that exist) or an option is not supported.
  static Result<Adapter> Create(const ModelConfig& model, AdapterConfig config);

  const AdapterConfig& config() const { return config_; }
  // Of the training to come: an adapter read from a file has none. As of config().dropout.
  Status SetDropout(double dropout);
  // In the order of the flat vector.
  const std::vector<AdaptedLinear>& linears() const { return linears_; }
  const AdaptedLinear* Find(int64_t layer, LinearKind kind, int64_t expert = kNoExpert) const;  // nullptr: not adapted

  int64_t ParameterCount() const { return values_.numel(); }
  at::Tensor& values() { return values_; }  // [ParameterCount()] fp32; shared storage, never reallocated
  const at::Tensor& values() const { return values_; }

  // Views into `flat`, which has this adapter's layout: values() or a gradient.
  static at::Tensor ViewA(const AdaptedLinear& linear, const at::Tensor& flat);          // [r, in]
  static at::Tensor ViewB(const AdaptedLinear& linear, const at::Tensor& flat);          // [out, r]
  static at::Tensor ViewMagnitude(const AdaptedLinear& linear, const at::Tensor& flat);  // [out]. REQUIRES: linear.dora

  // The tensors of the flat vector in order, with PEFT's names
  // ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"). For optimizers with groups, and for files.
  enum class SlotKind : uint8_t { kA, kB, kMagnitude };
  struct Slot {
    std::string name;
    SlotKind kind = SlotKind::kA;
    int64_t offset = 0;
    std::vector<int64_t> shape;
    bool in_sparse_mlp = false;  // an expert's or a router's
    int64_t size() const;
  };
  std::vector<Slot> Slots() const;

  // A copy whose values are its own.
  Adapter Clone() const;

 private:
  AdapterConfig config_;
  std::vector<AdaptedLinear> linears_;
  at::Tensor values_;
};

// As PEFT begins: A uniform in +-1/sqrt(in) (kaiming_uniform with a = sqrt 5), B zero; magnitudes are the base's to say
// (LoraModel::InitMagnitudes), and zero until then. Each matrix has its own
// generator, keyed by (seed, "lora.init", layer, kind, expert), so that it does not depend on which others are there.
void InitAdapter(Adapter& adapter, uint64_t seed);

}  // namespace lorry
