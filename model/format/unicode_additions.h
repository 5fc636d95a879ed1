// What the Unicode of the `tokenizers` package knows beyond that of PCRE2 10.42: newly assigned letters, digits, marks.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace lorry {

struct CodePointRange {
  char32_t first;
  char32_t last;  // inclusive
};

// The ranges to add to PCRE2's \p{PROPERTY}, for L, Lu, Ll, Lt, Lm, Lo, M, N, Nd, P and S (Unicode 16), and under "Numeric"
// those to add to \p{N} for the Digits rule (Unicode 17). nullopt for any other property.
std::optional<std::span<const CodePointRange>> UnicodeAdditions(std::string_view property);

}  // namespace lorry
