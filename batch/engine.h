// Continuous batching: rows of different length are computed together, one enters as soon as another has finished.
//
// A step reads, in one call of the model, the last token of every row that is writing and pieces of the prompts of rows
// that have just come, up to a budget of tokens; so the weights are read from memory once for both. A row takes its
// whole memory (prompt and longest completion) when it enters, so that no row is ever put out again. What a row gives
// depends on the row alone (decode_model.h, sampling.h), never on its neighbours or on this schedule.
//
// One engine is one lane: one thread, one model object, its own rows. Lanes share weights and the feed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "batch/decode_model.h"
#include "batch/prefix_store.h"
#include "batch/row_feed.h"

namespace lorry {

enum class FinishReason { kStop, kLength };  // an end token or stop text; max_tokens or the context's end

struct EngineResult {
  EngineRow row;
  std::vector<TokenId> tokens;  // an end token, where there is one, is the last
  FinishReason finish = FinishReason::kLength;
  std::optional<Error> error;  // of this row alone
  int64_t millis = 0;          // from its entry to its end
};

struct EngineOptions {
  int64_t max_rows = 64;                    // that write at the same time
  int64_t tokens_per_step = 512;            // a multiple of kPrefillGrid
  int64_t memory_bytes = int64_t{2} << 30;  // for keys and values, kept beginnings among them; one row is always let in
  size_t shared_prefixes = 8;               // kept; 0: none
  std::vector<TokenId> end_tokens;
};

struct EngineCounters {
  int64_t steps = 0;
  int64_t prompt_tokens_read = 0;  // without those copied from a shared prefix
  int64_t prompt_tokens_reused = 0;
  int64_t tokens_written = 0;
};

class Engine {
 public:
  using Sink = std::function<void(EngineResult)>;
  // `token_bytes` gives a token's bytes for stop texts. Model and functions outlive the engine.
  Engine(DecodeModel& model, EngineOptions options, std::function<std::string(TokenId)> token_bytes);
  ~Engine();

  // Computes rows until the feed is closed and empty. Each row comes to `sink` once, in the order of finishing. An error
  // is the model's, or kOutOfMemory: rows that were inside are lost to this engine. Throws nothing.
  Status Run(RowFeed& feed, const Sink& sink);

  const EngineCounters& counters() const { return counters_; }

 private:
  struct ActiveRow;
  Status ComputeAll(RowFeed& feed, const Sink& sink);
  void Admit(RowFeed& feed, const Sink& sink);
  bool Enter(EngineRow& row, const Sink& sink);
  std::vector<SequencePiece> PlanStep();
  Status Step(const Sink& sink);
  void Advance(ActiveRow& row, LogitsRow logits);
  void KeepSharedPrefix(ActiveRow& row);
  bool MakeRoom(int64_t bytes);

  DecodeModel& model_;
  EngineOptions options_;
  std::function<std::string(TokenId)> token_bytes_;
  PrefixStore prefixes_;
  std::vector<std::unique_ptr<ActiveRow>> active_;  // in order of entry
  std::optional<EngineRow> held_;                   // taken from the feed, waits for memory or for its beginning to be computed
  int64_t memory_used_ = 0;                         // by rows
  EngineCounters counters_;
};

}  // namespace lorry
