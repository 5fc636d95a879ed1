// Joins the texts of tokens into the text they stand for: tokenizer.json's "decoder".
//
// Supported: ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, Sequence, and null (tokens joined by blanks).
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "model/format/text_normalizer.h"

namespace lorry {

// Threads: const members may be called from any thread.
class TokenDecoder {
 public:
  static Result<TokenDecoder> FromJson(const nlohmann::json& decoder);
  // Tokens as tokenizer.json spells them. What comes back is valid UTF-8.
  std::string Decode(std::vector<std::string> tokens) const;
  // The bytes that a token adds behind others: not valid UTF-8 by itself where it is one byte of a character.
  std::string BytesBehindOthers(const std::string& token) const;

 private:
  enum class Kind { kByteLevel, kByteFallback, kFuse, kReplace, kStrip, kMetaspace };
  struct Step {
    Kind kind;
    TextPattern pattern;
    std::string content;
    int64_t start = 0, stop = 0;  // kStrip: how many characters at most at either end
    bool prepended = true;        // kMetaspace: the first token's blank was put there by the pre-tokenizer
  };
  Status Read(const nlohmann::json& json, int depth);
  static void Apply(const Step& step, std::vector<std::string>& tokens);
  std::vector<Step> steps_;
};

}  // namespace lorry
