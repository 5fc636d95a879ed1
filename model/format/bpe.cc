#include "model/format/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "model/format/byte_level.h"
#include "model/format/unicode_regex.h"

namespace lorry {
namespace {

constexpr int64_t kMaxTokens = 16'000'000;
// Up to this many symbols a word is merged by scanning for the best pair; beyond, through a priority queue.
constexpr size_t kShortWord = 48;

bool Flag(const nlohmann::json& object, const char* key) {
  auto it = object.find(key);
  return it != object.end() && it->is_boolean() && it->get<bool>();
}

// null and "" say the same in these keys.
bool IsSet(const nlohmann::json& object, const char* key) {
  auto it = object.find(key);
  return it != object.end() && !it->is_null() && !(it->is_string() && it->get_ref<const std::string&>().empty());
}

Error Broken(std::string what) { return MakeError(ErrorCode::kData, std::move(what)); }

}  // namespace

void MergeTable::Reserve(size_t merges) {
  size_t slots = std::bit_ceil(std::max<size_t>(merges * 2, 16));
  slots_.assign(slots, Slot{});
  shift_ = 64 - std::countr_zero(slots);
}

void MergeTable::Put(TokenId left, TokenId right, Merge merge) {
  uint64_t pair = uint64_t(uint32_t(left)) << 32 | uint32_t(right);
  size_t i = Start(pair);
  while (slots_[i].pair != kEmpty && slots_[i].pair != pair) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = {pair, merge};
}

const MergeTable::Merge* MergeTable::Find(TokenId left, TokenId right) const {
  uint64_t pair = uint64_t(uint32_t(left)) << 32 | uint32_t(right);
  for (size_t i = Start(pair);; i = (i + 1) & (slots_.size() - 1)) {
    if (slots_[i].pair == pair) return &slots_[i].merge;
    if (slots_[i].pair == kEmpty) return nullptr;
  }
}

Result<BpeModel> BpeModel::FromJson(const nlohmann::json& model, bool byte_level) {
  if (!model.is_object()) return Broken("model: an object is expected");
  auto type = model.find("type");
  if (type != model.end() && *type != "BPE") {
    return MakeError(ErrorCode::kUnsupported, fmt::format("model.type {}: only BPE is in this version", type->dump()));
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix", "dropout"}) {
    if (IsSet(model, key) && model[key] != 0) {
      return MakeError(ErrorCode::kUnsupported, fmt::format("model.{} is not in this version", key));
    }
  }
  BpeModel out;
  out.byte_level_ = byte_level;
  out.ignore_merges_ = Flag(model, "ignore_merges");
  out.byte_fallback_ = Flag(model, "byte_fallback");
  out.fuse_unk_ = Flag(model, "fuse_unk");
  LORRY_TRY(out.ReadVocabulary(model));
  auto merges = model.find("merges");
  if (merges == model.end() || !merges->is_array()) return Broken("model.merges: a list is expected");
  LORRY_TRY(out.ReadMerges(*merges));
  out.ReadByteSymbols();
  out.cache_ = std::make_unique<std::array<CacheShard, kShards>>();
  return out;
}

Status BpeModel::ReadVocabulary(const nlohmann::json& model) {
  auto vocab = model.find("vocab");
  if (vocab == model.end() || !vocab->is_object()) return Broken("model.vocab: an object is expected");
  ids_.reserve(vocab->size());
  for (const auto& [token, id] : vocab->items()) {
    if (!id.is_number_integer() || id < 0 || id >= kMaxTokens) {
      return Broken(fmt::format("model.vocab: {} has no usable id", nlohmann::json(token).dump()));
    }
    TokenId number = id.get<TokenId>();
    if (size_t(number) >= tokens_.size()) tokens_.resize(number + 1);
    ids_.emplace(token, number);
    tokens_[number] = token;
    if (!ignore_merges_) continue;
    std::optional<std::string> word = byte_level_ ? UnspellBytes(token) : token;
    if (word) whole_words_.emplace(*word, number);
  }
  if (IsSet(model, "unk_token")) {
    if (!model["unk_token"].is_string()) return Broken("model.unk_token: text is expected");
    unk_ = IdOf(model["unk_token"].get_ref<const std::string&>());
    if (!unk_) return Broken("model.unk_token is not in the vocabulary");
  }
  return OkStatus();
}

Status BpeModel::ReadMerges(const nlohmann::json& merges) {
  if (merges.size() > size_t(kMaxTokens)) return Broken("model.merges: too many");
  merges_.Reserve(merges.size());
  int32_t rank = 0;
  for (const auto& merge : merges) {
    if (merge.is_string()) {
      const std::string& text = merge.get_ref<const std::string&>();
      size_t blank = text.find(' ');
      if (blank == std::string::npos || text.find(' ', blank + 1) != std::string::npos) {
        return Broken(fmt::format("model.merges[{}]: two tokens with a blank between them are expected", rank));
      }
      LORRY_TRY(ReadMerge(std::string_view(text).substr(0, blank), std::string_view(text).substr(blank + 1), rank));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      LORRY_TRY(ReadMerge(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>(), rank));
    } else {
      return Broken(fmt::format("model.merges[{}]: \"a b\" or [\"a\", \"b\"] is expected", rank));
    }
    ++rank;
  }
  return OkStatus();
}

Status BpeModel::ReadMerge(std::string_view left, std::string_view right, int32_t rank) {
  std::optional<TokenId> l = IdOf(left), r = IdOf(right), result = IdOf(std::string(left) + std::string(right));
  if (!l || !r || !result) {
    return Broken(fmt::format("model.merges[{}]: a part or the result is not in the vocabulary", rank));
  }
  merges_.Put(*l, *r, {rank, *result});
  return OkStatus();
}

void BpeModel::ReadByteSymbols() {
  for (int byte = 0; byte < 256; ++byte) {
    std::string one(1, static_cast<char>(byte));
    byte_ids_[byte] = IdOf(SpellBytes(one)).value_or(-1);
    fallback_ids_[byte] = IdOf(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
}

std::optional<TokenId> BpeModel::IdOf(std::string_view token) const {
  auto it = ids_.find(token);
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

const std::string* BpeModel::TokenOf(TokenId id) const {
  if (id < 0 || id >= size() || tokens_[id].empty()) return nullptr;
  return &tokens_[id];
}

void BpeModel::EncodeWord(std::string_view word, std::vector<TokenId>& out) const {
  if (word.empty()) return;
  if (word.size() > kLongestCachedWord) return EncodeUncached(word, out);
  CacheShard& shard = (*cache_)[Hash()(word) % kShards];
  {
    std::lock_guard lock(shard.mutex);
    if (auto it = shard.words.find(word); it != shard.words.end()) {
      out.insert(out.end(), it->second.begin(), it->second.end());
      return;
    }
  }
  size_t begin = out.size();
  EncodeUncached(word, out);
  std::lock_guard lock(shard.mutex);
  if (shard.words.size() < kWordsPerShard) {
    shard.words.emplace(std::string(word), std::vector<TokenId>(out.begin() + begin, out.end()));
  }
}

void BpeModel::EncodeUncached(std::string_view word, std::vector<TokenId>& out) const {
  if (ignore_merges_) {
    if (auto it = whole_words_.find(word); it != whole_words_.end()) {
      out.push_back(it->second);
      return;
    }
  }
  std::vector<TokenId> symbols;
  symbols.reserve(word.size());
  Symbols(word, symbols);
  symbols.size() <= kShortWord ? MergeShort(symbols) : MergeLong(symbols);
  out.insert(out.end(), symbols.begin(), symbols.end());
}

// A run of characters that the vocabulary lacks becomes one unknown token (fuse_unk) or one each; with no unknown token they
// are left out. The order in which a pending unknown token and byte fallbacks are put down is that of `tokenizers`.
void BpeModel::Symbols(std::string_view word, std::vector<TokenId>& out) const {
  bool unknown = false;
  auto missing = [&] {
    if (!unk_) return;
    if (unknown && !fuse_unk_) out.push_back(*unk_);
    unknown = true;
  };
  auto found = [&](TokenId id) {
    if (unknown) out.push_back(*unk_);
    unknown = false;
    out.push_back(id);
  };
  for (size_t at = 0; at < word.size();) {
    if (byte_level_) {
      TokenId id = byte_ids_[static_cast<unsigned char>(word[at++])];
      id >= 0 ? found(id) : missing();
      continue;
    }
    size_t begin = at;
    NextCodePoint(word, at);
    std::string_view character = word.substr(begin, at - begin);
    if (auto id = IdOf(character)) {
      found(*id);
    } else if (!byte_fallback_ || !ByteFallback(character, out)) {
      missing();
    }
  }
  if (unknown) out.push_back(*unk_);
}

bool BpeModel::ByteFallback(std::string_view character, std::vector<TokenId>& out) const {
  for (unsigned char byte : character) {
    if (fallback_ids_[byte] < 0) return false;
  }
  for (unsigned char byte : character) out.push_back(fallback_ids_[byte]);
  return true;
}

// The best pair is the one of least rank, the leftmost of equals.
void BpeModel::MergeShort(std::vector<TokenId>& symbols) const {
  size_t n = symbols.size();
  if (n < 2) return;
  std::array<const MergeTable::Merge*, kShortWord> pairs;
  for (size_t i = 0; i + 1 < n; ++i) pairs[i] = merges_.Find(symbols[i], symbols[i + 1]);
  while (n > 1) {
    size_t best = n;
    for (size_t i = 0; i + 1 < n; ++i) {
      if (pairs[i] && (best == n || pairs[i]->rank < pairs[best]->rank)) best = i;
    }
    if (best == n) break;
    symbols[best] = pairs[best]->result;
    std::copy(symbols.begin() + best + 2, symbols.begin() + n, symbols.begin() + best + 1);
    std::copy(pairs.begin() + best + 2, pairs.begin() + n, pairs.begin() + best + 1);
    --n;
    if (best > 0) pairs[best - 1] = merges_.Find(symbols[best - 1], symbols[best]);
    if (best + 1 < n) pairs[best] = merges_.Find(symbols[best], symbols[best + 1]);
  }
  symbols.resize(n);
}

void BpeModel::MergeLong(std::vector<TokenId>& symbols) const {
  struct Candidate {
    int32_t rank;
    uint32_t left;
    TokenId result;
    bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : left > o.left; }
  };
  const uint32_t n = static_cast<uint32_t>(symbols.size());
  std::vector<uint32_t> next(n), previous(n);
  std::vector<char> gone(n, 0);
  std::vector<Candidate> candidates;
  candidates.reserve(n);
  for (uint32_t i = 0; i < n; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
    if (i + 1 == n) break;
    if (auto* merge = merges_.Find(symbols[i], symbols[i + 1])) candidates.push_back({merge->rank, i, merge->result});
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(candidates));
  auto offer = [&](uint32_t left, uint32_t right) {
    if (auto* merge = merges_.Find(symbols[left], symbols[right])) queue.push({merge->rank, left, merge->result});
  };
  while (!queue.empty()) {
    Candidate top = queue.top();
    queue.pop();
    uint32_t right = gone[top.left] ? n : next[top.left];
    if (right >= n) continue;
    auto* merge = merges_.Find(symbols[top.left], symbols[right]);
    if (!merge || merge->result != top.result) continue;  // the pair has changed since it was offered
    symbols[top.left] = top.result;
    gone[right] = 1;
    next[top.left] = next[right];
    if (next[right] < n) {
      previous[next[right]] = top.left;
      offer(top.left, next[right]);
    }
    if (top.left > 0) offer(previous[top.left], top.left);
  }
  size_t kept = 0;
  for (uint32_t i = 0; i < n; i = next[i]) symbols[kept++] = symbols[i];
  symbols.resize(kept);
}

}  // namespace lorry
