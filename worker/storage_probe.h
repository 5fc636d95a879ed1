// Whether the worker's home takes writes and has room, tried every few seconds in the background: a disk that hangs must not hold
// up the heartbeats that say so. One thread, but for the trial itself. REQUIRES: it lives as long as the background's loop runs.
#pragma once

#include <cstdint>
#include <string>

#include "worker/background.h"

namespace lorry {

class StorageProbe {
 public:
  // Tries it once, at once.
  StorageProbe(std::string home, Background* background);

  // Why the home takes no writes, as of the last trial; empty: it does.
  const std::string& problem() const { return problem_; }
  // An attempt failed for it: it is tried now rather than in a while.
  void Doubt() { tried_at_ = kNever; }
  // Now and then.
  void Tick(int64_t monotonic_ms);

 private:
  static constexpr int64_t kNever = INT64_MIN / 2;
  std::string home_;
  Background* background_;
  std::string problem_;
  bool trying_ = false;
  int64_t tried_at_ = kNever;  // monotonic
};

}  // namespace lorry
