#include "model/net/weights.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <malloc.h>

#include <mutex>

#include "model/net/nf4_tensors.h"
#include "model/net/rope.h"

namespace lorry {
namespace {

// Activations come and go by the megabyte. By default glibc returns each to the kernel, which clears every page anew:
// a fifth of a training step (measured). So: one arena, nothing given back, and only larger blocks mapped by themselves.
void KeepFreedMemory() {
  static std::once_flag once;
  std::call_once(once, [] {
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_TOP_PAD, 64 << 20);
  });
}

}  // namespace

Result<at::Tensor> ViewOf(const TensorView& stored) {
  at::ScalarType dtype;
  switch (stored.dtype) {
    case DType::kF32:
      dtype = at::kFloat;
      break;
    case DType::kF16:
      dtype = at::kHalf;
      break;
    case DType::kBF16:
      dtype = at::kBFloat16;
      break;
    default:
      return MakeError(ErrorCode::kUnsupported, fmt::format("{} is stored as {}", stored.name, NameOf(stored.dtype)),
                       "weights are F32, F16 or BF16");
  }
  // ATen has no view of constant memory; nobody writes to it.
  return at::from_blob(const_cast<std::byte*>(stored.bytes.data()), stored.shape, dtype);
}

class WeightLoader {
 public:
  WeightLoader(const ModelDirectory& directory, Precision precision, const LoadOptions& options)
      : directory_(directory), config_(directory.config()), precision_(precision), options_(options) {}

