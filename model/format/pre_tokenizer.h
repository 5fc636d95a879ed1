// Cuts normalized text into the words that the BPE works on: tokenizer.json's "pre_tokenizer".
//
// Supported: Sequence, Split, Digits, ByteLevel (last), Metaspace, WhitespaceSplit. ByteLevel's spelling of bytes is not
// carried out here: words stay bytes of the text, and the BPE works on bytes then.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "model/format/text_normalizer.h"

namespace lorry {

// GPT-2's pattern, which ByteLevel uses.
extern const char* const kGpt2Pattern;

// Threads: const members may be called from any thread.
class PreTokenizer {
 public:
  // `pre_tokenizer` is tokenizer.json's, null included: then the whole text is one word.
  static Result<PreTokenizer> FromJson(const nlohmann::json& pre_tokenizer);

  bool byte_level() const { return byte_level_; }

  // The words of `text`, in order. They look into `text` or `arena`. `at_start`: text begins the whole input.
  // REQUIRES: valid UTF-8. kData where a pattern runs past its limit.
  Status Split(std::string_view text, bool at_start, std::deque<std::string>& arena, std::vector<std::string_view>& words) const;

 private:
  enum class Kind { kPattern, kPrefixSpace, kMetaspace };
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  enum class Prepend { kNever, kFirst, kAlways };
  struct Step {
    Kind kind = Kind::kPattern;
    TextPattern pattern;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
    Prepend prepend = Prepend::kNever;  // kMetaspace
    std::string replacement;            // kMetaspace
    bool split = true;                  // kMetaspace
  };
  struct Stretch {
    std::string_view text;
    bool match;
  };
  Status Read(const nlohmann::json& json, int depth);
  Status ReadSplit(const nlohmann::json& json);
  Status ReadByteLevel(const nlohmann::json& json);
  Status ReadMetaspace(const nlohmann::json& json);
  Status AddPattern(const char* pattern, Behavior behavior);
  Status SplitWord(const Step& step, std::string_view word, std::vector<std::string_view>& out) const;
  static void Join(Behavior behavior, const std::vector<Stretch>& stretches, std::vector<std::string_view>& out);
  Status Metaspace(const Step& step, std::string_view word, bool first, std::deque<std::string>& arena,
                   std::vector<std::string_view>& out) const;

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace lorry
