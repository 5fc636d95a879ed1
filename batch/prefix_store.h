// Beginnings of prompts that several rows share, computed once per engine and copied into each row's memory.
//
// Prefixes end on the prefill grid, where cutting a prompt changes no bit (decode_model.h), so that a row's result does
// not depend on whether its beginning was found here. One thread.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "batch/decode_model.h"

namespace lorry {

// How many tokens two prompts have in common, cut down to the grid, and less than the whole of either: the last token
// of a prompt is always computed, for its logits.
int64_t SharedGridTokens(std::span<const TokenId> a, std::span<const TokenId> b);

class PrefixStore {
 public:
  explicit PrefixStore(size_t max_entries) : max_entries_(max_entries) {}

  // Tokens of `prompt` that are here.
  int64_t Find(std::span<const TokenId> prompt) const;
  // Gives them to `sequence`, which is empty, and returns how many they were.
  int64_t Load(DecodeModel& model, std::span<const TokenId> prompt, SequenceMemory& sequence);
  // Keeps the first `tokens` tokens of a computed prompt; the entry used longest ago makes room.
  void Keep(DecodeModel& model, std::span<const TokenId> prompt, const SequenceMemory& sequence, int64_t tokens);

  // Of all entries together.
  int64_t tokens_kept() const;
  // Forgets the entry used longest ago. REQUIRES: tokens_kept() > 0.
  void ForgetOldest() { entries_.pop_back(); }

 private:
  struct Entry {
    std::vector<TokenId> ids;
    std::unique_ptr<SequenceMemory> memory;
  };
  size_t max_entries_;
  std::list<Entry> entries_;  // used last, first
};

}  // namespace lorry
