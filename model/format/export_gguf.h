// A Hugging Face directory becomes a GGUF file that llama.cpp reads: the way back of import_gguf.h, as llama.cpp's own
// convert_hf_to_gguf.py goes it. docs/formats/tensors.md lists keys and types.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/format/gguf_write.h"
#include "model/format/model_directory.h"

namespace lorry {

struct ExportGgufOptions {
  GgmlType type = GgmlType::kF16;  // of the matrices: kF32, kF16 or kQ8_0
  std::string name;                // general.name; empty: none
};

// Vectors (norms, biases) are F32. Rows that are no multiple of Q8_0's 32 are F16. `read` gives the weights: ReadStoredWeight, or
// one that folds an adapter in. Memory: one tensor at a time. Errors: kUnsupported, naming the field, for arithmetic or a
// tokenizer that a GGUF cannot say; kData for broken files and values that the type cannot hold, kStorage. On an error no file
// appears.
Status ExportGguf(const ModelDirectory& model, const std::filesystem::path& gguf, const ExportGgufOptions& options,
                  const ReadWeight& read);

// "f16", "q8_0", "f32" of the command line; kUsage for others.
Result<GgmlType> GgufTypeFromName(std::string_view name);

// The pairs of the architecture and of the rotary positions. `file` stands in error texts.
Result<std::vector<GgufPair>> GgufConfigPairs(const ModelConfig& config, const std::string& file);
// rope_freqs.weight of Llama 3's positions, one divisor for each pair of dimensions; empty for other kinds.
std::vector<float> GgufRopeDivisors(const ModelConfig& config);
// tokenizer.ggml.* and the chat template, of the directory's tokenizer files.
Result<std::vector<GgufPair>> GgufTokenizerPairs(const ModelDirectory& model);

}  // namespace lorry
