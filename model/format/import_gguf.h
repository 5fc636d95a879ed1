// A GGUF file becomes a whole Hugging Face directory, the same bytes every time.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "model/format/dtype.h"
#include "model/format/gguf.h"
#include "model/format/model_config.h"

namespace lorry {

// config.json's content for a GGUF of architecture llama, qwen2 or qwen3.
Result<nlohmann::ordered_json> GgufModelConfig(const GgufFile& file, DType dtype);

// tokenizer.json's content (format of the `tokenizers` package). Byte-level BPE and SentencePiece BPE; the pre-tokenizer
// follows tokenizer.ggml.pre (transformers' own GGUF loader ignores some of them).
Result<nlohmann::ordered_json> GgufTokenizerJson(const GgufFile& file);

// tokenizer_config.json's content, with the special tokens; the chat template goes to chat_template.jinja.
Result<nlohmann::ordered_json> GgufTokenizerConfig(const GgufFile& file);

struct ImportGgufOptions {
  DType dtype = DType::kF32;                       // kF32, kBF16 or kF16
  uint64_t max_shard_bytes = 5'000'000'000;        // above it: shards and an index
};

// Writes config.json, generation_config.json, tokenizer.json, tokenizer_config.json, chat_template.jinja (if the file has
// one) and the weights into `out_dir`, which must not exist or be empty. On an error nothing is left in `out_dir`.
// Memory: the file is mapped and one tensor at a time is dequantized.
Status ImportGguf(const std::filesystem::path& gguf, const std::filesystem::path& out_dir, const ImportGgufOptions& options);

}  // namespace lorry
