// The words of a GGUF's tokenizer that stand for what tokenizer.json spells out: read by the import, written by the export.
// Source: llama.cpp's llama-vocab.cpp (cuts by name) and the `gguf` package (constants.TokenType).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace lorry {

// tokenizer.ggml.token_type.
struct GgufTokenType {
  static constexpr int64_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6;
};

inline constexpr const char* kLlama3Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr const char* kQwen2Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr const char* kTekkenSplit =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// What tokenizer.ggml.pre stands for. Byte-level BPE tokenizers differ in how text is cut before merging.
struct GgufPreTokenizer {
  std::string_view name;
  const char* split;  // null: GPT-2's own cut, inside ByteLevel
  bool single_digits;
  bool nfc;
  bool ignore_merges;  // a piece that is a token is taken whole
  bool bos_by_default;
};
inline constexpr std::array<GgufPreTokenizer, 11> kGgufPreTokenizers = {{
    {"smollm", nullptr, true, false, false, false},
    {"starcoder", nullptr, true, false, false, false},
    {"refact", nullptr, true, false, false, false},
    {"gpt-2", nullptr, false, false, false, false},
    {"gpt2", nullptr, false, false, false, false},
    {"llama-bpe", kLlama3Split, false, false, true, true},
    {"llama3", kLlama3Split, false, false, true, true},
    {"llama-v3", kLlama3Split, false, false, true, true},
    {"qwen2", kQwen2Split, false, true, false, false},
    {"deepseek-r1-qwen", kQwen2Split, false, true, false, true},
    {"tekken", kTekkenSplit, false, false, true, true},
}};

}  // namespace lorry
