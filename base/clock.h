// Time as an argument: the shells read a Clock, the pure cores are handed `now`. Implementations are safe for any thread.
#pragma once

#include <cstdint>

#include "base/units.h"

namespace lorry {

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall clock in UTC: for records that people read. It may jump.
  virtual Instant Now() const = 0;
  // Milliseconds that only grow, from an arbitrary start: for deadlines and device time.
  virtual int64_t MonotonicMillis() const = 0;
};

// The machine's clocks. Lives for the whole program.
const Clock& SystemClock();

}  // namespace lorry
