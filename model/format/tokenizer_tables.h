// What a Tokenizer is made of; read by tokenizer_reader.cc, used by tokenizer.cc.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/format/added_tokens.h"
#include "model/format/bpe.h"
#include "model/format/pre_tokenizer.h"
#include "model/format/text_normalizer.h"
#include "model/format/token_decoder.h"
#include "model/format/tokenizer.h"

namespace lorry {

struct Tokenizer::Tables {
  std::vector<AddedToken> added;
  std::unordered_map<TokenId, size_t> added_by_id;   // index into `added`
  std::unordered_map<TokenId, std::string> decoded;  // normalized added tokens: what Decode reads instead of their text
  std::unordered_map<std::string, TokenId> added_ids;
  AddedTokens in_raw_text, in_normalized_text;
  TextNormalizer normalizer;
  PreTokenizer pre_tokenizer;
  BpeModel model;
  TokenDecoder decoder;
  std::vector<TokenId> leading;  // what the post-processor puts before a text
  std::optional<SpecialToken> bos, eos, pad, unk;
  int64_t vocab_size = 0;
  std::string fingerprint;
};

}  // namespace lorry
