// 4-bit checkpoints as transformers and bitsandbytes store them: a quantized W is `W` (U8 [n/2, 1]) with beside it `W.absmax`,
// `W.quant_map`, where the scales are quantized too `W.nested_absmax` and `W.nested_quant_map`, and a JSON text,
// `W.quant_state.bitsandbytes__nf4`. config.json says so under quantization_config. docs/formats/nf4.md has the widths.
//
// Only NF4 with blocks of 64 (nested: of 256) is read; everything else that such a checkpoint may be is refused by name.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "model/format/nf4.h"
#include "model/format/safetensors.h"

namespace lorry {

class ModelDirectory;

// kUnsupported, naming the key of `file`, where config.json's quantization_config is anything but bitsandbytes' NF4.
Status CheckQuantizationConfig(const nlohmann::json& quantization, const std::string& file);

// The stored pieces of one quantized weight, views into their file; types and sizes are checked, numbers are not yet.
struct StoredNf4 {
  std::vector<int64_t> shape;
  DType dtype = DType::kF32;
  TensorView packed, absmax;
  bool nested = false;
  TensorView nested_absmax, nested_quant_map;  // where `nested`
  float nested_offset = 0.0f;
};

// Finds a tensor by its name; null: it is not there.
using FindTensor = std::function<const TensorView*(std::string_view name)>;

// Whether `weight` ("model.layers.0.mlp.up_proj.weight") is stored in four bits by any of bitsandbytes' types.
bool IsStoredIn4Bit(const FindTensor& find, const std::string& weight);
// kData or kUnsupported, naming the tensor, where a piece is missing, of the wrong size or of another kind than NF4.
Result<StoredNf4> FindNf4(const FindTensor& find, const std::string& weight, const std::vector<int64_t>& shape);
// Copies it into memory. kData where a scale is not a finite number.
Result<Nf4Tensor> ReadNf4(const StoredNf4& stored);

// What a quantized weight is stored as, in no order: names, types and shapes, with their bytes.
struct Nf4Piece {
  TensorHead head;
  std::vector<std::byte> bytes;
};
std::vector<Nf4Piece> StoredPieces(const std::string& weight, const Nf4Tensor& tensor);

struct Nf4CheckpointOptions {
  bool double_quantization = true;
  uint64_t max_shard_bytes = uint64_t{5} << 30;
};
// Writes config.json and the weights of `model` into the directory `to`, which exists, with the linears of its layers in NF4 and
// all else as it is stored; linears that are in NF4 already keep their bytes. All four-bit weights are in memory meanwhile.
// Tokenizer and other files are the caller's to copy.
Status WriteNf4Checkpoint(const ModelDirectory& model, const std::filesystem::path& to, const Nf4CheckpointOptions& options);

}  // namespace lorry
