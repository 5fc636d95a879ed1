// Now, on both of the scheduler's clocks. Leases run on the one that only grows: where the machine's wall clock is set, forward
// or back, no worker is lost by it and none that is gone is kept. The wall clock is for what is recorded. Values.
#pragma once

#include <compare>
#include <cstdint>

#include "base/units.h"

namespace lorry {

// Milliseconds that only grow, from an arbitrary start; they mean nothing to another process.
class Steady {
 public:
  constexpr Steady() = default;
  constexpr explicit Steady(int64_t millis) : millis_(millis) {}
  friend constexpr Steady operator+(Steady t, Millis d) { return Steady(t.millis_ + d.count()); }
  friend constexpr Steady operator-(Steady t, Millis d) { return Steady(t.millis_ - d.count()); }
  friend constexpr Millis operator-(Steady a, Steady b) { return Millis(a.millis_ - b.millis_); }
  friend constexpr auto operator<=>(const Steady&, const Steady&) = default;
  friend constexpr bool operator==(const Steady&, const Steady&) = default;

 private:
  int64_t millis_ = 0;
};

struct Moment {
  Instant utc;
  Steady steady;
  // Where a time is recorded, it is this one.
  constexpr operator Instant() const { return utc; }
  friend constexpr Moment operator+(Moment t, Millis d) { return {t.utc + d, t.steady + d}; }
};

}  // namespace lorry
