// Text to token ids and back: byte-level and SentencePiece BPE as a tokenizer.json (format of the `tokenizers` package)
// describes them. Ids are equal to that package's; decoding too, with U+FFFD where the bytes are not UTF-8.
//
// Encoding runs in five steps: added tokens are cut out of the text (those that look at the text as it is, then, after the
// normalizer, the others); what is left goes through the pre-tokenizer into words, the BPE merges each word's symbols, and
// the post-processor's leading tokens are put in front. Each step is one file: added_tokens.h, text_normalizer.h,
// pre_tokenizer.h, bpe.h, token_decoder.h. Differences in the Unicode version are settled in unicode_regex.h.
//
// Threads: const members may be called from any thread. Copies share their tables.
// Errors: kData (with the file's name) for what is broken, kUnsupported for a part of the format named in the text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry {

class GgufFile;
using TokenId = int32_t;

// A special token by its part: what chat templates call bos_token, eos_token and so on.
struct SpecialToken {
  std::string text;
  TokenId id;
};

class Tokenizer {
 public:
  // Reads tokenizer.json and, where they are there, tokenizer_config.json and special_tokens_map.json of a model directory.
  static Result<Tokenizer> FromDirectory(const std::filesystem::path& dir);
  // `config_json` is tokenizer_config.json's text, or empty. `name` stands in error texts.
  static Result<Tokenizer> FromTokenizerJson(std::string_view tokenizer_json, std::string_view config_json,
                                             const std::string& name);
  static Result<Tokenizer> FromGguf(const GgufFile& file);

  // Invalid UTF-8 in `text` is read as U+FFFD. With `add_special_tokens` the tokens that the tokenizer puts before a text
  // come first; those that it would put after one are not added. Fails only where a pattern of the tokenizer runs past its
  // limit on this text (kData).
  Result<std::vector<TokenId>> Encode(std::string_view text, bool add_special_tokens) const;

  // Ids that the vocabulary does not have are left out. What comes back is valid UTF-8.
  std::string Decode(std::span<const TokenId> ids, bool skip_special_tokens) const;

  // The bytes of one token as it stands in a byte-level text, for streams and JSON automata; empty for an unknown id.
  std::string TokenBytes(TokenId id) const;
  bool IsSpecial(TokenId id) const;
  std::optional<TokenId> IdOf(std::string_view token) const;  // the token as tokenizer.json spells it
  std::optional<std::string> TokenOf(TokenId id) const;

  std::optional<TokenId> bos_id() const;
  std::optional<TokenId> eos_id() const;
  std::optional<TokenId> pad_id() const;
  const std::optional<SpecialToken>& bos() const;
  const std::optional<SpecialToken>& eos() const;
  const std::optional<SpecialToken>& pad() const;
  const std::optional<SpecialToken>& unk() const;

  // One more than the largest id, added tokens included. The model's embedding may have more rows.
  int64_t vocab_size() const;
  // SHA-256 (hex) of all that decides about ids: part of the key of a token cache.
  const std::string& fingerprint() const;

 private:
  struct Tables;
  explicit Tokenizer(std::shared_ptr<const Tables> tables);
  friend class TokenizerReader;
  std::shared_ptr<const Tables> tables_;
};

}  // namespace lorry
