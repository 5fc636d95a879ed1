#include "scheduler/work_book.h"

#include <algorithm>

namespace lorry {

std::vector<wire::Range> WorkBook::Lease(uint64_t count) {
  std::vector<wire::Range> ranges;
  if (!suspects_.empty()) {
    if (leased_ > 0 || count == 0) return ranges;
    const uint64_t suspect = *suspects_.begin();
    states_[suspect] = Mark::kLeased;
    leased_ = 1;
    return {wire::Range{suspect, 1}};
  }
  uint64_t index = first_maybe_free_;
  for (; index < states_.size() && count > 0; ++index) {
    if (states_[index] != Mark::kFree) continue;
    states_[index] = Mark::kLeased;
    ++leased_;
    --count;
    if (!ranges.empty() && ranges.back().first + ranges.back().count == index) {
      ++ranges.back().count;
    } else {
      ranges.push_back(wire::Range{index, 1});
    }
  }
  first_maybe_free_ = index;
  return ranges;
}

bool WorkBook::Finish(uint64_t index) {
  if (index >= states_.size() || states_[index] == Mark::kDone) return false;
  if (states_[index] == Mark::kLeased) --leased_;
  states_[index] = Mark::kDone;
  ++done_;
  suspects_.erase(index);
  return true;
}

void WorkBook::Restore(const wire::Range& leased) {
  for (uint64_t index = leased.first; index < std::min<uint64_t>(leased.first + leased.count, states_.size()); ++index) {
    if (states_[index] != Mark::kFree) continue;
    states_[index] = Mark::kLeased;
    ++leased_;
  }
}

void WorkBook::MakeFree(uint64_t index) {
  states_[index] = Mark::kFree;
  --leased_;
  first_maybe_free_ = std::min(first_maybe_free_, index);
}

bool WorkBook::KeepOnly(const std::vector<wire::Range>& held) {
  std::set<uint64_t> arrived;
  for (const wire::Range& range : held) {
    for (uint64_t i = range.first; i < states_.size() && i - range.first < range.count; ++i) {
      if (states_[i] == Mark::kLeased) arrived.insert(i);
    }
  }
  if (arrived.size() == leased_) return false;
  for (uint64_t index = 0; index < states_.size(); ++index) {
    if (states_[index] == Mark::kLeased && !arrived.contains(index)) MakeFree(index);
  }
  return true;
}

void WorkBook::ReturnLeased() {
  for (uint64_t index = 0; index < states_.size() && leased_ > 0; ++index) {
    if (states_[index] == Mark::kLeased) MakeFree(index);
  }
}

std::vector<uint64_t> WorkBook::ReturnCrashed(uint32_t limit, bool* alone) {
  *alone = leased_ == 1;
  std::vector<uint64_t> poisoned;
  for (uint64_t index = 0; index < states_.size() && leased_ > 0; ++index) {
    if (states_[index] != Mark::kLeased) continue;
    MakeFree(index);
    suspects_.insert(index);
    if (*alone && ++crashes_[index] >= limit) poisoned.push_back(index);
  }
  return poisoned;
}

std::vector<wire::Range> WorkBook::LeasedRanges() const {
  std::vector<wire::Range> ranges;
  for (uint64_t index = 0; index < states_.size(); ++index) {
    if (states_[index] != Mark::kLeased) continue;
    if (!ranges.empty() && ranges.back().first + ranges.back().count == index) {
      ++ranges.back().count;
    } else {
      ranges.push_back(wire::Range{index, 1});
    }
  }
  return ranges;
}

bool WorkBook::IsConsistent() const {
  uint64_t done = 0;
  uint64_t leased = 0;
  for (uint64_t index = 0; index < states_.size(); ++index) {
    done += states_[index] == Mark::kDone;
    leased += states_[index] == Mark::kLeased;
    if (states_[index] == Mark::kFree && index < first_maybe_free_) return false;
  }
  for (uint64_t suspect : suspects_) {
    if (suspect >= states_.size() || states_[suspect] == Mark::kDone) return false;
  }
  return done == done_ && leased == leased_;
}

}  // namespace lorry
