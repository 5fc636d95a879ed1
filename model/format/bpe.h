// Byte pair encoding of one word: the symbols of the word, merged in the order of the merges' ranks.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"

namespace lorry {

using TokenId = int32_t;

// The merges as an open-addressed table from a pair of ids to the pair's rank and result.
class MergeTable {
 public:
  struct Merge {
    int32_t rank;
    TokenId result;
  };
  void Reserve(size_t merges);
  // A pair that is put in twice keeps the later rank, as in the `tokenizers` package.
  void Put(TokenId left, TokenId right, Merge merge);
  const Merge* Find(TokenId left, TokenId right) const;

 private:
  struct Slot {
    uint64_t pair = kEmpty;
    Merge merge{};
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  size_t Start(uint64_t pair) const { return (pair * 0x9E3779B97F4A7C15ull) >> shift_; }
  std::vector<Slot> slots_;
  int shift_ = 64;
};

// Threads: const members may be called from any thread; the word cache is behind locks.
class BpeModel {
 public:
  // `model` is tokenizer.json's "model". With `byte_level`, words are bytes; else they are UTF-8 characters.
  static Result<BpeModel> FromJson(const nlohmann::json& model, bool byte_level);

  // Appends the ids of one word. REQUIRES: valid UTF-8 unless byte-level.
  void EncodeWord(std::string_view word, std::vector<TokenId>& out) const;

  std::optional<TokenId> IdOf(std::string_view token) const;
  // Null for an id that the vocabulary does not have.
  const std::string* TokenOf(TokenId id) const;
  // One more than the largest id.
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  using IdMap = std::unordered_map<std::string, TokenId, Hash, std::equal_to<>>;

  // Words seen before. Full shards take no more: the frequent words come early.
  struct CacheShard {
    std::mutex mutex;
    std::unordered_map<std::string, std::vector<TokenId>, Hash, std::equal_to<>> words;
  };
  static constexpr size_t kShards = 64, kWordsPerShard = 2048, kLongestCachedWord = 64;

  Status ReadVocabulary(const nlohmann::json& model);
  Status ReadMerges(const nlohmann::json& merges);
  Status ReadMerge(std::string_view left, std::string_view right, int32_t rank);
  void ReadByteSymbols();
  void EncodeUncached(std::string_view word, std::vector<TokenId>& out) const;
  void Symbols(std::string_view word, std::vector<TokenId>& out) const;
  bool ByteFallback(std::string_view character, std::vector<TokenId>& out) const;
  void MergeShort(std::vector<TokenId>& symbols) const;
  void MergeLong(std::vector<TokenId>& symbols) const;

  bool byte_level_ = false;
  bool ignore_merges_ = false, byte_fallback_ = false, fuse_unk_ = false;
  std::optional<TokenId> unk_;
  std::vector<std::string> tokens_;  // by id; empty where there is none
  IdMap ids_;
  IdMap whole_words_;                        // ignore_merges: words that are tokens, as words are given to EncodeWord
  std::array<TokenId, 256> byte_ids_{};      // byte-level: a byte's symbol, -1 where the vocabulary lacks it
  std::array<TokenId, 256> fallback_ids_{};  // "<0xHH>", -1 where the vocabulary lacks it
  MergeTable merges_;
  std::unique_ptr<std::array<CacheShard, kShards>> cache_;
};

}  // namespace lorry
