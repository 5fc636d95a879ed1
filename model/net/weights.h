// The frozen weights of a decoder (Llama family), ready to compute: loaded once, packed once, shared by all lanes and
// by the inference engine. Nothing here changes after Load; any number of threads may read.
//
// In bf16 on a CPU each linear is kept in oneDNN's blocked form, once for y = x W^T and, for training, once more for
// dx = dy W; a CPU without AVX-512 BF16 computes in fp32 (Load refuses kBf16 there: see CpuHasBf16). In fp32 there is
// one plain copy, read by MKL in both orders.
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

namespace lorry {

enum class Precision : uint8_t { kFp32, kBf16 };
at::ScalarType ToScalarType(Precision precision);

// AVX-512 BF16 (or AMX) present: bf16 products at full rate. Without it, train and infer in fp32.
bool CpuHasBf16();

// One linear, y = x W^T + bias. Results of a row do not depend on which other rows are in x, in bf16; in fp32 they
// may (MKL chooses its kernel by the number of rows): x is padded to 64 rows where it has fewer, so that short and
// long calls agree from 64 rows on only as far as MKL itself does.
class Linear {
 public:
  Linear() = default;
  // weight [out, in] on the device it shall stay on; bias [out] or undefined. `backward` also packs for ApplyTransposed.
  Linear(at::Tensor weight, at::Tensor bias, Precision precision, bool backward);

  at::Tensor Apply(const at::Tensor& x) const;              // [T, in] -> [T, out], dtype of x = precision
  at::Tensor ApplyTransposed(const at::Tensor& dy) const;   // [T, out] -> [T, in] = dy W; REQUIRES: made with backward
  void ApplyOut(const at::Tensor& x, at::Tensor& y) const;  // the same into y [T, out], contiguous

  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  bool defined() const { return out_ > 0; }

 private:
  int64_t in_ = 0, out_ = 0;
  Precision precision_ = Precision::kFp32;
  bool packed_ = false;
  at::Tensor forward_;   // packed, or plain [out, in]
  at::Tensor backward_;  // packed [in, out]; undefined in fp32, where forward_ serves both
  at::Tensor bias_;
};

struct LayerWeights {
  at::Tensor attention_norm_M;  // weights of RMSNorm, fp32
  at::Tensor mlp_norm_M;
  at::Tensor q_norm_D, k_norm_D;  // undefined unless the family has them
  Linear qkv;      // [(heads + 2 kv_heads) * D, M]: q heads, then k heads, then v heads
  Linear o;        // [M, heads * D]
  Linear gate_up;  // [2 I, M]: gate rows, then up rows
  Linear down;     // [M, I]
};

// Changes a weight on its way in: name as in the file ("model.layers.0.self_attn.q_proj.weight"), weight [out, in] as
// stored. Used to fold an adapter in (lora/merge.h).
using WeightPatch = std::function<at::Tensor(const std::string& name, at::Tensor weight)>;

struct LoadOptions {
  bool for_training = false;  // pack both orders
  at::Device device = at::kCPU;
  WeightPatch patch;  // may be empty
};

class DecoderWeights {
 public:
  // kUnsupported for a family or an option of config.json that is not built (named), kData where a tensor is missing
  // or has another shape.
  static Result<std::shared_ptr<const DecoderWeights>> Load(const ModelDirectory& directory, Precision precision,
                                                            const LoadOptions& options);

  const ModelConfig& config() const { return config_; }
  Precision precision() const { return precision_; }
  at::Device device() const { return device_; }

  // Rows of the embedding: [T] int32/int64 ids -> x [T, M]. REQUIRES: ids in [0, V).
  at::Tensor Embed(const at::Tensor& ids) const;
  const std::vector<LayerWeights>& layers() const { return layers_; }
  const at::Tensor& final_norm_M() const { return final_norm_M_; }
  const Linear& head() const { return head_; }  // [V, M]

  // cos and sin of each position: fp32 [max_positions, D / 2] each, with the family's scaling in them.
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
  Linear head_;
  at::Tensor rope_cos_, rope_sin_;
  int64_t resident_bytes_ = 0;
};

}  // namespace lorry
