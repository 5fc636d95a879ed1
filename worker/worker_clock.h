// The worker's own time for device time: UTC once, when the program starts, and monotonic from there. It never runs backwards, so
// that the spans of a lease touch whatever the machine's clock is set to meanwhile. Value; any thread.
#pragma once

#include "base/clock.h"

namespace lorry {

class WorkerClock {
 public:
  explicit WorkerClock(const Clock& clock) : clock_(&clock), start_(clock.Now()), start_monotonic_(clock.MonotonicMillis()) {}
  Instant Now() const { return start_ + Millis(clock_->MonotonicMillis() - start_monotonic_); }

 private:
  const Clock* clock_;
  Instant start_;
  int64_t start_monotonic_;
};

}  // namespace lorry
