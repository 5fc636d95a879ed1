// Regular expressions of tokenizers: PCRE2, made to match what the `tokenizers` package (Oniguruma, Unicode 16) matches.
//
// Patterns are rewritten before they are compiled: \s is exactly Unicode's White_Space, and \p{L}, \p{N} and the like get the
// code points that PCRE2's older Unicode lacks (unicode_additions.h; \p{Numeric} is the Digits rule's). What means something
// else in the other engine and no known tokenizer uses is refused by name (kUnsupported).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lorry {

class UnicodeRegex {
 public:
  // kData with the place for a pattern that is broken.
  static Result<UnicodeRegex> Compile(std::string_view pattern);

  struct Match {
    size_t begin = 0;
    size_t end = 0;
  };
  // The first match at or after `from`, which must stand between characters. REQUIRES: text is valid UTF-8.
  // kData where the pattern needs more steps than it may take (match limit): the text or the pattern is hostile.
  Result<std::optional<Match>> Find(std::string_view text, size_t from) const;

 private:
  struct Code;
  explicit UnicodeRegex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

// The pattern as PCRE2 gets it; for tests.
Result<std::string> RewriteForPcre2(std::string_view pattern);

// UTF-8, one character at a time. REQUIRES: valid UTF-8 and offset < text.size(); advances `offset` past the character.
char32_t NextCodePoint(std::string_view text, size_t& offset);
void AppendUtf8(std::string& out, char32_t c);
// Each maximal part that is not UTF-8 becomes one U+FFFD (Unicode 15, chapter 3.9; as Rust's from_utf8_lossy does).
std::string ReplaceInvalidUtf8(std::string_view bytes);
bool IsWhiteSpace(char32_t c);

}  // namespace lorry
