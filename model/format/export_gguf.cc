#include "model/format/export_gguf.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "model/format/gguf_tensors.h"

namespace lorry {
namespace {

// general.file_type (llama.h, llama_ftype).
uint32_t FileTypeOf(GgmlType type) { return type == GgmlType::kF32 ? 0 : type == GgmlType::kF16 ? 1 : 7; }

GgmlType TypeOf(const ExpectedTensor& tensor, GgmlType wanted) {
  if (tensor.shape.size() < 2) return GgmlType::kF32;  // llama.cpp computes with norms and biases as they are
  const bool fits = static_cast<size_t>(tensor.shape.back()) % BlockOf(wanted).elements == 0;
  return fits ? wanted : GgmlType::kF16;
}

Error InTensor(Error error, const ModelDirectory& model, const std::string& tensor) {
  if (!error.file.empty()) return error;
  error.file = model.path().string();
  error.key = tensor;
  return error;
}

Result<std::vector<GgufPair>> AllPairs(const ModelDirectory& model, const ExportGgufOptions& options) {
  LORRY_ASSIGN_OR_RETURN(std::vector<GgufPair> pairs, GgufConfigPairs(model.config(), (model.path() / "config.json").string()));
  if (!options.name.empty()) pairs.push_back({"general.name", options.name});
  pairs.push_back({"general.file_type", FileTypeOf(options.type)});
  pairs.push_back({"general.quantization_version", uint32_t{2}});
  LORRY_ASSIGN_OR_RETURN(const std::vector<GgufPair> tokenizer, GgufTokenizerPairs(model));
  pairs.insert(pairs.end(), tokenizer.begin(), tokenizer.end());
  return pairs;
}

}  // namespace

Status ExportGguf(const ModelDirectory& model, const std::filesystem::path& gguf, const ExportGgufOptions& options,
                  const ReadWeight& read) {
  if (options.type != GgmlType::kF32 && options.type != GgmlType::kF16 && options.type != GgmlType::kQ8_0) {
    return MakeError(ErrorCode::kUnsupported, fmt::format("writing {} is not in this version", NameOf(options.type)));
  }
  LORRY_ASSIGN_OR_RETURN(const std::vector<GgufPair> pairs, AllPairs(model, options));
  const std::vector<ExpectedTensor> expected = ExpectedTensors(model.config());
  std::vector<GgufTensorHead> heads;
  heads.reserve(expected.size() + 1);
  for (const ExpectedTensor& tensor : expected)
    heads.push_back({GgufNameOf(tensor.name), TypeOf(tensor, options.type), tensor.shape});
  const std::vector<float> divisors = GgufRopeDivisors(model.config());
  if (!divisors.empty()) heads.push_back({"rope_freqs.weight", GgmlType::kF32, {static_cast<int64_t>(divisors.size())}});
  std::vector<float> values;
  return WriteGguf(gguf, pairs, heads, [&](size_t index, std::span<std::byte> blocks) -> Status {
    if (index == expected.size()) return Quantize(GgmlType::kF32, divisors, blocks);
    const ExpectedTensor& tensor = expected[index];
    LORRY_ASSIGN_OR_RETURN(const TensorView stored, model.Get(tensor.name));
    values.resize(static_cast<size_t>(stored.ElementCount()));
    LORRY_TRY(read(stored, values));
    ArrangeForGguf(model.config(), stored, values);
    const Status written = Quantize(heads[index].type, values, blocks);
    return written.ok() ? written : Status(InTensor(written.error(), model, tensor.name));
  });
}

Result<GgmlType> GgufTypeFromName(std::string_view name) {
  if (name == "f16") return GgmlType::kF16;
  if (name == "q8_0") return GgmlType::kQ8_0;
  if (name == "f32") return GgmlType::kF32;
  return MakeError(ErrorCode::kUsage, fmt::format("type {} of a GGUF is unknown", name), "f16, q8_0 or f32");
}

}  // namespace lorry
