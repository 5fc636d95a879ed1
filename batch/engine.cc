#include "batch/engine.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <utility>

namespace lorry {
namespace {

int64_t MonotonicMillis() {
  using std::chrono::steady_clock;
  return std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace

struct Engine::ActiveRow {
  ActiveRow(EngineRow r, int64_t now) : row(std::move(r)), sampler(row.sampling, row.id), stop(row.sampling.stop), entered(now) {}

  EngineRow row;
  TokenSampler sampler;
  StopWatch stop;
  int64_t entered;
  std::unique_ptr<SequenceMemory> memory;
  std::vector<TokenId> tokens;
  int64_t keep_prefix = 0;  // tokens of its prompt that others wait for
  int64_t planned = 0;      // tokens of it in the step that is being computed
  bool finished = false;
  FinishReason finish = FinishReason::kLength;
  std::optional<Error> error;

  bool reading() const { return memory->length() < static_cast<int64_t>(row.prompt.size()); }
};

Engine::Engine(DecodeModel& model, EngineOptions options, std::function<std::string(TokenId)> token_bytes)
    : model_(model), options_(std::move(options)), token_bytes_(std::move(token_bytes)), prefixes_(options_.shared_prefixes) {}

Engine::~Engine() = default;

// The loop: let rows in, compute one step of all that are inside, hand over those that have finished. It waits for the
// feed only when nothing is inside.
Status Engine::Run(RowFeed& feed, const Sink& sink) {
  try {
    return ComputeAll(feed, sink);
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorCode::kOutOfMemory, "out of memory", "lower sampling.max_tokens, or take shorter rows");
  } catch (const std::exception& e) {
    return MakeError(ErrorCode::kInternal, e.what());
  }
}

Status Engine::ComputeAll(RowFeed& feed, const Sink& sink) {
  while (true) {
    Admit(feed, sink);
    if (active_.empty()) {
      if (held_) continue;
      held_ = feed.Take();
      if (!held_) return OkStatus();
      continue;
    }
    LORRY_TRY(Step(sink));
  }
}

// Rows enter while there is room for them and for their prompts in the next step, so that several engines on one feed
// get equal shares of a small batch.
void Engine::Admit(RowFeed& feed, const Sink& sink) {
  int64_t tokens = 0;
  for (const auto& row : active_) {
    tokens += row->reading() ? static_cast<int64_t>(row->row.prompt.size()) - row->memory->length() : 1;
  }
  while (static_cast<int64_t>(active_.size()) < options_.max_rows && tokens < options_.tokens_per_step) {
    if (!held_) held_ = feed.TryTake();
    if (!held_) return;
    const size_t before = active_.size();
    if (!Enter(*held_, sink)) return;
    held_.reset();
    if (active_.size() > before) {
      tokens += static_cast<int64_t>(active_.back()->row.prompt.size()) - active_.back()->memory->length();
    }
  }
}

// False where the row has to wait: for memory, or for a row inside that is computing the beginning that both share.
bool Engine::Enter(EngineRow& row, const Sink& sink) {
  const int64_t prompt = static_cast<int64_t>(row.prompt.size());
  if (Status fits = CheckPrompt(row.prompt, model_.max_positions(), model_.vocab_size()); !fits.ok()) {
    sink({std::move(row), {}, FinishReason::kLength, fits.error(), 0});
    return true;
  }
  const int64_t capacity = prompt + std::min(row.sampling.max_tokens, model_.max_positions() - prompt);
  const int64_t bytes = capacity * model_.BytesPerToken();
  if (!MakeRoom(bytes) && !active_.empty()) return false;
  if (options_.shared_prefixes > 0) {
    const int64_t known = prefixes_.Find(row.prompt);
    for (const auto& other : active_) {
      const int64_t shared = SharedGridTokens(other->row.prompt, row.prompt);
      if (!other->reading() || shared <= known) continue;
      other->keep_prefix = std::max(other->keep_prefix, shared);
      return false;
    }
  }
  auto active = std::make_unique<ActiveRow>(std::move(row), MonotonicMillis());
  active->memory = model_.NewSequence(capacity);
  memory_used_ += bytes;
  if (options_.shared_prefixes > 0) counters_.prompt_tokens_reused += prefixes_.Load(model_, active->row.prompt, *active->memory);
  active_.push_back(std::move(active));
  return true;
}

// Whether `bytes` more fit; beginnings that are only kept make way.
bool Engine::MakeRoom(int64_t bytes) {
  while (memory_used_ + prefixes_.tokens_kept() * model_.BytesPerToken() + bytes > options_.memory_bytes) {
    if (prefixes_.tokens_kept() == 0) return false;
    prefixes_.ForgetOldest();
  }
  return true;
}

std::vector<SequencePiece> Engine::PlanStep() {
  int64_t budget = options_.tokens_per_step;
  for (const auto& row : active_) budget -= row->reading() ? 0 : 1;
  std::vector<SequencePiece> pieces;
  for (const auto& row : active_) {
    row->planned = 0;
    if (!row->reading()) {
      row->planned = 1;
      pieces.push_back({row->memory.get(), std::span(&row->tokens.back(), 1), {0}});
      continue;
    }
    const int64_t begin = row->memory->length();
    const int64_t left = static_cast<int64_t>(row->row.prompt.size()) - begin;
    // A piece that does not reach the prompt's end stops on the grid. The first one always makes progress.
    int64_t tokens = left <= budget ? left : budget / kPrefillGrid * kPrefillGrid;
    if (tokens <= 0 && pieces.empty()) tokens = std::min(left, kPrefillGrid);
    if (tokens <= 0) continue;
    budget -= tokens;
    row->planned = tokens;
    std::vector<int32_t> wanted;
    if (tokens == left) wanted.push_back(static_cast<int32_t>(tokens - 1));
    pieces.push_back(
        {row->memory.get(), std::span(row->row.prompt).subspan(static_cast<size_t>(begin), static_cast<size_t>(tokens)), wanted});
  }
  return pieces;
}

Status Engine::Step(const Sink& sink) {
  const std::vector<SequencePiece> pieces = PlanStep();
  LORRY_ASSIGN_OR_RETURN(const std::vector<LogitsRow> logits, model_.Read(pieces));
  ++counters_.steps;
  size_t next_logits = 0;
  size_t next_piece = 0;
  for (const auto& row : active_) {
    if (row->planned == 0) continue;
    const bool wanted = !pieces[next_piece++].logits_at.empty();
    if (row->tokens.empty()) counters_.prompt_tokens_read += row->planned;
    if (!wanted) continue;
    if (row->tokens.empty()) KeepSharedPrefix(*row);
    Advance(*row, logits[next_logits++]);
  }
  // A finished row gives its memory back before its result leaves.
  for (auto& row : active_) {
    if (!row->finished) continue;
    memory_used_ -= row->memory->capacity() * model_.BytesPerToken();
    row->memory.reset();
    counters_.tokens_written += static_cast<int64_t>(row->tokens.size());
    sink({std::move(row->row), std::move(row->tokens), row->finish, std::move(row->error), MonotonicMillis() - row->entered});
    row.reset();
  }
  std::erase(active_, nullptr);
  return OkStatus();
}

void Engine::KeepSharedPrefix(ActiveRow& row) {
  if (row.keep_prefix <= prefixes_.Find(row.row.prompt)) return;
  if (MakeRoom(row.keep_prefix * model_.BytesPerToken())) prefixes_.Keep(model_, row.row.prompt, *row.memory, row.keep_prefix);
}

// Takes the row's next token from its logits and decides whether it was the last.
void Engine::Advance(ActiveRow& row, LogitsRow logits) {
  auto token = row.sampler.Choose(logits, static_cast<int64_t>(row.tokens.size()));
  if (!token.ok()) {
    row.error = std::move(token).error();
    row.error->key = "numerical_error";
    row.finished = true;
    return;
  }
  row.tokens.push_back(*token);
  const bool ended = std::find(options_.end_tokens.begin(), options_.end_tokens.end(), *token) != options_.end_tokens.end();
  if (ended || (!row.row.sampling.stop.empty() && row.stop.Add(token_bytes_(*token)))) {
    row.finish = FinishReason::kStop;
    row.finished = true;
    return;
  }
  row.finished =
      static_cast<int64_t>(row.tokens.size()) >= row.row.sampling.max_tokens || row.memory->length() + 1 > row.memory->capacity();
}

}  // namespace lorry
