#include "batch/prefix_store.h"

#include <algorithm>

namespace lorry {

int64_t SharedGridTokens(std::span<const TokenId> a, std::span<const TokenId> b) {
  const size_t longest = std::min(a.size(), b.size());
  if (longest == 0) return 0;
  const auto shared = std::mismatch(a.begin(), a.begin() + static_cast<int64_t>(longest) - 1, b.begin()).first - a.begin();
  return shared / kPrefillGrid * kPrefillGrid;
}

int64_t PrefixStore::Find(std::span<const TokenId> prompt) const {
  int64_t best = 0;
  for (const Entry& entry : entries_) {
    // An entry is wholly computed, so its last token counts; the prompt's last one does not.
    const size_t longest = std::min(entry.ids.size(), prompt.size() - 1);
    const auto shared =
        std::mismatch(entry.ids.begin(), entry.ids.begin() + static_cast<int64_t>(longest), prompt.begin()).first -
        entry.ids.begin();
    best = std::max<int64_t>(best, shared / kPrefillGrid * kPrefillGrid);
  }
  return best;
}

int64_t PrefixStore::Load(DecodeModel& model, std::span<const TokenId> prompt, SequenceMemory& sequence) {
  const int64_t tokens = Find(prompt);
  if (tokens == 0) return 0;
  const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) {
    return static_cast<int64_t>(e.ids.size()) >= tokens && std::equal(prompt.begin(), prompt.begin() + tokens, e.ids.begin());
  });
  model.CopyPrefix(*entry->memory, sequence, tokens);
  entries_.splice(entries_.begin(), entries_, entry);
  return tokens;
}

int64_t PrefixStore::tokens_kept() const {
  int64_t tokens = 0;
  for (const Entry& entry : entries_) tokens += static_cast<int64_t>(entry.ids.size());
  return tokens;
}

void PrefixStore::Keep(DecodeModel& model, std::span<const TokenId> prompt, const SequenceMemory& sequence, int64_t tokens) {
  if (tokens == 0 || max_entries_ == 0) return;
  if (entries_.size() == max_entries_) entries_.pop_back();
  Entry entry{{prompt.begin(), prompt.begin() + tokens}, model.NewSequence(tokens)};
  model.CopyPrefix(sequence, *entry.memory, tokens);
  entries_.push_front(std::move(entry));
}

}  // namespace lorry
