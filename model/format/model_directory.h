// A model directory as Hugging Face lays it out: config.json, generation_config.json, tokenizer files, and weights in
// model.safetensors or in shards listed by model.safetensors.index.json.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/format/model_config.h"
#include "model/format/nf4.h"
#include "model/format/safetensors.h"

namespace lorry {

// Open and checked: every tensor that the configuration asks for is there with its shape, and is of F32, F16 or BF16, or, where
// config.json says so and it is a linear of a layer, in NF4 (nf4_checkpoint.h).
// Movable; const members may be called from any thread. Weights are mapped, not read.
class ModelDirectory {
 public:
  ModelDirectory(ModelDirectory&&) = default;
  ModelDirectory& operator=(ModelDirectory&&) = default;

  // kNotFound if the directory or config.json is missing; kData with the file's name otherwise.
  static Result<ModelDirectory> Open(const std::filesystem::path& dir);
  // The same without weights: enough for plan, tokenize and the checks of an adapter.
  static Result<ModelDirectory> OpenWithoutWeights(const std::filesystem::path& dir);

  const std::filesystem::path& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  const GenerationConfig& generation() const { return generation_; }
  const std::vector<SafetensorsFile>& shards() const { return shards_; }
  // The names of their files, in the same order.
  const std::vector<std::string>& shard_names() const { return shard_names_; }

  const TensorView* Find(std::string_view tensor) const;  // null if there is none
  // kData, naming the directory, if there is none; kUnsupported for one in NF4: its codes are no numbers.
  Result<TensorView> Get(std::string_view tensor) const;
  // Whether this weight ("model.layers.0.mlp.up_proj.weight") is stored in NF4; Find gives its packed codes then.
  bool IsNf4(std::string_view tensor) const { return nf4_shapes_.contains(tensor); }
  Result<Nf4Tensor> GetNf4(std::string_view tensor) const;  // a copy. kData, naming it. REQUIRES: IsNf4(tensor)
  uint64_t WeightBytes() const;

 private:
  ModelDirectory() = default;
  Status OpenWeights();
  Status OpenSharded(const std::filesystem::path& index_file);
  Status CheckTensors();
  Status CheckTensor(const ExpectedTensor& expected, bool linear);

  std::filesystem::path path_;
  ModelConfig config_;
  GenerationConfig generation_;
  std::vector<SafetensorsFile> shards_;
  std::vector<std::string> shard_names_;
  std::map<std::string, const TensorView*, std::less<>> tensors_;
  std::map<std::string, std::vector<int64_t>, std::less<>> nf4_shapes_;  // of the weights that are in NF4: [out, in]
};

// The numbers of a weight of a ModelDirectory, as they are to be used: ReadStoredWeight, or one that changes them (lora/merge.h).
// values.size() is the tensor's element count.
using ReadWeight = std::function<Status(const TensorView& stored, std::span<float> values)>;
Status ReadStoredWeight(const TensorView& stored, std::span<float> values);

// Writes model.safetensors, or shards of at most `max_shard_bytes` and their index, as save_pretrained names them.
// `heads` in the model's order; `fill` as in WriteSafetensorsStreamed.
Status WriteModelWeights(const std::filesystem::path& dir, const std::vector<TensorHead>& heads, uint64_t max_shard_bytes,
                         const FillTensor& fill);

}  // namespace lorry
