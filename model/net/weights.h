// The frozen weights of a decoder, ready to compute: loaded once, packed once, shared by all lanes and
// by the inference engine. Nothing here changes after Load; any number of threads may read.
//
// On a CPU each linear is packed for y = x W^T and, for training, once more for dx = dy W (gemm.h). bf16 needs AVX-512
// BF16 or AMX (CpuHasBf16 in precision.h). Weights that are stored in NF4 are dequantized, unless they shall stay so.
//
// Shapes: M model width, T tokens, V vocabulary, D head size, I the MLP's width.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/format/model_config.h"
#include "model/format/model_directory.h"
#include "model/net/experts.h"
#include "model/net/linear.h"
#include "model/net/output_head.h"
#include "model/net/precision.h"

namespace lorry {

struct LayerWeights {
  at::Tensor attention_norm_M;  // weights of RMSNorm, fp32
  at::Tensor mlp_norm_M;
  at::Tensor q_norm_D, k_norm_D;  // of each head, before its position; not defined where the family has none
  Linear qkv;                     // [(heads + 2 kv_heads) * D, M]: parts q, k, v
  Linear o;                       // [M, heads * D]
  Linear gate_up;                 // [2 I, M]: parts gate, up
  Linear down;                    // [M, I]

  Linear router;  // [E, M], fp32 in every model; with the experts in place of the two above where the MLP is sparse (experts.h)
  std::vector<ExpertWeights> experts;
};

// Changes a weight on its way in: name as in the file ("model.layers.0.self_attn.q_proj.weight"), weight [out, in] as
// stored, not to be written to. Used to fold an adapter in (lora/merge.h).
using WeightPatch = std::function<at::Tensor(const std::string& name, at::Tensor weight)>;

struct LoadOptions {
  bool for_training = false;  // pack both orders
  at::Device device = at::kCPU;
  WeightPatch patch;  // may be empty
  // The linears of the layers stay in NF4 (QLoRA): with their own bytes where they are stored so, else quantized here with double
  // quantization, as bitsandbytes would. A linear that a 4-bit checkpoint leaves whole stays whole.
  bool nf4 = false;
};

class DecoderWeights {
 public:
  // On a CPU also sets the process to keep freed memory (mallopt).
  // kUnsupported for an option of config.json that is not built (named), for kBf16 on a CPU without it, and for experts elsewhere
  // than on a CPU or in training with router_jitter_noise; kData where a tensor is missing or has another shape.
  static Result<std::shared_ptr<const DecoderWeights>> Load(const ModelDirectory& directory, Precision precision,
                                                            const LoadOptions& options);

  const ModelConfig& config() const { return config_; }
  Precision precision() const { return precision_; }
  at::Device device() const { return device_; }

  // Rows of the embedding: [T] int32/int64 ids -> x [T, M]. REQUIRES: ids in [0, V).
  at::Tensor Embed(const at::Tensor& ids) const;
  const std::vector<LayerWeights>& layers() const { return layers_; }
  const at::Tensor& final_norm_M() const { return final_norm_M_; }
  const OutputHead& head() const { return head_; }

  // cos and sin of each position: fp32 [rows, D / 2] each, with the family's scaling in them (rope.h).
  const at::Tensor& rope_cos() const { return rope_cos_; }
  const at::Tensor& rope_sin() const { return rope_sin_; }

  int64_t ResidentBytes() const { return resident_bytes_; }

 private:
  DecoderWeights() = default;
  friend class WeightLoader;

  ModelConfig config_;
  Precision precision_ = Precision::kFp32;
  at::Device device_ = at::kCPU;
  at::Tensor embedding_VM_;
  std::vector<LayerWeights> layers_;
  at::Tensor final_norm_M_;
  OutputHead head_;
  at::Tensor rope_cos_, rope_sin_;
  int64_t resident_bytes_ = 0;
};

// A stored tensor as ATen sees it: no copy, valid as long as the file's mapping. kUnsupported for types without a
// floating-point meaning here.
Result<at::Tensor> ViewOf(const TensorView& stored);

}  // namespace lorry
