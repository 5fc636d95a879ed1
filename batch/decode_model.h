// What the engine asks of a model: to read tokens into a sequence's memory and give the logits of some positions.
//
// The engine decides which rows are computed together, the model computes. A model must give the same logits, bit for
// bit, for the same tokens of a sequence, whatever else is in a call and however the calls cut the sequence at
// multiples of kPrefillGrid (generated tokens come one by one): that is what makes a batch's bytes depend on the job
// alone. tests/batch/transformer_test.cc holds the real model to it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "batch/sampling.h"

namespace lorry {

// Prompts are cut only at multiples of this many tokens, counted from the prompt's start.
inline constexpr int64_t kPrefillGrid = 32;

// A sequence's memory (keys and values). Made by a model, used with it alone, by one thread at a time.
class SequenceMemory {
 public:
  virtual ~SequenceMemory() = default;
  int64_t length() const { return length_; }      // tokens read so far
  int64_t capacity() const { return capacity_; }  // tokens that it can hold

 protected:
  explicit SequenceMemory(int64_t capacity) : capacity_(capacity) {}
  int64_t length_ = 0;
  int64_t capacity_;
};

// The next tokens of one sequence.
struct SequencePiece {
  SequenceMemory* sequence = nullptr;
  std::span<const TokenId> ids;
  // Positions within `ids`, rising, whose logits are wanted.
  std::vector<int32_t> logits_at;
};

class DecodeModel {
 public:
  virtual ~DecodeModel() = default;

  virtual int64_t vocab_size() const = 0;
  virtual int64_t max_positions() const = 0;
  virtual int64_t BytesPerToken() const = 0;  // of a sequence's memory

  virtual std::unique_ptr<SequenceMemory> NewSequence(int64_t capacity) = 0;

  // Reads the pieces, each of another sequence, and returns the wanted logits in the order of the pieces. They are valid
  // until the next call. REQUIRES: every sequence has room; ids in [0, vocab_size).
  virtual Result<std::vector<LogitsRow>> Read(std::span<const SequencePiece> pieces) = 0;

  // Gives `to`, which is empty, the first `tokens` tokens of `from`.
  virtual void CopyPrefix(const SequenceMemory& from, SequenceMemory& to, int64_t tokens) = 0;
};

}  // namespace lorry
