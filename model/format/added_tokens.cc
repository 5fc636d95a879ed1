#include "model/format/added_tokens.h"

#include <algorithm>

#include <utf8proc.h>

#include "model/format/unicode_additions.h"
#include "model/format/unicode_regex.h"

namespace lorry {
namespace {

// \w of Rust's regex crate: alphabetic, marks, decimal digits, connectors, joiners.
bool IsWordCharacter(char32_t c) {
  if (c == 0x200C || c == 0x200D) return true;
  if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
      (c >= 0x1F170 && c <= 0x1F189)) {
    return true;  // letters in circles and squares are alphabetic by Unicode's Other_Alphabetic
  }
  for (const char* property : {"L", "M", "Nd"}) {
    const auto additions = UnicodeAdditions(property);
    for (const CodePointRange& range : *additions) {
      if (c >= range.first && c <= range.last) return true;
    }
  }
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

size_t PreviousCharacter(std::string_view text, size_t at) {
  do {
    --at;
  } while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}

bool WordEndsAt(std::string_view text, size_t at) {
  if (at == 0) return false;
  size_t before = PreviousCharacter(text, at);
  return IsWordCharacter(NextCodePoint(text, before));
}

bool WordBeginsAt(std::string_view text, size_t at) { return at < text.size() && IsWordCharacter(NextCodePoint(text, at)); }

// Where the white space that ends at `at` begins.
size_t SpaceBefore(std::string_view text, size_t at) {
  while (at > 0) {
    size_t before = PreviousCharacter(text, at);
    size_t next = before;
    if (!IsWhiteSpace(NextCodePoint(text, next))) break;
    at = before;
  }
  return at;
}

size_t SpaceAfter(std::string_view text, size_t at) {
  for (size_t next = at; next < text.size() && IsWhiteSpace(NextCodePoint(text, next));) at = next;
  return at;
}

}  // namespace

void AddedTokens::Add(AddedToken token) {
  if (token.text.empty()) return;
  uint32_t node = 0;
  for (unsigned char byte : token.text) {
    auto [it, added] = children_.try_emplace(uint64_t{node} << 8 | byte, static_cast<uint32_t>(token_at_.size()));
    if (added) token_at_.push_back(-1);
    node = it->second;
  }
  first_[static_cast<unsigned char>(token.text[0])] = true;
  token_at_[node] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(std::move(token));
}

const AddedToken* AddedTokens::Longest(std::string_view text, size_t at) const {
  const AddedToken* longest = nullptr;
  uint32_t node = 0;
  for (; at < text.size(); ++at) {
    auto it = children_.find(uint64_t{node} << 8 | static_cast<unsigned char>(text[at]));
    if (it == children_.end()) break;
    node = it->second;
    if (token_at_[node] >= 0) longest = &tokens_[token_at_[node]];
  }
  return longest;
}

// A token whose rstrip took the blanks that the next token begins with leaves that one a part of its own that overlaps: as the
// `tokenizers` package has it.
void AddedTokens::Split(std::string_view text, std::vector<TextPart>& parts) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = first_[static_cast<unsigned char>(text[at])] ? Longest(text, at) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->text.size();
    at = end;
    if (token->single_word && (WordEndsAt(text, begin) || WordBeginsAt(text, end))) continue;
    if (token->lstrip) begin = std::max(SpaceBefore(text, begin), done);
    if (token->rstrip) end = SpaceAfter(text, end);
    if (done < begin) parts.push_back({text.substr(done, begin - done), -1});
    parts.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  if (done < text.size()) parts.push_back({text.substr(done), -1});
}

}  // namespace lorry
