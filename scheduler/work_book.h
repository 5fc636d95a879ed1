// Which rows of a batch, or elements of an array, are free, leased or done.
//
// An index is leased at most once at a time and done at most once for ever. Leases are given lowest index first. What was leased
// when its attempt crashed is suspect and from then on given out alone, with nothing else in flight, so that the next crash can
// be held against one index; one that is held to have crashed too often is given up (poisoned). Values; no thread rules.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "base/wire_types.h"

namespace lorry {

class WorkBook {
 public:
  uint64_t total() const { return states_.size(); }
  uint64_t done() const { return done_; }
  uint64_t leased() const { return leased_; }
  bool AllDone() const { return !states_.empty() && done_ == states_.size(); }
  bool IsDone(uint64_t index) const { return index < states_.size() && states_[index] == Mark::kDone; }

  // REQUIRES: nothing leased or done beyond `total`.
  void SetTotal(uint64_t total) { states_.resize(total, Mark::kFree); }
  // Up to `count` free indices, now leased; empty where there is none to give now.
  std::vector<wire::Range> Lease(uint64_t count);
  // True the first time; false where it was done before or is out of range.
  bool Finish(uint64_t index);
  // The lease is taken as given (from the state file, after a restart).
  void Restore(const wire::Range& leased);
  // Leases that are not among `held` never arrived: they are free again. True where there was one.
  bool KeepOnly(const std::vector<wire::Range>& held);
  // The attempt is over: what it held is free again.
  void ReturnLeased();
  // The attempt crashed: as ReturnLeased, and what it held is suspect. Alone in flight, it is held against the index; those that
  // reached `limit` are returned, for the caller to finish as errors. `alone` is set where one index was alone.
  std::vector<uint64_t> ReturnCrashed(uint32_t limit, bool* alone);
  std::vector<wire::Range> LeasedRanges() const;

  // Counts agree with the marks. For SanityCheck.
  bool IsConsistent() const;

 private:
  enum class Mark : uint8_t { kFree, kLeased, kDone };
  void MakeFree(uint64_t index);

  std::vector<Mark> states_;
  uint64_t done_ = 0;
  uint64_t leased_ = 0;
  uint64_t first_maybe_free_ = 0;  // no free index lies before it
  std::set<uint64_t> suspects_;    // not done
  std::map<uint64_t, uint32_t> crashes_;
};

}  // namespace lorry
