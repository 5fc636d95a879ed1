// Added and special tokens: texts that are cut out before the tokenizer sees the rest, longest match first.
// Follows added_vocabulary.rs of the `tokenizers` package.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lorry {

using TokenId = int32_t;

struct AddedToken {
  TokenId id = 0;
  std::string text;
  bool special = false;      // left out by Decode's skip_special_tokens
  bool normalized = false;   // looked for in the normalized text; else in the text as it is
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
};

// A stretch of text: an added token, or (id -1) text between them.
struct TextPart {
  std::string_view text;
  TokenId id = -1;
};

// A set of tokens to look for. Threads: const members may be called from any thread.
class AddedTokens {
 public:
  // An empty text is ignored; of two equal ones the later counts.
  void Add(AddedToken token);
  bool empty() const { return tokens_.empty(); }

  // Appends the parts of `text` in order. REQUIRES: valid UTF-8.
  void Split(std::string_view text, std::vector<TextPart>& parts) const;

 private:
  // The longest token at `at`, or null.
  const AddedToken* Longest(std::string_view text, size_t at) const;

  std::vector<AddedToken> tokens_;
  std::array<bool, 256> first_{};                    // bytes that some token begins with
  std::unordered_map<uint64_t, uint32_t> children_;  // (node, byte) -> node; node 0 is the root
  std::vector<int32_t> token_at_{-1};                // by node: the token that ends there
};

}  // namespace lorry
