// The device time of one attempt: which class each of its devices was in, since when.
//
// It hands out spans numbered from 0; the last one of each device may still grow, all others are final. What the scheduler
// has committed need not be sent again. Pure; times are the worker's (worker_clock.h).
#pragma once

#include <cstdint>
#include <vector>

#include "base/units.h"
#include "base/usage.h"
#include "base/wire_worker.h"

namespace lorry {

struct MeteredDevice {
  DeviceId id;
  std::string kind;
};

class Meter {
 public:
  // All devices are held from `now` on, in class startup.
  Meter(const std::vector<MeteredDevice>& devices, Instant now);

  // From `now` on device number `device` is in this class. `now` never goes back.
  void SetClass(size_t device, UsageClass usage_class, Instant now);
  void SetAll(UsageClass usage_class, Instant now);
  // The devices are given back: nothing grows any more.
  void End(Instant now);

  struct Piece {
    uint64_t first_span = 0;
    std::vector<wire::Span> spans;  // from there on; the growing ones up to `now`
    uint64_t final_spans = 0;       // spans [0, final_spans) of the attempt will not change any more
  };
  // All that is not yet settled.
  Piece Unsettled(Instant now);
  // The scheduler has committed a piece: what was final in it is not sent again.
  void Settle(const Piece& piece);

  size_t devices() const { return growing_.size(); }

 private:
  uint64_t FinalSpans() const;

  std::vector<wire::Span> spans_;
  std::vector<size_t> growing_;  // by device: the span that still grows
  uint64_t settled_ = 0;
  uint64_t shown_ = 0;  // spans that a piece has shown: their class is fixed
  bool ended_ = false;
};

}  // namespace lorry
