// A GGUF file becomes a whole Hugging Face directory, the same bytes every time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/format/dtype.h"
#include "model/format/gguf.h"
#include "model/format/model_config.h"

namespace lorry {

// The texts of the files below end in a line break and are the same for the same GGUF, byte for byte.

// config.json for a GGUF of architecture llama, qwen2 or qwen3; `dtype` is what the weights will be written in.
// Both spellings of the rotary parameters are written, transformers 4's and 5's.
Result<std::string> GgufConfigJson(const GgufFile& file, DType dtype);
Result<std::string> GgufGenerationConfigJson(const GgufFile& file);

// tokenizer.json (format of the `tokenizers` package): byte-level BPE and SentencePiece BPE, the pre-tokenizer by
// tokenizer.ggml.pre (transformers' own GGUF loader ignores some of them). kUnsupported for one that is not known.
Result<std::string> GgufTokenizerJson(const GgufFile& file);
// tokenizer_config.json: the special tokens' names.
Result<std::string> GgufTokenizerConfigJson(const GgufFile& file);

// The special tokens' ids, checked against the vocabulary.
struct GgufSpecialIds {
  std::optional<int64_t> bos, eos, eot, unknown, padding;
};
Result<GgufSpecialIds> ReadGgufSpecialIds(const GgufFile& file);

struct ImportGgufOptions {
  DType dtype = DType::kF32;                 // kF32, kBF16 or kF16
  uint64_t max_shard_bytes = 5'000'000'000;  // above it: shards and an index
};

// Writes config.json, generation_config.json, tokenizer.json, tokenizer_config.json, chat_template.jinja (if the file has
// one) and the weights into `out_dir`, which must not exist or be empty. On an error nothing is left in `out_dir`.
// Memory: the file is mapped and one tensor at a time is dequantized.
Status ImportGguf(const std::filesystem::path& gguf, const std::filesystem::path& out_dir, const ImportGgufOptions& options);

}  // namespace lorry
