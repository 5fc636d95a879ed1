#include "base/clock.h"

#include <chrono>

namespace lorry {
namespace {

class MachineClock final : public Clock {
 public:
  Instant Now() const override {
    using namespace std::chrono;
    return Instant(duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count());
  }
  int64_t MonotonicMillis() const override {
    using namespace std::chrono;
    return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
  }
};

}  // namespace

const Clock& SystemClock() {
  static const MachineClock clock;
  return clock;
}

}  // namespace lorry
