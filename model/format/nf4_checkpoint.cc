#include "model/format/nf4_checkpoint.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"
#include "model/format/json_fields.h"

namespace lorry {
namespace {

constexpr const char* kStateOfNf4 = ".quant_state.bitsandbytes__nf4";
constexpr const char* kStateOfFp4 = ".quant_state.bitsandbytes__fp4";
constexpr size_t kMaxStateBytes = 4096;
constexpr int64_t kMaxSize = int64_t{1} << 31;

Error Fault(std::string message, ErrorCode code = ErrorCode::kData) { return MakeError(code, std::move(message)); }

// One piece, of this type and this many elements, in any shape: bitsandbytes has stored [n, 1], [1, n] and [n].
Result<TensorView> Piece(const FindTensor& find, const std::string& name, DType dtype, int64_t elements) {
  const TensorView* found = find(name);
  if (found == nullptr) return Fault(fmt::format("tensor \"{}\" is missing", EscapeControl(name)));
  if (found->dtype != dtype || found->ElementCount() != elements) {
    return Fault(fmt::format("tensor \"{}\" is {} [{}]; {} {} were expected", EscapeControl(name), NameOf(found->dtype),
                             fmt::join(found->shape, ", "), elements, NameOf(dtype)),
                 found->dtype != dtype ? ErrorCode::kUnsupported : ErrorCode::kData);
  }
  return *found;
}

Status ReadState(const nlohmann::json& json, const std::string& name, StoredNf4& stored) {
  static constexpr std::array kKnown = {"quant_type",       "blocksize",    "dtype",        "shape",
                                        "nested_blocksize", "nested_dtype", "nested_offset"};
  const JsonFields fields(json, name);
  if (!json.is_object()) return fields.Fault("", "is not a JSON object");
  for (const auto& [key, value] : json.items()) {
    if (std::find(kKnown.begin(), kKnown.end(), key) == kKnown.end()) {
      return fields.Fault(EscapeControl(key), "is not a key of a quant_state", ErrorCode::kUnsupported);
    }
  }
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> type, fields.Text("quant_type"));
  if (type != "nf4") return fields.Fault("quant_type", "is not nf4", ErrorCode::kUnsupported);
  LORRY_ASSIGN_OR_RETURN(const int64_t block, fields.RequiredInt("blocksize", 1, kMaxSize));
  if (block != kNf4Block) return fields.Fault("blocksize", fmt::format("{}; 64 is supported", block), ErrorCode::kUnsupported);
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> dtype, fields.Text("dtype"));
  if (!dtype) return fields.Fault("dtype", "is missing");
  const Result<DType> known = DTypeFromTorchName(*dtype);
  if (!known.ok() || *known == DType::kF64) {
    return fields.Fault("dtype", fmt::format("\"{}\" is none of float32, bfloat16, float16", EscapeControl(*dtype)),
                        ErrorCode::kUnsupported);
  }
  stored.dtype = *known;
  const nlohmann::json* shape = fields.Find("shape");
  if (shape == nullptr || *shape != nlohmann::json(stored.shape)) {
    return fields.Fault("shape", fmt::format("is not [{}], which config.json asks for", fmt::join(stored.shape, ", ")));
  }
  for (const char* key : {"nested_blocksize", "nested_dtype", "nested_offset"}) {
    if (fields.Has(key) != fields.Has("nested_blocksize")) return fields.Fault(key, "does not stand with its like");
  }
  stored.nested = fields.Has("nested_blocksize");
  if (!stored.nested) return OkStatus();
  LORRY_ASSIGN_OR_RETURN(const int64_t nested_block, fields.RequiredInt("nested_blocksize", 1, kMaxSize));
  if (nested_block != kNf4NestedBlock) {
    return fields.Fault("nested_blocksize", fmt::format("{}; 256 is supported", nested_block), ErrorCode::kUnsupported);
  }
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> nested_dtype, fields.Text("nested_dtype"));
  if (nested_dtype != "float32") return fields.Fault("nested_dtype", "is not float32", ErrorCode::kUnsupported);
  LORRY_ASSIGN_OR_RETURN(const std::optional<double> offset, fields.Number("nested_offset"));
  stored.nested_offset = static_cast<float>(*offset);
  if (!std::isfinite(stored.nested_offset)) return fields.Fault("nested_offset", "is too large for a float32");
  return OkStatus();
}

std::vector<float> Floats(const TensorView& view) {
  std::vector<float> values(view.bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), view.bytes.data(), view.bytes.size());
  return values;
}

std::vector<uint8_t> Codes(const TensorView& view) {
  std::vector<uint8_t> codes(view.bytes.size());
  if (!codes.empty()) std::memcpy(codes.data(), view.bytes.data(), codes.size());
  return codes;
}

Result<std::vector<float>> FiniteFloats(const TensorView& view) {
  std::vector<float> values = Floats(view);
  for (const float value : values) {
    if (!std::isfinite(value)) return Fault(fmt::format("tensor \"{}\" holds what is not a number", EscapeControl(view.name)));
  }
  return values;
}

// The codebook that is used is NF4's own; a file with another would be read wrongly.
Status CheckCodebook(const TensorView& quant_map) {
  const std::vector<float> stored = Floats(quant_map);
  for (size_t i = 0; i < stored.size(); ++i) {
    if (std::abs(stored[i] - Nf4Codebook()[i]) <= 1e-6f) continue;
    return Fault(fmt::format("tensor \"{}\" is not NF4's codebook", EscapeControl(quant_map.name)), ErrorCode::kUnsupported);
  }
  return OkStatus();
}

}  // namespace

