#include <cstring>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/json.h"
#include "model/format/model_directory.h"
#include "model/format/nf4_checkpoint.h"

namespace lorry {
namespace {

// As Python's json writes a float: the shortest text that reads back as the same double, never without a point or an exponent.
std::string PythonFloat(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

// The keys in bitsandbytes' order, with json.dumps' blanks: the same bytes as QuantState.as_dict(packed=True).
std::string StateText(const Nf4Tensor& tensor) {
  std::string text = fmt::format(R"({{"quant_type": "nf4", "blocksize": {}, "dtype": "{}", "shape": [{}])", kNf4Block,
                                 TorchNameOf(tensor.dtype), fmt::join(tensor.shape, ", "));
  if (tensor.nested) {
    text += fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {})", kNf4NestedBlock,
                        PythonFloat(static_cast<double>(tensor.nested->offset)));
  }
  return text + "}";
}

template <class T>
Nf4Piece PieceOf(std::string name, DType dtype, std::vector<int64_t> shape, std::span<const T> values) {
  Nf4Piece piece{{std::move(name), dtype, std::move(shape)}, {}};
  const std::span<const std::byte> bytes = std::as_bytes(values);
  piece.bytes.assign(bytes.begin(), bytes.end());
  return piece;
}

template <class T>
Nf4Piece ListOf(std::string name, DType dtype, std::span<const T> values) {
  return PieceOf(std::move(name), dtype, {static_cast<int64_t>(values.size())}, values);
}

// What transformers 5.23 writes for bitsandbytes' NF4. The head stays as it is stored, as there.
nlohmann::ordered_json QuantizationConfig(const Nf4CheckpointOptions& options, std::string_view dtype) {
  return {{"_load_in_4bit", true},
          {"_load_in_8bit", false},
          {"bnb_4bit_compute_dtype", dtype},
          {"bnb_4bit_quant_storage", "uint8"},
          {"bnb_4bit_quant_type", "nf4"},
          {"bnb_4bit_use_double_quant", options.double_quantization},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"llm_int8_skip_modules", {"lm_head"}},
          {"llm_int8_threshold", 6.0},
          {"load_in_4bit", true},
          {"load_in_8bit", false},
          {"quant_method", "bitsandbytes"}};
}

Status WriteConfig(const ModelDirectory& model, const std::filesystem::path& to, const Nf4CheckpointOptions& options) {
  const std::filesystem::path path = model.path() / "config.json";
  LORRY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path.string()));
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(text, nullptr, false);
  if (!config.is_object()) return MakeError(ErrorCode::kData, path.string() + ": is not a JSON object");
  config["quantization_config"] = QuantizationConfig(options, TorchNameOf(model.config().dtype));
  return WriteFileAtomically((to / "config.json").string(), config.dump(2) + "\n");
}

using PiecesByName = std::map<std::string, std::vector<std::byte>, std::less<>>;

Status AddQuantized(const ModelDirectory& model, const ExpectedTensor& weight, const Nf4CheckpointOptions& options,
                    std::vector<TensorHead>& heads, PiecesByName& pieces) {
  Result<Nf4Tensor> tensor = [&]() -> Result<Nf4Tensor> {
    if (model.IsNf4(weight.name)) return model.GetNf4(weight.name);
    LORRY_ASSIGN_OR_RETURN(const TensorView plain, model.Get(weight.name));
    return QuantizeNf4(plain.bytes, plain.dtype, plain.shape, {.double_quantization = options.double_quantization});
  }();
  if (!tensor.ok()) {
    Error error = std::move(tensor).error();
    error.message = fmt::format("tensor \"{}\": {}", weight.name, error.message);
    return error;
  }
  for (Nf4Piece& piece : StoredPieces(weight.name, *tensor)) {
    heads.push_back(piece.head);
    pieces.emplace(piece.head.name, std::move(piece.bytes));
  }
  return OkStatus();
}

}  // namespace

std::vector<Nf4Piece> StoredPieces(const std::string& weight, const Nf4Tensor& tensor) {
  const auto bytes = static_cast<int64_t>(tensor.packed.size());
  const std::string state = StateText(tensor);
  std::vector<Nf4Piece> pieces;
  pieces.push_back(PieceOf<uint8_t>(weight, DType::kU8, {bytes, 1}, tensor.packed));
  pieces.push_back(ListOf<float>(weight + ".quant_map", DType::kF32, Nf4Codebook()));
  pieces.push_back(ListOf<char>(weight + ".quant_state.bitsandbytes__nf4", DType::kU8, state));
  if (tensor.nested) {
    pieces.push_back(ListOf<uint8_t>(weight + ".absmax", DType::kU8, tensor.nested->codes));
    pieces.push_back(ListOf<float>(weight + ".nested_absmax", DType::kF32, tensor.nested->absmax));
    pieces.push_back(ListOf<float>(weight + ".nested_quant_map", DType::kF32, tensor.nested->codebook));
  } else {
    pieces.push_back(ListOf<float>(weight + ".absmax", DType::kF32, tensor.absmax));
  }
  return pieces;
}

Status WriteNf4Checkpoint(const ModelDirectory& model, const std::filesystem::path& to, const Nf4CheckpointOptions& options) {
  std::vector<TensorHead> heads;
  PiecesByName pieces;
  std::map<std::string, bool, std::less<>> quantized;
  for (const ExpectedTensor& module : LinearModules(model.config())) quantized[module.name + ".weight"] = true;
  for (const ExpectedTensor& tensor : ExpectedTensors(model.config())) {
    if (quantized.contains(tensor.name)) {
      LORRY_TRY(AddQuantized(model, tensor, options, heads, pieces));
      continue;
    }
    LORRY_ASSIGN_OR_RETURN(const TensorView plain, model.Get(tensor.name));
    heads.push_back(plain);
  }
  LORRY_TRY(WriteModelWeights(to, heads, options.max_shard_bytes, [&](const TensorHead& head, std::span<std::byte> bytes) {
    const auto piece = pieces.find(head.name);
    const std::span<const std::byte> from =
        piece != pieces.end() ? std::span<const std::byte>(piece->second) : model.Find(head.name)->bytes;
    if (!bytes.empty()) std::memcpy(bytes.data(), from.data(), bytes.size());
    return OkStatus();
  }));
  return WriteConfig(model, to, options);
}

}  // namespace lorry
