// Cuts a template into text and tokens, with Jinja's rules for white space (trim_blocks and lstrip_blocks on).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lorry::jinja {

enum class TokenKind {
  kText,         // between the tags
  kOutputBegin,  // {{
  kOutputEnd,    // }}
  kBlockBegin,   // {%
  kBlockEnd,     // %}
  kName,
  kString,  // text is what the literal stands for
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  int line = 0;
};

// Line breaks become "\n" and one at the very end is dropped, as Jinja does. kData with the line: an unclosed tag or literal.
Result<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace lorry::jinja