Status CheckQuantizationConfig(const nlohmann::json& quantization, const std::string& file) {
  const JsonFields fields(quantization, file, "quantization_config.");
  if (!quantization.is_object()) return fields.Fault("", "is not an object");
  const auto refuse = [&](const char* key, const std::string& text) { return fields.Fault(key, text, ErrorCode::kUnsupported); };
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> method, fields.Text("quant_method"));
  if (method.value_or("bitsandbytes") != "bitsandbytes") {
    return refuse("quant_method", fmt::format("\"{}\" is not supported; bitsandbytes with nf4 is", EscapeControl(*method)));
  }
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> eight, fields.Bool("load_in_8bit"));
  if (eight.value_or(false)) return refuse("load_in_8bit", "is not supported; load_in_4bit with nf4 is");
  LORRY_ASSIGN_OR_RETURN(const std::optional<bool> four, fields.Bool("load_in_4bit"));
  if (!four.value_or(false)) return refuse("load_in_4bit", "is not true; bitsandbytes with nf4 is supported");
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> type, fields.Text("bnb_4bit_quant_type"));
  if (type.value_or("fp4") != "nf4") {
    return refuse("bnb_4bit_quant_type", fmt::format("\"{}\" is not supported; nf4 is", EscapeControl(type.value_or("fp4"))));
  }
  LORRY_ASSIGN_OR_RETURN(const std::optional<std::string> storage, fields.Text("bnb_4bit_quant_storage"));
  if (storage.value_or("uint8") != "uint8") {
    return refuse("bnb_4bit_quant_storage", fmt::format("\"{}\" is not supported; uint8 is", EscapeControl(*storage)));
  }
  return OkStatus();
}

bool IsStoredIn4Bit(const FindTensor& find, const std::string& weight) {
  return find(weight + kStateOfNf4) != nullptr || find(weight + kStateOfFp4) != nullptr;
}

Result<StoredNf4> FindNf4(const FindTensor& find, const std::string& weight, const std::vector<int64_t>& shape) {
  if (find(weight + kStateOfFp4) != nullptr) {
    return Fault(fmt::format("tensor \"{}\" is stored in fp4; nf4 is supported", EscapeControl(weight)), ErrorCode::kUnsupported);
  }
  const std::string state_name = weight + kStateOfNf4;
  const TensorView* state = find(state_name);
  if (state == nullptr) return Fault(fmt::format("tensor \"{}\" is missing", EscapeControl(state_name)));
  if (state->dtype != DType::kU8 || state->bytes.size() > kMaxStateBytes) {
    return Fault(fmt::format("tensor \"{}\" is not a short JSON text in U8", EscapeControl(state_name)));
  }
  const std::string_view text(reinterpret_cast<const char*>(state->bytes.data()), state->bytes.size());
  Result<nlohmann::json> json = ParseJson(text, {.max_bytes = kMaxStateBytes, .max_depth = 4});
  if (!json.ok()) return Fault(fmt::format("tensor \"{}\": {}", EscapeControl(state_name), json.error().Format()));

  StoredNf4 stored;
  stored.shape = shape;
  LORRY_TRY(ReadState(*json, state_name, stored));
  int64_t elements = 1;
  for (const int64_t size : shape) {
    if (__builtin_mul_overflow(elements, size, &elements)) return Fault(fmt::format("tensor \"{}\" is too large", weight));
  }
  const int64_t blocks = (elements + kNf4Block - 1) / kNf4Block;
  LORRY_ASSIGN_OR_RETURN(stored.packed, Piece(find, weight, DType::kU8, elements / 2 + elements % 2));
  LORRY_ASSIGN_OR_RETURN(const TensorView quant_map, Piece(find, weight + ".quant_map", DType::kF32, 16));
  LORRY_TRY(CheckCodebook(quant_map));
  LORRY_ASSIGN_OR_RETURN(stored.absmax, Piece(find, weight + ".absmax", stored.nested ? DType::kU8 : DType::kF32, blocks));
  if (!stored.nested) return stored;
  LORRY_ASSIGN_OR_RETURN(stored.nested_absmax,
                         Piece(find, weight + ".nested_absmax", DType::kF32, (blocks + kNf4NestedBlock - 1) / kNf4NestedBlock));
  LORRY_ASSIGN_OR_RETURN(stored.nested_quant_map, Piece(find, weight + ".nested_quant_map", DType::kF32, 256));
  return stored;
}

Result<Nf4Tensor> ReadNf4(const StoredNf4& stored) {
  Nf4Tensor tensor;
  tensor.shape = stored.shape;
  tensor.dtype = stored.dtype;
  tensor.packed = Codes(stored.packed);
  if (!stored.nested) {
    LORRY_ASSIGN_OR_RETURN(tensor.absmax, FiniteFloats(stored.absmax));
    return tensor;
  }
  Nf4NestedScales nested;
  nested.codes = Codes(stored.absmax);
  LORRY_ASSIGN_OR_RETURN(nested.absmax, FiniteFloats(stored.nested_absmax));
  LORRY_ASSIGN_OR_RETURN(nested.codebook, FiniteFloats(stored.nested_quant_map));
  nested.offset = stored.nested_offset;
  tensor.nested = std::move(nested);
  return tensor;
}

}  // namespace lorry
