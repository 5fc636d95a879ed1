// The normalizer of a tokenizer: NFC and its kin, Prepend, Replace, Strip, Lowercase, and sequences of them.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "model/format/unicode_regex.h"

namespace lorry {

// What tokenizer.json writes as {"String": ...} or {"Regex": ...}.
struct TextPattern {
  std::string literal;  // where there is no regex
  std::optional<UnicodeRegex> regex;
};
Result<TextPattern> ReadTextPattern(const nlohmann::json& pattern, const std::string& where);

// Threads: const members may be called from any thread.
class TextNormalizer {
 public:
  // `normalizer` is tokenizer.json's, null included.
  static Result<TextNormalizer> FromJson(const nlohmann::json& normalizer);
  bool empty() const { return steps_.empty(); }
  // REQUIRES: valid UTF-8. kData where a pattern runs past its limit.
  Result<std::string> Apply(std::string_view text) const;

 private:
  enum class Kind { kNfc, kNfd, kNfkc, kNfkd, kPrepend, kReplace, kStrip };
  struct Step {
    Kind kind;
    TextPattern pattern;
    std::string content;
    bool left = true, right = true;
  };
  Status Read(const nlohmann::json& normalizer, int depth);
  std::vector<Step> steps_;
};

// The text with every place of the pattern replaced.
Result<std::string> ReplaceAll(std::string_view text, const TextPattern& pattern, std::string_view with);

}  // namespace lorry