  Result<std::shared_ptr<const DecoderWeights>> Run() {
    LORRY_TRY(Check());
    std::shared_ptr<DecoderWeights> weights(new DecoderWeights());
    weights->config_ = config_;
    weights->precision_ = precision_;
    weights->device_ = options_.device;
    const RopeTables tables = MakeRopeTables(config_.rope, config_.head_dim, config_.max_positions);
    weights->rope_cos_ = tables.cos.to(options_.device);
    weights->rope_sin_ = tables.sin.to(options_.device);
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      LORRY_ASSIGN_OR_RETURN(LayerWeights loaded, Layer(layer));
      for (const Linear* linear : {&loaded.qkv, &loaded.o, &loaded.gate_up, &loaded.down}) bytes_ += linear->ResidentBytes();
      bytes_ += SparseBytes(loaded);
      weights->layers_.push_back(std::move(loaded));
    }
    LORRY_ASSIGN_OR_RETURN(weights->final_norm_M_, Norm("model.norm.weight"));
    LORRY_ASSIGN_OR_RETURN(const at::Tensor embedding, Get("model.embed_tokens.weight"));
    weights->embedding_VM_ = embedding.to(options_.device, ToScalarType(precision_), false, true);
    at::Tensor head = weights->embedding_VM_;
    if (!config_.tied_embeddings) {
      LORRY_ASSIGN_OR_RETURN(head, Get("lm_head.weight"));
      head = head.to(options_.device, ToScalarType(precision_));
    }
    weights->head_ = OutputHead(head, precision_, options_.for_training);
    weights->resident_bytes_ = bytes_ + static_cast<int64_t>(weights->embedding_VM_.nbytes()) + weights->head_.ResidentBytes();
    return std::shared_ptr<const DecoderWeights>(std::move(weights));
  }

 private:
  Status Check() const {
    if (precision_ == Precision::kBf16 && options_.device.is_cpu() && !CpuHasBf16()) {
      return MakeError(ErrorCode::kUnsupported, "this CPU has no AVX-512 BF16", "use precision: fp32");
    }
    if (config_.experts > 0 && !options_.device.is_cpu()) {
      return MakeError(ErrorCode::kUnsupported, "a mixture of experts on a GPU is not in this version", "use cpus");
    }
    if (config_.router_jitter > 0 && options_.for_training) {
      return MakeError(ErrorCode::kUnsupported, "training with router_jitter_noise above 0 is not in this version",
                       "set it to 0 in the base model's config.json");
    }
    return OkStatus();
  }

  static int64_t SparseBytes(const LayerWeights& layer) {
    int64_t bytes = layer.router.ResidentBytes();
    for (const ExpertWeights& expert : layer.experts) bytes += expert.gate_up.ResidentBytes() + expert.down.ResidentBytes();
    return bytes;
  }

  Result<at::Tensor> Get(const std::string& name) const {
    LORRY_ASSIGN_OR_RETURN(at::Tensor weight, Stored(name));
    return options_.patch ? options_.patch(name, weight) : weight;
  }

  Result<at::Tensor> Stored(const std::string& name) const {
    if (directory_.IsNf4(name)) {
      LORRY_ASSIGN_OR_RETURN(const Nf4Tensor weight, directory_.GetNf4(name));
      return DequantizedTensor(weight);
    }
    LORRY_ASSIGN_OR_RETURN(const TensorView stored, directory_.Get(name));
    return ViewOf(stored);
  }

  // Null: a 4-bit checkpoint leaves it whole.
  Result<std::shared_ptr<const Nf4Tensor>> GetNf4(const std::string& name) const {
    if (config_.stored_nf4 && !directory_.IsNf4(name)) return std::shared_ptr<const Nf4Tensor>();
    Result<Nf4Tensor> weight = [&]() -> Result<Nf4Tensor> {
      if (config_.stored_nf4 && !options_.patch) return directory_.GetNf4(name);
      LORRY_ASSIGN_OR_RETURN(const at::Tensor whole, Get(name));
      return QuantizedTensor(whole);
    }();
    if (!weight.ok()) return Because(name, std::move(weight).error());
    return std::make_shared<const Nf4Tensor>(std::move(*weight));
  }

  Result<at::Tensor> Norm(const std::string& name) const {
    LORRY_ASSIGN_OR_RETURN(const at::Tensor weight, Get(name));
    return weight.to(options_.device, at::kFloat, false, true);
  }

  Result<at::Tensor> Bias(const std::string& module, bool bias) const {
    if (!bias) return at::Tensor();
    LORRY_ASSIGN_OR_RETURN(const at::Tensor stored, Get(module + ".bias"));
    return stored.to(options_.device);
  }

  Result<Linear> Load(const std::string& prefix, std::initializer_list<const char*> modules, bool bias) const {
    if (options_.nf4) {
      LORRY_ASSIGN_OR_RETURN(const std::vector<Nf4LinearPart> parts, Nf4Parts(prefix, modules, bias));
      if (!parts.empty()) return Linear(parts, precision_, options_.for_training, options_.device);
    }
    std::vector<LinearPart> parts;
    for (const char* module : modules) {
      LinearPart& part = parts.emplace_back();
      LORRY_ASSIGN_OR_RETURN(part.weight, Get(prefix + module + ".weight"));
      part.weight = part.weight.to(options_.device);
      LORRY_ASSIGN_OR_RETURN(part.bias, Bias(prefix + module, bias));
    }
    return Linear(parts, precision_, options_.for_training);
  }

  // None where one of the modules is left whole: those that are laid side by side are of one kind.
  Result<std::vector<Nf4LinearPart>> Nf4Parts(const std::string& prefix, std::initializer_list<const char*> modules,
                                              bool bias) const {
    std::vector<Nf4LinearPart> parts;
    for (const char* module : modules) {
      Nf4LinearPart& part = parts.emplace_back();
      LORRY_ASSIGN_OR_RETURN(part.weight, GetNf4(prefix + module + ".weight"));
      if (part.weight == nullptr) return std::vector<Nf4LinearPart>();
      LORRY_ASSIGN_OR_RETURN(part.bias, Bias(prefix + module, bias));
    }
    return parts;
  }

  Result<LayerWeights> Layer(int64_t index) const {
    const std::string prefix = fmt::format("model.layers.{}.", index);
    LayerWeights layer;
    LORRY_ASSIGN_OR_RETURN(layer.attention_norm_M, Norm(prefix + "input_layernorm.weight"));
    LORRY_ASSIGN_OR_RETURN(layer.mlp_norm_M, Norm(prefix + "post_attention_layernorm.weight"));
    if (config_.qk_norm) {
      LORRY_ASSIGN_OR_RETURN(layer.q_norm_D, Norm(prefix + "self_attn.q_norm.weight"));
      LORRY_ASSIGN_OR_RETURN(layer.k_norm_D, Norm(prefix + "self_attn.k_norm.weight"));
    }
    LORRY_ASSIGN_OR_RETURN(layer.qkv, Load(prefix + "self_attn.", {"q_proj", "k_proj", "v_proj"}, config_.qkv_bias));
    LORRY_ASSIGN_OR_RETURN(layer.o, Load(prefix + "self_attn.", {"o_proj"}, config_.o_bias));
    if (config_.IsSparse(index)) {
      LORRY_TRY(LoadExperts(index, layer));
      return layer;
    }
    LORRY_ASSIGN_OR_RETURN(layer.gate_up, Load(prefix + "mlp.", {"gate_proj", "up_proj"}, config_.mlp_bias));
    LORRY_ASSIGN_OR_RETURN(layer.down, Load(prefix + "mlp.", {"down_proj"}, config_.mlp_bias));
    return layer;
  }

  Status LoadExperts(int64_t index, LayerWeights& layer) const {
    LinearPart router;
    LORRY_ASSIGN_OR_RETURN(router.weight, Get(RouterModule(config_, index) + ".weight"));
    router.weight = router.weight.to(options_.device);
    layer.router = Linear({router}, Precision::kFp32, options_.for_training);
    const auto& [gate, up, down] = config_.expert_linears;
    for (int64_t expert = 0; expert < config_.experts; ++expert) {
      const std::string prefix = fmt::format("model.layers.{}.{}.experts.{}.", index, config_.sparse_block, expert);
      ExpertWeights& loaded = layer.experts.emplace_back();
      LORRY_ASSIGN_OR_RETURN(loaded.gate_up, Load(prefix, {gate, up}, false));
      LORRY_ASSIGN_OR_RETURN(loaded.down, Load(prefix, {down}, false));
    }
    return OkStatus();
  }

  const ModelDirectory& directory_;
  const ModelConfig& config_;
  const Precision precision_;
  const LoadOptions& options_;
  int64_t bytes_ = 0;
};

Result<std::shared_ptr<const DecoderWeights>> DecoderWeights::Load(const ModelDirectory& directory, Precision precision,
                                                                   const LoadOptions& options) {
  try {
    const c10::NoGradGuard no_grad;
    if (options.device.is_cpu()) KeepFreedMemory();
    return WeightLoader(directory, precision, options).Run();
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorCode::kOutOfMemory, "the model's weights do not fit in memory");
  } catch (const c10::OutOfMemoryError& error) {
    return MakeError(ErrorCode::kOutOfMemory, error.what_without_backtrace());
  } catch (const c10::Error& error) {
    return MakeError(ErrorCode::kInternal, error.what_without_backtrace());
  }
}

at::Tensor DecoderWeights::Embed(const at::Tensor& ids) const { return at::embedding(embedding_VM_, ids); }

}  // namespace lorry
