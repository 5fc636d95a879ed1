#include "model/format/tokenizer.h"

#include <deque>

#include "base/text.h"
#include "model/format/byte_level.h"
#include "model/format/tokenizer_tables.h"
#include "model/format/unicode_regex.h"

namespace lorry {

Tokenizer::Tokenizer(std::shared_ptr<const Tables> tables) : tables_(std::move(tables)) {}

namespace {

// Encodes text that holds no added token of either kind.
Status EncodeWords(const PreTokenizer& pre_tokenizer, const BpeModel& model, std::string_view text, bool at_start,
                   std::vector<TokenId>& ids) {
  std::deque<std::string> arena;
  std::vector<std::string_view> words;
  LORRY_TRY(pre_tokenizer.Split(text, at_start, arena, words));
  for (std::string_view word : words) model.EncodeWord(word, ids);
  return OkStatus();
}

}  // namespace

Result<std::vector<TokenId>> Tokenizer::Encode(std::string_view text, bool add_special_tokens) const {
  std::string repaired;
  if (!IsValidUtf8(text)) {
    repaired = ReplaceInvalidUtf8(text);
    text = repaired;
  }
  const Tables& t = *tables_;
  std::vector<TokenId> ids;
  if (add_special_tokens) ids = t.leading;
  std::vector<TextPart> parts, inner;
  t.in_raw_text.Split(text, parts);
  for (const TextPart& part : parts) {
    if (part.id >= 0) {
      ids.push_back(part.id);
      continue;
    }
    bool at_start = part.text.data() == text.data();
    std::string normalized;
    std::string_view rest = part.text;
    if (!t.normalizer.empty()) {
      LORRY_ASSIGN_OR_RETURN(normalized, t.normalizer.Apply(rest));
      rest = normalized;
    }
    inner.clear();
    t.in_normalized_text.Split(rest, inner);
    for (const TextPart& piece : inner) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
      } else {
        LORRY_TRY(EncodeWords(t.pre_tokenizer, t.model, piece.text, at_start && piece.text.data() == rest.data(), ids));
      }
    }
  }
  return ids;
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (TokenId id : ids) {
    if (skip_special_tokens && IsSpecial(id)) continue;
    if (auto it = tables_->decoded.find(id); it != tables_->decoded.end()) {
      tokens.push_back(it->second);
    } else if (auto token = TokenOf(id)) {
      tokens.push_back(std::move(*token));
    }
  }
  return tables_->decoder.Decode(std::move(tokens));
}

std::optional<std::string> Tokenizer::TokenOf(TokenId id) const {
  if (auto it = tables_->added_by_id.find(id); it != tables_->added_by_id.end()) return tables_->added[it->second].text;
  const std::string* token = tables_->model.TokenOf(id);
  if (token == nullptr) return std::nullopt;
  return *token;
}

std::string Tokenizer::TokenBytes(TokenId id) const {
  if (auto it = tables_->added_by_id.find(id); it != tables_->added_by_id.end()) return tables_->added[it->second].text;
  const std::string* token = tables_->model.TokenOf(id);
  if (token == nullptr) return "";
  if (tables_->pre_tokenizer.byte_level()) return UnspellBytes(*token).value_or(*token);
  return tables_->decoder.BytesBehindOthers(*token);
}

bool Tokenizer::IsSpecial(TokenId id) const {
  auto it = tables_->added_by_id.find(id);
  return it != tables_->added_by_id.end() && tables_->added[it->second].special;
}

std::optional<TokenId> Tokenizer::IdOf(std::string_view token) const {
  if (auto it = tables_->added_ids.find(std::string(token)); it != tables_->added_ids.end()) return it->second;
  return tables_->model.IdOf(token);
}

namespace {

std::optional<TokenId> IdIn(const std::optional<SpecialToken>& token) {
  if (!token) return std::nullopt;
  return token->id;
}

}  // namespace

std::optional<TokenId> Tokenizer::bos_id() const { return IdIn(tables_->bos); }
std::optional<TokenId> Tokenizer::eos_id() const { return IdIn(tables_->eos); }
std::optional<TokenId> Tokenizer::pad_id() const { return IdIn(tables_->pad); }
const std::optional<SpecialToken>& Tokenizer::bos() const { return tables_->bos; }
const std::optional<SpecialToken>& Tokenizer::eos() const { return tables_->eos; }
const std::optional<SpecialToken>& Tokenizer::pad() const { return tables_->pad; }
const std::optional<SpecialToken>& Tokenizer::unk() const { return tables_->unk; }
int64_t Tokenizer::vocab_size() const { return tables_->vocab_size; }
const std::string& Tokenizer::fingerprint() const { return tables_->fingerprint; }

}  // namespace lorry
