// A model whose logits are a hash of all tokens read so far: what an engine does wrong with a sequence shows in its text.
// It checks what the engine owes a model: prompts are cut on the grid only, room is kept, a sequence stands once in a call.
#pragma once

#include <catch2/catch.hpp>
#include <set>

#include "batch/decode_model.h"

namespace lorry {

class HashModel : public DecodeModel {
 public:
  static constexpr int64_t kVocabulary = 40;
  explicit HashModel(int64_t max_positions = 4096) : max_positions_(max_positions) {}

  int64_t vocab_size() const override { return kVocabulary; }
  int64_t max_positions() const override { return max_positions_; }
  int64_t BytesPerToken() const override { return 8; }

  std::unique_ptr<SequenceMemory> NewSequence(int64_t capacity) override { return std::make_unique<Memory>(capacity); }

  Result<std::vector<LogitsRow>> Read(std::span<const SequencePiece> pieces) override {
    std::set<const SequenceMemory*> seen;
    size_t wanted = 0;
    for (const SequencePiece& piece : pieces) wanted += piece.logits_at.size();
    logits_.assign(wanted * kVocabulary, 0.0F);
    std::vector<LogitsRow> rows;
    int64_t tokens = 0;
    for (const SequencePiece& piece : pieces) {
      auto& memory = static_cast<Memory&>(*piece.sequence);
      REQUIRE(seen.insert(&memory).second);
      REQUIRE(!piece.ids.empty());
      REQUIRE(memory.length() + static_cast<int64_t>(piece.ids.size()) <= memory.capacity());
      if (piece.ids.size() > 1) REQUIRE(memory.length() % kPrefillGrid == 0);
      tokens += static_cast<int64_t>(piece.ids.size());
      size_t next = 0;
      for (size_t i = 0; i < piece.ids.size(); ++i) {
        memory.Add(piece.ids[i]);
        if (next == piece.logits_at.size() || piece.logits_at[next] != static_cast<int32_t>(i)) continue;
        ++next;
        float* row = logits_.data() + rows.size() * kVocabulary;
        for (int64_t v = 0; v < kVocabulary; ++v) {
          row[v] = static_cast<float>(Mix(memory.hashes.back() + static_cast<uint64_t>(v)) % 1000) / 100.0F;
        }
        rows.emplace_back(row, static_cast<size_t>(kVocabulary));
      }
    }
    largest_step = std::max(largest_step, tokens);
    most_rows = std::max(most_rows, static_cast<int64_t>(pieces.size()));
    return rows;
  }

  void CopyPrefix(const SequenceMemory& from, SequenceMemory& to, int64_t tokens) override {
    REQUIRE(tokens % kPrefillGrid == 0);
    REQUIRE(to.length() == 0);
    static_cast<Memory&>(to).CopyFrom(static_cast<const Memory&>(from), tokens);
  }

  int64_t largest_step = 0;
  int64_t most_rows = 0;

 private:
  static uint64_t Mix(uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ (x >> 33);
  }

  struct Memory : SequenceMemory {
    explicit Memory(int64_t capacity) : SequenceMemory(capacity) {}
    void Add(TokenId token) {
      hashes.push_back(Mix((hashes.empty() ? 1 : hashes.back()) * 31 + static_cast<uint64_t>(token) + 1));
      ++length_;
    }
    void CopyFrom(const Memory& from, int64_t tokens) {
      hashes.assign(from.hashes.begin(), from.hashes.begin() + tokens);
      length_ = tokens;
    }
    std::vector<uint64_t> hashes;  // of the tokens up to each position
  };

  int64_t max_positions_;
  std::vector<float> logits_;
};

}  // namespace lorry
